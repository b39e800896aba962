//! The parameters of single connections.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ConnectionParameters, ParametersDocument};

/// Parameters by name of the site at the connection's far end; none for a connection that has no entry.
pub type ParametersBySite = BTreeMap<String, ConnectionParameters>;

/// The file's only version so far.
const VERSION: u32 = 1;

/// The file names its version, so that a later form can be told from this one.
#[derive(Deserialize, Serialize)]
struct ParametersFile {
    version: u32,
    connections: BTreeMap<String, ParametersDocument>,
}

/// The file's content for these parameters.
pub(super) fn to_json(parameters: &ParametersBySite) -> Vec<u8> {
    let connections = parameters.iter().map(|(site, own)| (site.clone(), own.document())).collect();
    serde_json::to_vec(&ParametersFile { version: VERSION, connections })
        .expect("strings and numbers always serialize into memory")
}

/// Reads the file's content; the error says what is wrong with it.
pub(super) fn from_json(content: &[u8]) -> Result<ParametersBySite, String> {
    let file: ParametersFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is unknown, expected {VERSION}", file.version));
    }
    let typed =
        |(site, document): (String, ParametersDocument)| match ConnectionParameters::try_from(document) {
            Ok(parameters) => Ok((site, parameters)),
            Err(errors) => Err(format!("connection to {site}: {}", errors[0])),
        };
    file.connections.into_iter().map(typed).collect()
}

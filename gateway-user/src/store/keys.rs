//! The shared keys of a gateway's connections.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::KeyText;
use crate::model::SharedKey;

/// Shared keys by name of the site at the connection's far end.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: BTreeMap<String, KeyText>,
}

/// The file's only version so far.
const VERSION: u32 = 1;

/// The file names its version, so that a later form can be told from this one.
#[derive(Deserialize)]
struct KeyFile {
    version: u32,
    keys: BTreeMap<String, KeyText>,
}

#[derive(Serialize)]
struct KeyFileRef<'a> {
    version: u32,
    keys: &'a BTreeMap<String, KeyText>,
}

impl KeyRing {
    /// The key of the connection to `site`.
    pub fn get(&self, site: &str) -> Option<&SharedKey> {
        self.keys.get(site).map(|key| &key.0)
    }

    /// Sets the key of the connection to `site` in place of one before.
    pub fn set(&mut self, site: &str, key: SharedKey) {
        self.keys.insert(site.to_owned(), KeyText(key));
    }

    /// The file's content for these keys.
    pub(super) fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Reserved in one piece: a growing vector would leave copies of the keys behind. Escaping at most doubles
        // printable ASCII; names are escaped to at most six bytes a byte.
        let capacity: usize =
            self.keys.iter().map(|(site, key)| 6 * site.len() + 2 * key.0.expose().len() + 8).sum();
        let mut content = Zeroizing::new(Vec::with_capacity(capacity + 64));
        serde_json::to_writer(&mut *content, &KeyFileRef { version: VERSION, keys: &self.keys })
            .expect("strings always serialize into memory");
        content
    }

    /// Reads the file's content. The error says what is wrong and where, and quotes nothing.
    pub(super) fn from_json(content: &[u8]) -> Result<Self, String> {
        let file: KeyFile = serde_json::from_slice(content).map_err(|error| {
            format!("no valid key file (line {}, column {})", error.line(), error.column())
        })?;
        if file.version != VERSION {
            return Err(format!("version {} is unknown, expected {VERSION}", file.version));
        }
        Ok(Self { keys: file.keys })
    }
}

//! The bandwidth of the gateway that was set by command.

use serde::{Deserialize, Serialize};

use crate::model::{BandwidthDirection, GatewayBandwidth, OptionalBandwidth};

/// The file's only version so far.
const VERSION: u32 = 1;

/// The file names its version, so that a later form can be told from this one.
#[derive(Deserialize, Serialize)]
struct BandwidthFile {
    version: u32,
    bandwidth: Option<Stored>,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    rate: String,
    direction: BandwidthDirection,
}

/// The file's content.
pub(super) fn to_json(bandwidth: Option<GatewayBandwidth>) -> Vec<u8> {
    let bandwidth = bandwidth.map(|GatewayBandwidth { rate, direction }| Stored {
        rate: OptionalBandwidth::from(rate).to_string(),
        direction,
    });
    serde_json::to_vec(&BandwidthFile { version: VERSION, bandwidth })
        .expect("strings and numbers always serialize into memory")
}

/// Reads the file's content; the error says what is wrong with it.
pub(super) fn from_json(content: &[u8]) -> Result<Option<GatewayBandwidth>, String> {
    let file: BandwidthFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is unknown, expected {VERSION}", file.version));
    }
    let Some(Stored { rate, direction }) = file.bandwidth else { return Ok(None) };
    let rate = rate.parse::<OptionalBandwidth>()?.rate();
    Ok(Some(GatewayBandwidth { rate, direction }))
}

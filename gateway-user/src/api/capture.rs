//! Body of the request for a capture.

use serde::{Deserialize, Serialize};

use crate::capture::Filter;

/// Body of `POST /v1/vnets/{vnet}/capture`. The answer is a pcapng file that goes on for as long as the client reads it: the packets as
/// they come, and Interface Statistics Blocks every second, the last of which count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// Site of the connection; null or left out for all connections.
    #[serde(default)]
    pub site: Option<String>,
    /// Packets of the VNets, before they are sealed and after they are opened.
    #[serde(default)]
    pub inner: bool,
    /// Sealed packets.
    #[serde(default)]
    pub outer: bool,
    /// Packets that are dropped, those that belong to no connection included, each with its reason as a comment.
    #[serde(default)]
    pub dropped: bool,
    /// Which of them are wanted.
    #[serde(default)]
    pub filter: Filter,
    /// Bytes of a frame that are kept, at most.
    #[serde(default = "whole")]
    pub snap_len: u32,
}

impl CaptureRequest {
    /// Value of `snap_len` that keeps every frame whole.
    pub const WHOLE: u32 = 65_535;
    /// The smallest value of `snap_len`: Ethernet and IPv4 headers.
    pub const SHORTEST: u32 = 34;
}

const fn whole() -> u32 {
    CaptureRequest::WHOLE
}

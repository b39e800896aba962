//! What the datapath does with the packets of a connection, apart from what is negotiated.

use gateway_common::limits::REPLAY_WINDOW_DEFAULT;

use crate::model::{OuterDf, OuterDscp};

/// Choices that concern this end only, the same for all SAs of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketPolicy {
    /// Anti-replay window in packets, from 1 to [`gateway_common::limits::REPLAY_WINDOW_MAX`].
    pub replay_window: u32,
    /// DSCP of outer headers.
    pub dscp: OuterDscp,
    /// "Don't fragment" bit of outer IPv4 headers.
    pub df: OuterDf,
}

impl Default for PacketPolicy {
    fn default() -> Self {
        Self { replay_window: REPLAY_WINDOW_DEFAULT, dscp: OuterDscp::Copy, df: OuterDf::Set }
    }
}

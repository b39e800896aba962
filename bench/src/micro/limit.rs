//! The limit of a gateway: forwarding alone plus the AEAD alone.

use serde::{Deserialize, Serialize};

/// One gateway's cost per packet beside the least that it could be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// Forwarding without a cipher, in ns.
    pub(crate) forward_ns: f64,
    /// The AEAD without forwarding, in ns.
    pub(crate) aead_ns: f64,
    /// What was measured for the whole, in ns.
    pub(crate) busy_ns: f64,
    /// Most packets per second of one processor that forwards and does the AEAD, and nothing else.
    pub(crate) most_packets_per_second: f64,
    /// Part of the limit that is reached: 1 would be a gateway whose parsing, routing and accounting are free.
    pub(crate) reached: f64,
}

impl Limit {
    pub(super) fn new(forward_ns: f64, aead_ns: f64, busy_ns: f64) -> Self {
        let least = forward_ns + aead_ns;
        let (most_packets_per_second, reached) = (1e9 / least, least / busy_ns);
        Self { forward_ns, aead_ns, busy_ns, most_packets_per_second, reached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_sum_of_the_parts() {
        let limit = Limit::new(100.0, 300.0, 500.0);
        assert!((limit.most_packets_per_second - 2_500_000.0).abs() < 1.0);
        assert!((limit.reached - 0.8).abs() < 1e-9);
    }
}

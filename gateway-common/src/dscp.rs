//! The differentiated-services field of outer headers (RFC 2983, RFC 4301 section 5.1.2).
//!
//! The policy is what [`crate::Sa::outer_dscp`] holds: [`COPY`], or a value from [`set`].

/// Each outer header has the DSCP of its inner one: the uniform model of RFC 2983 section 3.1, as RFC 4301 has it by default.
pub const COPY: u32 = 0;

/// Largest DSCP.
pub const MAX: u8 = 63;

/// Tells a DSCP of 0 from [`COPY`].
const SET: u32 = 0x100;

/// Every outer header has the DSCP `dscp`, at most [`MAX`]: the pipe model of RFC 2983 section 3.2.
#[inline(always)]
pub const fn set(dscp: u8) -> u32 {
    SET | (dscp as u32) << 2 & 0xfc
}

/// Traffic class (IPv4: type-of-service byte) of the header around a packet with the traffic class `inner`. ECN is copied in
/// either case: the normal mode of RFC 6040 section 4.1.
#[inline(always)]
pub const fn outer(policy: u32, inner: u8) -> u8 {
    if policy & SET == 0 { inner } else { policy as u8 & 0xfc | inner & 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_traffic_class_and_policy() {
        for inner in 0..=255 {
            assert_eq!(outer(COPY, inner), inner);
            for dscp in 0..=MAX {
                assert_eq!(outer(set(dscp), inner), dscp * 4 + inner % 4);
            }
        }
    }
}

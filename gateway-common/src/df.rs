//! The "don't fragment" bit of outer IPv4 headers (RFC 4301 section 8.1).
//!
//! The policy is what [`crate::Sa::outer_df`] holds: [`SET`], [`COPY`] or [`CLEAR`].

/// Every outer header forbids fragments: what is too large for the path is answered, and the tunnel's MTU can follow.
pub const SET: u32 = 0;
/// Outer headers forbid fragments where the packet inside does; IPv6 packets do.
pub const COPY: u32 = 1;
/// No outer header forbids fragments.
pub const CLEAR: u32 = 2;

/// Whether routers may fragment the packet around one that `may_be_fragmented`.
#[inline(always)]
pub const fn allows_fragments(policy: u32, may_be_fragmented: bool) -> bool {
    policy == CLEAR || (policy == COPY && may_be_fragmented)
}

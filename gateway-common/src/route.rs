//! Result of the longest-prefix match.

use crate::Pod;

/// Value of the LPM maps `ROUTES4` and `ROUTES6` (key: prefix length and address in network order).
///
/// Local and remote prefixes share a map. They cannot overlap, since the model refuses overlapping address spaces.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// A [`RouteKind`].
    pub kind: u32,
    /// Tunnel of a remote prefix, an index into map `TUNNELS`; zero for local prefixes.
    pub tunnel: u32,
}

/// Values of [`Route::kind`].
#[derive(Clone, Copy, Debug)]
pub struct RouteKind;

impl RouteKind {
    /// No prefix matches. Never stored.
    pub const NONE: u32 = 0;
    /// The prefix belongs to this gateway's own VNet.
    pub const LOCAL: u32 = 1;
    /// The prefix lies behind a tunnel.
    pub const REMOTE: u32 = 2;
}

// SAFETY: repr(C), two integers.
unsafe impl Pod for Route {}

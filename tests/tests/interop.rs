//! Our gateway and strongSwan, each with a host behind it, in network namespaces.
//!
//! Run them with `cargo xtask test interop`; each file of `interop/` is one behaviour.

#[path = "interop/connect.rs"]
mod connect;
#[path = "interop/cookie.rs"]
mod cookie;
#[path = "interop/dead_peer.rs"]
mod dead_peer;
#[path = "interop/delete.rs"]
mod delete;
#[path = "interop/fragmentation.rs"]
mod fragmentation;
#[path = "interop/ipv6.rs"]
mod ipv6;
#[path = "interop/matrix.rs"]
mod matrix;
#[path = "interop/nat.rs"]
mod nat;
#[path = "interop/pki.rs"]
mod pki;
#[path = "interop/refusals.rs"]
mod refusals;
#[path = "interop/rekey_both.rs"]
mod rekey_both;
#[path = "interop/rekey_child.rs"]
mod rekey_child;
#[path = "interop/rekey_ike.rs"]
mod rekey_ike;
#[path = "interop/restart.rs"]
mod restart;
#[path = "interop/support.rs"]
mod support;
#[path = "interop/two_peers.rs"]
mod two_peers;

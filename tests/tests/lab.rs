//! End-to-end tests: gateways, hosts and the internet between them in network namespaces.
//!
//! Run them with `cargo xtask test lab`; each file of `lab/` is one behaviour.

#[path = "lab/harness.rs"]
mod harness;

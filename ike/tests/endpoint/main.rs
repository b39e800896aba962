//! Two endpoints against each other in a simulated network.

use std::ops::Range;
use std::time::Duration;

mod algorithms;
mod certificates;
mod childless;
mod collide;
mod collide_child;
mod collide_ike;
mod connect;
mod cookies;
mod detached;
mod failure;
mod fragments;
mod hostile;
mod key_export;
mod lifecycle;
mod modes;
mod nat;
#[path = "../pki/mod.rs"]
#[allow(dead_code, reason = "revocation lists are tested elsewhere")]
mod pki;
mod puppet;
mod rekey;
mod rekey_ike;
mod resources;
mod resources_refused;
mod robustness;
mod rogue;
mod selectors;
mod sim;
mod strangers;

/// Each piece of work is done at once.
const WORK_TAKES: Option<Range<Duration>> = None;

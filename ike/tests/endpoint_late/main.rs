//! The tests of `endpoint` that do not look at single messages, once more with work that takes its time and is done in
//! another order than it was asked for.

use std::ops::Range;
use std::time::Duration;

#[path = "../endpoint/collide.rs"]
mod collide;
#[path = "../endpoint/connect.rs"]
mod connect;
#[path = "../endpoint/failure.rs"]
mod failure;
#[path = "../endpoint/lifecycle.rs"]
mod lifecycle;
#[path = "../endpoint/modes.rs"]
mod modes;
#[path = "../endpoint/nat.rs"]
mod nat;
#[path = "../endpoint/rekey.rs"]
mod rekey;
#[path = "../endpoint/rekey_ike.rs"]
mod rekey_ike;
#[path = "../endpoint/resources.rs"]
mod resources;
#[path = "../endpoint/sim/mod.rs"]
#[allow(dead_code, reason = "the tests that look at single messages are not here")]
mod sim;

/// Each piece of work takes up to this long.
const WORK_TAKES: Option<Range<Duration>> = Some(Duration::ZERO..Duration::from_millis(40));

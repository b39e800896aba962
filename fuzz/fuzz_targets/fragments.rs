//! A request in fragments that arrive in any order, damaged ones among them.
#![no_main]

use ike_fuzz::session::{Fragmented, fragmented};

libfuzzer_sys::fuzz_target!(|input: Fragmented| fragmented(&input));

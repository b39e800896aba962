//! The whole endpoint against an authenticated peer that does what it likes.
#![no_main]

use ike_fuzz::session::{Step, trusted};

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| trusted(&steps));

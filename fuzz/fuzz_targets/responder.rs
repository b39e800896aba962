//! The whole responder against strangers, with and without the keys of an IKE SA.
#![no_main]

use ike_fuzz::session::{Step, strange};

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<Step>)| {
    let (has_keys, steps) = input;
    strange(has_keys, &steps);
});

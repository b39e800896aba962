//! Identities as users write them, and distinguished names as peers send them.
#![no_main]

use ike_fuzz::identity::{name, text};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    name(input);
    if let Ok(input) = std::str::from_utf8(input) {
        text(input);
    }
});

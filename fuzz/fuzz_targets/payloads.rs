//! The decrypted payload chain.
#![no_main]

libfuzzer_sys::fuzz_target!(|content: &[u8]| ike_fuzz::codec::payloads(content));

//! Certificates and what they are made of.
#![no_main]

libfuzzer_sys::fuzz_target!(|der: &[u8]| ike_fuzz::certificate::certificate(der));

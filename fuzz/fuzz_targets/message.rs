//! Datagrams against the message decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| ike_fuzz::codec::message(datagram));

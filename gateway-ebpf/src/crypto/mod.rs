//! The in-kernel AEAD engine: six XDP programs that seal or open the payload that a [`gateway_common::Job`] describes.
//!
//! Each program authenticates and encrypts in two passes over the payload, so an opened packet is decrypted only
//! after its ICV was found right. Passes run under `bpf_loop`, which lets the verifier look at one chunk instead of at
//! every iteration.

mod aes;
mod aes_gcm;
mod aes_tables;
mod chacha20;
mod chacha20_poly1305;
mod frame;
mod ghash;
mod pass;
mod poly1305;
mod task;

//! Work handed from one XDP program to the next by tail call.

use crate::{Aead, Pod};

/// The single entry of per-CPU array map `JOB`; part of [`crate::Handoff`].
///
/// The pipeline fills it before it tail-calls an AEAD program. An AEAD program works in place on the frame:
///
/// * seal: encrypts `length` bytes at `offset` and writes the 16-byte ICV behind them (room exists already);
/// * open: checks the ICV behind `length` bytes of ciphertext at `offset`, and decrypts them.
///
/// On success it tail-calls `next`. A bad ICV is dropped and counted by the AEAD program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Job {
    /// Index into `SAS` (and `GHASH`).
    pub sa: u32,
    /// Offset of the AEAD payload from the start of the frame, in bytes.
    pub offset: u32,
    /// Length of the plaintext (seal) or of the ciphertext without ICV (open), in bytes; a multiple of 4 for real ESP,
    /// but the AEAD programs handle any length.
    pub length: u32,
    /// Length of `aad` in bytes: 8, or 12 with extended sequence numbers.
    pub aad_len: u32,
    /// SPI, upper half of the sequence number if extended, lower half: network order (RFC 4106 section 5). What lies behind
    /// `aad_len` bytes is undefined.
    pub aad: [u8; 12],
    /// Salt and IV.
    pub nonce: [u8; 12],
    /// [`ProgramSlot`] that continues after success.
    pub next: u32,
    /// Interface to send a sealed frame to; 0 when opening.
    pub egress_ifindex: u32,
    /// Full sequence number.
    pub sequence: u64,
    /// Tunnel number.
    pub tunnel: u32,
    /// Length of the inner IP packet in bytes; 0 when opening, before it is known.
    pub inner_len: u32,
    /// ECN field of the outer header of an inbound packet; 0 when sealing.
    pub outer_ecn: u32,
    /// Interface that the frame arrived at.
    pub ingress_ifindex: u32,
}

/// Slots of the program array `PROGRAMS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramSlot {
    /// Seal with ChaCha20-Poly1305.
    SealChaCha20Poly1305 = 0,
    /// Seal with AES-128-GCM.
    SealAes128Gcm = 1,
    /// Seal with AES-256-GCM.
    SealAes256Gcm = 2,
    /// Open with ChaCha20-Poly1305.
    OpenChaCha20Poly1305 = 3,
    /// Open with AES-128-GCM.
    OpenAes128Gcm = 4,
    /// Open with AES-256-GCM.
    OpenAes256Gcm = 5,
    /// Count and transmit a sealed frame.
    EncapDone = 6,
    /// Replay update, policy check and forwarding of an opened packet.
    DecapDone = 7,
    /// As [`Self::EncapDone`], for ESP in UDP over IPv6, whose UDP checksum is computed first (RFC 8200 section 8.1).
    EncapDoneUdp6 = 8,
    /// Classification of frames with IPv6 packets.
    Gateway6 = 9,
    /// [`Self::DecapDone`] for inner IPv6 packets.
    DecapDone6 = 10,
    /// What a worker hands back that concerns an inner IPv6 packet.
    Returned6 = 11,
    /// Encapsulation of an IPv4 packet for a peer with an IPv6 address.
    Encap4In6 = 12,
    /// Encapsulation of an IPv6 packet for a peer with an IPv6 address.
    Encap6In6 = 13,
    /// Decapsulation of what the kernel has put together from fragments.
    Reassembled = 14,
    /// Never filled: a tail call to it falls through, which lets tests run an AEAD program alone.
    Empty = 15,
}

impl ProgramSlot {
    /// Number of slots.
    pub const COUNT: u32 = 16;

    /// Slot of the program that seals with the [`Aead`] of number `aead`.
    #[inline(always)]
    pub const fn sealing(aead: u32) -> u32 {
        Self::SealChaCha20Poly1305 as u32 + aead
    }

    /// Slot of the program that opens with the [`Aead`] of number `aead`.
    #[inline(always)]
    pub const fn opening(aead: u32) -> u32 {
        Self::OpenChaCha20Poly1305 as u32 + aead
    }
}

// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for Job {}
const _: () = assert!(size_of::<Job>() == 72);
const _: () = assert!(ProgramSlot::sealing(Aead::Aes128Gcm as u32) == ProgramSlot::SealAes128Gcm as u32);
const _: () = assert!(ProgramSlot::sealing(Aead::Aes256Gcm as u32) == ProgramSlot::SealAes256Gcm as u32);
const _: () = assert!(ProgramSlot::opening(Aead::Aes128Gcm as u32) == ProgramSlot::OpenAes128Gcm as u32);
const _: () = assert!(ProgramSlot::opening(Aead::Aes256Gcm as u32) == ProgramSlot::OpenAes256Gcm as u32);

//! Security associations as the datapath sees them.

use crate::limits::{AES_ROUND_KEY_WORDS, GHASH_POSITIONS, REPLAY_SLOTS};
use crate::{Pod, df, dscp};

/// Key of hash map `SPIS`: how an inbound ESP packet names its SA (RFC 4301 section 4.1). The outer destination is this
/// gateway's one address of the packet's IP version.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpiKey {
    /// SPI, network order.
    pub spi: [u8; 4],
    /// 1 if the packet is IPv6, else 0.
    pub is_v6: u32,
}

/// AEAD algorithms of ESP.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aead {
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305 = 0,
    /// AES-128-GCM with a 16-byte ICV (RFC 4106).
    Aes128Gcm = 1,
    /// AES-256-GCM with a 16-byte ICV (RFC 4106).
    Aes256Gcm = 2,
}

impl Aead {
    /// Key length in bytes, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 | Self::Aes256Gcm => 32,
            Self::Aes128Gcm => 16,
        }
    }
}

/// Bits of [`Sa::flags`].
#[derive(Clone, Copy, Debug)]
pub struct SaFlags;

impl SaFlags {
    /// Extended (64-bit) sequence numbers (RFC 4303 section 2.2.1).
    pub const ESN: u32 = 1;
    /// ESP inside UDP (RFC 3948).
    pub const UDP_ENCAP: u32 = 2;
    /// The IV is the sequence number and is not sent (RFC 8750).
    pub const IMPLICIT_IV: u32 = 4;
    /// With [`Self::UDP_ENCAP`]: each inner flow has a UDP source port of its own ([`crate::port_entropy`]).
    pub const UDP_PORT_ENTROPY: u32 = 8;
    /// The outer packets are IPv6.
    pub const OUTER_IPV6: u32 = 16;
}

/// Value of array map `SAS`; index 0 is never used. Secret: holds key material.
///
/// The agent writes an entry once, before any packet can find it; from then on only the datapath changes the fields
/// below "counted by the datapath", each with atomic instructions, and the agent three others, which say so.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Sa {
    /// ChaCha20: eight little-endian key words.
    ///
    /// AES: the words of the key schedule in order (FIPS 197 section 5.2), 44 for AES-128 and 60 for AES-256, each as a
    /// 64-bit number, lower half first. Byte `r` of a word stands in bits `16 r + 4` to `16 r + 11`, other bits are
    /// zero; the datapath's look-up tables take and give columns in that form. The four words of the last round, which
    /// no look-up follows, are plain little-endian words.
    pub key: [u32; AES_ROUND_KEY_WORDS],
    /// SPI, network order; zero (which no SA has, RFC 4303 section 2.1) while the entry holds none.
    pub spi: [u8; 4],
    /// Salt, the first four bytes of every nonce.
    pub salt: [u8; 4],
    /// Tunnel that the SA belongs to.
    pub tunnel: u32,
    /// A bit set of [`SaFlags`].
    pub flags: u32,
    /// An [`Aead`] as its number.
    pub aead: u32,
    /// Anti-replay window in packets. The agent may change it at any time.
    pub replay_window: u32,
    /// Outer address of this gateway, an IPv4 one mapped ([`crate::ip::mapped`]).
    pub local_addr: [u8; 16],
    /// Outer address of the peer, an IPv4 one mapped.
    pub remote_addr: [u8; 16],
    /// UDP port of this gateway when encapsulating, network order; not used where flows have ports of their own.
    pub local_port: [u8; 2],
    /// UDP port of the peer when encapsulating, network order.
    pub remote_port: [u8; 2],
    /// DSCP of outer headers: a policy of [`crate::dscp`]. The agent may change it at any time.
    pub outer_dscp: u32,
    /// Inner bytes after which a soft-lifetime event is raised; 0 for no limit.
    pub soft_bytes: u64,
    /// Packets after which a soft-lifetime event is raised; 0 for no limit.
    pub soft_packets: u64,
    /// Inner bytes after which the SA passes nothing any more; 0 for no limit.
    pub hard_bytes: u64,
    /// Counted by the datapath. Outbound: sequence number sent last. Inbound: highest sequence number authenticated.
    pub sequence: u64,
    /// Counted by the datapath: packets that passed.
    pub packets: u64,
    /// Counted by the datapath: bytes of inner IP packets that passed.
    pub bytes: u64,
    /// Counted by the datapath: nonzero once the soft-lifetime event was raised.
    pub soft_raised: u64,
    /// "Don't fragment" bit of outer IPv4 headers: a policy of [`crate::df`]. The agent may change it at any time.
    pub outer_df: u32,
    /// Explicit padding to a cache line.
    pub reserved_line: [u32; 9],
    /// Anti-replay ring. A slot holds the number of its block of 32 sequence numbers in the upper half, and one bit per
    /// sequence number seen in the lower half, so that one compare-and-swap both enters a new block and marks a packet.
    pub replay: [u64; REPLAY_SLOTS],
}

impl Sa {
    /// Whether an SA that has passed so many bytes and packets is due to be rekeyed. The limits are [`Sa::soft_bytes`] and
    /// [`Sa::soft_packets`].
    #[inline(always)]
    pub const fn reaches_soft_lifetime(soft_bytes: u64, soft_packets: u64, bytes: u64, packets: u64) -> bool {
        (soft_bytes != 0 && bytes >= soft_bytes) || (soft_packets != 0 && packets >= soft_packets)
    }

    /// An entry of zeros: no key, no SPI.
    pub const fn zeroed() -> Self {
        Self {
            key: [0; AES_ROUND_KEY_WORDS],
            spi: [0; 4],
            salt: [0; 4],
            tunnel: 0,
            flags: 0,
            aead: 0,
            replay_window: 0,
            local_addr: [0; 16],
            remote_addr: [0; 16],
            local_port: [0; 2],
            remote_port: [0; 2],
            outer_dscp: dscp::COPY,
            soft_bytes: 0,
            soft_packets: 0,
            hard_bytes: 0,
            sequence: 0,
            packets: 0,
            bytes: 0,
            soft_raised: 0,
            outer_df: df::SET,
            reserved_line: [0; 9],
            replay: [0; REPLAY_SLOTS],
        }
    }
}

/// Value of array map `GHASH`, same index as `SAS`: multiples of the GHASH key H, for AES-GCM SAs. Secret.
///
/// `entries[32 * …]`: for the nibble at position `p` (0 is the high nibble of the block's first byte) with value `v`,
/// `entries[p * 16 + v]` is that nibble times H in GF(2^128) (NIST SP 800-38D section 6.3), as the 16 bytes of a block lie
/// in memory.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct GhashTables {
    /// Bytes 0 to 7 and 8 to 15 of each block, 32 positions times 16 values.
    pub entries: [[u64; 2]; GHASH_POSITIONS * 16],
    /// Zeros up to the largest offset that the verifier can imagine: it takes a nibble at its place in a byte for any byte.
    pub padding: [u64; 8],
}

impl GhashTables {
    /// Tables of zeros.
    pub const fn zeroed() -> Self {
        Self { entries: [[0; 2]; GHASH_POSITIONS * 16], padding: [0; 8] }
    }
}

// SAFETY: repr(C), integers only; sizes below show that nothing is padded implicitly.
unsafe impl Pod for SpiKey {}
// SAFETY: as above.
unsafe impl Pod for Sa {}
// SAFETY: as above.
unsafe impl Pod for GhashTables {}
const _: () = assert!(core::mem::offset_of!(Sa, replay) == 640);
const _: () = assert!(size_of::<Sa>() == 640 + REPLAY_SLOTS * 8);
const _: () = assert!(size_of::<GhashTables>() == 8192 + 64);

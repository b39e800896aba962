//! Sizes that both sides agree on.

/// SAs that every tunnel has room for, whatever the others do: one in each direction, and their successors during a rekey. As many
/// more for each receive queue that has SAs of its own (RFC 9611).
pub const SAS_PER_TUNNEL: u32 = 4;

/// SAs beyond these that there is room for, for whoever needs them (when both ends rekey at the same time, for instance): as many as
/// there are tunnels over this number, but no less than [`SHARED_SAS_MIN`]. As many more for each receive queue.
pub const TUNNELS_PER_SHARED_SA: u32 = 2;

/// The least of these, unless that is more than each tunnel's own once more.
pub const SHARED_SAS_MIN: u32 = 64;

/// 64-bit slots in the anti-replay ring of one SA; each covers 32 sequence numbers. A power of two.
pub const REPLAY_SLOTS: usize = 256;

/// Sequence numbers covered by one slot of the anti-replay ring.
pub const REPLAY_SLOT_BITS: u64 = 32;

/// The largest anti-replay window that the ring can hold: one slot is always the one being entered.
pub const REPLAY_WINDOW_MAX: u32 = (REPLAY_SLOTS as u32 - 1) * REPLAY_SLOT_BITS as u32;

/// Anti-replay window of new SAs, in packets. RFC 4303 section 3.4.3 asks for 64 as a default; a sender's full ring of some
/// thousand packets may be overtaken by as many.
pub const REPLAY_WINDOW_DEFAULT: u32 = REPLAY_WINDOW_MAX;

/// Largest packet, Ethernet header included, that the in-kernel AEAD programs handle.
pub const MAX_FRAME: usize = 2047;

/// 32-bit words of the AES-256 key schedule as the datapath keeps it: two for each of 60 columns.
pub const AES_ROUND_KEY_WORDS: usize = 120;

/// Position tables of GHASH for one key: 32 nibble positions, 16 entries each, 128 bits an entry.
pub const GHASH_POSITIONS: usize = 32;

/// Lanes to AF_XDP sockets that a gateway can have: receive queues of all its interfaces together.
pub const LANES: u32 = 1024;

/// Entries of map `FLOWS`. A power of two.
pub const FLOWS: u32 = 16_384;

/// Prefixes that a gateway can know, its own and those of all tunnels together. They take memory only when they are there.
pub const PREFIXES: u32 = 1 << 20;

//! The two passes over a payload, encryption and authentication, whatever the algorithm.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_loop;

use super::frame;

/// A key stream that is XORed to the payload (RFC 8439 section 2.4, NIST SP 800-38D section 6.5).
pub(super) trait KeyStream {
    /// Bytes of key stream made at a time: a multiple of 16, at most [`CHUNK_MAX`].
    const CHUNK: usize;
    /// Bytes at the start of the first buffer that belong to the authenticator and not to the payload; a multiple of 8.
    const RESERVED: usize;

    /// Overwrites the buffer with the chunk of key stream that starts at byte `number * CHUNK`.
    fn fill(&mut self, number: u32);

    /// As [`Self::fill`], but at least the first `length` bytes.
    #[inline(always)]
    fn fill_start(&mut self, number: u32, _length: u32) {
        self.fill(number);
    }

    /// The buffer: `CHUNK` bytes.
    fn buffer(&self) -> *const u64;
}

/// Largest [`KeyStream::CHUNK`].
const CHUNK_MAX: usize = 128;

/// A universal hash over blocks of 16 bytes (RFC 8439 section 2.5, NIST SP 800-38D section 6.4).
pub(super) trait Hash {
    /// Absorbs [`HASH_CHUNK`] bytes.
    ///
    /// # Safety
    /// `blocks` must be valid for reading [`HASH_CHUNK`] bytes.
    unsafe fn absorb_chunk(&mut self, blocks: *const u8);

    /// Absorbs one block.
    fn absorb(&mut self, block: &[u64; 2]);
}

/// Bytes hashed per iteration.
const HASH_CHUNK: usize = 64;

/// What the iterations of a pass share. Lives on the stack of the program, where the callback reaches it.
///
/// An iteration finds its place by its number and changes nothing here: the verifier follows a loop until nothing new
/// comes up, which with a running offset would be to its end.
struct Pass<T> {
    ctx: *mut xdp_md,
    state: *mut T,
    offset: u32,
    failed: u32,
}

/// An iteration of a pass: a callback of `bpf_loop`.
type Step<T> = extern "C" fn(u32, *mut Pass<T>) -> i64;

/// Encrypts or decrypts `length` bytes at `offset` in place, with a `stream` whose buffer holds chunk 0. False if they do not lie
/// within the frame.
#[inline(always)]
pub(super) fn encrypt<K: KeyStream>(ctx: *mut xdp_md, offset: u32, length: u32, stream: &mut K) -> bool {
    let first = (K::CHUNK - K::RESERVED) as u32;
    // SAFETY: the buffer is longer than what is reserved.
    let first_key = unsafe { stream.buffer().add(K::RESERVED / 8) };
    if length < first {
        return length == 0 || xor_partial(ctx, offset, first_key, length);
    }
    let Some(window) = frame::window(ctx, offset, K::CHUNK - K::RESERVED) else { return false };
    // SAFETY: both have as many bytes.
    unsafe { xor(window, first_key, K::CHUNK - K::RESERVED) };

    let rest = length - first;
    let chunks = rest / K::CHUNK as u32;
    let offset = offset + first;
    if !for_each_chunk(ctx, offset, chunks, stream, encrypt_chunk::<K>) {
        return false;
    }
    let rest = rest % K::CHUNK as u32;
    if rest == 0 {
        return true;
    }
    stream.fill_start(chunks + 1, rest);
    xor_partial(ctx, offset + chunks * K::CHUNK as u32, stream.buffer(), rest)
}

/// Absorbs `length` bytes at `offset`, padded with zeros to full blocks. False if they do not lie within the frame.
#[inline(always)]
pub(super) fn authenticate<H: Hash>(ctx: *mut xdp_md, offset: u32, length: u32, hash: &mut H) -> bool {
    let chunks = length / HASH_CHUNK as u32;
    if !for_each_chunk(ctx, offset, chunks, hash, authenticate_chunk::<H>) {
        return false;
    }
    let rest = length % HASH_CHUNK as u32;
    if rest == 0 {
        return true;
    }
    authenticate_partial(ctx, offset + chunks * HASH_CHUNK as u32, rest, hash)
}

extern "C" fn encrypt_chunk<K: KeyStream>(index: u32, pass: *mut Pass<K>) -> i64 {
    // SAFETY: `for_each_chunk` passes its live `Pass`, which points to a live key stream.
    let (pass, stream) = unsafe { (&mut *pass, &mut *(*pass).state) };
    stream.fill(index + 1);
    let Some(window) = frame::window(pass.ctx, pass.offset + index * K::CHUNK as u32, K::CHUNK) else {
        pass.failed = 1;
        return 1;
    };
    // SAFETY: both have as many bytes.
    unsafe { xor(window, stream.buffer(), K::CHUNK) };
    0
}

extern "C" fn authenticate_chunk<H: Hash>(index: u32, pass: *mut Pass<H>) -> i64 {
    // SAFETY: `for_each_chunk` passes its live `Pass`, which points to a live hash.
    let (pass, hash) = unsafe { (&mut *pass, &mut *(*pass).state) };
    let Some(window) = frame::window(pass.ctx, pass.offset + index * HASH_CHUNK as u32, HASH_CHUNK) else {
        pass.failed = 1;
        return 1;
    };
    // SAFETY: the window has as many bytes.
    unsafe { hash.absorb_chunk(window) };
    0
}

/// Calls `step` on the chunks from `offset` on. False if one of them does not lie within the frame.
#[inline(always)]
fn for_each_chunk<T>(ctx: *mut xdp_md, offset: u32, chunks: u32, state: &mut T, step: Step<T>) -> bool {
    let mut pass = Pass { ctx, state: &raw mut *state, offset, failed: 0 };
    // SAFETY: `step` has the signature that the helper asks for, and `pass` outlives the call.
    unsafe { bpf_loop(chunks, step as *mut c_void, (&raw mut pass).cast(), 0) };
    pass.failed == 0
}

/// Absorbs `length` bytes, less than [`HASH_CHUNK`], padded with zeros to full blocks.
#[inline(never)]
fn authenticate_partial<H: Hash>(ctx: *mut xdp_md, offset: u32, length: u32, hash: &mut H) -> bool {
    let mut blocks = [[frame::zero(); 2]; HASH_CHUNK / 16];
    if !frame::load(ctx, offset, blocks.as_flattened_mut(), length) {
        return false;
    }
    let count = length.div_ceil(16);
    for (index, block) in blocks.iter().enumerate() {
        if count > index as u32 {
            hash.absorb(block);
        }
    }
    true
}

/// XORs `length` bytes of key stream, up to [`CHUNK_MAX`], to the frame.
#[inline(never)]
fn xor_partial(ctx: *mut xdp_md, offset: u32, key_stream: *const u64, length: u32) -> bool {
    let mut buffer = [frame::zero(); CHUNK_MAX / 8];
    if !frame::load(ctx, offset, &mut buffer, length) {
        return false;
    }
    // A number of its own: branches that narrow `length` would make the verifier follow each on its own from here.
    let words = length.div_ceil(8);
    for (index, word) in buffer.iter_mut().enumerate() {
        if index as u32 >= words {
            break;
        }
        // SAFETY: the key stream has at least `length` bytes, in whole words.
        *word ^= unsafe { *key_stream.add(index) };
    }
    frame::store(ctx, offset, &mut buffer, length)
}

/// XORs `size` bytes of key stream, a multiple of 8, to those at `window`.
///
/// # Safety
/// Both must be valid for `size` bytes.
#[inline(always)]
unsafe fn xor(window: *mut u8, key_stream: *const u64, size: usize) {
    let words = window.cast::<u64>();
    for index in 0..size / 8 {
        // SAFETY: as the caller vouches.
        unsafe {
            let word = words.add(index);
            word.write_unaligned(word.read_unaligned() ^ *key_stream.add(index));
        }
    }
}

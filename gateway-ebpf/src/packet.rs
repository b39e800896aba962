//! Headers on the wire and bounds-checked access to them.

use aya_ebpf::programs::XdpContext;
use gateway_common::wire::{ESP_IV_LEN, ETHERTYPE_IPV4, IPV4_DF, IPV4_FRAGMENT_MASK};

/// Ethernet header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Ethernet {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) ethertype: [u8; 2],
}

/// IPv4 header without options (RFC 791).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Ipv4 {
    pub(crate) version_ihl: u8,
    pub(crate) tos: u8,
    pub(crate) total_len: [u8; 2],
    pub(crate) id: [u8; 2],
    pub(crate) fragment: [u8; 2],
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: [u8; 2],
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

/// UDP header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Udp {
    pub(crate) source: [u8; 2],
    pub(crate) destination: [u8; 2],
    pub(crate) len: [u8; 2],
    pub(crate) checksum: [u8; 2],
}

/// ESP header (RFC 4303 section 2).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Esp {
    pub(crate) spi: [u8; 4],
    pub(crate) sequence: [u8; 4],
}

/// IV of the AEADs.
pub(crate) type Iv = [u8; ESP_IV_LEN];

/// Start of an ESP packet of any SA: the shortest with an implicit IV is longer, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EspStart {
    pub(crate) header: Esp,
    /// The first bytes of the ciphertext where the IV is implicit.
    pub(crate) iv: Iv,
}

/// Pointer to a `T` at `offset` bytes from the start of the frame, if it lies within the frame.
#[inline(always)]
pub(crate) fn at<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    let start = ctx.data();
    if start + offset + size_of::<T>() > ctx.data_end() { None } else { Some((start + offset) as *mut T) }
}

/// Length of the frame in bytes.
#[inline(always)]
pub(crate) fn frame_len(ctx: &XdpContext) -> u32 {
    let (mut start, mut end) = (ctx.data(), ctx.data_end());
    // SAFETY: no instruction; the barrier keeps LLVM from narrowing packet pointers, which the verifier forbids.
    unsafe { core::arch::asm!("", inout("r2") start, inout("r3") end, options(nomem, nostack)) };
    (end - start) as u32
}

impl Ethernet {
    /// Header of an IPv4 frame.
    #[inline(always)]
    pub(crate) const fn ipv4(destination: [u8; 6], source: [u8; 6]) -> Self {
        Self { destination, source, ethertype: ETHERTYPE_IPV4.to_be_bytes() }
    }
}

impl Ipv4 {
    /// An outer header: no options, DF set, which makes the identification meaningless (RFC 6864 section 4.1).
    #[inline(always)]
    pub(crate) fn outer(
        tos: u8,
        total_len: u32,
        protocol: u8,
        source: [u8; 4],
        destination: [u8; 4],
    ) -> Self {
        const OUTER_TTL: u8 = 64;
        let mut header = Self {
            version_ihl: 0x45,
            tos,
            total_len: (total_len as u16).to_be_bytes(),
            id: [0; 2],
            fragment: IPV4_DF.to_be_bytes(),
            ttl: OUTER_TTL,
            protocol,
            checksum: [0; 2],
            source,
            destination,
        };
        let mut sum = word(0x45, tos) + total_len + u32::from(IPV4_DF) + word(OUTER_TTL, protocol);
        sum += word(source[0], source[1]) + word(source[2], source[3]);
        sum += word(destination[0], destination[1]) + word(destination[2], destination[3]);
        header.checksum = (!fold(sum)).to_be_bytes();
        header
    }

    /// Header length in bytes.
    #[inline(always)]
    pub(crate) fn header_len(&self) -> u32 {
        u32::from(self.version_ihl & 0x0f) * 4
    }

    /// Total length in bytes.
    #[inline(always)]
    pub(crate) fn total_len(&self) -> u32 {
        u32::from(u16::from_be_bytes(self.total_len))
    }

    /// Whether the packet is a fragment, the first included.
    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & IPV4_FRAGMENT_MASK != 0
    }

    /// Decrements the TTL and mends the checksum (RFC 1141).
    #[inline(always)]
    pub(crate) fn decrement_ttl(&mut self) {
        self.ttl -= 1;
        self.checksum = fold(u32::from(u16::from_be_bytes(self.checksum)) + 0x0100).to_be_bytes();
    }

    /// Sets the type-of-service byte and mends the checksum (RFC 1624 equation 3).
    #[inline(always)]
    pub(crate) fn set_tos(&mut self, tos: u8) {
        let sum =
            u32::from(!u16::from_be_bytes(self.checksum)) + u32::from(!self.tos) + 0xff00 + u32::from(tos);
        self.tos = tos;
        self.checksum = (!fold(sum)).to_be_bytes();
    }
}

#[inline(always)]
fn word(high: u8, low: u8) -> u32 {
    u32::from(high) << 8 | u32::from(low)
}

/// Folds a sum of 16-bit words with end-around carry.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

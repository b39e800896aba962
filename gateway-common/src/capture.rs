//! Copies of packets for whoever watches a tunnel.

use crate::Pod;

/// Value of array map `CAPTURES`, indexed by tunnel number: what user space wants copies of. Entry 0 is for packets of no tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Bits of this type's constants; 0 while nobody watches. Otherwise the tunnel's packets take engine `kernel`.
    pub what: u32,
    /// Bytes copied of a frame, at most.
    pub snap_len: u32,
}

impl Capture {
    /// Packets of the VNets: before they are encapsulated, and when they have been decapsulated.
    pub const INNER: u32 = 1;
    /// Packets between the gateways: when they have been sealed, and as they arrive.
    pub const OUTER: u32 = 2;
    /// Packets that are dropped.
    pub const DROPPED: u32 = 4;
}

/// What perf event array `FRAMES` carries in front of the copy of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureRecord {
    /// Time, ns of the monotonic clock.
    pub time_ns: u64,
    /// Tunnel number; 0 for none.
    pub tunnel: u32,
    /// A [`CapturePoint`] as its number.
    pub point: u32,
    /// A [`crate::DropReason`] as its number; means nothing at points where nothing is dropped.
    pub reason: u32,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Bytes of it that follow.
    pub captured: u32,
    /// Where the packet of a VNet starts in a frame that was opened and is no whole frame yet; else 0.
    pub offset: u32,
}

/// Where a frame was copied.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturePoint {
    /// A packet of the VNet that is about to be encapsulated.
    InnerOutbound = 1,
    /// A sealed packet that is about to leave.
    OuterOutbound = 2,
    /// An ESP packet that has arrived.
    OuterInbound = 3,
    /// An opened packet that is about to be delivered.
    InnerInbound = 4,
    /// Dropped as it arrived.
    DroppedOnArrival = 5,
    /// Dropped by the program that should have sealed it.
    DroppedSealing = 6,
    /// Dropped by the program that should have opened it, still sealed.
    DroppedOpening = 7,
    /// Dropped after it was opened.
    DroppedOpened = 8,
    /// Dropped after it was sealed.
    DroppedSealed = 9,
    /// Dropped when a worker had handed it back.
    DroppedReturned = 10,
}

impl CapturePoint {
    /// The point with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::InnerOutbound,
            2 => Self::OuterOutbound,
            3 => Self::OuterInbound,
            4 => Self::InnerInbound,
            5 => Self::DroppedOnArrival,
            6 => Self::DroppedSealing,
            7 => Self::DroppedOpening,
            8 => Self::DroppedOpened,
            9 => Self::DroppedSealed,
            10 => Self::DroppedReturned,
            _ => return None,
        })
    }

    /// The bit of [`Capture::what`] that asks for frames of this point.
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        match self {
            Self::InnerOutbound | Self::InnerInbound => Capture::INNER,
            Self::OuterOutbound | Self::OuterInbound => Capture::OUTER,
            _ => Capture::DROPPED,
        }
    }
}

// SAFETY: repr(C), two integers.
unsafe impl Pod for Capture {}
// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for CaptureRecord {}
const _: () = assert!(size_of::<CaptureRecord>() == 32);

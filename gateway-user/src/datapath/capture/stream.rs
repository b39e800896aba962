//! Copied frames on their way to one client: bounded, and what finds no room is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::CaptureRecord;
use tokio::sync::mpsc;

/// A copied frame.
#[derive(Clone, Debug)]
pub struct CapturedFrame {
    /// Time in ns since 1970-01-01 00:00 UTC.
    pub unix_ns: u64,
    /// What the datapath says of it.
    pub record: CaptureRecord,
    /// The bytes that were copied.
    pub frame: Vec<u8>,
}

/// The frames of one capture. Dropping it ends the capture.
#[derive(Debug)]
pub struct CaptureStream {
    /// They end when the capture is ended from the other side.
    pub frames: mpsc::Receiver<CapturedFrame>,
    lost: Arc<AtomicU64>,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct CaptureSender {
    frames: mpsc::Sender<CapturedFrame>,
    lost: Arc<AtomicU64>,
}

impl CaptureStream {
    /// A stream in which so many frames may wait.
    pub(crate) fn channel(waiting: usize) -> (CaptureSender, Self) {
        let (sender, frames) = mpsc::channel(waiting);
        let lost = Arc::new(AtomicU64::new(0));
        (CaptureSender { frames: sender, lost: Arc::clone(&lost) }, Self { frames, lost })
    }

    /// Frames that found no room, here or where the XDP programs put them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl CaptureSender {
    /// Never waits.
    pub(crate) fn send(&self, frame: CapturedFrame) {
        if self.frames.try_send(frame).is_err() {
            self.lose(1);
        }
    }

    /// So many frames were lost before.
    pub(crate) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

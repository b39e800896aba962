//! Captures: which tunnels the XDP programs copy frames of, and where the copies go.
//!
//! A thread reads the buffers of all CPUs while at least one capture runs, so that a flood of packets keeps neither the agent nor IKE
//! from their work. It ends with the last capture, and a capture with whoever has its stream.

mod stream;

use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::perf::{PerfEvent, PerfEventArrayBuffer};
use aya::maps::{Array, MapData, PerfEventArray};
use gateway_common::{Capture, CaptureRecord};
use nix::poll::{PollFd, PollFlags, poll};
use nix::time::{ClockId, clock_gettime};

use self::stream::CaptureSender;
pub use self::stream::{CaptureStream, CapturedFrame};
use super::object::{Plain, duplicate};

/// Captures that may run at once.
const MOST: usize = 16;
/// Pages of memory for the frames of each CPU that were not read yet, a power of two.
const PAGES: usize = 256;
/// Frames that may wait for a client.
const WAITING: usize = 4096;
/// Frames read of one CPU before the others have their turn.
const TURN: u32 = 1024;
/// Time in ms after which the thread looks whether clients have gone.
const LOOK_MS: u16 = 100;

/// What a capture is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureSpec {
    /// Number of the tunnel; `None` for all, also those that come later. Drops of packets of no tunnel belong to each.
    pub tunnel: Option<u32>,
    /// Bits of [`Capture`]'s constants.
    pub what: u32,
    /// Bytes copied of a frame, at most.
    pub snap_len: u32,
}

/// The captures of a datapath. Dropping this ends them all.
pub struct Captures {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    wanted: Array<MapData, Plain<Capture>>,
    frames: PerfEventArray<MapData>,
    running: Vec<Running>,
    has_thread: bool,
}

struct Running {
    spec: CaptureSpec,
    sender: CaptureSender,
}

/// The buffers of all CPUs.
type Buffers = Vec<PerfEventArrayBuffer<MapData>>;

impl Captures {
    /// Opens the maps of `ebpf`.
    ///
    /// # Errors
    /// A map is missing.
    pub fn new(ebpf: &Ebpf) -> Result<Self> {
        let shared = Shared {
            wanted: duplicate(ebpf, "CAPTURES")?.try_into()?,
            frames: duplicate(ebpf, "FRAMES")?.try_into()?,
            running: Vec::new(),
            has_thread: false,
        };
        Ok(Self { shared: Arc::new(Mutex::new(shared)) })
    }

    /// Starts a capture: from the moment this returns, what is wanted is copied. It ends when the stream is dropped.
    ///
    /// # Errors
    /// Too many captures run, or the kernel refuses the memory.
    pub fn start(&self, spec: CaptureSpec) -> Result<CaptureStream> {
        let mut shared = lock(&self.shared);
        shared.forget_ended();
        ensure!(shared.running.len() < MOST, "{MOST} captures run already");
        if !shared.has_thread {
            let buffers = shared.open()?;
            let for_thread = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("vgw-capture".to_owned());
            thread.spawn(move || distribute(buffers, &for_thread)).context("cannot start a thread")?;
            shared.has_thread = true;
        }
        let (sender, stream) = CaptureStream::channel(WAITING);
        shared.running.push(Running { spec, sender });
        shared.tell()?;
        Ok(stream)
    }

    /// Ends the captures of a tunnel that goes: its number may become another's.
    ///
    /// # Errors
    /// The kernel refuses a map update.
    pub fn forget(&self, tunnel: u32) -> Result<()> {
        let mut shared = lock(&self.shared);
        let before = shared.running.len();
        shared.running.retain(|capture| capture.spec.tunnel != Some(tunnel));
        if shared.running.len() == before { Ok(()) } else { shared.tell() }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        // The thread ends when it finds none.
        lock(&self.shared).running.clear();
    }
}

impl Shared {
    /// Makes a buffer for every CPU.
    fn open(&mut self) -> Result<Buffers> {
        let cpus = aya::util::online_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
        let mut open = |cpu| self.frames.open(cpu, Some(PAGES));
        cpus.into_iter()
            .map(|cpu| open(cpu).with_context(|| format!("cannot make a buffer for frames of CPU {cpu}")))
            .collect()
    }

    /// Whether a capture ended because its client has gone.
    fn forget_ended(&mut self) -> bool {
        let before = self.running.len();
        self.running.retain(|capture| !capture.sender.is_closed());
        self.running.len() != before
    }

    /// Tells the XDP programs what is wanted of each tunnel by all captures together.
    fn tell(&mut self) -> Result<()> {
        for tunnel in 0..self.wanted.len() {
            let mut sum = Capture::default();
            for spec in self.running.iter().map(|capture| capture.spec) {
                let what = spec.of(tunnel);
                if what != 0 {
                    sum.what |= what;
                    sum.snap_len = sum.snap_len.max(spec.snap_len);
                }
            }
            if self.wanted.get(&tunnel, 0)?.0 != sum {
                self.wanted.set(tunnel, Plain(sum), 0).context("cannot write map CAPTURES")?;
            }
        }
        Ok(())
    }
}

impl CaptureSpec {
    /// What of `tunnel` is wanted.
    fn of(self, tunnel: u32) -> u32 {
        match self.tunnel {
            _ if tunnel == 0 => self.what & Capture::DROPPED,
            Some(one) if one != tunnel => 0,
            _ => self.what,
        }
    }

    /// Whether this capture is one of those that the frame was copied for.
    fn wants(self, record: &CaptureRecord) -> bool {
        let point = gateway_common::CapturePoint::from_number(record.point);
        point.is_some_and(|point| self.of(record.tunnel) & point.bit() != 0)
    }
}

/// The thread: reads what the XDP programs copied and gives it to the captures that want it, until there is none.
fn distribute(mut buffers: Buffers, shared: &Mutex<Shared>) {
    loop {
        let mut fds: Vec<_> =
            buffers.iter().map(|buffer| PollFd::new(buffer.as_fd(), PollFlags::POLLIN)).collect();
        // A signal or the time's end: then there is perhaps nothing to read.
        let _ = poll(&mut fds, LOOK_MS);
        let offset_ns = unix_now_ns().saturating_sub(crate::worker::clock::now_ns());
        let (mut frames, mut lost) = (Vec::new(), 0);
        for buffer in &mut buffers {
            lost += read(buffer, offset_ns, &mut frames);
        }
        frames.sort_by_key(|frame| frame.unix_ns);
        let mut shared = lock(shared);
        for capture in &shared.running {
            // Whose it was is not known.
            capture.sender.lose(lost);
            for frame in frames.iter().filter(|frame| capture.spec.wants(&frame.record)) {
                capture.sender.send(frame.clone());
            }
        }
        if shared.forget_ended() || shared.running.is_empty() {
            if let Err(error) = shared.tell() {
                tracing::warn!("XDP programs go on copying frames of a capture that has ended: {error:#}");
            }
            if shared.running.is_empty() {
                // Under the lock: who starts a capture from now on starts another thread.
                shared.has_thread = false;
                return;
            }
        }
    }
}

/// Takes frames out of a buffer; returns how many were lost.
fn read(buffer: &mut PerfEventArrayBuffer<MapData>, offset_ns: u64, frames: &mut Vec<CapturedFrame>) -> u64 {
    let (mut lost, mut left) = (0, TURN);
    let _ = buffer.try_fold((), |(), event| {
        match event {
            PerfEvent::Lost { count } => lost += count,
            PerfEvent::Sample { head, tail } => frames.extend(decode([head, tail].concat(), offset_ns)),
        }
        left -= 1;
        if left == 0 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    lost
}

/// A record with the frame behind it; `None` if it is shorter than it says.
fn decode(mut sample: Vec<u8>, offset_ns: u64) -> Option<CapturedFrame> {
    if sample.len() < size_of::<CaptureRecord>() {
        return None;
    }
    // SAFETY: the length was checked, every bit pattern is a record, and the read does not assume alignment.
    let record = unsafe { sample.as_ptr().cast::<CaptureRecord>().read_unaligned() };
    let mut frame = sample.split_off(size_of::<CaptureRecord>());
    if frame.len() < record.captured as usize {
        return None;
    }
    // The kernel pads samples.
    frame.truncate(record.captured as usize);
    Some(CapturedFrame { unix_ns: record.time_ns.saturating_add(offset_ns), record, frame })
}

/// Time in ns since 1970-01-01 00:00 UTC.
pub(crate) fn unix_now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux kernel has a real-time clock");
    // A clock before 1970 or after 2554 tells nothing.
    u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap_or(0)
}

/// No change panics half-way, so a poisoned lock is as good as any.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use gateway_common::CapturePoint;

    use super::*;

    #[test]
    fn drops_of_no_tunnel_belong_to_every_capture_of_drops() {
        let all = CaptureSpec { tunnel: None, what: Capture::INNER | Capture::DROPPED, snap_len: 100 };
        let one = CaptureSpec { tunnel: Some(2), ..all };
        assert_eq!([0, 1, 2].map(|tunnel| all.of(tunnel)), [Capture::DROPPED, all.what, all.what]);
        assert_eq!([0, 1, 2].map(|tunnel| one.of(tunnel)), [Capture::DROPPED, 0, all.what]);
        let record = |tunnel, point: CapturePoint| CaptureRecord {
            tunnel,
            point: point as u32,
            ..CaptureRecord::default()
        };
        assert!(one.wants(&record(0, CapturePoint::DroppedOnArrival)));
        assert!(one.wants(&record(2, CapturePoint::InnerInbound)));
        assert!(!one.wants(&record(2, CapturePoint::OuterInbound)));
        assert!(!one.wants(&record(1, CapturePoint::DroppedOpened)));
    }

    #[test]
    fn a_sample_is_a_record_and_a_frame() {
        let record = CaptureRecord { time_ns: 40, captured: 3, len: 9, ..CaptureRecord::default() };
        // SAFETY: the record has no padding.
        let bytes: [u8; size_of::<CaptureRecord>()] = unsafe { std::mem::transmute(record) };
        let sample = [&bytes[..], &[1, 2, 3, 0, 0, 0, 0, 0]].concat();
        let found = decode(sample.clone(), 2).unwrap();
        assert_eq!((found.unix_ns, found.record, found.frame), (42, record, vec![1, 2, 3]));
        assert!(decode(sample[..bytes.len() + 2].to_vec(), 0).is_none());
        assert!(decode(vec![0; 10], 0).is_none());
    }
}

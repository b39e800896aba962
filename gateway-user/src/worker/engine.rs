//! From lanes to ports: takes frames, has them worked on, and sends what comes of that.

use anyhow::Result;
use gateway_common::wire::ETH_LEN;
use gateway_common::{DropReason, Ethernet, Handoff, ReturnHeader, ReturnKind};
use xsk::Frame;

use super::clock::now_ns as clock;
use super::lane::Lane;
use super::maps::Maps;
use super::plain;
use super::port::Port;
use super::slots::{Filled, Slots};
use super::work::{Notice, Outcome, Work};

/// Frames taken from one lane at once.
const BATCH: usize = 64;
/// Frames whose first lines are fetched ahead of the one that is worked on.
const AHEAD: usize = 4;
/// Cache lines that are fetched ahead: the hand-off header, and the headers behind it.
const LINES_AHEAD: usize = 4;
/// Frames in slots after which the XDP program is told how far the worker has got.
const SHOWN: u64 = 8;

/// The state of a worker.
pub(super) struct Engine<'umem> {
    maps: &'umem Maps,
    ports: Vec<Port<'umem>>,
    /// Index into `ports` of the far end of `vgw0`.
    vgw0_peer: usize,
    /// What stands before frames that are handed back; its kind changes.
    return_header: ReturnHeader,
    free: Vec<Frame<'umem>>,
    batch: Vec<Frame<'umem>>,
    /// Frames copied out of slots, with the interface that each is for.
    copied: Vec<(Frame<'umem>, Option<u32>)>,
    work: Work<'umem>,
}

impl<'umem> Engine<'umem> {
    /// A worker for `ports`, all of whose lanes are closed. `free` are all chunks of their memory.
    pub(super) fn new(
        maps: &'umem Maps,
        ports: Vec<Port<'umem>>,
        vgw0_peer: usize,
        to_vgw0: Ethernet,
        free: Vec<Frame<'umem>>,
    ) -> Self {
        let lane = ports[vgw0_peer].lanes[0].number;
        let mut ethernet = [0; ETH_LEN];
        let fits = plain::write(&mut ethernet, &to_vgw0);
        debug_assert!(fits);
        let work = Work::new(maps, ports.iter().map(|port| port.index).collect(), lane);
        Self {
            maps,
            ports,
            vgw0_peer,
            return_header: ReturnHeader { ethernet, reserved: [0; 2], kind: 0, lane },
            free,
            batch: Vec::with_capacity(BATCH),
            copied: Vec::with_capacity(BATCH),
            work,
        }
    }

    /// All lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane<'umem>> {
        self.ports.iter().flat_map(|port| &port.lanes)
    }

    /// Lets the XDP programs hand frames over.
    pub(super) fn open_lanes(&mut self, now_ns: u64) {
        for lane in self.ports.iter_mut().flat_map(|port| &mut port.lanes) {
            let lost = lane.reset(&self.maps.lanes);
            if lost > 0 {
                self.maps.count_drops(0, DropReason::Worker, lost);
            }
            lane.restock(&mut self.free);
            lane.open(&self.maps.lanes, now_ns);
        }
    }

    /// Lets the XDP programs hand nothing over any more.
    pub(super) fn close_lanes(&mut self) {
        for lane in self.ports.iter_mut().flat_map(|port| &mut port.lanes) {
            lane.close(&self.maps.lanes);
        }
    }

    /// Works on what has arrived at the time `now_ns`, a batch of each lane. True if there was anything.
    ///
    /// # Errors
    /// The kernel refuses to send for a reason that does not pass.
    #[inline]
    pub(super) fn round(&mut self, now_ns: u64) -> Result<bool> {
        let mut has_worked = false;
        for port in 0..self.ports.len() {
            for lane in 0..self.ports[port].lanes.len() {
                has_worked |= if self.ports[port].lanes[lane].slots.is_some() {
                    self.serve_slots(port, lane, now_ns)?
                } else {
                    self.serve_socket(port, lane, now_ns)?
                };
            }
        }
        Ok(has_worked)
    }

    /// Whether frames were handed over that have not arrived. To be asked after a round without work.
    pub(super) fn is_missing_frames(&self) -> bool {
        self.lanes().any(|lane| lane.is_missing_frames(&self.maps.lanes))
    }

    /// Whether an interface did not take all frames.
    pub(super) fn has_unsent(&self) -> bool {
        self.ports.iter().any(Port::is_pending)
    }

    /// For how long finished frames go on waiting in slots for others that take them along, in ns; `None` if none waits.
    pub(super) fn patience(&self, now_ns: u64) -> Option<u64> {
        let patience = |lane: &Lane<'_>| lane.slots.as_ref()?.time_left(lane.sent(&self.maps.lanes), now_ns);
        self.lanes().filter_map(patience).min()
    }

    /// Has the XDP programs wake this worker for the next frame. False if there is one already; then it is awake.
    pub(super) fn fall_asleep(&mut self) -> bool {
        self.lanes().for_each(|lane| lane.show_asleep(&self.maps.lanes, true));
        let is_idle = !self.lanes().any(|lane| lane.slots.is_some() && lane.waiting(&self.maps.lanes) > 0);
        if !is_idle {
            self.wake();
        }
        is_idle
    }

    /// Lets the XDP programs know that frames are found without waking this worker.
    pub(super) fn wake(&mut self) {
        for lane in self.ports.iter_mut().flat_map(|port| &mut port.lanes) {
            lane.show_asleep(&self.maps.lanes, false);
            lane.take_waking(&mut self.free);
        }
    }

    /// Everything that is not a new packet: frames that an interface did not take, lost frames, stale keys, chunks that come back
    /// late.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub(super) fn keep_house(&mut self, now_ns: u64) -> Result<()> {
        for port in &mut self.ports {
            port.flush(&mut self.free)?;
            port.collect(&mut self.free);
            for lane in &mut port.lanes {
                lane.take_waking(&mut self.free);
                let lost = lane.give_up_lost(&self.maps.lanes);
                if lost > 0 {
                    self.maps.count_drops(0, DropReason::Worker, lost);
                }
                lane.restock(&mut self.free);
                lane.publish(&self.maps.lanes, now_ns);
            }
        }
        self.work.keep_house(now_ns);
        Ok(())
    }

    /// Sends all finished frames that wait in slots.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub(super) fn send_finished(&mut self) -> Result<()> {
        for port in 0..self.ports.len() {
            for lane in 0..self.ports[port].lanes.len() {
                self.empty_slots(port, lane)?;
            }
        }
        Ok(())
    }

    /// Takes a batch from the socket of a lane, works on it and sends what comes of it.
    fn serve_socket(&mut self, port: usize, lane: usize, now_ns: u64) -> Result<bool> {
        let mut batch = std::mem::take(&mut self.batch);
        let served = &mut self.ports[port].lanes[lane];
        if served.take(&mut batch, BATCH) == 0 {
            self.batch = batch;
            return Ok(false);
        }
        served.restock(&mut self.free);
        served.publish(&self.maps.lanes, now_ns);
        for frame in batch.iter().take(AHEAD) {
            frame.prefetch(LINES_AHEAD);
        }
        // Taken from the end, so in reverse.
        batch.reverse();
        while let Some(mut frame) = batch.pop() {
            if let Some(later) = batch.len().checked_sub(AHEAD).and_then(|index| batch.get(index)) {
                later.prefetch(LINES_AHEAD);
            }
            match plain::read::<Handoff>(frame.bytes()) {
                Some(handoff) => {
                    let outcome = self.work.judge(&handoff, &mut frame.bytes_mut()[Handoff::LEN..], now_ns);
                    self.follow(frame, &handoff, outcome);
                }
                None => self.drop(frame, 0, DropReason::Worker),
            }
        }
        self.batch = batch;
        self.finish_batch()?;
        Ok(true)
    }

    /// Does with a frame from a socket as was decided.
    #[inline]
    fn follow(&mut self, mut frame: Frame<'umem>, handoff: &Handoff, outcome: Outcome) {
        let tunnel = handoff.job.tunnel;
        match outcome {
            Outcome::Send { port, start, len } => {
                let start = frame.start() + Handoff::LEN + start;
                if frame.set_range(start, len) {
                    self.send_on(frame, port, tunnel);
                } else {
                    self.drop(frame, tunnel, DropReason::Worker);
                }
            }
            Outcome::HandBack { flow } => self.hand_back(frame, handoff, flow),
            Outcome::Drop(reason) => self.drop(frame, tunnel, reason),
        }
    }

    /// Works on a batch of the frames in the slots of a lane. Those that arrive meanwhile take along what is finished; what they
    /// leave is sent.
    fn serve_slots(&mut self, port: usize, lane: usize, now_ns: u64) -> Result<bool> {
        let served = &mut self.ports[port].lanes[lane];
        let batch = served.waiting(&self.maps.lanes).min(BATCH as u64);
        if batch == 0 && !served.slots.as_ref().is_some_and(Slots::is_waiting) {
            return Ok(false);
        }
        let mut has_handed_back = false;
        let mut now_ns = now_ns;
        if batch > 0 {
            served.publish(&self.maps.lanes, now_ns);
            has_handed_back = self.work_on_slots(port, lane, batch, now_ns);
            // That took its time.
            now_ns = clock();
        }
        let served = &mut self.ports[port].lanes[lane];
        let done = served.done();
        let (Some(slots), Some(shared)) = (&mut served.slots, self.maps.lanes.at(served.number)) else {
            return Ok(false);
        };
        slots.note_batch(batch as usize, done, now_ns);
        if has_handed_back {
            // That must not overtake what was finished before.
            slots.hold(shared);
            self.empty_slots(port, lane)?;
        } else if slots.is_to_send(shared, now_ns) {
            self.empty_slots(port, lane)?;
        }
        self.finish_batch()?;
        Ok(batch > 0)
    }

    /// Works on the next `batch` frames in the slots of a lane. True if some were handed back.
    fn work_on_slots(&mut self, port: usize, lane: usize, batch: u64, now_ns: u64) -> bool {
        let mut has_handed_back = false;
        for position in 1..=batch {
            let served = &self.ports[port].lanes[lane];
            let number = served.done();
            let Some(slots) = &served.slots else { break };
            slots.prefetch(number + AHEAD as u64);
            // SAFETY: it was handed over, this worker has not finished it, and this is the only handle.
            if let Some(mut filled) = unsafe { slots.filled(number) } {
                has_handed_back |= self.work_on(&mut filled, now_ns);
            } else {
                slots.leave_nothing(number);
                self.maps.count_drops(0, DropReason::Worker, 1);
            }
            let served = &mut self.ports[port].lanes[lane];
            served.finish();
            if position % SHOWN == 0 || position == batch {
                served.show_done(&self.maps.lanes);
            }
        }
        has_handed_back
    }

    /// Works on the frame in a slot. True if it was handed back.
    #[inline]
    fn work_on(&mut self, filled: &mut Filled<'umem>, now_ns: u64) -> bool {
        let handoff = &filled.handoff;
        let reason = match self.work.judge(handoff, filled.frame, now_ns) {
            Outcome::Send { port, start, len } => {
                if filled.finish(start, len, self.ports[port].index) {
                    return false;
                }
                DropReason::Worker
            }
            Outcome::HandBack { flow } => {
                filled.leave_nothing();
                if let Some(frame) = self.copy(handoff, filled.frame) {
                    self.hand_back(frame, handoff, flow);
                    return true;
                }
                DropReason::Worker
            }
            Outcome::Drop(reason) => reason,
        };
        filled.leave_nothing();
        self.maps.count_drops(handoff.job.tunnel, reason, 1);
        false
    }

    /// A frame as it would have come by the socket.
    #[cold]
    fn copy(&mut self, handoff: &Handoff, bytes: &[u8]) -> Option<Frame<'umem>> {
        let mut frame = self.take_free()?;
        let is_written = frame.set_range(ReturnHeader::LEN, Handoff::LEN + bytes.len())
            && plain::write(frame.bytes_mut(), handoff);
        if is_written {
            frame.bytes_mut()[Handoff::LEN..].copy_from_slice(bytes);
            return Some(frame);
        }
        self.free.push(frame);
        None
    }

    /// Sends all finished frames in the slots of a lane, as far as there are chunks for them, if none is taken along meanwhile.
    fn empty_slots(&mut self, port: usize, lane: usize) -> Result<()> {
        let mut copied = std::mem::take(&mut self.copied);
        loop {
            let served = &self.ports[port].lanes[lane];
            let (sent, done) = (served.sent(&self.maps.lanes), served.done());
            let end = sent + done.wrapping_sub(sent).min(BATCH as u64);
            for number in sent..end {
                let Some(mut frame) = self.take_free() else { break };
                let slots = self.ports[port].lanes[lane].slots.as_ref();
                let ifindex = slots.and_then(|slots| slots.copy(number, &mut frame));
                copied.push((frame, ifindex));
            }
            let end = sent + copied.len() as u64;
            let served = &mut self.ports[port].lanes[lane];
            let (Some(slots), Some(shared)) = (&mut served.slots, self.maps.lanes.at(served.number)) else {
                break;
            };
            if sent == end || !slots.claim(shared, sent, end) {
                break;
            }
            for (frame, ifindex) in copied.drain(..) {
                match ifindex.and_then(|index| self.ports.iter().position(|port| port.index == index)) {
                    Some(port) => self.send_on(frame, port, 0),
                    None => self.free.push(frame),
                }
            }
        }
        self.free.extend(copied.drain(..).map(|(frame, _)| frame));
        self.copied = copied;
        self.flush()?;
        let served = &mut self.ports[port].lanes[lane];
        if served.sent(&self.maps.lanes) == served.done()
            && let (Some(slots), Some(shared)) = (&mut served.slots, self.maps.lanes.at(served.number))
        {
            slots.release(shared);
        }
        Ok(())
    }

    /// Sends everything that a batch has led to.
    fn finish_batch(&mut self) -> Result<()> {
        self.work.settle();
        while let Some(notice) = self.work.next_notice() {
            self.notify(&notice);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        // What is handed back must not overtake what goes directly.
        for port in (0..self.ports.len()).filter(|port| *port != self.vgw0_peer) {
            self.ports[port].flush(&mut self.free)?;
        }
        self.ports[self.vgw0_peer].flush(&mut self.free)?;
        Ok(())
    }

    /// Hands an opened frame, which begins with its hand-off header, back to the XDP program of `vgw0`, whose business it is.
    fn hand_back(&mut self, mut frame: Frame<'umem>, handoff: &Handoff, flow: Option<u32>) {
        let job = &handoff.job;
        // The ICV is of no use any more.
        let len = ReturnHeader::LEN + Handoff::LEN + job.offset as usize + job.length as usize;
        let start = frame.start().checked_sub(ReturnHeader::LEN);
        if !start.is_some_and(|start| frame.set_range(start, len))
            || !plain::write(frame.bytes_mut(), &self.header(ReturnKind::Deliver))
        {
            return self.drop(frame, job.tunnel, DropReason::Worker);
        }
        self.work.note_handed_back(flow);
        self.send_on(frame, self.vgw0_peer, job.tunnel);
    }

    /// Tells the XDP program of `vgw0` something. Nothing is lost when there is no chunk to do so.
    #[cold]
    fn notify(&mut self, notice: &Notice) {
        const FRONT: usize = ReturnHeader::LEN + Handoff::LEN;
        let Some(mut frame) = self.free.pop() else { return };
        let header = self.header(notice.kind);
        let len = FRONT + notice.header.map_or(0, |header| header.len());
        let is_written = frame.set_range(0, len)
            && plain::write(frame.bytes_mut(), &header)
            && plain::write(&mut frame.bytes_mut()[ReturnHeader::LEN..], &notice.handoff)
            && notice.header.is_none_or(|header| header.write(&mut frame.bytes_mut()[FRONT..]));
        if !is_written {
            self.free.push(frame);
            return;
        }
        self.work.note_handed_back(None);
        let port = &mut self.ports[self.vgw0_peer];
        if let Err(frame) = port.send(frame, &mut self.free) {
            self.free.push(frame);
        }
    }

    fn header(&self, kind: ReturnKind) -> ReturnHeader {
        ReturnHeader { kind: kind as u32, ..self.return_header }
    }

    /// A chunk that nothing is in; those whose frames were sent are collected if need be.
    #[inline]
    fn take_free(&mut self) -> Option<Frame<'umem>> {
        if self.free.is_empty() {
            for port in &mut self.ports {
                port.collect(&mut self.free);
            }
        }
        self.free.pop()
    }

    #[inline]
    fn send_on(&mut self, frame: Frame<'umem>, port: usize, tunnel: u32) {
        if let Err(frame) = self.ports[port].send(frame, &mut self.free) {
            self.drop(frame, tunnel, DropReason::Worker);
        }
    }

    #[cold]
    fn drop(&mut self, frame: Frame<'umem>, tunnel: u32, reason: DropReason) {
        self.maps.count_drops(tunnel, reason, 1);
        self.free.push(frame);
    }
}

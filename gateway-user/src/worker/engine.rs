//! What a worker does with frames.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use anyhow::Result;
use gateway_common::budget::Meter;
use gateway_common::wire::ETH_LEN;
use gateway_common::{
    Budget, DropReason, ETHERTYPE_RETURN, Ethernet, Flow, Handoff, Ipv4, Job, Lane as SharedLane,
    ProgramSlot, ReturnHeader, ReturnKind,
};
use xsk::Frame;

use super::aead::{self, Failure};
use super::inner::Inner;
use super::keys::Keys;
use super::lane::Lane;
use super::maps::Maps;
use super::order::Order;
use super::plain;
use super::port::Port;
use super::tally::Tally;
use super::ways::{self, Way};

/// Frames taken from one lane at once.
const BATCH: usize = 64;
/// Frames whose first lines are fetched ahead of the one that is worked on.
const AHEAD: usize = 4;
/// Cache lines that are fetched ahead: the hand-off header, and the headers behind it.
const LINES_AHEAD: usize = 4;
/// Least time between two notices of forged packets of one tunnel, in ns.
const FORGED_INTERVAL_NS: u64 = 100_000_000;
/// Least time between two questions for one way, in ns.
const ASK_INTERVAL_NS: u64 = Flow::REFRESH_NS / 5;
/// Time between two looks for keys that are not needed any more, in ns.
const KEYS_INTERVAL_NS: u64 = 500_000_000;

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
    keys: Keys,
    keys_checked_ns: u64,
    order: Order,
    /// What [`Order`] had counted at the last look.
    handed_back: u64,
    tally: Tally,
    /// Time of the last notice, by tunnel.
    forged_ns: Vec<u64>,
}

impl<'umem> Engine<'umem> {
    /// A worker for `ports`, all of whose lanes are closed. `free` are all chunks of their memory.
    pub(super) fn new(
        maps: &'umem Maps,
        ports: Vec<Port<'umem>>,
        vgw0_peer: usize,
        macs: Ethernet,
        free: Vec<Frame<'umem>>,
    ) -> Self {
        let lane = ports[vgw0_peer].lanes[0].number;
        let mut ethernet = [0; ETH_LEN];
        let macs = Ethernet { ethertype: ETHERTYPE_RETURN.to_be_bytes(), ..macs };
        let fits = plain::write(&mut ethernet, &macs);
        debug_assert!(fits);
        let keys = Keys::new(maps.sas.len());
        let forged_ns = vec![0; maps.tunnels() as usize];
        let mut engine = Self {
            maps,
            ports,
            vgw0_peer,
            return_header: ReturnHeader { ethernet, reserved: [0; 2], kind: 0, lane },
            free,
            batch: Vec::with_capacity(BATCH),
            keys,
            keys_checked_ns: 0,
            order: Order::new(0),
            handed_back: 0,
            tally: Tally::default(),
            forged_ns,
        };
        engine.order = Order::new(engine.returned());
        engine
    }

    /// All lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane<'umem>> {
        self.ports.iter().flat_map(|port| &port.lanes)
    }

    /// Lets the XDP programs hand frames over.
    pub(super) fn open_lanes(&mut self, now_ns: u64) {
        for lane in self.ports.iter_mut().flat_map(|port| &mut port.lanes) {
            lane.reset(&self.maps.lanes);
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
                has_worked |= self.serve(port, lane, now_ns)?;
            }
        }
        Ok(has_worked)
    }

    /// Whether frames were handed over that have not arrived. To be asked after a round without work.
    pub(super) fn is_missing_frames(&self) -> bool {
        self.lanes().any(|lane| lane.under_way(&self.maps.lanes) > 0)
    }

    /// Whether an interface did not take all frames.
    pub(super) fn has_unsent(&self) -> bool {
        self.ports.iter().any(Port::is_pending)
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
                let lost = lane.give_up_lost(&self.maps.lanes);
                if lost > 0 {
                    self.maps.count_drops(0, DropReason::Worker, lost);
                }
                lane.restock(&mut self.free);
                lane.publish(&self.maps.lanes, now_ns);
            }
        }
        if now_ns.saturating_sub(self.keys_checked_ns) >= KEYS_INTERVAL_NS {
            self.keys_checked_ns = now_ns;
            self.keys.forget_removed(&self.maps.sas);
        }
        if self.order.handed_back() == self.handed_back {
            self.order.settle(self.returned());
        }
        self.handed_back = self.order.handed_back();
        Ok(())
    }

    /// Takes a batch from a lane, works on it and sends what comes of it.
    fn serve(&mut self, port: usize, lane: usize, now_ns: u64) -> Result<bool> {
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
        while let Some(frame) = batch.pop() {
            if let Some(later) = batch.len().checked_sub(AHEAD).and_then(|index| batch.get(index)) {
                later.prefetch(LINES_AHEAD);
            }
            self.work(frame, now_ns);
        }
        self.batch = batch;
        self.tally.settle(self.maps);
        // What is handed back must not overtake what goes directly.
        for port in (0..self.ports.len()).filter(|port| *port != self.vgw0_peer) {
            self.ports[port].flush(&mut self.free)?;
        }
        self.ports[self.vgw0_peer].flush(&mut self.free)?;
        Ok(true)
    }

    #[inline]
    fn work(&mut self, frame: Frame<'umem>, now_ns: u64) {
        const SEAL: u32 = ProgramSlot::EncapDone as u32;
        const OPEN: u32 = ProgramSlot::DecapDone as u32;
        match plain::read::<Handoff>(frame.bytes()) {
            Some(handoff) if handoff.job.next == SEAL => self.seal(frame, &handoff),
            Some(handoff) if handoff.job.next == OPEN => self.open(frame, &handoff, now_ns),
            _ => self.drop(frame, 0, DropReason::Worker),
        }
    }

    #[inline]
    fn seal(&mut self, mut frame: Frame<'umem>, handoff: &Handoff) {
        let job = &handoff.job;
        let Some((_, key)) = self.keys.find(&self.maps.sas, handoff) else {
            return self.drop(frame, job.tunnel, DropReason::Worker);
        };
        let start = frame.start() + Handoff::LEN;
        let sealed = aead::seal(&mut frame.bytes_mut()[Handoff::LEN..], job, key);
        match sealed {
            Ok(len) if frame.set_range(start, len) => self.send(frame, job.egress_ifindex, job.tunnel),
            _ => self.drop(frame, job.tunnel, DropReason::Worker),
        }
    }

    #[inline]
    fn open(&mut self, mut frame: Frame<'umem>, handoff: &Handoff, now_ns: u64) {
        let job = &handoff.job;
        let Some((sa, key)) = self.keys.find(&self.maps.sas, handoff) else {
            return self.drop(frame, job.tunnel, DropReason::Worker);
        };
        let opened = &mut frame.bytes_mut()[Handoff::LEN..];
        match aead::open(opened, job, key) {
            Ok(()) => {}
            Err(Failure::Forged) => {
                self.notice_forged(handoff, now_ns);
                return self.drop(frame, job.tunnel, DropReason::AuthenticationFailed);
            }
            Err(Failure::Unfit) => return self.drop(frame, job.tunnel, DropReason::Worker),
        }
        let payload = &opened[job.offset as usize..][..job.length as usize];
        let Some(inner) = Inner::parse(payload, job.outer_ecn) else {
            return self.hand_back(frame, handoff, None);
        };
        let (flow, slot) = inner.flow(job.tunnel, job.ingress_ifindex);
        let way = ways::find(self.maps, slot, &flow, ways::epoch(self.maps), now_ns);
        let Some((way, egress)) = way
            .filter(|way| inner.len <= way.mtu)
            .and_then(|way| Some((way, self.ports.iter().position(|port| port.index == way.ifindex)?)))
        else {
            return self.hand_back(frame, handoff, Some(slot));
        };
        let (packets, bytes) = self.tally.pending(job.sa);
        if sa.is_soft_lifetime_due(packets + 1, bytes + u64::from(inner.len))
            || !self.order.may_go_directly(slot, || returned(self.maps, self.return_header.lane), now_ns)
        {
            return self.hand_back(frame, handoff, Some(slot));
        }
        if way.is_stale && self.order.may_ask(slot, ASK_INTERVAL_NS, now_ns) {
            self.notify(ReturnKind::Resolve, handoff, Some(&inner.ip));
        }
        if !sa.accept(job.sequence) {
            // It was in time when it arrived.
            let reason = if sa.is_late(job.sequence) { DropReason::Worker } else { DropReason::Replayed };
            return self.drop(frame, job.tunnel, reason);
        }
        if !self.admit(inner.len, now_ns) {
            return self.drop(frame, job.tunnel, DropReason::BudgetExceeded);
        }
        if !forward(&mut frame, job, &inner, &way) {
            return self.drop(frame, job.tunnel, DropReason::Worker);
        }
        self.tally.count(self.maps, job.sa, job.tunnel, inner.len);
        self.send_on(frame, egress, job.tunnel);
    }

    /// Charges an inner packet of `bytes` to the gateway's budget; false if it must be dropped.
    #[inline]
    fn admit(&self, bytes: u32, now_ns: u64) -> bool {
        let Some(budget) = self.maps.budget.at(0) else { return true };
        let byte_time = budget.word(offset_of!(Budget, byte_time)).load(Ordering::Relaxed);
        if byte_time == 0 {
            return true;
        }
        let burst_ns = budget.word(offset_of!(Budget, burst_ns)).load(Ordering::Relaxed);
        let meter = Meter {
            arrival_ns: budget.word(offset_of!(Budget, arrival_ns)),
            passed_bytes: budget.word(offset_of!(Budget, passed_bytes)),
            dropped_bytes: budget.word(offset_of!(Budget, dropped_bytes)),
        };
        meter.admit(byte_time, burst_ns, now_ns, bytes)
    }

    /// Hands an opened frame back to the XDP program of `vgw0`, whose business it is.
    fn hand_back(&mut self, mut frame: Frame<'umem>, handoff: &Handoff, slot: Option<u32>) {
        let job = &handoff.job;
        // The ICV is of no use any more.
        let len = ReturnHeader::LEN + Handoff::LEN + job.offset as usize + job.length as usize;
        let start = frame.start().checked_sub(ReturnHeader::LEN);
        if !start.is_some_and(|start| frame.set_range(start, len))
            || !plain::write(frame.bytes_mut(), &self.header(ReturnKind::Deliver))
        {
            return self.drop(frame, job.tunnel, DropReason::Worker);
        }
        self.order.hand_back(slot);
        self.send_on(frame, self.vgw0_peer, job.tunnel);
    }

    /// Tells the XDP program of `vgw0` something about an SA, or asks for the way of packets with the header `ip`. Nothing is
    /// lost when there is no frame to do so.
    #[cold]
    fn notify(&mut self, kind: ReturnKind, handoff: &Handoff, ip: Option<&Ipv4>) {
        const FRONT: usize = ReturnHeader::LEN + Handoff::LEN;
        let Some(mut frame) = self.free.pop() else { return };
        let header = self.header(kind);
        let len = FRONT + ip.map_or(0, |_| size_of::<Ipv4>());
        let is_written = frame.set_range(0, len)
            && plain::write(frame.bytes_mut(), &header)
            && plain::write(&mut frame.bytes_mut()[ReturnHeader::LEN..], handoff)
            && ip.is_none_or(|ip| plain::write(&mut frame.bytes_mut()[FRONT..], ip));
        if !is_written {
            self.free.push(frame);
            return;
        }
        self.order.hand_back(None);
        let port = &mut self.ports[self.vgw0_peer];
        if let Err(frame) = port.send(frame, &mut self.free) {
            self.free.push(frame);
        }
    }

    #[cold]
    fn notice_forged(&mut self, handoff: &Handoff, now_ns: u64) {
        let Some(last) = self.forged_ns.get_mut(handoff.job.tunnel as usize) else { return };
        if now_ns.saturating_sub(*last) >= FORGED_INTERVAL_NS {
            *last = now_ns;
            self.notify(ReturnKind::AuthenticationFailed, handoff, None);
        }
    }

    fn header(&self, kind: ReturnKind) -> ReturnHeader {
        ReturnHeader { kind: kind as u32, ..self.return_header }
    }

    #[inline]
    fn send(&mut self, frame: Frame<'umem>, ifindex: u32, tunnel: u32) {
        match self.ports.iter().position(|port| port.index == ifindex) {
            Some(port) => self.send_on(frame, port, tunnel),
            None => self.drop(frame, tunnel, DropReason::Worker),
        }
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

    /// Frames that were handed back and are done.
    fn returned(&self) -> u64 {
        returned(self.maps, self.return_header.lane)
    }
}

fn returned(maps: &Maps, lane: u32) -> u64 {
    maps.lanes.at(lane).map_or(0, |lane| lane.word(offset_of!(SharedLane, returned)).load(Ordering::Acquire))
}

/// Removes everything around the inner packet of an opened frame, and makes it the next hop's. False if the frame is not what
/// `job` says.
#[inline]
fn forward(frame: &mut Frame<'_>, job: &Job, inner: &Inner, way: &Way) -> bool {
    let Some(start) = (frame.start() + Handoff::LEN + job.offset as usize).checked_sub(ETH_LEN) else {
        return false;
    };
    if !frame.set_range(start, ETH_LEN + inner.len as usize) {
        return false;
    }
    let [destination, source] = [0, 6].map(|at| std::array::from_fn(|byte| way.ethernet[at + byte]));
    let (ethernet, packet) = frame.bytes_mut().split_at_mut(ETH_LEN);
    plain::write(ethernet, &Ethernet::ipv4(destination, source)) && plain::write(packet, &inner.forwarded())
}

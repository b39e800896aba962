//! What becomes of one frame: the AEAD, and for opened packets all that an XDP program has found a way for.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::budget::admission::Verdict;
use gateway_common::wire::ETH_LEN;
use gateway_common::{
    DropReason, Ethernet, Flow, Handoff, Job, Lane as SharedLane, ProgramSlot, ReturnKind, ecn,
};

use super::aead::{self, Failure};
use super::budget;
use super::checksum;
use super::inner::{Header, Inner};
use super::keys::Keys;
use super::maps::Maps;
use super::order::Order;
use super::plain;
use super::tally::Tally;
use super::ways::{self, Way};

/// Least time between two notices of forged packets of one tunnel, in ns.
const FORGED_INTERVAL_NS: u64 = 100_000_000;
/// Least time between two questions for one way, in ns.
const ASK_INTERVAL_NS: u64 = Flow::REFRESH_NS / 5;
/// Time between two looks for keys that are not needed any more, in ns.
const KEYS_INTERVAL_NS: u64 = 500_000_000;

/// What is to be done with a frame. Offsets count from its Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Send a part of it.
    Send {
        /// Index of the port.
        port: usize,
        /// Where that begins, in bytes.
        start: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// Hand it back, opened, to the XDP program of `vgw0`, whose business it is.
    HandBack {
        /// Slot of its flow in map `FLOWS`, if it has one.
        flow: Option<u32>,
    },
    /// Nothing: the drop is to be counted.
    Drop(DropReason),
}

/// Something to tell the XDP program of `vgw0`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    pub(super) kind: ReturnKind,
    pub(super) handoff: Handoff,
    /// The header whose way is asked for.
    pub(super) header: Option<Header>,
}

/// What a worker knows of the gateway's traffic.
pub(super) struct Work<'map> {
    maps: &'map Maps,
    /// Interface indices of the ports.
    ports: Vec<u32>,
    /// Lane whose counter tells what was handed back and is done.
    return_lane: u32,
    keys: Keys,
    keys_checked_ns: u64,
    order: Order,
    /// What [`Order`] had counted at the last look.
    handed_back: u64,
    tally: Tally,
    /// Time of the last notice, by tunnel.
    forged_ns: Vec<u64>,
    notices: Vec<Notice>,
}

impl<'map> Work<'map> {
    /// `ports` are the interface indices of the ports; frames are handed back in the name of `return_lane`.
    pub(super) fn new(maps: &'map Maps, ports: Vec<u32>, return_lane: u32) -> Self {
        Self {
            maps,
            ports,
            return_lane,
            keys: Keys::new(maps.sas.len()),
            keys_checked_ns: 0,
            order: Order::new(returned(maps, return_lane)),
            handed_back: 0,
            tally: Tally::default(),
            forged_ns: vec![0; maps.tunnels() as usize],
            notices: Vec::new(),
        }
    }

    /// Works on `frame`, which begins with the Ethernet header, in place.
    #[inline]
    pub(super) fn judge(&mut self, handoff: &Handoff, frame: &mut [u8], now_ns: u64) -> Outcome {
        const SEAL: u32 = ProgramSlot::EncapDone as u32;
        const SEAL_UDP6: u32 = ProgramSlot::EncapDoneUdp6 as u32;
        const OPEN: u32 = ProgramSlot::DecapDone as u32;
        match handoff.job.next {
            SEAL => self.seal(handoff, frame),
            SEAL_UDP6 => match self.seal(handoff, frame) {
                Outcome::Send { len, .. } if !checksum::complete_udp6(frame, len) => {
                    Outcome::Drop(DropReason::Worker)
                }
                outcome => outcome,
            },
            OPEN => self.open(handoff, frame, now_ns),
            _ => Outcome::Drop(DropReason::Worker),
        }
    }

    /// Brings the counters in the maps up to date. To be called after each batch.
    pub(super) fn settle(&mut self) {
        self.tally.settle(self.maps);
    }

    /// What is to be told to the XDP program of `vgw0`, the last first.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    /// Notes that a frame is handed back; `flow` is the slot of its flow, if it has one.
    pub(super) fn note_handed_back(&mut self, flow: Option<u32>) {
        self.order.hand_back(flow);
    }

    /// Forgets keys that are not needed any more, and frames that were handed back but never counted.
    pub(super) fn keep_house(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.keys_checked_ns) >= KEYS_INTERVAL_NS {
            self.keys_checked_ns = now_ns;
            self.keys.forget_removed(&self.maps.sas);
        }
        if self.order.handed_back() == self.handed_back {
            self.order.settle(returned(self.maps, self.return_lane));
        }
        self.handed_back = self.order.handed_back();
    }

    #[inline]
    fn seal(&mut self, handoff: &Handoff, frame: &mut [u8]) -> Outcome {
        let job = &handoff.job;
        let Some((_, key)) = self.keys.find(&self.maps.sas, handoff) else {
            return Outcome::Drop(DropReason::Worker);
        };
        match (aead::seal(frame, job, key), self.port(job.egress_ifindex)) {
            (Ok(len), Some(port)) => Outcome::Send { port, start: 0, len },
            _ => Outcome::Drop(DropReason::Worker),
        }
    }

    #[inline]
    fn open(&mut self, handoff: &Handoff, frame: &mut [u8], now_ns: u64) -> Outcome {
        let job = &handoff.job;
        let Some((sa, key)) = self.keys.find(&self.maps.sas, handoff) else {
            return Outcome::Drop(DropReason::Worker);
        };
        match aead::open(frame, job, key) {
            Ok(()) => {}
            Err(Failure::Forged) => {
                self.notice_forged(handoff, now_ns);
                return Outcome::Drop(DropReason::AuthenticationFailed);
            }
            Err(Failure::Unfit) => return Outcome::Drop(DropReason::Worker),
        }
        let payload = &frame[job.offset as usize..][..job.length as usize];
        let Some(mut inner) = Inner::parse(payload, job.outer_ecn) else {
            return Outcome::HandBack { flow: None };
        };
        let (flow, slot) = inner.flow(job.tunnel, job.ingress_ifindex);
        let way = ways::find(self.maps, slot, &flow, ways::epoch(self.maps), now_ns);
        let Some((way, port)) = way
            .filter(|way| inner.len <= way.mtu)
            .and_then(|way| Some((way, self.ports.iter().position(|port| *port == way.ifindex)?)))
        else {
            return Outcome::HandBack { flow: Some(slot) };
        };
        let (packets, bytes) = self.tally.pending(job.sa);
        if sa.is_soft_lifetime_due(packets + 1, bytes + u64::from(inner.len))
            || !self.order.may_go_directly(slot, || returned(self.maps, self.return_lane), now_ns)
        {
            return Outcome::HandBack { flow: Some(slot) };
        }
        if way.is_stale && self.order.may_ask(slot, ASK_INTERVAL_NS, now_ns) {
            let (kind, handoff) = (ReturnKind::Resolve, *handoff);
            self.notices.push(Notice { kind, handoff, header: Some(inner.header) });
        }
        if !sa.accept(job.sequence) {
            // It was in time when it arrived.
            let is_late = sa.is_late(job.sequence);
            return Outcome::Drop(if is_late { DropReason::Worker } else { DropReason::Replayed });
        }
        match budget::admit(self.maps, job.tunnel, inner.len, inner.ecn, now_ns) {
            Verdict::Pass => {}
            Verdict::Mark => inner.ecn = ecn::CE,
            Verdict::Drop => return Outcome::Drop(DropReason::BudgetExceeded),
        }
        let Some(start) = forward(frame, job, &inner, &way) else {
            return Outcome::Drop(DropReason::Worker);
        };
        self.tally.count(self.maps, job.sa, job.tunnel, inner.len);
        Outcome::Send { port, start, len: ETH_LEN + inner.len as usize }
    }

    #[cold]
    fn notice_forged(&mut self, handoff: &Handoff, now_ns: u64) {
        let Some(last) = self.forged_ns.get_mut(handoff.job.tunnel as usize) else { return };
        if now_ns.saturating_sub(*last) >= FORGED_INTERVAL_NS {
            *last = now_ns;
            let (kind, handoff) = (ReturnKind::AuthenticationFailed, *handoff);
            self.notices.push(Notice { kind, handoff, header: None });
        }
    }

    #[inline]
    fn port(&self, ifindex: u32) -> Option<usize> {
        self.ports.iter().position(|port| *port == ifindex)
    }
}

fn returned(maps: &Maps, lane: u32) -> u64 {
    maps.lanes.at(lane).map_or(0, |lane| lane.word(offset_of!(SharedLane, returned)).load(Ordering::Acquire))
}

/// Makes an opened frame the next hop's; where that frame begins. `None` if it is not what `job` says.
#[inline]
fn forward(frame: &mut [u8], job: &Job, inner: &Inner, way: &Way) -> Option<usize> {
    let start = (job.offset as usize).checked_sub(ETH_LEN)?;
    let (ethernet, packet) = frame.get_mut(start..)?.split_at_mut_checked(ETH_LEN)?;
    let [destination, source] = [0, 6].map(|at| std::array::from_fn(|byte| way.ethernet[at + byte]));
    let header = inner.forwarded();
    let is_written = inner.len as usize <= packet.len()
        && plain::write(ethernet, &Ethernet::new(destination, source, header.ethertype()))
        && header.write(packet);
    is_written.then_some(start)
}

//! All IKE SAs, by SPI, by peer, by the request that made them and by what is due next.
//!
//! Each has a slot. The SA itself is away while a [`crate::endpoint::Work`] has it; what the rest of the endpoint needs
//! to know of it stays here, and what is to be done with it waits here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::PeerId;
use crate::endpoint::work::Input;
use crate::sa::context::Context;
use crate::sa::{IkeSa, Summary};

/// Most datagrams, and most octets of them, that wait for an SA. What is beyond is lost, and repeated by the peer.
const MAX_WAITING: usize = 128;
const MAX_WAITING_OCTETS: usize = 128 * 1024;

/// A step that computes nothing.
pub(super) type Action = Box<dyn FnOnce(&mut IkeSa, &mut Context<'_>) + Send>;

/// Which of an SA's notices count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reports {
    All,
    /// All but that it has ended.
    OfChildren,
    None,
}

pub(super) struct Slot {
    pub(super) peer: PeerId,
    pub(super) summary: Summary,
    /// The connection it belonged to is down: it takes its leave of the peer, and nothing of it counts any more.
    pub(super) orphaned: bool,
    sa: Option<Box<IkeSa>>,
    /// There has never been an SA yet: the request that leads to one is being made or answered.
    is_new: bool,
    /// The time under which it stands in [`Slots::due`].
    due: Option<Instant>,
    inputs: VecDeque<Input>,
    waiting_octets: usize,
    actions: Vec<(Reports, Action)>,
}

/// All IKE SAs.
pub(super) struct Slots {
    /// Pause between NAT keep-alives, which timers depend on.
    keepalive: Duration,
    by_spi: BTreeMap<u64, Slot>,
    by_peer: BTreeMap<PeerId, BTreeSet<u64>>,
    /// By SPIi and source of the IKE_SA_INIT request that the peer sent.
    by_request: BTreeMap<(u64, SocketAddr), u64>,
    half_open: BTreeMap<IpAddr, usize>,
    all_half_open: usize,
    due: BTreeSet<(Instant, u64)>,
}

impl Slot {
    /// Adds what waits for the SA.
    pub(super) fn push_input(&mut self, input: Input) {
        if let Input::Datagram { datagram, .. } = &input {
            let octets = self.waiting_octets + datagram.len();
            if self.inputs.len() >= MAX_WAITING || octets > MAX_WAITING_OCTETS {
                return;
            }
            self.waiting_octets = octets;
        }
        self.inputs.push_back(input);
    }

    /// Has `action` done when the SA is back.
    pub(super) fn push_action(&mut self, reports: Reports, action: Action) {
        self.actions.push((reports, action));
    }

    pub(super) fn take_actions(&mut self) -> Vec<(Reports, Action)> {
        std::mem::take(&mut self.actions)
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The SA is not away with a piece of work.
    pub(super) fn is_here(&self) -> bool {
        self.sa.is_some()
    }
}

impl Slots {
    pub(super) fn new(keepalive: Duration) -> Self {
        Self {
            keepalive,
            by_spi: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_request: BTreeMap::new(),
            half_open: BTreeMap::new(),
            all_half_open: 0,
            due: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_spi.len()
    }

    pub(super) fn get(&self, spi: u64) -> Option<&Slot> {
        self.by_spi.get(&spi)
    }

    pub(super) fn get_mut(&mut self, spi: u64) -> Option<&mut Slot> {
        self.by_spi.get_mut(&spi)
    }

    pub(super) fn summary(&self, spi: u64) -> Option<&Summary> {
        self.by_spi.get(&spi).map(|slot| &slot.summary)
    }

    /// The SPIs of all SAs with a peer.
    pub(super) fn of_peer(&self, peer: PeerId) -> Vec<u64> {
        self.by_peer.get(&peer).map(|spis| spis.iter().copied().collect()).unwrap_or_default()
    }

    /// How many SAs there are with a peer, in any state.
    pub(super) fn count_of_peer(&self, peer: PeerId) -> usize {
        self.by_peer.get(&peer).map_or(0, BTreeSet::len)
    }

    /// The SA that an IKE_SA_INIT request of the peer has made, or is about to.
    pub(super) fn asked_by(&self, spi_i: u64, remote: SocketAddr) -> Option<u64> {
        self.by_request.get(&(spi_i, remote)).copied()
    }

    /// Responder SAs that are not authenticated: of all sources, and of this one.
    pub(super) fn half_open(&self, source: IpAddr) -> (usize, usize) {
        (self.all_half_open, self.half_open.get(&source).copied().unwrap_or(0))
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The SAs with something to do at `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, spi)| *spi).collect()
    }

    /// Whether an SA that is here has something to do at `now`.
    pub(super) fn is_due(&self, spi: u64, now: Instant) -> bool {
        self.by_spi.get(&spi).and_then(|slot| slot.due).is_some_and(|at| at <= now)
    }

    /// Makes room for an SA that is about to come.
    pub(super) fn reserve(&mut self, spi: u64, peer: PeerId, summary: Summary) {
        self.remove(spi);
        self.by_peer.entry(peer).or_default().insert(spi);
        if let Some(request) = summary.asked_by {
            self.by_request.insert(request, spi);
        }
        if summary.half_open {
            self.count_half_open(&summary, true);
        }
        let slot = Slot {
            peer,
            summary,
            orphaned: false,
            sa: None,
            is_new: true,
            due: None,
            inputs: VecDeque::new(),
            waiting_octets: 0,
            actions: Vec::new(),
        };
        self.by_spi.insert(spi, slot);
    }

    /// Takes an SA away, unless it is away already.
    pub(super) fn check_out(&mut self, spi: u64) -> Option<Box<IkeSa>> {
        let slot = self.by_spi.get_mut(&spi)?;
        let sa = slot.sa.take()?;
        if let Some(at) = slot.due.take() {
            self.due.remove(&(at, spi));
        }
        Some(sa)
    }

    /// Takes an SA away together with what waits for it, if it is here and anything does.
    pub(super) fn check_out_for_work(&mut self, spi: u64) -> Option<(Box<IkeSa>, Vec<Input>)> {
        if self.by_spi.get(&spi)?.inputs.is_empty() {
            return None;
        }
        let sa = self.check_out(spi)?;
        let slot = self.by_spi.get_mut(&spi)?;
        slot.waiting_octets = 0;
        Some((sa, slot.inputs.drain(..).collect()))
    }

    /// Brings an SA back; a dead one is forgotten.
    pub(super) fn check_in(&mut self, spi: u64, sa: Box<IkeSa>) {
        if sa.is_dead() {
            return self.remove(spi);
        }
        let Some(slot) = self.by_spi.get_mut(&spi) else { return };
        let before = std::mem::replace(&mut slot.summary, sa.summary());
        slot.is_new = false;
        slot.due = sa.next_timeout(self.keepalive);
        if let Some(at) = slot.due {
            self.due.insert((at, spi));
        }
        slot.sa = Some(sa);
        let (is, was) = (slot.summary.half_open, before.half_open);
        if is != was {
            self.count_half_open(&before, is);
        }
    }

    /// Forgets an SA. One that is away is dropped when it comes back.
    pub(super) fn remove(&mut self, spi: u64) {
        let Some(slot) = self.by_spi.remove(&spi) else { return };
        if let Some(at) = slot.due {
            self.due.remove(&(at, spi));
        }
        if let Some(request) = slot.summary.asked_by {
            self.by_request.remove(&request);
        }
        if slot.summary.half_open {
            self.count_half_open(&slot.summary, false);
        }
        if let Some(spis) = self.by_peer.get_mut(&slot.peer) {
            spis.remove(&spi);
            if spis.is_empty() {
                self.by_peer.remove(&slot.peer);
            }
        }
    }

    /// One more half-open SA from the source of this one, or one fewer.
    fn count_half_open(&mut self, summary: &Summary, more: bool) {
        let Some(source) = summary.source() else { return };
        if more {
            self.all_half_open += 1;
            *self.half_open.entry(source).or_insert(0) += 1;
            return;
        }
        self.all_half_open -= 1;
        if let Some(count) = self.half_open.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.half_open.remove(&source);
            }
        }
    }
}

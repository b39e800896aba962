//! What the gateway must do with each frame: the reference model.
//!
//! Written from `docs/ARCHITECTURE.md`, the documentation of `gateway-common` and the RFCs. It shares with the gateway the names of drop
//! reasons and the configuration, and no arithmetic: it looks prefixes up one by one, keeps sequence numbers in a set, and has
//! an AEAD of its own.

mod decapsulation;
mod encapsulation;
mod header;
mod mss;
mod replay;
mod returned;

use std::collections::HashMap;
use std::rc::Rc;

use gateway_common::DropReason;

use super::association::Association;
use super::network::{
    CPU_SAS, FORWARDING, Interface, NextHop, OUTER, Owner, PREFIXES, TUNNEL_LIST, TUNNELS, Tunnel,
    longest_match,
};
use encapsulation::SealedFlows;
use header::{ETHERNET, Header, PLAIN, PLAIN6, word};
pub(crate) use replay::WINDOW;
use replay::Window;

/// Index of an SA in the model: the slot that the gateway keeps it in.
pub(crate) type Slot = u32;

/// A frame at an interface.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) interface: Interface,
    pub(crate) queue: u32,
    pub(crate) frame: Vec<u8>,
}

/// What may become of a frame.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It goes to the kernel as it is.
    Pass,
    /// It is dropped and counted for a tunnel.
    Drop(u32, DropReason),
    /// It is dropped and nothing is counted: a worker's question.
    Answered,
    /// An opened packet leaves in exactly this frame.
    Opened(Opened),
    /// The packet leaves sealed.
    Sealed(Sealed),
}

/// An opened packet on its way.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) slot: Slot,
    pub(crate) tunnel: u32,
    /// Bytes of the inner packet.
    pub(crate) bytes: usize,
    pub(crate) frame: Vec<u8>,
}

/// A packet to be sealed.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) slot: Slot,
    pub(crate) tunnel: u32,
    /// The inner packet as it is sealed.
    pub(crate) inner: Vec<u8>,
    /// Ethernet header of the outer packet.
    pub(crate) ethernet: [u8; ETHERNET],
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Opened from tunnel {} as {}", self.tunnel, hex::encode(&self.frame))
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (inner, ethernet) = (hex::encode(&self.inner), hex::encode(self.ethernet));
        write!(formatter, "Sealed for tunnel {}: {inner} behind {ethernet}", self.tunnel)
    }
}

/// What is to become of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Prediction {
    /// The fates that the documents allow, nearly always one.
    pub(crate) fates: Vec<Fate>,
    /// A sequence number that is spent on it, whatever its fate.
    pub(crate) authenticated: Option<(Slot, u64)>,
}

impl Prediction {
    /// The Ethernet header that the frame leaves with, if it surely leaves.
    pub(crate) fn departure(&self) -> Option<[u8; ETHERNET]> {
        match &self.fates[..] {
            [Fate::Opened(opened)] => opened.frame[..ETHERNET].try_into().ok(),
            [Fate::Sealed(sealed)] => Some(sealed.ethernet),
            _ => None,
        }
    }

    /// The first fate like this.
    pub(crate) fn find(&self, is_like: impl Fn(&Fate) -> bool) -> Result<&Fate, String> {
        self.fates.iter().find(|fate| is_like(fate)).ok_or_else(|| "not among what was predicted".to_owned())
    }

    fn sure(fate: Fate) -> Self {
        Self { fates: vec![fate], authenticated: None }
    }

    fn drop(tunnel: u32, reason: DropReason) -> Self {
        Self::sure(Fate::Drop(tunnel, reason))
    }

    fn pass() -> Self {
        Self::sure(Fate::Pass)
    }
}

/// An SA and what it has carried.
pub(crate) struct SaState {
    pub(crate) association: Rc<Association>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Outbound: number sent last.
    pub(crate) sent: u64,
    /// Inbound: numbers seen.
    pub(crate) window: Window,
    /// IV sent last, as a number.
    last_iv: Option<u64>,
}

impl SaState {
    /// [`gateway_common::Sa::sequence`] as it should be.
    pub(crate) fn sequence(&self) -> u64 {
        self.sent.max(self.window.highest)
    }

    /// Whether its hard lifetime has passed.
    fn is_expired(&self) -> bool {
        let limit = self.association.config.hard_bytes;
        limit != 0 && self.bytes >= limit
    }
}

/// Packets and bytes that a tunnel carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) in_packets: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_packets: u64,
    pub(crate) out_bytes: u64,
}

/// The gateway as it should be.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) sas: HashMap<Slot, SaState>,
    /// Inbound SAs by SPI.
    inbound: HashMap<u32, Slot>,
    /// Outbound SAs of tunnels.
    outbound: HashMap<u32, Slot>,
    /// Outbound SAs of tunnel and queue.
    queues: HashMap<(u32, u32), Slot>,
    flows: SealedFlows,
    drops: HashMap<(u32, DropReason), u64>,
    pub(crate) traffic: [Traffic; TUNNELS],
}

/// Whom an address belongs to.
fn owner(address: [u8; 4]) -> Option<Owner> {
    longest_match(PREFIXES, address)
}

fn ethernet(destination: [u8; 6], source: [u8; 6]) -> [u8; ETHERNET] {
    [&destination[..], &source, &[8, 0]].concat().try_into().expect("14 bytes")
}

/// Whether a frame goes straight to a neighbour, and its Ethernet header. This one goes into the stack.
fn through_stack() -> (bool, [u8; ETHERNET]) {
    (false, ethernet(Interface::Vgw0.mac(), Interface::VgwPeer.mac()))
}

/// The same for an IPv4 packet of `len` bytes to `to`; `None` to drop it.
fn way(to: [u8; 4], len: usize, comes_from_tunnel: bool) -> Option<(bool, [u8; ETHERNET])> {
    match longest_match(FORWARDING, to).unwrap_or(NextHop::Unreachable) {
        NextHop::Unreachable => None,
        NextHop::Neighbour(interface, mac, mtu) if len <= mtu => {
            if comes_from_tunnel && !interface.faces_vnet() {
                return None;
            }
            Some((true, ethernet(mac, interface.mac())))
        }
        NextHop::Neighbour(..) | NextHop::Stack => Some(through_stack()),
    }
}

fn tunnel(number: u32) -> &'static Tunnel {
    TUNNEL_LIST.iter().find(|tunnel| tunnel.number == number).expect("prefixes name tunnels that exist")
}

impl Model {
    /// An inbound SA was installed.
    pub(crate) fn receive_with(&mut self, slot: Slot, association: Rc<Association>) {
        self.inbound.insert(association.config.spi, slot);
        self.add(slot, association, 0);
    }

    /// An inbound SA was removed.
    pub(crate) fn remove_inbound(&mut self, spi: u32) {
        let slot = self.inbound.remove(&spi).expect("the SA is there");
        self.sas.remove(&slot);
    }

    /// An outbound SA was installed and is used by its tunnel, or by a queue's packets; the one before is gone. `sent` is its last
    /// sequence number. Returns the one before.
    pub(crate) fn send_with(
        &mut self,
        queue: Option<u32>,
        slot: Slot,
        association: Rc<Association>,
        sent: u64,
    ) -> Option<SaState> {
        let tunnel = association.tunnel;
        let before = match queue {
            Some(queue) => self.queues.insert((tunnel, queue), slot),
            None => self.outbound.insert(tunnel, slot),
        };
        let before = before.and_then(|slot| self.sas.remove(&slot));
        self.add(slot, association, sent);
        before
    }

    fn add(&mut self, slot: Slot, association: Rc<Association>, sent: u64) {
        let window = Window::default();
        self.flows.forget(slot);
        let state = SaState { association, packets: 0, bytes: 0, sent, window, last_iv: None };
        assert!(self.sas.insert(slot, state).is_none(), "slot {slot} is taken");
    }

    /// What is to become of a frame at an interface that has program `gateway`.
    pub(crate) fn predict(&self, arrival: &Arrival) -> Prediction {
        let (interface, frame) = (arrival.interface, &arrival.frame[..]);
        if matches!(interface, Interface::Other | Interface::Vgw0) {
            return Prediction::pass();
        }
        let Some(header) = frame.get(ETHERNET..).and_then(Header::parse) else { return Prediction::pass() };
        match word(frame, 12) {
            0x8100 | 0x88a8 if word(frame, ETHERNET).is_multiple_of(1 << 12) => {
                return Prediction::drop(0, DropReason::PriorityTag);
            }
            0x0800 if header.version == 4 => {}
            // No IPv6 prefix belongs to the gateway or lies behind a tunnel.
            0x86dd
                if header.version == 6
                    && interface == Interface::VgwPeer
                    && frame.len() >= ETHERNET + PLAIN6 =>
            {
                return Prediction::drop(0, DropReason::NoRoute);
            }
            // VLANs and everything else is the kernel's business.
            _ => return Prediction::pass(),
        }
        let to = owner(header.destination);
        if interface == Interface::VgwPeer {
            return match to {
                Some(Owner::Remote(tunnel)) => self.encapsulate(arrival, &header, tunnel),
                _ => Prediction::drop(0, DropReason::NoRoute),
            };
        }
        if frame[..6] != interface.mac() {
            return Prediction::pass();
        }
        if interface.faces_peers() && header.destination == OUTER {
            return self.predict_from_peers(frame, &header);
        }
        match (to, owner(header.source)) {
            (Some(Owner::Remote(tunnel)), _) if !interface.faces_vnet() => {
                Prediction::drop(tunnel, DropReason::Unprotected)
            }
            (Some(Owner::Remote(tunnel)), _) => self.encapsulate(arrival, &header, tunnel),
            (Some(Owner::Local), Some(Owner::Remote(tunnel))) => {
                Prediction::drop(tunnel, DropReason::Unprotected)
            }
            _ => Prediction::pass(),
        }
    }

    /// A packet to the gateway's outer address.
    pub(super) fn predict_from_peers(&self, frame: &[u8], header: &Header) -> Prediction {
        const ESP: u8 = 50;
        const UDP: u8 = 17;
        const UDP_HEADER: usize = 8;
        const NAT_TRAVERSAL: u16 = 4500;
        // What the kernel may have to reassemble, and options, are not for XDP.
        if header.is_fragment || header.length != PLAIN {
            return Prediction::pass();
        }
        let payload = ETHERNET + PLAIN;
        if ETHERNET + header.total_len > frame.len() {
            return Prediction::drop(0, DropReason::Malformed);
        }
        match header.protocol {
            ESP => self.decapsulate(frame, header, payload),
            UDP => {
                let marker = payload + UDP_HEADER;
                if frame.len() < marker || word(frame, payload + 2) != NAT_TRAVERSAL {
                    return Prediction::pass();
                }
                let datagram = usize::from(word(frame, payload + 4));
                // The non-ESP marker, or too short for one: IKE and keep-alives (RFC 3948 sections 2.2 and 2.3).
                let Some(start) = frame.get(marker..marker + 4) else { return Prediction::pass() };
                if start == [0; 4] || datagram < UDP_HEADER + 4 {
                    return Prediction::pass();
                }
                if PLAIN + datagram != header.total_len {
                    return Prediction::drop(0, DropReason::Malformed);
                }
                self.decapsulate(frame, header, marker)
            }
            _ => Prediction::pass(),
        }
    }

    /// The outbound SA of packets of `tunnel` from `queue`.
    fn outbound(&self, tunnel: u32, queue: u32) -> Option<Slot> {
        let own = self.queues.get(&(tunnel, queue % CPU_SAS));
        own.or_else(|| self.outbound.get(&tunnel)).copied()
    }

    /// Notes what became of a frame. `fate` is one of those that were predicted.
    pub(crate) fn settle(&mut self, prediction: &Prediction, fate: &Fate) {
        if let Some((slot, sequence)) = prediction.authenticated {
            let sa = self.sas.get_mut(&slot).expect("predictions name SAs that exist");
            sa.window.mark(sequence);
        }
        match fate {
            Fate::Pass | Fate::Answered => {}
            Fate::Drop(tunnel, reason) => *self.drops.entry((*tunnel, *reason)).or_default() += 1,
            Fate::Opened(opened) => {
                self.count(opened.slot, opened.bytes);
                let traffic = &mut self.traffic[opened.tunnel as usize];
                traffic.in_packets += 1;
                traffic.in_bytes += opened.bytes as u64;
            }
            Fate::Sealed(sealed) => {
                self.count(sealed.slot, sealed.inner.len());
                let traffic = &mut self.traffic[sealed.tunnel as usize];
                traffic.out_packets += 1;
                traffic.out_bytes += sealed.inner.len() as u64;
            }
        }
    }

    fn count(&mut self, slot: Slot, bytes: usize) {
        let sa = self.sas.get_mut(&slot).expect("predictions name SAs that exist");
        sa.packets += 1;
        sa.bytes += bytes as u64;
    }

    /// Drops of a tunnel for a reason.
    pub(crate) fn dropped_for(&self, tunnel: u32, reason: DropReason) -> u64 {
        self.drops.get(&(tunnel, reason)).copied().unwrap_or(0)
    }

    /// Frames that were dropped and counted.
    pub(crate) fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    /// Frames that were forwarded.
    pub(crate) fn forwarded(&self) -> u64 {
        self.traffic.iter().map(|traffic| traffic.in_packets + traffic.out_packets).sum()
    }
}

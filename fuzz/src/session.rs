//! A whole endpoint against whoever sends what he likes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use arbitrary::Arbitrary;
use ike::wire::{ExchangeType, Header, Message, NotifyType, Payload, PayloadType, SealedMessage};

use crate::peer::{Peer, SOURCE, init_request};
use crate::piece::{Content, Piece};
use crate::world::{PEER, World};

/// Steps of a run that are taken.
const MAX_STEPS: usize = 60;
/// Delivered datagrams that can come again.
const MAX_REMEMBERED: usize = 64;
/// How often in a second the endpoint repeats a response. No time passes while fragments arrive.
const REPEATS_PER_SECOND: u32 = 4;

/// Something a stranger does.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// Any octets, to either port.
    Raw(From, bool, Vec<u8>),
    /// Any header, and payloads in the clear behind it.
    Clear(From, bool, LooseHeader, Vec<Piece>),
    /// A good IKE_SA_INIT request with this SPI and the last cookie for it, changed.
    Init(From, u8, Vec<Change>),
    /// A datagram from before, changed.
    Again(u8, From, Vec<Change>),
    /// This many tenths of a second pass.
    Wait(u16),
    /// What needs the keys of the IKE SA; whoever has none does nothing.
    Keyed(KeyedStep),
}

/// Something that needs the keys of the IKE SA.
#[derive(Arbitrary, Clone, Debug)]
pub enum KeyedStep {
    /// The next request.
    Request(Exchange, Vec<Piece>),
    /// A response to the endpoint's request.
    Response(Vec<Piece>),
    /// Any header around sealed payloads.
    Sealed(LooseHeader, Vec<Piece>),
    /// A request whose content is these octets behind the type of its first payload.
    Malformed(Exchange, u8, Vec<u8>),
    /// Fragment Number and Total Fragments, and any part.
    Fragment(Exchange, u8, u8, u8, Vec<u8>),
    /// The gateway's own wishes.
    Wish(Wish),
}

/// What the user of the endpoint calls.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Wish {
    /// Rekey the Child SA.
    Rekey,
    /// Rekey the IKE SA.
    RekeyIke,
    /// Connect, also after a disconnect.
    Connect,
    /// Disconnect.
    Disconnect,
    /// A packet wants out.
    Demand,
    /// An ESP packet with this SPI has come that nobody knows.
    UnknownSpi(u32),
}

/// Who a datagram seems to come from.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum From {
    /// The peer.
    Peer,
    /// The peer's address, another port.
    OtherPort(u16),
    /// Another address.
    Elsewhere(u32),
}

/// Exchange type, mostly a good one.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Exchange {
    /// IKE_AUTH.
    Auth,
    /// CREATE_CHILD_SA.
    CreateChild,
    /// INFORMATIONAL.
    Informational,
    /// Any.
    Any(u8),
}

/// A header of a message for the endpoint.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct LooseHeader {
    spi_i: u64,
    spi_r: u64,
    exchange: Exchange,
    from_initiator: bool,
    response: bool,
    message_id: u32,
}

/// A change of a datagram.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Change {
    /// Another octet.
    Set(u16, u8),
    /// The end is missing.
    Cut(u16),
    /// More behind the end.
    Append(u8),
    /// The length in the header becomes right.
    MendLength,
}

/// A stranger without keys, or one that has completed IKE_SA_INIT but cannot authenticate. Nothing he does brings a
/// connection about, makes the endpoint grow without bound, or makes it send more than it received.
pub fn strange(has_keys: bool, steps: &[Step]) {
    let mut world = World::new();
    let peer = has_keys.then(|| Peer::connect(&mut world, false));
    Run { world, peer, remembered: Vec::new(), cookie: None }.take(steps);
}

/// An authenticated peer that has gone mad. Whatever it does, the endpoint keeps its promises to the data plane.
pub fn trusted(steps: &[Step]) {
    let mut world = World::new();
    let peer = Some(Peer::connect(&mut world, true));
    Run { world, peer, remembered: Vec::new(), cookie: None }.take(steps);
}

/// A request in fragments, and how they arrive.
#[derive(Arbitrary, Clone, Debug)]
pub struct Fragmented {
    content: Vec<u8>,
    /// Octets per fragment, less one.
    room: u8,
    /// Which fragment comes next, changed or not. Those that are still missing follow.
    order: Vec<(u8, Option<Change>)>,
}

/// A request of an authenticated peer in fragments, damaged ones among them. It is answered once, when all of it is there.
pub fn fragmented(Fragmented { content, room, order }: &Fragmented) {
    let mut world = World::new();
    let mut peer = Peer::connect(&mut world, true);
    let payloads = Content::of(&[Payload::VendorId(content.clone())]);
    let parts: Vec<&[u8]> = payloads.octets.chunks(usize::from(*room) + 1).collect();
    let total = parts.len();
    if total > 64 {
        return;
    }
    let fragments: Vec<Vec<u8>> = (parts.iter().enumerate())
        .map(|(index, part)| {
            let first = if index == 0 { payloads.first } else { PayloadType::NONE };
            let position = [index as u16 + 1, total as u16];
            let part = Content { first, octets: part.to_vec() };
            peer.fragment(ExchangeType::INFORMATIONAL, position, &part)
        })
        .collect();
    let mut missing: Vec<bool> = vec![true; total];
    let mut repetitions = 0;
    let last = (0..total).map(|index| (index as u8, None));
    for (index, change) in order.iter().copied().take(300).chain(last) {
        let index = usize::from(index) % total;
        let mut datagram = fragments[index].clone();
        if let Some(change) = change {
            change.apply(&mut datagram);
        }
        let is_whole = datagram == fragments[index];
        let was_complete = !missing.contains(&true);
        if is_whole {
            missing[index] = false;
        }
        let is_complete = !missing.contains(&true);
        let sent = world.deliver(SOURCE, 500, &datagram);
        // Of the fragments of an answered request, the first one asks for the response again.
        let repeats = was_complete && is_whole && index == 0;
        repetitions += u32::from(repeats);
        let answers =
            (repeats && repetitions <= REPEATS_PER_SECOND) || (is_complete && is_whole && !was_complete);
        // What changed the SPIs or the version is answered too, without protection.
        let responses = sent.iter().filter(|message| SealedMessage::parse(message).is_ok()).count();
        assert_eq!(responses, usize::from(answers), "fragment {index} of {total}");
    }
}

struct Run {
    world: World,
    peer: Option<Peer>,
    remembered: Vec<Vec<u8>>,
    /// The last cookie, and the SPI it is for.
    cookie: Option<(u64, Vec<u8>)>,
}

impl Run {
    fn take(mut self, steps: &[Step]) {
        for step in steps.iter().take(MAX_STEPS) {
            self.step(step);
        }
        self.world.wait(Duration::from_mins(10));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Raw(from, nat, octets) => {
                let port = port(*nat);
                self.world.deliver_raw(from.address(), port, octets);
            }
            Step::Clear(from, nat, header, pieces) => {
                let datagram = header.in_front_of(&Content::of_pieces(pieces));
                self.deliver(*from, *nat, datagram);
            }
            Step::Init(from, spi_i, changes) => {
                let spi_i = u64::from(*spi_i) + 1;
                let cookie = self.cookie.as_ref().filter(|(spi, _)| *spi == spi_i);
                let mut datagram = init_request(spi_i, cookie.map(|(_, cookie)| cookie.as_slice()));
                changes.iter().take(8).for_each(|change| change.apply(&mut datagram));
                self.deliver(*from, false, datagram);
            }
            Step::Again(index, from, changes) => {
                let count = self.remembered.len().max(1);
                let Some(datagram) = self.remembered.get(usize::from(*index) % count) else { return };
                let mut datagram = datagram.clone();
                changes.iter().take(8).for_each(|change| change.apply(&mut datagram));
                self.deliver(*from, false, datagram);
            }
            Step::Wait(tenths) => {
                self.world.wait(Duration::from_millis(u64::from(*tenths) * 100));
            }
            Step::Keyed(step) => self.keyed_step(step),
        }
    }

    fn keyed_step(&mut self, step: &KeyedStep) {
        let Some(peer) = &mut self.peer else { return };
        let message = match step {
            KeyedStep::Request(exchange, pieces) => {
                peer.request(exchange.value(), &Content::of_pieces(pieces))
            }
            KeyedStep::Response(pieces) => {
                let response = peer.response(&self.world, &Content::of_pieces(pieces));
                let Some(response) = response else { return };
                response
            }
            KeyedStep::Sealed(header, pieces) => peer.seal(header.header(), &Content::of_pieces(pieces)),
            KeyedStep::Malformed(exchange, first, octets) => {
                let content = Content { first: PayloadType(*first), octets: octets.clone() };
                peer.request(exchange.value(), &content)
            }
            KeyedStep::Fragment(exchange, number, total, first, octets) => {
                let part = Content { first: PayloadType(*first), octets: octets.clone() };
                peer.fragment(exchange.value(), [u16::from(*number), u16::from(*total)], &part)
            }
            KeyedStep::Wish(wish) => {
                if self.world.trusted {
                    self.world.act(|endpoint, now| match wish {
                        Wish::RekeyIke => endpoint.rekey_ike(now, PEER),
                        Wish::Rekey => endpoint.rekey_child(now, PEER),
                        Wish::Connect => endpoint.connect(now, PEER),
                        Wish::Disconnect => endpoint.disconnect(now, PEER),
                        Wish::Demand => endpoint.demand(now, PEER),
                        Wish::UnknownSpi(spi) => endpoint.unknown_esp_spi(now, SOURCE.ip(), *spi),
                    });
                }
                return;
            }
        };
        peer.deliver(&mut self.world, &message);
        self.remember(message);
    }

    fn deliver(&mut self, from: From, nat: bool, datagram: Vec<u8>) {
        for answer in self.world.deliver(from.address(), port(nat), &datagram) {
            self.cookie = cookie_in(&answer).or_else(|| self.cookie.take());
        }
        self.remember(datagram);
    }

    fn remember(&mut self, datagram: Vec<u8>) {
        if self.remembered.len() < MAX_REMEMBERED {
            self.remembered.push(datagram);
        }
    }
}

fn cookie_in(message: &[u8]) -> Option<(u64, Vec<u8>)> {
    let message = Message::parse(message).ok()?;
    let cookie = message.payloads.into_iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::COOKIE => Some(notify.data),
        _ => None,
    })?;
    Some((message.header.spi_i, cookie))
}

fn port(nat: bool) -> u16 {
    if nat { 4500 } else { 500 }
}

impl From {
    fn address(self) -> SocketAddr {
        match self {
            Self::Peer => SOURCE,
            Self::OtherPort(port) => SocketAddr::new(SOURCE.ip(), port),
            Self::Elsewhere(address) => SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), 500),
        }
    }
}

impl Exchange {
    fn value(self) -> ExchangeType {
        match self {
            Self::Auth => ExchangeType::IKE_AUTH,
            Self::CreateChild => ExchangeType::CREATE_CHILD_SA,
            Self::Informational => ExchangeType::INFORMATIONAL,
            Self::Any(exchange) => ExchangeType(exchange),
        }
    }
}

impl LooseHeader {
    fn header(self) -> Header {
        let Self { spi_i, spi_r, exchange, from_initiator, response, message_id } = self;
        Header { spi_i, spi_r, exchange: exchange.value(), from_initiator, response, message_id }
    }

    fn in_front_of(self, content: &Content) -> Vec<u8> {
        let mut datagram = Message { header: self.header(), payloads: Vec::new() }.encode();
        datagram[16] = content.first.0;
        datagram.extend_from_slice(&content.octets);
        Change::MendLength.apply(&mut datagram);
        datagram
    }
}

impl Change {
    fn apply(self, datagram: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % datagram.len().max(1);
        match self {
            Self::Set(at, octet) => {
                let at = place(at);
                if let Some(place) = datagram.get_mut(at) {
                    *place = octet;
                }
            }
            Self::Cut(at) => datagram.truncate(place(at)),
            Self::Append(octet) => datagram.push(octet),
            Self::MendLength => {
                let length = (datagram.len() as u32).to_be_bytes();
                if let Some(field) = datagram.get_mut(24..28) {
                    field.copy_from_slice(&length);
                }
            }
        }
    }
}

//! Frames to try the gateway with: valid ones of every kind that it knows, most of them changed in one place or a few.
//!
//! Everything follows from the seed. The generator knows the keys, as a peer does, and nothing of what the gateway should answer.

mod esp;
mod mutation;
mod other;
mod plain;
mod worker;

use std::collections::VecDeque;
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use xdp_harness::frames::Ip;

use super::association::Association;
use super::model::Arrival;
use super::network::{INNER, Interface, OUTER, QUEUES, SENDER_MAC};

/// Sealed frames that are kept to be replayed.
const CAPTURED: usize = 512;
/// Longest frame that a test run takes without fragments.
const LONGEST: usize = 3400;

/// A frame and how it was made.
#[derive(Clone, Debug)]
pub(crate) struct Specimen {
    pub(crate) arrival: Arrival,
    /// What it is, and what was changed in it.
    pub(crate) trail: Vec<&'static str>,
}

/// An SA that the generator can send with.
pub(crate) struct Sender {
    pub(crate) association: Rc<Association>,
    /// Slot in the gateway.
    pub(crate) slot: u32,
    /// Highest sequence number used.
    highest: u64,
}

/// Makes frames.
pub(crate) struct Generator {
    pub(crate) random: StdRng,
    /// SAs that the gateway receives with.
    pub(crate) senders: Vec<Sender>,
    /// SPIs that it sends with, or has received with.
    pub(crate) other_spis: VecDeque<u32>,
    captured: VecDeque<Vec<u8>>,
    trail: Vec<&'static str>,
    lan_index: u32,
}

impl Generator {
    /// Makes the frames that follow from `seed`. `lan_index` is the interface index that workers name.
    pub(crate) fn new(seed: u64, lan_index: u32) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            senders: Vec::new(),
            other_spis: VecDeque::new(),
            captured: VecDeque::new(),
            trail: Vec::new(),
            lan_index,
        }
    }

    /// The gateway receives with an SA.
    pub(crate) fn send_with(&mut self, association: Rc<Association>, slot: u32) {
        self.senders.push(Sender { association, slot, highest: 0 });
    }

    /// Notes the SPI of an SA that the gateway does not receive with.
    pub(crate) fn note_spi(&mut self, spi: u32) {
        self.other_spis.push_back(spi);
        if self.other_spis.len() > 64 {
            self.other_spis.pop_front();
        }
    }

    /// The next frame.
    pub(crate) fn specimen(&mut self) -> Specimen {
        self.trail.clear();
        let (interface, mut frame) = match self.random.random_range(0..100) {
            0..30 => self.for_tunnel(),
            30..70 => self.sealed_by_peer(),
            70..78 => self.replayed(),
            78..83 => self.for_gateway(),
            83..88 => self.in_the_clear(),
            88..92 => self.of_another_protocol(),
            92..99 => self.opened_by_worker(),
            _ => self.noise(),
        };
        if interface == Interface::Vgw0 {
            self.mutate_lightly(&mut frame);
        } else {
            self.mutate(&mut frame, interface);
        }
        frame.truncate(LONGEST);
        let queue = if interface == Interface::Lan { self.random.random_range(0..QUEUES) } else { 0 };
        Specimen { arrival: Arrival { interface, queue, frame }, trail: self.trail.clone() }
    }

    /// True once in `one_in` times; then `what` was done.
    fn happens(&mut self, one_in: u32, what: &'static str) -> bool {
        let happens = self.random.random_range(0..one_in) == 0;
        if happens {
            self.trail.push(what);
        }
        happens
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.random_range(0..choices.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    /// A host of the gateway's own VNet.
    fn local_host(&mut self) -> [u8; 4] {
        match self.random.random_range(0..12) {
            0..6 => [10, 1, 0, 10],
            6 => [10, 1, 0, 11],
            7 => [10, 1, 33, 7],
            8 => [192, 168, 7, 5],
            9 => [10, 1, 202, 9],
            10 => [10, 1, 204, 9],
            _ => self.one_of(&[
                INNER,
                [10, 1, 0, 99],
                [10, 1, 77, 3],
                [10, 1, 78, 3],
                [10, 1, 200, 5],
                [10, 1, 255, 255],
                [10, 1, 0, 0],
                [192, 168, 7, 127],
            ]),
        }
    }

    /// A host behind `tunnel`.
    fn remote_host(&mut self, tunnel: u32) -> [u8; 4] {
        let tail: u8 = self.random.random();
        match tunnel {
            1 => self.one_of(&[[10, 2, 0, 20], [10, 2, tail, 1], [10, 100, tail, 7], [10, 101, 255, 255]]),
            2 => self.one_of(&[[10, 3, 0, 30], [172, 16, 0, 0], [172, 31, 255, 255], [172, 20, 1, tail]]),
            3 => self.one_of(&[[10, 64, 0, 1], [10, 127, 255, 254], [10, 9, 128, tail], [10, 9, 159, 255]]),
            9 => [203, 0, 113, 200],
            other => [10, other as u8, 0, tail],
        }
    }

    /// An address that does not belong where it stands, or just not quite.
    fn odd_address(&mut self) -> [u8; 4] {
        match self.random.random_range(0..4) {
            0 => self.local_host(),
            1 => {
                let tunnel = self.random.random_range(1..10);
                self.remote_host(tunnel)
            }
            2 => self.random.random(),
            _ => self.one_of(&[
                OUTER,
                INNER,
                [198, 51, 100, 1],
                [255; 4],
                [0; 4],
                [127, 0, 0, 1],
                [224, 0, 0, 1],
                [169, 254, 0, 1],
                [10, 0, 255, 255],
                [10, 1, 255, 255],
                [10, 4, 0, 0],
                [10, 9, 127, 255],
                [10, 9, 160, 0],
                [10, 63, 255, 255],
                [10, 99, 255, 255],
                [10, 102, 0, 0],
                [10, 128, 0, 0],
                [172, 15, 255, 255],
                [172, 32, 0, 0],
                [192, 168, 7, 128],
                [192, 168, 6, 255],
                [203, 0, 113, 199],
                [203, 0, 113, 201],
                [8, 8, 8, 8],
            ]),
        }
    }

    /// Makes a first segment with options of `payload`, as far as it is long enough.
    fn open_connection(&mut self, payload: &mut [u8]) {
        let mut options = Vec::new();
        for _ in 0..self.random.random_range(0..6) {
            let size: u16 = self.one_of(&[0, 536, 1378, 1398, 1399, 1460, 9000, 0xffff]);
            let [high, low] = size.to_be_bytes();
            let option = match self.random.random_range(0..8) {
                0..3 => vec![1],
                3..5 => vec![2, 4, high, low],
                5 => vec![8, 10, 2, 4, high, low, 0, 0, 0, 0],
                6 => vec![self.random.random(), self.random.random_range(0..12), high, low],
                _ => vec![self.one_of(&[0, 2, 3]), self.one_of(&[0, 1, 2, 3, 4, 5, 40])],
            };
            options.extend(option);
        }
        options.truncate(40);
        let words = 5 + options.len().div_ceil(4) as u8;
        let says = if self.random.random_range(0..8) == 0 { self.random.random() } else { words << 4 };
        let syn = self.one_of(&[0x02, 0x12, 0xc2]);
        for (at, byte) in (12..).zip([says, syn]).chain((20..).zip(options)) {
            if let Some(place) = payload.get_mut(at) {
                *place = byte;
            }
        }
    }

    /// An IPv4 packet between two hosts, odd in some way now and then.
    fn packet(&mut self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut ip = Ip::new(source.into(), destination.into());
        ip.protocol = self.one_of(&[17, 17, 17, 6, 6, 1, 50, 4, 47, 0, 255]);
        ip.tos = if self.random.random() { 0 } else { self.random.random() };
        if self.happens(20, "odd inner source") {
            ip.source = self.odd_address().into();
        }
        if self.happens(20, "odd inner destination") {
            ip.destination = self.odd_address().into();
        }
        if self.happens(20, "odd TTL") {
            ip.ttl = self.one_of(&[0, 1, 2, 255]);
        }
        if self.happens(8, "fragment fields") {
            ip.fragment = self.one_of(&[0, 0x2000, 0x2001, 0x0001, 0x1fff, 0x8000, 0xffff]);
        }
        if self.happens(30, "options") {
            ip.options = self.one_of(&[&[1; 4][..], &[0x83, 7, 4, 10, 1, 0, 9, 0], &[7, 40, 4][..]]).to_vec();
            ip.options.resize(ip.options.len().next_multiple_of(4).min(40), 0);
            if self.happens(3, "all the options that fit") {
                ip.options.resize(40, 1);
            }
        }
        let len = match self.random.random_range(0..20) {
            0..9 => self.random.random_range(0..64),
            9..12 => self.random.random_range(0..600),
            12..18 => self.random.random_range(1200..=1418),
            18 => self.random.random_range(1400..=1480),
            _ => self.random.random_range(1480..=1700),
        };
        let mut payload = self.bytes(len);
        if ip.protocol == 6 && self.happens(2, "first segment") {
            self.open_connection(&mut payload);
        }
        let mut packet = ip.packet(&payload);
        if self.happens(100, "inner header byte") {
            let at = self.random.random_range(0..20);
            packet[at] = self.random.random();
        }
        if self.happens(150, "inner total length") {
            let says = match self.random.random_range(0..4) {
                0 => self.random.random(),
                1 => self.random.random_range(0..24),
                _ => (packet.len() as u16).wrapping_add(self.random.random_range(0..8)).wrapping_sub(4),
            };
            packet[2..4].copy_from_slice(&says.to_be_bytes());
        }
        if self.happens(400, "checksum at the edge of its range") {
            // Where one's complement has two zeros.
            let value: u16 = self.one_of(&[0, 0xffff, 0xfeff, 0xff00, 0xfefe, 0x00ff]);
            let sum = u16::from_be_bytes([packet[10], packet[11]]);
            let id = u16::from_be_bytes([packet[4], packet[5]]);
            // The identification takes what the checksum gives.
            let mut moved = u32::from(id) + u32::from(sum) + u32::from(!value);
            while moved > 0xffff {
                moved = (moved >> 16) + (moved & 0xffff);
            }
            packet[4..6].copy_from_slice(&(moved as u16).to_be_bytes());
            packet[10..12].copy_from_slice(&value.to_be_bytes());
        }
        packet
    }
}

/// An Ethernet frame to `interface`, padded to 60 bytes as on a wire.
fn ethernet(interface: Interface, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = interface.mac().to_vec();
    frame.extend(SENDER_MAC);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0xee);
    frame
}

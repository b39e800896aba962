//! ESP packets made with the right keys, by a peer that is not always well-behaved.

use rand::RngExt as _;
use xdp_harness::frames::{Ip, udp};

use super::{CAPTURED, Generator, ethernet};
use crate::hostile::association::Association;
use crate::hostile::model::WINDOW;
use crate::hostile::network::{Interface, OUTER};

/// Smallest and largest number that one extended number may be ahead of another (RFC 4303 appendix A2).
const FAR: u64 = (1 << 32) - WINDOW - 2;

/// Number that no jump passes. In a slot of the gateway's ring that is more than 2^36 numbers old a new packet counts as seen; no sender
/// skips as many.
const FARTHEST: u64 = 1 << 35;

impl Generator {
    /// A sealed packet from a peer.
    pub(super) fn sealed_by_peer(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("from a peer");
        let sender = self.random.random_range(0..self.senders.len());
        let association = self.senders[sender].association.clone();
        let plaintext = self.plaintext(&association);
        let sequence = self.sequence(sender, association.config.esn);
        let iv = self.random.random();
        let mut esp = association.seal(sequence, iv, plaintext);
        self.spoil(&mut esp);
        let packet = self.outer(&association, &esp);
        let interface = self.outer_interface();
        let frame = ethernet(interface, 0x0800, &packet);
        if self.captured.len() < CAPTURED {
            self.captured.push_back(frame.clone());
        } else if self.random.random_range(0..8) == 0 {
            self.captured.pop_front();
            self.captured.push_back(frame.clone());
        }
        (interface, frame)
    }

    /// A frame that was sent before.
    pub(super) fn replayed(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("replayed");
        let interface = self.outer_interface();
        if self.captured.is_empty() {
            return self.sealed_by_peer();
        }
        let which = self.random.random_range(0..self.captured.len());
        let mut frame = self.captured[which].clone();
        frame[..6].copy_from_slice(&interface.mac());
        (interface, frame)
    }

    fn outer_interface(&mut self) -> Interface {
        match self.random.random_range(0..20) {
            0..13 => Interface::Wan,
            13..18 => Interface::Arm,
            _ => self.one_of(&[Interface::Lan, Interface::VgwPeer, Interface::Other]),
        }
    }

    /// Packet, padding and trailer (RFC 4303 section 2.4).
    pub(super) fn plaintext(&mut self, association: &Association) -> Vec<u8> {
        let (source, destination) = (self.remote_host(association.tunnel), self.local_host());
        let mut text = self.packet(source, destination);
        if self.happens(15, "traffic flow confidentiality padding") {
            let filler = self.random.random_range(0..120);
            text.resize(text.len() + filler, 0x5a);
        }
        if self.happens(100, "cut before it was sealed") {
            let len = self.random.random_range(0..=text.len().min(60));
            text.truncate(len);
        }
        if self.happens(200, "an IPv6 packet") {
            text = [&[0x60, 0, 0, 0, 0, 20, 17, 64][..], &self.bytes(52)].concat();
        }
        let least = (4 - (text.len() + 2) % 4) % 4;
        let mut padding = least;
        if self.happens(12, "more padding than needed") {
            padding += 4 * self.random.random_range(0..=60);
        }
        text.extend((1..=padding).map(|byte| byte as u8));
        let mut pad_length = padding as u8;
        if self.happens(60, "pad length") {
            pad_length = self.random.random();
        }
        let mut next_header = 4;
        if self.happens(40, "next header") {
            next_header = self.one_of(&[59, 59, 41, 0, 6, 17, 255]);
        }
        text.extend([pad_length, next_header]);
        if self.happens(150, "alignment") {
            text.insert(0, 0x45);
        }
        text
    }

    /// A sequence number for the next packet of a sender.
    pub(super) fn sequence(&mut self, sender: usize, extended: bool) -> u64 {
        let highest = self.senders[sender].highest;
        let sequence = match self.random.random_range(0..1000) {
            700..800 => {
                self.trail.push("within the window");
                highest.saturating_sub(self.random.random_range(0..WINDOW))
            }
            800..870 => {
                self.trail.push("at the window's edge");
                (highest + 4).saturating_sub(WINDOW + self.random.random_range(0..8))
            }
            870..890 => {
                self.trail.push("far behind");
                highest.saturating_sub(self.random.random_range(0..4 * WINDOW))
            }
            890..960 => highest + self.random.random_range(1..64),
            960..980 => {
                self.trail.push("ahead");
                highest + self.random.random_range(1..2 * WINDOW)
            }
            980..981 => {
                self.trail.push("far ahead");
                highest + self.random.random_range(1..FAR)
            }
            981..983 if extended => {
                self.trail.push("too far ahead");
                highest + FAR + self.random.random_range(0..8)
            }
            983..986 => {
                self.trail.push("zero");
                0
            }
            _ => highest + 1,
        };
        let sequence = match sequence {
            number if !extended => number.min(u64::from(u32::MAX)),
            number if number >= FARTHEST => highest + 1,
            number => number,
        };
        self.senders[sender].highest = highest.max(sequence);
        sequence
    }

    /// Changes the sealed packet, seldom.
    fn spoil(&mut self, esp: &mut Vec<u8>) {
        if self.happens(25, "flipped bit") {
            let at = self.random.random_range(0..esp.len());
            esp[at] ^= 1 << self.random.random_range(0..8);
        }
        if self.happens(40, "flipped bit of the ICV") {
            let at = esp.len() - 1 - self.random.random_range(0..16);
            esp[at] ^= 1 << self.random.random_range(0..8);
        }
        if self.happens(30, "another SPI") {
            let spi: u32 = match self.random.random_range(0..4) {
                0 => self.random.random(),
                1 => self.random.random_range(0..256),
                2 if !self.other_spis.is_empty() => {
                    let which = self.random.random_range(0..self.other_spis.len());
                    self.other_spis[which]
                }
                _ => {
                    let which = self.random.random_range(0..self.senders.len());
                    self.senders[which].association.config.spi
                }
            };
            esp[..4].copy_from_slice(&spi.to_be_bytes());
        }
        if self.happens(60, "another sequence number") {
            let number: u32 = self.one_of(&[0, 1, u32::MAX, u32::MAX - 1, 1 << 31]);
            esp[4..8].copy_from_slice(&number.to_be_bytes());
        }
        if self.happens(30, "cut after it was sealed") {
            let len = self.random.random_range(0..=esp.len());
            esp.truncate(len);
        }
        if self.happens(60, "longer than it was sealed") {
            let more = self.random.random_range(1..40);
            let tail = self.bytes(more);
            esp.extend(tail);
        }
    }

    /// The IP packet around ESP, in UDP where the SA says so.
    fn outer(&mut self, association: &Association, esp: &[u8]) -> Vec<u8> {
        let config = &association.config;
        let mut ip = Ip::new(association.remote().into(), OUTER.into());
        // Congestion marks, mostly none.
        ip.tos = self.one_of(&[0, 0, 0, 1, 2, 3, 0xb8, 0xbb]);
        if self.happens(60, "odd outer source") {
            ip.source = self.odd_address().into();
        }
        if self.happens(60, "odd outer destination") {
            ip.destination = self.odd_address().into();
        }
        if self.happens(80, "outer fragment fields") {
            ip.fragment = self.one_of(&[0, 0x2000, 0x0001, 0x2010, 0x8000, 0xffff]);
        }
        if self.happens(100, "outer options") {
            ip.options = vec![1; 4 * self.random.random_range(1..=10)];
        }
        if self.happens(100, "outer TTL") {
            ip.ttl = self.one_of(&[0, 1, 255]);
        }
        let is_in_udp = config.udp_encapsulation != self.happens(40, "the other encapsulation");
        if is_in_udp {
            let source = if self.random.random() { config.remote.port() } else { self.random.random() };
            let mut port = 4500;
            if self.happens(100, "another UDP port") {
                port = self.one_of(&[500, 4501, 0, 53]);
            }
            return ip.packet(&udp(source, port, esp));
        }
        ip.protocol = 50;
        ip.packet(esp)
    }
}

//! Changes to finished frames, whatever is in them.

use rand::RngExt as _;
use xdp_harness::frames::checksum;

use super::Generator;
use crate::hostile::network::{Interface, SENDER_MAC};

const IP: usize = 14;
const TOTAL_LENGTH: usize = IP + 2;
const UDP_LENGTH: usize = IP + 20 + 4;

impl Generator {
    /// Changes most frames not at all, others in a place or two.
    pub(super) fn mutate(&mut self, frame: &mut Vec<u8>, interface: Interface) {
        if self.random.random_range(0..3) != 0 {
            return;
        }
        for _ in 0..self.random.random_range(1..=2) {
            self.change(frame, interface);
        }
        if self.random.random() && frame.len() >= IP + 20 {
            frame[IP + 10..IP + 12].fill(0);
            let sum = checksum(&frame[IP..IP + 20]);
            frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Cuts a frame of a worker, or changes a bit of what stands in front of it, seldom.
    pub(super) fn mutate_lightly(&mut self, frame: &mut Vec<u8>) {
        if self.happens(20, "cut") {
            let len = self.random.random_range(14..=frame.len());
            frame.truncate(len);
        }
    }

    /// One change. The frame has an Ethernet header at least, before and after.
    fn change(&mut self, frame: &mut Vec<u8>, interface: Interface) {
        match self.random.random_range(0..14) {
            0 => {
                self.trail.push("a bit");
                let at = self.random.random_range(0..frame.len());
                frame[at] ^= 1 << self.random.random_range(0..8);
            }
            1 => {
                self.trail.push("a bit of the headers");
                let at = self.random.random_range(0..frame.len().min(IP + 60));
                frame[at] ^= 1 << self.random.random_range(0..8);
            }
            2 => {
                self.trail.push("cut");
                let len = self.random.random_range(IP..=frame.len());
                frame.truncate(len);
            }
            3 => {
                self.trail.push("cut near the headers");
                let len = self.random.random_range(IP..=frame.len().min(90));
                frame.truncate(len);
            }
            4 => {
                self.trail.push("cut, and the lengths say so");
                let len = self.random.random_range(IP..=frame.len());
                frame.truncate(len);
                put(frame, TOTAL_LENGTH, (len - IP) as u16);
                if frame.get(IP + 9) == Some(&17) {
                    put(frame, UDP_LENGTH, (len as u16).wrapping_sub(34));
                }
            }
            5 | 6 => {
                self.trail.push("trailing bytes");
                let most = self.one_of(&[8, 100, 2000]);
                let more = self.random.random_range(1..most);
                let tail = self.bytes(more);
                frame.extend(tail);
            }
            7 => {
                self.trail.push("total length");
                let says = self.odd_length(frame.len() - IP);
                put(frame, TOTAL_LENGTH, says);
            }
            8 => {
                self.trail.push("UDP length");
                let says = self.odd_length(frame.len().saturating_sub(34));
                put(frame, UDP_LENGTH, says);
            }
            9 => {
                self.trail.push("version and header length");
                let value = self.one_of(&[0x44, 0x40, 0x46, 0x4f, 0x55, 0x65, 0x05, 0x4e]);
                if let Some(byte) = frame.get_mut(IP) {
                    *byte = value;
                }
            }
            10 => {
                self.trail.push("flags and fragment offset");
                let value = self.one_of(&[0, 0x2000, 0x0001, 0x3fff, 0x8000, 0x4000, 0xffff]);
                put(frame, IP + 6, value);
            }
            11 => self.tag(frame),
            12 => {
                self.trail.push("another station");
                let mac = self.one_of(&[[0xff; 6], [1, 0, 0x5e, 0, 0, 1], SENDER_MAC, interface.mac()]);
                frame[..6].copy_from_slice(&mac);
                frame[5] ^= u8::from(self.random.random_range(0..4) == 0);
            }
            _ => {
                self.trail.push("EtherType");
                let value = self.one_of(&[0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x88b5, 0x0806, 60]);
                put(frame, 12, value);
            }
        }
    }

    /// Puts VLAN tags before the EtherType.
    fn tag(&mut self, frame: &mut Vec<u8>) {
        self.trail.push("VLAN tag");
        for _ in 0..self.one_of(&[1, 1, 1, 2, 3]) {
            let ethertype: u16 = self.one_of(&[0x8100, 0x8100, 0x88a8]);
            let tag: u16 = self.one_of(&[0, 0, 0xa000, 7, 0x0fff, 0x1000]);
            frame.splice(12..12, [ethertype.to_be_bytes(), tag.to_be_bytes()].concat());
        }
    }

    fn odd_length(&mut self, right: usize) -> u16 {
        match self.random.random_range(0..4) {
            0 => self.random.random(),
            1 => self.random.random_range(0..64),
            _ => (right as u16).wrapping_add(self.random.random_range(0..12)).wrapping_sub(8),
        }
    }
}

/// Writes a 16-bit number, if the frame is long enough.
fn put(frame: &mut [u8], at: usize, value: u16) {
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

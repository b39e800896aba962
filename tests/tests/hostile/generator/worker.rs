//! Frames from a worker to `vgw0`, some of them with lies in front.

use gateway_common::{ETHERTYPE_RETURN, Handoff, Job, Pod, ProgramSlot, ReturnHeader};
use rand::RngExt as _;

use super::{Generator, ethernet};
use crate::hostile::network::Interface;

/// Where the payload stands in the frames that workers get: behind Ethernet, IPv4, ESP header and IV.
const OFFSET: usize = 50;

impl Generator {
    /// An opened packet, or a question about one.
    pub(super) fn opened_by_worker(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("from a worker");
        let sender = self.random.random_range(0..self.senders.len());
        let (association, slot) = (self.senders[sender].association.clone(), self.senders[sender].slot);
        let text = self.plaintext(&association);
        // Numbers are 32 bits wide or more; zero is never handed to a worker.
        let sequence = self.sequence(sender, association.config.esn).max(1);
        let mut job = Job {
            sa: slot,
            offset: OFFSET as u32,
            length: text.len() as u32,
            next: ProgramSlot::DecapDone as u32,
            sequence,
            tunnel: self.random.random(),
            outer_ecn: self.one_of(&[0, 0, 1, 2, 3]),
            ingress_ifindex: self.lan_index,
            ..Job::default()
        };
        let mut spi = association.config.spi;
        let mut kind = self.one_of(&[1, 1, 1, 1, 2, 3]);
        if self.happens(30, "kind") {
            kind = self.one_of(&[0, 4, u32::MAX]);
        }
        if self.happens(30, "SPI") {
            spi = self.one_of(&[0, !spi]);
        }
        if self.happens(30, "SA") {
            job.sa = self.one_of(&[0, 1 << 20, u32::MAX]);
        }
        if self.happens(40, "next program") {
            job.next = self.one_of(&[ProgramSlot::EncapDone as u32, ProgramSlot::Empty as u32, u32::MAX]);
        }
        if self.happens(40, "offset") {
            job.offset = self.one_of(&[0, 33, 2047, 2048, u32::MAX, 1 << 31]);
        }
        if self.happens(40, "length") {
            job.length = self.one_of(&[0, 3, 2035, 2048, u32::MAX, 1 << 31]);
        }
        let mut frame = ethernet(Interface::Vgw0, ETHERTYPE_RETURN, &[])[..14].to_vec();
        let header = ReturnHeader { ethernet: [0; 14], reserved: [0; 2], kind, lane: self.random.random() };
        frame.extend(&bytes(&header)[14..]);
        frame.extend(bytes(&Handoff { spi: spi.to_be_bytes(), reserved: 0, job }));
        let front = self.bytes(OFFSET);
        frame.extend(front);
        frame.extend(text);
        let icv = self.bytes(16);
        frame.extend(icv);
        (Interface::Vgw0, frame)
    }
}

fn bytes<T: Pod>(value: &T) -> Vec<u8> {
    // SAFETY: the type has no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

//! What workers send to `vgw0` (`gateway-common/src/handoff.rs`).

use gateway_common::{DropReason, ETHERTYPE_RETURN, Handoff, Job, ProgramSlot, ReturnHeader};

use super::header::{ETHERNET, Header, PLAIN, PLAIN6, word};
use super::{Fate, Model, Prediction, Slot};
use crate::hostile::association::ICV;
use std::mem::offset_of;

/// Where the opened frame begins.
const FRONT: usize = ReturnHeader::LEN + Handoff::LEN;
const JOB: usize = ReturnHeader::LEN + offset_of!(Handoff, job);
/// Largest offset and length that a job may name.
const LARGEST: usize = 2047;
/// [`gateway_common::ReturnKind`] as numbers.
const DELIVER: u32 = 1;
const RESOLVE: u32 = 2;
const AUTHENTICATION_FAILED: u32 = 3;
const REASSEMBLED: u32 = 4;

/// A number in the order of the machine.
fn native(frame: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

impl Model {
    /// What is to become of a frame at `vgw0`, which has program `returned`. `slots` is the number of SAs that the gateway has room for.
    pub(crate) fn predict_returned(&self, frame: &[u8], slots: u32) -> Prediction {
        if word(frame, 12) != ETHERTYPE_RETURN {
            return Prediction::pass();
        }
        if frame.len() >= ReturnHeader::LEN && native(frame, offset_of!(ReturnHeader, kind)) == REASSEMBLED {
            return self.predict_reassembled(&frame[ReturnHeader::LEN - ETHERNET..]);
        }
        if frame.len() < FRONT {
            return Prediction::drop(0, DropReason::Malformed);
        }
        let slot: Slot = native(frame, JOB + offset_of!(Job, sa));
        if slot >= slots {
            return Prediction::drop(0, DropReason::Malformed);
        }
        let spi = u32::from_be_bytes(frame[ReturnHeader::LEN..][..4].try_into().expect("four bytes"));
        let Some(sa) = self.sas.get(&slot).filter(|sa| sa.association.config.spi == spi) else {
            return Prediction::drop(0, DropReason::Worker);
        };
        let tunnel = sa.association.tunnel;
        match native(frame, offset_of!(ReturnHeader, kind)) {
            DELIVER => self.predict_delivery(frame, slot),
            RESOLVE if frame.len() < FRONT + PLAIN => Prediction::drop(tunnel, DropReason::Malformed),
            RESOLVE if frame[FRONT] >> 4 != 4 && frame.len() < FRONT + PLAIN6 => {
                Prediction::drop(tunnel, DropReason::Malformed)
            }
            // The worker counts what it found forged.
            RESOLVE | AUTHENTICATION_FAILED => Prediction::sure(Fate::Answered),
            _ => Prediction::drop(tunnel, DropReason::Malformed),
        }
    }

    /// `frame` holds a packet that was put together from fragments, behind as many bytes as an Ethernet header has.
    fn predict_reassembled(&self, frame: &[u8]) -> Prediction {
        let malformed = Prediction::drop(0, DropReason::Malformed);
        let Some(header) = frame.get(ETHERNET..).and_then(Header::parse) else { return malformed };
        if header.version != 4 {
            return predict_reassembled6(frame);
        }
        if ETHERNET + header.total_len > LARGEST {
            return Prediction::drop(0, DropReason::TooBig);
        }
        let prediction = self.predict_from_peers(frame, &header);
        // What would be left to the kernel came from there.
        if matches!(prediction.fates[..], [Fate::Pass]) { malformed } else { prediction }
    }

    fn predict_delivery(&self, frame: &[u8], slot: Slot) -> Prediction {
        let sa = &self.sas[&slot];
        let tunnel = sa.association.tunnel;
        let malformed = Fate::Drop(tunnel, DropReason::Malformed);
        let offset = native(frame, JOB + offset_of!(Job, offset)) as usize;
        let length = native(frame, JOB + offset_of!(Job, length)) as usize;
        let next = native(frame, JOB + offset_of!(Job, next));
        if next != ProgramSlot::DecapDone as u32
            || !(ETHERNET + PLAIN..=LARGEST).contains(&offset)
            || !(4..=LARGEST).contains(&length)
        {
            return Prediction::sure(malformed);
        }
        let sequence = u64::from_ne_bytes(
            frame[JOB + offset_of!(Job, sequence)..][..8].try_into().expect("eight bytes"),
        );
        if sa.window.is_late(sequence) {
            return Prediction::drop(tunnel, DropReason::Worker);
        }
        if sa.window.has_seen(sequence) {
            return Prediction::drop(tunnel, DropReason::Replayed);
        }
        let internal = Fate::Drop(tunnel, DropReason::Internal);
        let ecn = native(frame, JOB + offset_of!(Job, outer_ecn)) as u8 & 3;
        let fates = match frame.get(FRONT + offset..FRONT + offset + length) {
            Some(plaintext) => {
                let fate = self.deliver(slot, plaintext, ecn).unwrap_or_else(|fate| fate);
                // Without an ICV behind it a short packet may be too short to look at.
                let is_whole = frame.len() >= FRONT + offset + length + ICV;
                if is_whole { vec![fate] } else { vec![fate, malformed] }
            }
            // A worker that says more than it sends gets nothing delivered; why is not laid down.
            None => vec![malformed, internal],
        };
        Prediction { fates, authenticated: Some((slot, sequence)) }
    }
}

/// The same for an IPv6 packet; no SA of this world receives such.
fn predict_reassembled6(frame: &[u8]) -> Prediction {
    const HEADER: usize = 40;
    let malformed = Prediction::drop(0, DropReason::Malformed);
    let start = ETHERNET + HEADER;
    if frame.len() < start {
        return malformed;
    }
    let end = start + usize::from(word(frame, ETHERNET + 4));
    if end > LARGEST {
        return Prediction::drop(0, DropReason::TooBig);
    }
    if end > frame.len() {
        return malformed;
    }
    let esp = match frame[ETHERNET + 6] {
        50 => start,
        17 if frame.len() >= start + 12 && word(frame, start + 2) == 4500 => {
            let says = usize::from(word(frame, start + 4));
            if frame[start + 8..start + 12] == [0; 4] || says != end - start || says < 12 {
                return malformed;
            }
            start + 8
        }
        _ => return malformed,
    };
    let is_whole = frame.len() >= esp + 16;
    Prediction::drop(0, if is_whole { DropReason::UnknownSpi } else { DropReason::Malformed })
}

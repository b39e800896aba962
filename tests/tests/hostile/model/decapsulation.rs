//! ESP that arrives (RFC 4303 section 3.4).

use gateway_common::DropReason;

use super::header::{ETHERNET, Header, PLAIN, PLAIN6, combine_ecn, decrement_ttl, double_word, set_ecn};
use super::{Fate, Model, Opened, Owner, Prediction, Slot, mss, owner, through_stack, way};
use crate::hostile::association::ICV;

/// Largest frame that the programs decrypt.
const LARGEST_FRAME: usize = 2047;
/// Pad length and next header.
const TRAILER: usize = 2;
/// Next headers (RFC 4303 section 2.6).
const IPV4: u8 = 4;
const IPV6: u8 = 41;
const DUMMY: u8 = 59;

impl Model {
    /// A frame whose ESP packet begins at `start`, behind the outer `header`.
    pub(super) fn decapsulate(&self, frame: &[u8], header: &Header, start: usize) -> Prediction {
        // Every ESP packet is longer: header, IV or ciphertext, ICV.
        if frame.len() < start + 16 {
            return Prediction::drop(0, DropReason::Malformed);
        }
        let Some(slot) = self.inbound.get(&double_word(frame, start)).copied() else {
            return Prediction::drop(0, DropReason::UnknownSpi);
        };
        let sa = &self.sas[&slot];
        let (association, tunnel) = (&sa.association, sa.association.tunnel);
        let end = ETHERNET + header.total_len;
        let text = start + 8 + association.iv_len();
        // A ciphertext of full words, the trailer at least (RFC 4303 section 2.4).
        if end < text + 4 + ICV || !(end - text - ICV).is_multiple_of(4) || end > LARGEST_FRAME {
            return Prediction::drop(tunnel, DropReason::Malformed);
        }
        if sa.is_expired() {
            return Prediction::drop(tunnel, DropReason::LifetimeExpired);
        }
        let low = double_word(frame, start + 4);
        let Some(sequence) = sa.window.admit(association.config.esn, low) else {
            return Prediction::drop(tunnel, DropReason::Replayed);
        };
        let Some(plaintext) = association.open(sequence, &frame[start..end]) else {
            return Prediction::drop(tunnel, DropReason::AuthenticationFailed);
        };
        let fate = self.deliver(slot, &plaintext, header.class & 3).unwrap_or_else(|fate| fate);
        Prediction { fates: vec![fate], authenticated: Some((slot, sequence)) }
    }

    /// What becomes of an authenticated `plaintext`, trailer included.
    pub(super) fn deliver(&self, slot: Slot, plaintext: &[u8], outer_ecn: u8) -> Result<Fate, Fate> {
        let tunnel = self.sas[&slot].association.tunnel;
        let refused = |reason| Fate::Drop(tunnel, reason);
        let (pad_length, next_header) = (plaintext[plaintext.len() - 2], plaintext[plaintext.len() - 1]);
        match next_header {
            IPV4 => {}
            IPV6 => return Err(refused(refused_ipv6(plaintext, usize::from(pad_length)))),
            DUMMY => return Err(refused(DropReason::Dummy)),
            _ => return Err(refused(DropReason::BadTrailer)),
        }
        if plaintext[0] >> 4 != 4 {
            return Err(refused(DropReason::Malformed));
        }
        // What is said to be the packet must end before the padding; between may lie traffic flow confidentiality
        // padding (RFC 4303 section 2.7). Too little for the header itself lies about either of them.
        let Some(room) = plaintext.len().checked_sub(TRAILER + usize::from(pad_length)) else {
            return Err(refused(DropReason::BadTrailer));
        };
        let inner = match Header::parse(plaintext) {
            Some(inner) if inner.total_len > room => return Err(refused(DropReason::BadTrailer)),
            Some(inner) if inner.lengths_agree() => inner,
            Some(_) => return Err(refused(DropReason::Malformed)),
            // The total length is there before the header ends.
            None => return Err(refused(short_packet(plaintext, room))),
        };
        if owner(inner.source) != Some(Owner::Remote(tunnel))
            || owner(inner.destination) != Some(Owner::Local)
        {
            return Err(refused(DropReason::SelectorMismatch));
        }
        let ecn = combine_ecn(inner.class & 3, outer_ecn).ok_or(refused(DropReason::EcnDrop))?;
        let mut packet = plaintext[..inner.total_len].to_vec();
        mss::clamp(&mut packet, &inner, super::tunnel(tunnel).mtu);
        set_ecn(&mut packet, ecn);
        // What the kernel must see goes there without a question about its way.
        let needs_stack = inner.ttl <= 1 || inner.length != PLAIN;
        let way =
            if needs_stack { Some(through_stack()) } else { way(inner.destination, inner.total_len, true) };
        let (is_direct, ethernet) = way.ok_or(refused(DropReason::NoRoute))?;
        if is_direct {
            decrement_ttl(&mut packet);
        }
        let frame = [&ethernet[..], &packet].concat();
        Ok(Fate::Opened(Opened { slot, tunnel, bytes: inner.total_len, frame }))
    }
}

/// Why an authenticated packet that is said to be IPv6 is refused: no IPv6 prefix lies behind a tunnel. A header may reach into
/// the ICV, which stands where it was.
fn refused_ipv6(plaintext: &[u8], pad_length: usize) -> DropReason {
    if plaintext.len() + ICV < PLAIN6 || plaintext[0] >> 4 != 6 {
        return DropReason::Malformed;
    }
    let says = PLAIN6 + usize::from(super::word(plaintext, 4));
    if says + pad_length + TRAILER > plaintext.len() {
        DropReason::BadTrailer
    } else {
        DropReason::SelectorMismatch
    }
}

/// Why an authenticated packet that is shorter than an IPv4 header is refused.
fn short_packet(plaintext: &[u8], room: usize) -> DropReason {
    let says = usize::from(super::word(plaintext, 2));
    if says > room { DropReason::BadTrailer } else { DropReason::Malformed }
}

//! Fragments of one IKE SA (RFC 7383): what may be sent in them, and putting together what arrives.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::FRAGMENT_SIZES;
use crate::crypto::SkCipher;
use crate::sa::context::NON_ESP_MARKER;
use crate::wire::{Fragment, FragmentPosition, Header, OpenError, Payload, PayloadType, SealedFragment};

/// Most fragments of one message that are put together.
const MAX_FRAGMENTS: u16 = 64;
/// Most octets of one message that is put together: a certificate chain and more.
const MAX_OCTETS: usize = 32 * 1024;
/// Fragments are forgotten when for this long no further one has come: longer than the pauses between common
/// implementations' first retransmissions, so that what got through need not get through again.
const KEPT_FOR: Duration = Duration::from_mins(1);
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
/// Every link carries IPv6 packets of this size (RFC 8200 section 5), so smaller fragments are of no use (RFC 7383 §2.5.1).
const IPV6_LEAST_MTU: usize = 1280;
const UDP_HEADER_LEN: usize = 8;

/// Longest IKE message whose IP packet to `remote` has at most `fragment_size` octets, with the non-ESP marker, so that
/// it may be sent again when the conversation has moved to port 4500.
pub(super) fn largest_message(fragment_size: usize, remote: SocketAddr) -> usize {
    let (ip_header, least) = match remote.ip().to_canonical() {
        IpAddr::V4(_) => (IPV4_HEADER_LEN, *FRAGMENT_SIZES.start()),
        IpAddr::V6(_) => (IPV6_HEADER_LEN, IPV6_LEAST_MTU),
    };
    fragment_size.clamp(least, *FRAGMENT_SIZES.end()) - ip_header - UDP_HEADER_LEN - NON_ESP_MARKER.len()
}

/// One message that arrives in fragments. Of each direction there is at most one, since the window is one message.
#[derive(Default)]
pub(super) struct Reassembly(Option<Partial>);

struct Partial {
    header: Header,
    total: u16,
    /// By Fragment Number.
    parts: BTreeMap<u16, Zeroizing<Vec<u8>>>,
    /// Of all parts.
    octets: usize,
    /// Of the first fragment, once it is here.
    first: Option<FirstFragment>,
    expires_at: Instant,
}

struct FirstFragment {
    /// Type of the first payload.
    kind: PayloadType,
    /// The whole fragment as it came.
    datagram: Vec<u8>,
}

/// A message that was put together.
pub(super) struct Whole {
    pub(super) payloads: Result<Vec<Payload>, OpenError>,
    /// The first fragment, by which the message is recognised when it comes again.
    pub(super) first_datagram: Vec<u8>,
}

impl Reassembly {
    /// Takes a fragment; `datagram` is all of it. Only authentic ones change anything (RFC 7383 §2.6). Returns the
    /// message when this was the last one that was missing.
    pub(super) fn take(
        &mut self,
        now: Instant,
        cipher: &SkCipher,
        sealed: &SealedFragment<'_>,
        datagram: &[u8],
    ) -> Option<Whole> {
        let FragmentPosition { number, total } = sealed.position;
        let partial = self.0.as_ref().filter(|partial| partial.header == sealed.header);
        let is_known = |partial: &Partial| total < partial.total || partial.has(sealed.position);
        if total > MAX_FRAGMENTS || partial.is_some_and(is_known) {
            return None;
        }
        let goes_on = partial.is_some_and(|partial| partial.total == total);
        let Fragment { first, content } = match sealed.open(cipher) {
            Ok(fragment) => fragment,
            Err(OpenError::Integrity) => return None,
            // What is authentic but broken will not get better.
            Err(error) => {
                self.forget();
                return Some(Whole { payloads: Err(error), first_datagram: datagram.to_vec() });
            }
        };
        if !goes_on {
            self.forget();
        }
        let partial = self.0.get_or_insert_with(|| Partial::new(now, sealed.header, total));
        partial.expires_at = now + KEPT_FOR;
        partial.octets += content.len();
        partial.parts.insert(number, content);
        if number == 1 {
            partial.first = Some(FirstFragment { kind: first, datagram: datagram.to_vec() });
        }
        if partial.octets > MAX_OCTETS {
            self.forget();
            return None;
        }
        if partial.parts.len() < usize::from(total) {
            return None;
        }
        self.0.take().and_then(Partial::complete)
    }

    /// The message these fragments belong to has been dealt with, or will not be completed.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.0.as_ref().map(|partial| partial.expires_at)
    }

    /// Forgets fragments that are too old.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.expires_at().is_some_and(|at| at <= now) {
            self.forget();
        }
    }
}

impl Partial {
    fn new(now: Instant, header: Header, total: u16) -> Self {
        Self { header, total, parts: BTreeMap::new(), octets: 0, first: None, expires_at: now + KEPT_FOR }
    }

    fn has(&self, position: FragmentPosition) -> bool {
        position.total == self.total && self.parts.contains_key(&position.number)
    }

    fn complete(self) -> Option<Whole> {
        let first = self.first?;
        let mut content = Zeroizing::new(Vec::with_capacity(self.octets));
        for part in self.parts.values() {
            content.extend_from_slice(part);
        }
        let payloads = Payload::parse_all(first.kind, &content).map_err(OpenError::from);
        Some(Whole { payloads, first_datagram: first.datagram })
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::AeadInOut;
    use aes_gcm::{Aes128Gcm, KeyInit};

    use super::*;
    use crate::crypto::IkeAead;
    use crate::wire::{ExchangeType, Message};

    fn cipher() -> SkCipher {
        SkCipher::new(IkeAead::Aes128Gcm16, &[7; 20], &[]).unwrap()
    }

    fn message(octets: usize) -> Message {
        let exchange = ExchangeType::IKE_AUTH;
        let header =
            Header { spi_i: 1, spi_r: 2, exchange, from_initiator: true, response: false, message_id: 1 };
        // Several payloads, since one has at most 65,535 octets.
        Message { header, payloads: vec![Payload::VendorId(vec![9; octets / 4 - 4]); 4] }
    }

    /// The message in fragments with `room` octets of content each.
    fn cut(message: &Message, room: usize) -> Vec<Vec<u8>> {
        let mut count = 0_u64;
        let next_number = || {
            count += 1;
            count
        };
        let around = 61;
        message.seal_within(&cipher(), next_number, around + room)
    }

    fn take(reassembly: &mut Reassembly, now: Instant, datagram: &[u8]) -> Option<Whole> {
        reassembly.take(now, &cipher(), &SealedFragment::parse(datagram).unwrap(), datagram)
    }

    fn take_all(reassembly: &mut Reassembly, datagrams: &[Vec<u8>]) -> Option<Whole> {
        let now = Instant::now();
        datagrams.iter().filter_map(|datagram| take(reassembly, now, datagram)).last()
    }

    #[test]
    fn the_number_of_fragments_is_bounded() {
        for (fragments, accepted) in [(64, true), (65, false)] {
            let mut reassembly = Reassembly::default();
            let message = message(fragments * 100);
            let datagrams = cut(&message, 100);
            assert_eq!(datagrams.len(), fragments);
            let whole = take_all(&mut reassembly, &datagrams);
            assert_eq!(whole.is_some(), accepted);
            if let Some(whole) = whole {
                assert_eq!(whole.payloads, Ok(message.payloads));
                assert_eq!(whole.first_datagram, datagrams[0]);
            }
            assert!(reassembly.0.is_none());
        }
    }

    #[test]
    fn the_size_of_a_message_is_bounded() {
        for (octets, accepted) in [(MAX_OCTETS, true), (MAX_OCTETS + 4, false)] {
            let mut reassembly = Reassembly::default();
            let whole = take_all(&mut reassembly, &cut(&message(octets), 1000));
            assert_eq!(whole.is_some(), accepted);
            assert!(reassembly.0.is_none());
        }
    }

    #[test]
    fn only_a_larger_total_starts_over() {
        let mut reassembly = Reassembly::default();
        let message = message(300);
        let (three, four) = (cut(&message, 100), cut(&message, 80));
        assert!(take_all(&mut reassembly, &four[..2]).is_none());
        assert!(take_all(&mut reassembly, &three).is_none(), "a smaller total is ignored");
        assert!(take_all(&mut reassembly, &four[2..]).is_some());
        assert!(take_all(&mut reassembly, &three[..2]).is_none());
        assert!(take_all(&mut reassembly, &four[..3]).is_none());
        assert!(take_all(&mut reassembly, &three[2..]).is_none(), "the first ones are forgotten");
        assert!(take_all(&mut reassembly, &four[3..]).is_some());
    }

    #[test]
    fn another_message_takes_the_place_of_one_that_stayed_incomplete() {
        let mut reassembly = Reassembly::default();
        let mut message = message(300);
        let before = cut(&message, 100);
        message.header.message_id += 1;
        let after = cut(&message, 100);
        assert!(take_all(&mut reassembly, &before[..2]).is_none());
        assert!(take_all(&mut reassembly, &after).is_some());
        assert!(take_all(&mut reassembly, &before[2..]).is_none());
    }

    #[test]
    fn fragments_are_forgotten_in_time() {
        let (mut reassembly, start) = (Reassembly::default(), Instant::now());
        let datagrams = cut(&message(300), 100);
        assert!(take(&mut reassembly, start, &datagrams[0]).is_none());
        let later = start + KEPT_FOR / 2;
        assert!(take(&mut reassembly, later, &datagrams[1]).is_none());
        // One that was seen before does not keep them longer.
        assert!(take(&mut reassembly, later + Duration::from_secs(1), &datagrams[1]).is_none());
        assert_eq!(reassembly.expires_at(), Some(later + KEPT_FOR));
        reassembly.handle_timeout(start + KEPT_FOR);
        assert!(reassembly.0.is_some());
        reassembly.handle_timeout(later + KEPT_FOR);
        assert_eq!(reassembly.expires_at(), None);
        assert!(take(&mut reassembly, later + KEPT_FOR, &datagrams[2]).is_none());
    }

    #[test]
    fn a_fragment_with_impossible_padding_makes_the_message_malformed() {
        let mut reassembly = Reassembly::default();
        let mut datagram = cut(&message(300), 100).swap_remove(0);
        // The same outside around a content that claims more padding than there is.
        let aad = datagram[..36].to_vec();
        let mut content = vec![255; 101];
        let nonce = [[7; 4].as_slice(), &[0; 8]].concat();
        let aes_gcm = Aes128Gcm::new(&[7; 16].into());
        aes_gcm.encrypt_in_place(nonce.as_slice().try_into().unwrap(), &aad, &mut content).unwrap();
        datagram.truncate(36);
        datagram.extend([0; 8]);
        datagram.extend(content);
        let whole = take(&mut reassembly, Instant::now(), &datagram).unwrap();
        assert!(matches!(whole.payloads, Err(OpenError::Content(_))));
    }

    #[test]
    fn the_packet_has_the_configured_size() {
        let [v4, v6, mapped] = ["192.0.2.1:500", "[2001:db8::1]:500", "[::ffff:192.0.2.1]:500"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
        assert_eq!(largest_message(1280, v4), 1280 - 20 - 8 - 4);
        assert_eq!(largest_message(1280, v6), 1280 - 40 - 8 - 4);
        assert_eq!(largest_message(1280, mapped), 1280 - 20 - 8 - 4);
        assert_eq!(largest_message(0, v4), 576 - 20 - 8 - 4);
        assert_eq!(largest_message(576, v6), 1280 - 40 - 8 - 4, "every IPv6 path carries that");
        assert_eq!(largest_message(usize::MAX, v4), 65_535 - 20 - 8 - 4);
    }
}

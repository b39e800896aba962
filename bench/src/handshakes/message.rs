//! IKEv2 messages, as far as an initiator with one fixed proposal needs them (RFC 7296 section 3).

use anyhow::{Context as _, Result, ensure};

/// IKE_SA_INIT.
pub(super) const IKE_SA_INIT: u8 = 34;
/// IKE_AUTH.
pub(super) const IKE_AUTH: u8 = 35;
/// Length of the IKE header in bytes.
pub(super) const HEADER_LEN: usize = 28;
/// Length of a payload's generic header in bytes.
pub(super) const GENERIC_LEN: usize = 4;

/// Payload types (RFC 7296 section 3.2).
pub(super) mod payload {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const SA: u8 = 33;
    pub(crate) const KE: u8 = 34;
    pub(crate) const ID_I: u8 = 35;
    pub(crate) const ID_R: u8 = 36;
    pub(crate) const AUTH: u8 = 39;
    pub(crate) const NONCE: u8 = 40;
    pub(crate) const NOTIFY: u8 = 41;
    pub(crate) const TS_I: u8 = 44;
    pub(crate) const TS_R: u8 = 45;
    pub(crate) const SK: u8 = 46;
}

/// Notify message types (RFC 7296 section 3.10.1).
pub(super) mod notify {
    /// From here on types are status, below errors.
    pub(crate) const FIRST_STATUS: u16 = 16384;
    pub(crate) const INITIAL_CONTACT: u16 = 16384;
    pub(crate) const NAT_DETECTION_SOURCE_IP: u16 = 16388;
    pub(crate) const NAT_DETECTION_DESTINATION_IP: u16 = 16389;
    pub(crate) const COOKIE: u16 = 16390;
}

const VERSION: u8 = 0x20;
const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;

/// Payloads of a message, each a type and its body.
#[derive(Default)]
pub(super) struct Payloads(Vec<(u8, Vec<u8>)>);

impl Payloads {
    /// Appends a payload.
    pub(super) fn push(&mut self, kind: u8, body: Vec<u8>) {
        self.0.push((kind, body));
    }

    /// Appends a notification that concerns no SA.
    pub(super) fn push_notify(&mut self, kind: u16, data: &[u8]) {
        let [high, low] = kind.to_be_bytes();
        self.push(payload::NOTIFY, [&[0, 0, high, low], data].concat());
    }

    /// The type of the first payload and the chain as bytes.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        let kinds = self.0.iter().map(|(kind, _)| *kind).chain([payload::NONE]);
        let mut bytes = Vec::new();
        for ((_, body), next) in self.0.iter().zip(kinds.clone().skip(1)) {
            bytes.extend(generic_header(next, body.len()));
            bytes.extend(body);
        }
        (kinds.into_iter().next().unwrap_or(payload::NONE), bytes)
    }

    /// Reads a chain whose first payload is of type `first`.
    ///
    /// # Errors
    /// A payload ends behind the chain.
    pub(super) fn decode(first: u8, bytes: &[u8]) -> Result<Self> {
        let (mut kind, mut rest) = (first, bytes);
        let mut found = Vec::new();
        while kind != payload::NONE {
            let (header, behind) = rest.split_first_chunk::<GENERIC_LEN>().context("a payload is cut off")?;
            let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            ensure!(len >= GENERIC_LEN && len <= rest.len(), "a payload has an impossible length");
            let (body, behind) = behind.split_at(len - GENERIC_LEN);
            found.push((kind, body.to_vec()));
            (kind, rest) = (header[0], behind);
        }
        Ok(Self(found))
    }

    /// The body of the first payload of a type.
    ///
    /// # Errors
    /// There is none; if there is an error notification instead, the error names it.
    pub(super) fn body(&self, kind: u8) -> Result<&[u8]> {
        if let Some(error) = self.notifications().find(|(kind, _)| *kind < notify::FIRST_STATUS) {
            anyhow::bail!("the responder refuses with notification {}", error.0);
        }
        let found = self.0.iter().find(|(other, _)| *other == kind);
        Ok(&found.with_context(|| format!("no payload of type {kind}"))?.1)
    }

    /// The data of the first notification of a type.
    pub(super) fn notification(&self, kind: u16) -> Option<&[u8]> {
        self.notifications().find(|(other, _)| *other == kind).map(|(_, data)| data)
    }

    fn notifications(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.0.iter().filter(|(kind, _)| *kind == payload::NOTIFY).filter_map(|(_, body)| {
            let (header, rest) = body.split_first_chunk::<4>()?;
            Some((u16::from_be_bytes([header[2], header[3]]), rest.get(usize::from(header[1])..)?))
        })
    }
}

/// A payload's generic header.
pub(super) fn generic_header(next: u8, body_len: usize) -> [u8; GENERIC_LEN] {
    let [high, low] = ((GENERIC_LEN + body_len) as u16).to_be_bytes();
    [next, 0, high, low]
}

/// Header of a request with `body_len` bytes behind it.
pub(super) fn request_header(
    spi_i: u64,
    spi_r: u64,
    first: u8,
    exchange: u8,
    message_id: u32,
    body_len: usize,
) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_LEN + body_len);
    header.extend(spi_i.to_be_bytes());
    header.extend(spi_r.to_be_bytes());
    header.extend([first, VERSION, exchange, FLAG_INITIATOR]);
    header.extend(message_id.to_be_bytes());
    header.extend(((HEADER_LEN + body_len) as u32).to_be_bytes());
    header
}

/// A response, its payloads not yet read.
pub(super) struct Response<'a> {
    pub(super) spi_i: u64,
    pub(super) spi_r: u64,
    /// Type of the first payload.
    pub(super) first: u8,
    pub(super) exchange: u8,
    pub(super) message_id: u32,
    /// What lies behind the header.
    pub(super) body: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads the header; `None` for what is no response to an initiator.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, body) = message.split_first_chunk::<HEADER_LEN>()?;
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let spi = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let is_response = header[19] & (FLAG_RESPONSE | FLAG_INITIATOR) == FLAG_RESPONSE;
        (is_response && word(24) as usize == message.len()).then_some(Self {
            spi_i: spi(0),
            spi_r: spi(8),
            first: header[16],
            exchange: header[18],
            message_id: word(20),
            body,
        })
    }
}

/// SA payload body with a single proposal of `protocol` (RFC 7296 section 3.3). `transforms`: type, number, and the key length in bits where
/// the algorithm has several.
pub(super) fn proposal(protocol: u8, spi: &[u8], transforms: &[(u8, u16, Option<u16>)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (position, (kind, number, key_bits)) in transforms.iter().enumerate() {
        let more = if position + 1 == transforms.len() { 0 } else { 3 };
        let attribute = key_bits.map(|bits| [[0x80, 14], bits.to_be_bytes()].concat()).unwrap_or_default();
        encoded.extend([more, 0, 0, (8 + attribute.len()) as u8, *kind, 0]);
        encoded.extend(number.to_be_bytes());
        encoded.extend(attribute);
    }
    let mut body = vec![0, 0];
    body.extend(((8 + spi.len() + encoded.len()) as u16).to_be_bytes());
    body.extend([1, protocol, spi.len() as u8, transforms.len() as u8]);
    body.extend(spi);
    body.extend(encoded);
    body
}

/// TS payload body with one range of IPv4 addresses, every protocol and port (RFC 7296 section 3.13).
pub(super) fn traffic_selector(first: [u8; 4], last: [u8; 4]) -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 0xff, 0xff];
    body.extend(first);
    body.extend(last);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_and_chains_that_lie_do_not() {
        let mut payloads = Payloads::default();
        payloads.push(payload::NONCE, vec![7; 32]);
        payloads.push_notify(notify::COOKIE, b"cookie");
        let (first, chain) = payloads.encode();
        assert_eq!((first, chain.len()), (payload::NONCE, 4 + 32 + 4 + 4 + 6));
        let decoded = Payloads::decode(first, &chain).unwrap();
        assert_eq!(decoded.body(payload::NONCE).unwrap(), [7; 32]);
        assert_eq!(decoded.notification(notify::COOKIE), Some(&b"cookie"[..]));
        assert!(decoded.body(payload::KE).is_err());
        for len in 0..chain.len() {
            assert!(Payloads::decode(first, &chain[..len]).is_err(), "{len}");
        }
        for lie in [[0, 0], [0, 3], [0xff, 0xff]] {
            let mut lying = chain.clone();
            lying[2..4].copy_from_slice(&lie);
            assert!(Payloads::decode(first, &lying).is_err(), "{lie:?}");
        }
    }

    #[test]
    fn an_error_notification_fails_the_search_for_anything_else() {
        let mut payloads = Payloads::default();
        payloads.push_notify(14, &[]);
        let error = payloads.body(payload::SA).unwrap_err().to_string();
        assert!(error.contains("notification 14"), "{error}");
    }

    #[test]
    fn only_whole_responses_to_an_initiator_are_read() {
        let mut message = request_header(1, 2, payload::NONE, IKE_AUTH, 1, 3);
        message.extend([9; 3]);
        assert!(Response::parse(&message).is_none(), "a request");
        message[19] = FLAG_RESPONSE;
        let response = Response::parse(&message).unwrap();
        assert_eq!(
            (response.spi_i, response.spi_r, response.exchange, response.message_id),
            (1, 2, IKE_AUTH, 1)
        );
        assert_eq!(response.body, [9; 3]);
        assert!(Response::parse(&message[..30]).is_none(), "cut off");
    }

    #[test]
    fn a_proposal_has_the_form_of_the_rfc() {
        let body = proposal(3, &[1, 2, 3, 4], &[(1, 20, Some(256)), (5, 0, None)]);
        let transforms = [3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, 0, 0, 0, 8, 5, 0, 0, 0];
        assert_eq!(body, [&[0, 0, 0, 32, 1, 3, 4, 2, 1, 2, 3, 4][..], &transforms].concat());
    }
}

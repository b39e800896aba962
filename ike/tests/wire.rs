//! Codecs against arbitrary input.

use std::net::{Ipv4Addr, Ipv6Addr};

use ike::crypto::{IkeAead, IkeCbc, Integrity, SkAlgorithms, SkCipher};
use ike::wire::{
    AddressRange, Attribute, AttributeValue, AuthMethod, Authentication, CertEncoding, Certificate, Delete,
    ExchangeType, Header, IdType, Identification, KeyExchangeData, Message, Notify, NotifyType, OpenError,
    ParseError, Payload, PayloadType, Proposal, ProtocolId, SealedFragment, SealedMessage, Selector,
    TrafficSelector, Transform, TransformType,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn cipher() -> SkCipher {
    SkCipher::new(IkeAead::Aes128Gcm16, &[7; 20], &[]).unwrap()
}

/// A cipher of either kind.
fn either_cipher() -> impl Strategy<Value = SkCipher> {
    let cbc = SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha384);
    prop_oneof![Just(SkAlgorithms::Aead(IkeAead::ChaCha20Poly1305)), Just(cbc)].prop_map(|algorithms| {
        SkCipher::new(algorithms, &vec![7; algorithms.sk_e_len()], &vec![8; algorithms.sk_a_len()]).unwrap()
    })
}

/// The datagrams of a message of which none is longer than `largest`, each with an IV of its own.
fn in_fragments(message: &Message, cipher: &SkCipher, largest: usize) -> Vec<Vec<u8>> {
    let mut count = 0_u64;
    let next_number = || {
        count += 1;
        count
    };
    message.seal_within(cipher, next_number, largest)
}

fn octets(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..longest)
}

fn header() -> impl Strategy<Value = Header> {
    (any::<u64>(), any::<u64>(), any::<u8>(), any::<bool>(), any::<bool>(), any::<u32>()).prop_map(
        |(spi_i, spi_r, exchange, from_initiator, response, message_id)| Header {
            spi_i,
            spi_r,
            exchange: ExchangeType(exchange),
            from_initiator,
            response,
            message_id,
        },
    )
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value =
        prop_oneof![any::<u16>().prop_map(AttributeValue::Short), octets(9).prop_map(AttributeValue::Long),];
    (0..0x8000_u16, value).prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), octets(9), vec(transform(), 0..6)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        },
    )
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    let addresses = prop_oneof![
        any::<[u32; 2]>().prop_map(|[a, b]| AddressRange::V4(Ipv4Addr::from(a), Ipv4Addr::from(b))),
        any::<[u128; 2]>().prop_map(|[a, b]| AddressRange::V6(Ipv6Addr::from(a), Ipv6Addr::from(b))),
    ];
    let range = (any::<u8>(), any::<(u16, u16)>(), addresses).prop_map(|(protocol, ports, addresses)| {
        TrafficSelector::Range(Selector { protocol, ports, addresses })
    });
    let unknown = (9..=255_u8, vec(any::<u8>(), 1..30))
        .prop_map(|(kind, body)| TrafficSelector::Unknown { kind, body });
    prop_oneof![range, unknown]
}

fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u8>(), octets(50))
        .prop_map(|(encoding, data)| Certificate { encoding: CertEncoding(encoding), data })
}

fn identification() -> impl Strategy<Value = Identification> {
    (any::<u8>(), octets(40)).prop_map(|(kind, data)| Identification::new(IdType(kind), &data))
}

fn delete() -> impl Strategy<Value = Delete> {
    let protocol = prop_oneof![Just(ProtocolId::AH), Just(ProtocolId::ESP)];
    prop_oneof![
        Just(Delete::IkeSa),
        (protocol, vec(any::<u32>(), 0..5)).prop_map(|(protocol, spis)| Delete::ChildSas { protocol, spis }),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let notify =
        (any::<u8>(), octets(9), any::<u16>(), octets(70)).prop_map(|(protocol, spi, kind, data)| Notify {
            protocol: ProtocolId(protocol),
            spi,
            kind: NotifyType(kind),
            data,
        });
    let authentication = (any::<u8>(), octets(70))
        .prop_map(|(method, data)| Authentication { method: AuthMethod(method), data });
    prop_oneof![
        vec(proposal(), 1..4).prop_map(Payload::SecurityAssociation),
        (any::<u16>(), octets(300))
            .prop_map(|(group, data)| Payload::KeyExchange(KeyExchangeData { group, data })),
        identification().prop_map(Payload::IdInitiator),
        identification().prop_map(Payload::IdResponder),
        certificate().prop_map(Payload::Certificate),
        certificate().prop_map(Payload::CertificateRequest),
        authentication.prop_map(Payload::Authentication),
        vec(any::<u8>(), 16..=256).prop_map(Payload::Nonce),
        notify.prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        octets(40).prop_map(Payload::VendorId),
        vec(selector(), 1..5).prop_map(Payload::SelectorsInitiator),
        vec(selector(), 1..5).prop_map(Payload::SelectorsResponder),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (header(), vec(payload(), 0..8)).prop_map(|(header, payloads)| Message { header, payloads })
}

/// Changes some octets, cuts or extends, and mends the length half of the time.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (message(), changes, any::<prop::sample::Index>(), octets(5), any::<bool>()).prop_map(
        |(message, changes, cut, extra, mend)| {
            let mut datagram = message.encode();
            for (index, octet) in changes {
                let at = index.index(datagram.len());
                datagram[at] = octet;
            }
            if extra.is_empty() {
                datagram.truncate(cut.index(datagram.len()));
            }
            datagram.extend(extra);
            mend_length(&mut datagram, mend);
            datagram
        },
    )
}

fn mend_length(datagram: &mut [u8], mend: bool) {
    let len = u32::try_from(datagram.len()).unwrap();
    if let Some(field) = datagram.get_mut(24..28).filter(|_| mend) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_parses_to_the_same(message in message()) {
        prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
    }

    #[test]
    fn what_is_sealed_opens_to_the_same(message in message(), cipher in either_cipher(), number in any::<u64>()) {
        let datagram = message.seal(&cipher, number);
        let sealed = SealedMessage::parse(&datagram).unwrap();
        prop_assert_eq!(sealed.header, message.header);
        prop_assert_eq!(sealed.open(&cipher), Ok(message.payloads));
        prop_assert_eq!(Message::parse(&datagram), Err(ParseError::Protection));
    }

    #[test]
    fn what_is_sealed_in_fragments_opens_to_the_same(message in message(), cipher in either_cipher(), largest in 100..900_usize) {
        let datagrams = in_fragments(&message, &cipher, largest);
        prop_assert!(datagrams.iter().all(|datagram| datagram.len() <= largest));
        let whole = message.seal(&cipher, 0).len();
        prop_assert_eq!(datagrams.len() == 1, whole <= largest);
        if let [datagram] = datagrams.as_slice() {
            prop_assert_eq!(SealedMessage::parse(datagram).unwrap().open(&cipher), Ok(message.payloads));
            return Ok(());
        }
        let mut content = Vec::new();
        let mut first = PayloadType::NONE;
        for (index, datagram) in datagrams.iter().enumerate() {
            prop_assert_eq!(Message::parse(datagram), Err(ParseError::Protection));
            let sealed = SealedFragment::parse(datagram).unwrap();
            prop_assert_eq!(sealed.header, message.header);
            prop_assert_eq!(usize::from(sealed.position.number), index + 1);
            prop_assert_eq!(usize::from(sealed.position.total), datagrams.len());
            let fragment = sealed.open(&cipher).unwrap();
            if index == 0 {
                first = fragment.first;
            } else {
                prop_assert_eq!(fragment.first, PayloadType::NONE);
            }
            content.extend_from_slice(&fragment.content);
        }
        prop_assert_eq!(Payload::parse_all(first, &content), Ok(message.payloads));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_fragment_does_not_open(message in message(), at in any::<[prop::sample::Index; 2]>(), bit in 0..8_u32) {
        let mut datagrams = in_fragments(&message, &cipher(), 80);
        let index = at[0].index(datagrams.len());
        let datagram = &mut datagrams[index];
        let at = at[1].index(datagram.len());
        datagram[at] ^= 1_u8 << bit;
        let opened = SealedFragment::parse(datagram).map(|sealed| sealed.open(&cipher()));
        prop_assert!(matches!(opened, Err(_) | Ok(Err(OpenError::Integrity))), "{opened:?}");
    }

    #[test]
    fn a_flipped_bit_anywhere_does_not_open(message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut datagram = message.seal(&cipher(), 0);
        let at = at.index(datagram.len());
        datagram[at] ^= 1_u8 << bit;
        let opened = SealedMessage::parse(&datagram).map(|sealed| sealed.open(&cipher()));
        prop_assert!(matches!(opened, Err(_) | Ok(Err(OpenError::Integrity))), "{opened:?}");
    }

    #[test]
    fn arbitrary_octets_do_not_panic(mut datagram in octets(400), mend in any::<bool>()) {
        mend_length(&mut datagram, mend);
        if let Some(version) = datagram.get_mut(17).filter(|_| mend) {
            *version = 0x20;
        }
        let _ = SealedMessage::parse(&datagram).map(|sealed| sealed.open(&cipher()));
        let _ = SealedFragment::parse(&datagram).map(|sealed| sealed.open(&cipher()));
        if let Ok(message) = Message::parse(&datagram) {
            prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn damaged_messages_do_not_panic_and_what_parses_is_stable(datagram in damaged()) {
        let _ = SealedMessage::parse(&datagram).map(|sealed| sealed.open(&cipher()));
        let _ = SealedFragment::parse(&datagram).map(|sealed| sealed.open(&cipher()));
        if let Ok(message) = Message::parse(&datagram) {
            prop_assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn intersections_are_symmetric_and_inside_of_both(a in selector(), b in selector()) {
        if let (TrafficSelector::Range(a), TrafficSelector::Range(b)) = (a, b) {
            let common = a.intersection(&b);
            prop_assert_eq!(&common, &b.intersection(&a));
            if let Some(common) = common {
                prop_assert_eq!(common.intersection(&a), Some(common.clone()));
                prop_assert_eq!(common.intersection(&b), Some(common.clone()));
            }
        }
    }
}

fn empty_message() -> Message {
    let header = Header {
        spi_i: 1,
        spi_r: 2,
        exchange: ExchangeType::INFORMATIONAL,
        from_initiator: true,
        response: false,
        message_id: 3,
    };
    Message { header, payloads: Vec::new() }
}

/// A message with one payload of this type and flags octet.
fn with_raw_payload(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut datagram = empty_message().encode();
    datagram[16] = kind;
    let len = u16::try_from(4 + body.len()).unwrap();
    datagram.extend([0, flags]);
    datagram.extend(len.to_be_bytes());
    datagram.extend(body);
    mend_length(&mut datagram, true);
    datagram
}

#[test]
fn the_header_is_laid_out_as_in_rfc_7296() {
    let expected = [
        &1_u64.to_be_bytes()[..],
        &2_u64.to_be_bytes(),
        &[0, 0x20, 37, 0x08],
        &3_u32.to_be_bytes(),
        &28_u32.to_be_bytes(),
    ];
    assert_eq!(empty_message().encode(), expected.concat());
}

#[test]
fn an_sa_payload_is_laid_out_as_in_rfc_7296() {
    let transforms =
        vec![Transform::new(TransformType::ENCR, 20, Some(256)), Transform::new(TransformType::ESN, 1, None)];
    let spi = vec![0xde, 0xad, 0xbe, 0xef];
    let proposal = Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms };
    let message = Message { payloads: vec![Payload::SecurityAssociation(vec![proposal])], ..empty_message() };
    let expected = [
        0, 0, 0, 36, // generic header
        0, 0, 0, 32, 1, 3, 4, 2, 0xde, 0xad, 0xbe, 0xef, // proposal
        3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, // cipher with key length
        0, 0, 0, 8, 5, 0, 0, 1, // ESN
    ];
    assert_eq!(message.encode()[28..], expected);
}

#[test]
fn a_fragment_is_laid_out_as_in_rfc_7383() {
    let vendor = Payload::VendorId(vec![7; 60]);
    let message = Message { payloads: vec![vendor], ..empty_message() };
    let datagrams = in_fragments(&message, &cipher(), 100);
    let lengths: Vec<_> = datagrams.iter().map(Vec::len).collect();
    // 64 octets of content, and 61 around each part: header 28, generic header 4, numbers 4, IV 8, pad length 1, ICV 16.
    assert_eq!(lengths, [100, 61 + 25]);
    let outside = |next: u8, number: u8, len: u8, iv: u8| {
        let header =
            [&1_u64.to_be_bytes()[..], &2_u64.to_be_bytes(), &[53, 0x20, 37, 0x08], &3_u32.to_be_bytes()];
        let fields = [0, 0, 0, len + 28, next, 0, 0, len, 0, number, 0, 2, 0, 0, 0, 0, 0, 0, 0, iv];
        [&header.concat()[..], &fields].concat()
    };
    assert_eq!(datagrams[0][..44], outside(43, 1, 72, 1));
    assert_eq!(datagrams[1][..44], outside(0, 2, 58, 2));
}

#[test]
fn impossible_numbers_of_fragments_are_refused() {
    for (number, total, expected) in [
        (0, 0, Some("fragment number")),
        (0, 2, Some("fragment number")),
        (3, 2, Some("fragment number")),
        (1, 1, None),
        (0xffff, 0xffff, None),
    ] {
        let [number, total] = [number, total].map(u16::to_be_bytes);
        let body = [&number[..], &total, &[0; 24]].concat();
        let error = SealedFragment::parse(&with_raw_payload(53, 0, &body)).err();
        assert_eq!(error, expected.map(ParseError::Invalid), "{number:?} of {total:?}");
    }
    assert_eq!(
        SealedFragment::parse(&with_raw_payload(53, 0, &[0, 1, 0])).err(),
        Some(ParseError::Truncated)
    );
    assert_eq!(SealedFragment::parse(&with_raw_payload(46, 0, &[0; 30])).err(), Some(ParseError::Protection));
}

#[test]
fn unknown_payloads_are_skipped_unless_they_are_critical() {
    assert_eq!(Message::parse(&with_raw_payload(200, 0, b"what")), Ok(empty_message()));
    assert_eq!(
        Message::parse(&with_raw_payload(200, 0x80, b"what")),
        Err(ParseError::UnsupportedCritical(PayloadType(200)))
    );
    // The bit means nothing on payloads that are known.
    assert!(Message::parse(&with_raw_payload(43, 0x80, b"vendor")).is_ok());
}

#[test]
fn malformed_payloads_are_refused() {
    for (kind, body, expected) in [
        (40, &[0; 15][..], ParseError::Invalid("length of nonce")),
        (40, &[0; 257], ParseError::Invalid("length of nonce")),
        (33, &[], ParseError::Truncated),
        (33, &[0, 0, 0, 3], ParseError::Invalid("length")),
        (33, &[1, 0, 0, 8, 1, 1, 0, 0], ParseError::Invalid("marker of last proposal")),
        (33, &[2, 0, 0, 8, 1, 1, 0, 0], ParseError::Truncated),
        (33, &[0, 0, 0, 9, 1, 1, 0, 0, 9], ParseError::TrailingOctets),
        (
            33,
            &[0, 0, 0, 16, 1, 1, 0, 1, 3, 0, 0, 8, 1, 0, 0, 1],
            ParseError::Invalid("marker of last transform"),
        ),
        (42, &[1, 0, 0, 1], ParseError::Invalid("delete payload")),
        (42, &[3, 8, 0, 0], ParseError::Invalid("delete payload")),
        (42, &[3, 4, 0, 2, 1, 2, 3, 4], ParseError::Truncated),
        (42, &[3, 4, 0, 0, 1], ParseError::TrailingOctets),
        (44, &[0, 0, 0, 0], ParseError::Invalid("number of traffic selectors")),
        (44, &[1, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 0], ParseError::Truncated),
        (35, &[1, 0, 0], ParseError::Truncated),
        (46, &[0; 40], ParseError::Protection),
        (53, &[0; 40], ParseError::Protection),
    ] {
        assert_eq!(Message::parse(&with_raw_payload(kind, 0, body)), Err(expected), "type {kind} {body:?}");
    }
}

#[test]
fn header_errors_are_told_apart() {
    let good = empty_message().encode();
    assert_eq!(Message::parse(&good[..27]), Err(ParseError::Truncated));
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(Message::parse(&longer), Err(ParseError::MessageLength { header: 28, datagram: 29 }));
    let mut version_3 = good.clone();
    version_3[17] = 0x30;
    assert_eq!(Message::parse(&version_3), Err(ParseError::MajorVersion(3)));
    // A higher minor version is accepted (RFC 7296 §2.5).
    let mut version_2_1 = good;
    version_2_1[17] = 0x21;
    assert_eq!(Message::parse(&version_2_1), Ok(empty_message()));
}

#[test]
fn octets_behind_the_protected_payload_are_refused() {
    let cipher = cipher();
    let mut datagram = empty_message().seal(&cipher, 1);
    assert!(SealedMessage::parse(&datagram).is_ok());
    datagram.push(0);
    let length = u32::try_from(datagram.len()).unwrap();
    datagram[24..28].copy_from_slice(&length.to_be_bytes());
    assert_eq!(SealedMessage::parse(&datagram).err(), Some(ParseError::TrailingOctets));
}

//! Parsers against arbitrary octets.

use ike::crypto::{IkeAead, IkeCbc, Integrity, SkAlgorithms, SkCipher};
use ike::wire::{ExchangeType, Header, Message, Payload, PayloadType, SealedFragment, SealedMessage};

/// A cipher of each kind, with fixed keys.
fn ciphers() -> [SkCipher; 2] {
    let kinds = [IkeAead::Aes128Gcm16.into(), SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha256)];
    kinds.map(|kind: SkAlgorithms| {
        let (sk_e, sk_a) = (vec![7; kind.sk_e_len()], vec![8; kind.sk_a_len()]);
        SkCipher::new(kind, &sk_e, &sk_a).expect("the keys have the right length")
    })
}

/// A datagram: whatever parses must encode to octets that parse to the same, and nothing opens by chance.
pub fn message(datagram: &[u8]) {
    for cipher in ciphers() {
        if let Ok(sealed) = SealedMessage::parse(datagram) {
            assert!(sealed.open(&cipher).is_err(), "a forged message opens");
        }
        if let Ok(sealed) = SealedFragment::parse(datagram) {
            assert!((1..=sealed.position.total).contains(&sealed.position.number));
            assert!(sealed.open(&cipher).is_err(), "a forged fragment opens");
        }
    }
    if let Ok(message) = Message::parse(datagram) {
        assert_eq!(Message::parse(&message.encode()), Ok(message));
    }
}

/// The decrypted content of a message, behind one octet for the type of the first payload: what parses must survive
/// the way through encryption, whole and in fragments.
pub fn payloads(input: &[u8]) {
    let Some((first, content)) = input.split_first() else { return };
    let Ok(payloads) = Payload::parse_all(PayloadType(*first), content) else { return };
    let header = Header {
        spi_i: 1,
        spi_r: 2,
        exchange: ExchangeType::INFORMATIONAL,
        from_initiator: true,
        response: false,
        message_id: 3,
    };
    let message = Message { header, payloads };
    assert_eq!(Message::parse(&message.encode()).as_ref(), Ok(&message));
    for cipher in ciphers() {
        through_encryption(&message, &cipher);
    }
}

fn through_encryption(message: &Message, cipher: &SkCipher) {
    let mut count = 0;
    let next_number = || {
        count += 1;
        count
    };
    let (mut first, mut content) = (PayloadType::NONE, Vec::new());
    for datagram in message.seal_within(cipher, next_number, 200) {
        assert!(datagram.len() <= 200);
        if let Ok(sealed) = SealedMessage::parse(&datagram) {
            assert_eq!(sealed.open(cipher).as_ref(), Ok(&message.payloads));
            return;
        }
        let sealed = SealedFragment::parse(&datagram).expect("it is one or the other");
        let fragment = sealed.open(cipher).expect("nobody changed it");
        if sealed.position.number == 1 {
            first = fragment.first;
        }
        content.extend_from_slice(&fragment.content);
    }
    assert_eq!(Payload::parse_all(first, &content).as_ref(), Ok(&message.payloads));
}

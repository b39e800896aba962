//! ESP built and opened by hand, independent of the gateway's code (RFC 4303, RFC 4106, RFC 7634, RFC 8750).

use gateway_common::Aead;
use gateway_user::datapath::SaConfig;
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

/// Next header of an IPv4 packet.
pub const IPV4: u8 = 4;
/// Next header of an IPv6 packet.
pub const IPV6: u8 = 41;

pub(crate) fn key(sa: &SaConfig) -> LessSafeKey {
    let algorithm: &'static Algorithm = match sa.aead {
        Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        Aead::Aes128Gcm => &AES_128_GCM,
        Aead::Aes256Gcm => &AES_256_GCM,
    };
    LessSafeKey::new(UnboundKey::new(algorithm, &sa.key).unwrap())
}

fn nonce(sa: &SaConfig, iv: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&sa.salt);
    nonce[4..].copy_from_slice(iv);
    Nonce::assume_unique_for_key(nonce)
}

fn aad(sa: &SaConfig, sequence: u64) -> Vec<u8> {
    let mut aad = sa.spi.to_be_bytes().to_vec();
    if sa.esn {
        aad.extend(sequence.to_be_bytes());
    } else {
        aad.extend((sequence as u32).to_be_bytes());
    }
    aad
}

/// The IV that RFC 8750 section 4 prescribes: four zero bytes and the sequence number, or all of an extended one.
fn implicit_iv(sa: &SaConfig, sequence: u64) -> [u8; 8] {
    let mut iv = [0; 8];
    iv[4..].copy_from_slice(&(sequence as u32).to_be_bytes());
    if sa.esn {
        iv[..4].copy_from_slice(&((sequence >> 32) as u32).to_be_bytes());
    }
    iv
}

/// An ESP packet, from SPI to ICV, whose plaintext is `payload`, `filler` zero bytes, padding and trailer.
pub fn seal(sa: &SaConfig, sequence: u64, payload: &[u8], filler: usize, next_header: u8) -> Vec<u8> {
    let mut text = payload.to_vec();
    text.resize(payload.len() + filler, 0);
    let padding = (4 - (text.len() + 2) % 4) % 4;
    text.extend((1..=padding).map(|byte| byte as u8));
    text.extend([padding as u8, next_header]);
    // Not the sequence number where it is sent: a receiver must take the IV as it comes.
    let sent_iv = (sequence ^ 0x5a5a_0000_0000_0000).to_be_bytes();
    let (iv, sent_iv) =
        if sa.implicit_iv { (implicit_iv(sa, sequence), &[][..]) } else { (sent_iv, &sent_iv[..]) };
    key(sa).seal_in_place_append_tag(nonce(sa, &iv), Aad::from(aad(sa, sequence)), &mut text).unwrap();
    [&sa.spi.to_be_bytes()[..], &(sequence as u32).to_be_bytes(), sent_iv, &text].concat()
}

/// Opens an ESP packet around an IPv4 packet, whose sequence number has the upper half `high`: sequence number and payload.
pub fn open(sa: &SaConfig, high: u32, esp: &[u8]) -> (u64, Vec<u8>) {
    open_as(sa, high, esp, IPV4)
}

/// As [`open`], for an ESP packet with the next header `expected`.
pub fn open_as(sa: &SaConfig, high: u32, esp: &[u8], expected: u8) -> (u64, Vec<u8>) {
    assert_eq!(esp[..4], sa.spi.to_be_bytes(), "SPI");
    let sequence = u64::from(high) << 32 | u64::from(u32::from_be_bytes(esp[4..8].try_into().unwrap()));
    let (iv, text) = if sa.implicit_iv {
        (implicit_iv(sa, sequence), &esp[8..])
    } else {
        (esp[8..16].try_into().unwrap(), &esp[16..])
    };
    let mut text = text.to_vec();
    assert_eq!((text.len() - 16) % 4, 0, "alignment of the ciphertext");
    let plain = key(sa).open_in_place(nonce(sa, &iv), Aad::from(aad(sa, sequence)), &mut text).expect("ICV");
    let (padding, next_header) = (plain[plain.len() - 2], plain[plain.len() - 1]);
    assert_eq!(next_header, expected, "next header");
    let end = plain.len() - 2 - usize::from(padding);
    for (position, byte) in plain[end..plain.len() - 2].iter().enumerate() {
        assert_eq!(usize::from(*byte), position + 1, "padding");
    }
    (sequence, plain[..end].to_vec())
}

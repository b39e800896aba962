//! Security associations with an AEAD of their own, so that nothing is checked against the gateway's code.

use gateway_common::Aead;
use gateway_user::datapath::{PacketPolicy, SaConfig};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::net::{SocketAddr, SocketAddrV4};
use zeroize::Zeroizing;

use super::network::{OUTER, Tunnel};

/// Bytes of an integrity check value (RFC 4106 section 6, RFC 7634 section 2).
pub(crate) const ICV: usize = 16;

/// An SA, in whichever direction.
pub(crate) struct Association {
    /// What the gateway is told.
    pub(crate) config: SaConfig,
    /// Its tunnel.
    pub(crate) tunnel: u32,
    key: LessSafeKey,
}

/// Properties that are negotiated, besides the algorithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) esn: bool,
    pub(crate) implicit_iv: bool,
    /// ESP in UDP.
    pub(crate) udp: bool,
}

impl Kind {
    /// One of the eight.
    pub(crate) fn numbered(number: u32) -> Self {
        Self { esn: number & 1 != 0, implicit_iv: number & 2 != 0, udp: number & 4 != 0 }
    }
}

impl Association {
    /// An SA of `tunnel` with a random key.
    pub(crate) fn new(tunnel: &Tunnel, spi: u32, aead: Aead, kind: Kind, random: &mut StdRng) -> Self {
        let mut key = vec![0; aead.key_len()];
        random.fill_bytes(&mut key);
        let algorithm = match aead {
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
        };
        let config = SaConfig {
            spi,
            aead,
            salt: random.random(),
            esn: kind.esn,
            implicit_iv: kind.implicit_iv,
            local: SocketAddrV4::new(OUTER.into(), 4500).into(),
            remote: SocketAddrV4::new(tunnel.remote.into(), random.random_range(4500..4503)).into(),
            udp_encapsulation: kind.udp,
            udp_port_entropy: kind.udp && random.random(),
            soft_bytes: 0,
            hard_bytes: 0,
            resource: None,
            policy: PacketPolicy::default(),
            key: Zeroizing::new(key.clone()),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("the key has the right length"));
        Self { config, tunnel: tunnel.number, key }
    }

    /// Outer address of the peer.
    pub(crate) fn remote(&self) -> [u8; 4] {
        octets(self.config.remote)
    }

    /// Outer address of the gateway.
    pub(crate) fn local(&self) -> [u8; 4] {
        octets(self.config.local)
    }

    /// Bytes of the IV that are sent (RFC 8750 section 3).
    pub(crate) fn iv_len(&self) -> usize {
        if self.config.implicit_iv { 0 } else { 8 }
    }

    /// An ESP packet, from SPI to ICV, whose plaintext, trailer included, is `text`.
    pub(crate) fn seal(&self, sequence: u64, iv: [u8; 8], mut text: Vec<u8>) -> Vec<u8> {
        let mut esp = self.config.spi.to_be_bytes().to_vec();
        esp.extend((sequence as u32).to_be_bytes());
        let iv = if self.config.implicit_iv { self.implicit_iv(sequence) } else { iv };
        esp.extend(&iv[..self.iv_len()]);
        let aad = Aad::from(self.aad(sequence));
        self.key.seal_in_place_append_tag(self.nonce(iv), aad, &mut text).expect("the text is short");
        esp.extend(text);
        esp
    }

    /// The plaintext of the ESP packet `esp`, from SPI to ICV, with this full sequence number; `None` if the ICV is wrong.
    pub(crate) fn open(&self, sequence: u64, esp: &[u8]) -> Option<Vec<u8>> {
        let iv = if self.config.implicit_iv {
            self.implicit_iv(sequence)
        } else {
            esp[8..16].try_into().expect("eight bytes")
        };
        let mut text = esp[8 + self.iv_len()..].to_vec();
        let plain =
            self.key.open_in_place(self.nonce(iv), Aad::from(self.aad(sequence)), &mut text).ok()?.len();
        text.truncate(plain);
        Some(text)
    }

    fn nonce(&self, iv: [u8; 8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.config.salt);
        nonce[4..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }

    /// SPI and sequence number, all of it where it is extended (RFC 4106 section 5, RFC 7634 section 2.1).
    fn aad(&self, sequence: u64) -> Vec<u8> {
        let mut aad = self.config.spi.to_be_bytes().to_vec();
        let number = sequence.to_be_bytes();
        aad.extend(if self.config.esn { &number[..] } else { &number[4..] });
        aad
    }

    /// The sequence number, its upper half zero unless it is extended (RFC 8750 section 4).
    fn implicit_iv(&self, sequence: u64) -> [u8; 8] {
        if self.config.esn { sequence } else { sequence & 0xffff_ffff }.to_be_bytes()
    }
}

/// The address, of which the model knows IPv4 ones outside.
fn octets(address: SocketAddr) -> [u8; 4] {
    match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(address) => unreachable!("{address} was never given to an SA"),
    }
}

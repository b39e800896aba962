//! Diffie-Hellman groups and key pairs.

mod ecp;
mod modp;
mod x25519;

use std::fmt;

use crypto_bigint::{U2048, U3072, U4096};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, SecureRng};
use ecp::EcpKeyPair;
use modp::{MODP_2048, MODP_3072, MODP_4096, ModpKeyPair};
use x25519::X25519KeyPair;

/// A Diffie-Hellman group (transform type 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DhGroup {
    /// 2048-bit MODP group (RFC 3526 §3).
    Modp2048,
    /// 3072-bit MODP group (RFC 3526 §4). A key exchange costs about twice that of the 2048-bit group.
    Modp3072,
    /// 4096-bit MODP group (RFC 3526 §5). A key exchange costs about four times that of the 2048-bit group.
    Modp4096,
    /// 256-bit random ECP group, NIST P-256 (RFC 5903 §3.1).
    Ecp256,
    /// 384-bit random ECP group, NIST P-384 (RFC 5903 §3.2).
    Ecp384,
    /// 521-bit random ECP group, NIST P-521 (RFC 5903 §3.3).
    Ecp521,
    /// Curve25519 (RFC 8031).
    X25519,
}

impl DhGroup {
    /// Every supported group.
    pub const ALL: [Self; 7] = [
        Self::X25519,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
    ];

    /// The group with this IANA transform id, `None` when unsupported.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            14 => Some(Self::Modp2048),
            15 => Some(Self::Modp3072),
            16 => Some(Self::Modp4096),
            19 => Some(Self::Ecp256),
            20 => Some(Self::Ecp384),
            21 => Some(Self::Ecp521),
            31 => Some(Self::X25519),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Ecp256 => 19,
            Self::Ecp384 => 20,
            Self::Ecp521 => 21,
            Self::X25519 => 31,
        }
    }

    /// The name in proposals shown to humans, such as `ecp384`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modp2048 => "modp2048",
            Self::Modp3072 => "modp3072",
            Self::Modp4096 => "modp4096",
            Self::Ecp256 => "ecp256",
            Self::Ecp384 => "ecp384",
            Self::Ecp521 => "ecp521",
            Self::X25519 => "x25519",
        }
    }

    /// Octets of a public value in a KE payload.
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::X25519 => 32,
        }
    }
}

/// The result of a Diffie-Hellman exchange, g^ir of RFC 7296, as the octet string that enters key derivation.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    /// A shared secret that was agreed elsewhere, in the octet form of its group: MODP padded to the length of the
    /// prime (RFC 7296 §2.14), ECP the x coordinate (RFC 5903 §7), Curve25519 the 32 octets of RFC 8031 §2.
    pub fn from_bytes(octets: Zeroizing<Vec<u8>>) -> Self {
        Self(octets)
    }

    /// The octet string.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

/// An ephemeral key pair. It may serve for several messages of one exchange, as when IKE_SA_INIT is repeated with a
/// cookie or another group was asked for in between.
pub struct DhKeyPair(Inner);

// Boxed: key pairs differ in size by hundreds of octets.
enum Inner {
    Modp2048(Box<ModpKeyPair<{ U2048::LIMBS }>>),
    Modp3072(Box<ModpKeyPair<{ U3072::LIMBS }>>),
    Modp4096(Box<ModpKeyPair<{ U4096::LIMBS }>>),
    Ecp256(Box<EcpKeyPair<p256::NistP256>>),
    Ecp384(Box<EcpKeyPair<p384::NistP384>>),
    Ecp521(Box<EcpKeyPair<p521::NistP521>>),
    X25519(Box<X25519KeyPair>),
}

impl DhKeyPair {
    /// A fresh key pair of `group`.
    pub fn generate(group: DhGroup, rng: &mut dyn SecureRng) -> Self {
        Self(match group {
            DhGroup::Modp2048 => Inner::Modp2048(Box::new(ModpKeyPair::generate(&MODP_2048, rng))),
            DhGroup::Modp3072 => Inner::Modp3072(Box::new(ModpKeyPair::generate(&MODP_3072, rng))),
            DhGroup::Modp4096 => Inner::Modp4096(Box::new(ModpKeyPair::generate(&MODP_4096, rng))),
            DhGroup::Ecp256 => Inner::Ecp256(Box::new(EcpKeyPair::generate(rng))),
            DhGroup::Ecp384 => Inner::Ecp384(Box::new(EcpKeyPair::generate(rng))),
            DhGroup::Ecp521 => Inner::Ecp521(Box::new(EcpKeyPair::generate(rng))),
            DhGroup::X25519 => Inner::X25519(Box::new(X25519KeyPair::generate(rng))),
        })
    }

    /// The group of the pair.
    pub const fn group(&self) -> DhGroup {
        match self.0 {
            Inner::Modp2048(_) => DhGroup::Modp2048,
            Inner::Modp3072(_) => DhGroup::Modp3072,
            Inner::Modp4096(_) => DhGroup::Modp4096,
            Inner::Ecp256(_) => DhGroup::Ecp256,
            Inner::Ecp384(_) => DhGroup::Ecp384,
            Inner::Ecp521(_) => DhGroup::Ecp521,
            Inner::X25519(_) => DhGroup::X25519,
        }
    }

    /// The public value as carried in a KE payload, [`DhGroup::public_len`] octets.
    pub fn public(&self) -> &[u8] {
        match &self.0 {
            Inner::Modp2048(pair) => pair.public(),
            Inner::Modp3072(pair) => pair.public(),
            Inner::Modp4096(pair) => pair.public(),
            Inner::Ecp256(pair) => pair.public(),
            Inner::Ecp384(pair) => pair.public(),
            Inner::Ecp521(pair) => pair.public(),
            Inner::X25519(pair) => pair.public(),
        }
    }

    /// Agrees on a shared secret with the owner of `peer_public`, the data of a KE payload of the same group, after
    /// the checks of RFC 6989. Fails with [`CryptoError::PublicValueLength`] or [`CryptoError::InvalidPublicValue`].
    pub fn agree(&self, peer_public: &[u8]) -> Result<SharedSecret, CryptoError> {
        let group = self.group();
        if peer_public.len() != group.public_len() {
            return Err(CryptoError::PublicValueLength { group, actual: peer_public.len() });
        }
        match &self.0 {
            Inner::Modp2048(pair) => pair.agree(peer_public),
            Inner::Modp3072(pair) => pair.agree(peer_public),
            Inner::Modp4096(pair) => pair.agree(peer_public),
            Inner::Ecp256(pair) => pair.agree(peer_public),
            Inner::Ecp384(pair) => pair.agree(peer_public),
            Inner::Ecp521(pair) => pair.agree(peer_public),
            Inner::X25519(pair) => pair.agree(peer_public),
        }
        .map(SharedSecret)
        .ok_or(CryptoError::InvalidPublicValue { group })
    }
}

impl fmt::Debug for DhKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhKeyPair").field("group", &self.group()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn transform_ids_round_trip() {
        for group in DhGroup::ALL {
            assert_eq!(DhGroup::from_id(group.id()), Some(group));
        }
        assert_eq!(DhGroup::from_id(2), None);
    }

    #[test]
    fn length_is_checked_before_use() {
        let mut rng = StdRng::seed_from_u64(1);
        for group in DhGroup::ALL {
            let pair = DhKeyPair::generate(group, &mut rng);
            assert_eq!(pair.group(), group);
            assert_eq!(pair.public().len(), group.public_len());
            for actual in [0, 1, group.public_len() - 1, group.public_len() + 1, 4096] {
                let error = pair.agree(&vec![2; actual]).unwrap_err();
                assert_eq!(error, CryptoError::PublicValueLength { group, actual });
            }
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let mut rng = StdRng::seed_from_u64(2);
        let pair = DhKeyPair::generate(DhGroup::X25519, &mut rng);
        assert_eq!(format!("{pair:?}"), "DhKeyPair { group: X25519, .. }");
        assert_eq!(format!("{:?}", pair.agree(pair.public()).unwrap()), "SharedSecret { .. }");
    }
}

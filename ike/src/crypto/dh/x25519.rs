//! Curve25519 (RFC 7748 §5, RFC 8031).

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::crypto::SecureRng;

pub(super) struct X25519KeyPair {
    secret: StaticSecret,
    public: [u8; 32],
}

impl X25519KeyPair {
    pub(super) fn generate(rng: &mut dyn SecureRng) -> Self {
        let mut scalar = Zeroizing::new([0; 32]);
        rng.fill(&mut *scalar);
        Self::from_scalar(&scalar)
    }

    fn from_scalar(scalar: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*scalar);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// `None` for a public value of small order, whose result is all zero (RFC 8031 §3, RFC 7748 §6.1).
    pub(super) fn agree(&self, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let peer_public: [u8; 32] = peer_public.try_into().ok()?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer_public));
        shared.was_contributory().then(|| Zeroizing::new(shared.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(octets: &str) -> [u8; 32] {
        hex::decode(octets).unwrap().try_into().unwrap()
    }

    #[test]
    fn rfc7748_section_6_1() {
        let a = X25519KeyPair::from_scalar(&unhex(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        let b = X25519KeyPair::from_scalar(&unhex(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));
        let shared = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(a.public, unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(b.public, unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        assert_eq!(*a.agree(&b.public).unwrap(), shared);
        assert_eq!(*b.agree(&a.public).unwrap(), shared);
    }

    #[test]
    fn points_of_small_order_are_refused() {
        let pair = X25519KeyPair::from_scalar(&[7; 32]);
        let small_order = [
            // 0 and 1, then the two points of order 8.
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            // p - 1, p (the same as 0) and p + 1 (the same as 1).
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for point in small_order {
            assert!(pair.agree(&unhex(point)).is_none(), "{point}");
        }
    }
}

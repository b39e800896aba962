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

//! Elliptic curve groups modulo a prime (RFC 5903).

use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::crypto::SecureRng;

/// The octet that marks an uncompressed point in SEC 1 and is absent in IKE.
const SEC1_UNCOMPRESSED: u8 = 4;

pub(super) struct EcpKeyPair<C: CurveArithmetic> {
    secret: SecretKey<C>,
    /// x followed by y (RFC 5903 §7).
    public: Vec<u8>,
}

impl<C> EcpKeyPair<C>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    pub(super) fn generate(rng: &mut dyn SecureRng) -> Self {
        let mut scalar = Zeroizing::new(FieldBytes::<C>::default());
        // Scalars outside 1..n-1 are drawn again: one in 2^32 or fewer.
        loop {
            rng.fill(scalar.as_mut_slice());
            if let Some(pair) = Self::from_scalar(&scalar) {
                return pair;
            }
        }
    }

    fn from_scalar(scalar: &[u8]) -> Option<Self> {
        let secret = SecretKey::<C>::from_slice(scalar).ok()?;
        let point = secret.public_key().to_sec1_point(false);
        let public = point.as_bytes()[1..].to_vec();
        Some(Self { secret, public })
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// `None` when a coordinate is not below the field's prime or the point is not on the curve (RFC 6989 §2.3); the
    /// point at infinity has no such encoding. The curves have cofactor 1, so nothing else is left to check.
    pub(super) fn agree(&self, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut encoded = Vec::with_capacity(1 + peer_public.len());
        encoded.push(SEC1_UNCOMPRESSED);
        encoded.extend_from_slice(peer_public);
        let peer_public = PublicKey::<C>::from_sec1_bytes(&encoded).ok()?;
        let shared = self.secret.diffie_hellman(&peer_public);
        Some(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
    }
}

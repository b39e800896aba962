//! Elliptic curve groups modulo a prime (RFC 5903).

use crypto_bigint::BitOps;
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
        // The order of P-521 leaves seven bits of the first octet unused.
        let unused_bits = 8 * scalar.len() as u32 - C::ORDER.bits();
        // Scalars outside 1..n-1 are drawn again: one in 2^32 or fewer.
        loop {
            rng.fill(scalar.as_mut_slice());
            scalar[0] &= 0xff >> unused_bits;
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

#[cfg(test)]
mod tests {
    use p256::NistP256;
    use p384::NistP384;
    use p521::NistP521;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn unhex(octets: &str) -> Vec<u8> {
        hex::decode(octets).unwrap()
    }

    #[test]
    fn rfc5903_section_8_1() {
        let i = "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433";
        let r = "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53";
        let i = EcpKeyPair::<NistP256>::from_scalar(&unhex(i)).unwrap();
        let r = EcpKeyPair::<NistP256>::from_scalar(&unhex(r)).unwrap();
        let i_public = unhex(concat!(
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180",
            "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        ));
        let r_public = unhex(concat!(
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63",
            "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        ));
        let shared = unhex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE");
        assert_eq!(i.public(), i_public);
        assert_eq!(r.public(), r_public);
        assert_eq!(*i.agree(&r_public).unwrap(), shared);
        assert_eq!(*r.agree(&i_public).unwrap(), shared);
    }

    #[test]
    fn rfc5903_section_8_2() {
        let i = concat!(
            "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F16",
            "0647B67414DCE655E35B538041E649EE3FAEF896783AB194",
        );
        let r = concat!(
            "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060",
            "855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
        );
        let i = EcpKeyPair::<NistP384>::from_scalar(&unhex(i)).unwrap();
        let r = EcpKeyPair::<NistP384>::from_scalar(&unhex(r)).unwrap();
        let i_public = unhex(concat!(
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E3",
            "1634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA",
            "9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144AD",
            "A024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
        ));
        let r_public = unhex(concat!(
            "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D",
            "83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571",
            "DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416",
            "DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
        ));
        let shared = unhex(concat!(
            "11187331C279962D93D604243FD592CB9D0A926F422E4718",
            "7521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
        ));
        assert_eq!(i.public(), i_public);
        assert_eq!(r.public(), r_public);
        assert_eq!(*i.agree(&r_public).unwrap(), shared);
        assert_eq!(*r.agree(&i_public).unwrap(), shared);
    }

    #[test]
    fn rfc5903_section_8_3() {
        let i = concat!(
            "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095",
            "AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
        );
        let r = concat!(
            "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C",
            "677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
        );
        let i = EcpKeyPair::<NistP521>::from_scalar(&unhex(i)).unwrap();
        let r = EcpKeyPair::<NistP521>::from_scalar(&unhex(r)).unwrap();
        let i_public = unhex(concat!(
            "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1",
            "E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E",
            "017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8",
            "A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
        ));
        let r_public = unhex(concat!(
            "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B",
            "97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F",
            "015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B8722",
            "0B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
        ));
        let shared = unhex(concat!(
            "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04D1",
            "427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
        ));
        assert_eq!(i.public(), i_public);
        assert_eq!(r.public(), r_public);
        assert_eq!(*i.agree(&r_public).unwrap(), shared);
        assert_eq!(*r.agree(&i_public).unwrap(), shared);
    }

    fn check_off_curve<C>()
    where
        C: CurveArithmetic,
        AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
        FieldBytesSize<C>: ModulusSize,
    {
        let pair = EcpKeyPair::<C>::generate(&mut StdRng::seed_from_u64(1));
        let mut off_curve = pair.public().to_vec();
        *off_curve.last_mut().unwrap() ^= 1;
        assert!(pair.agree(&off_curve).is_none());
        off_curve.fill(0);
        assert!(pair.agree(&off_curve).is_none());
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        check_off_curve::<NistP256>();
        check_off_curve::<NistP384>();
        check_off_curve::<NistP521>();
    }

    #[test]
    fn coordinates_at_or_above_the_prime_are_refused() {
        // (0, y) is on the curve; (p, y) is the same point when coordinates are carelessly reduced.
        let pair = EcpKeyPair::<NistP256>::from_scalar(&[7; 32]).unwrap();
        let y = unhex("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4");
        let p = unhex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
        assert!(pair.agree(&[vec![0; 32], y.clone()].concat()).is_some());
        assert!(pair.agree(&[p, y].concat()).is_none());

        let pair = EcpKeyPair::<NistP521>::from_scalar(&[1; 66]).unwrap();
        let y = unhex(concat!(
            "012df13601594a883ef2d935e44bb90bf4d6619b74e52af7552f97769011c0719e",
            "b439cfab2a88d40fe59a2bed1f43557169a2d0a2ccd280c607b92bbf51ffe0b078",
        ));
        let p = [vec![0x01], vec![0xff; 65]].concat();
        assert!(pair.agree(&[vec![0; 66], y.clone()].concat()).is_some());
        assert!(pair.agree(&[p, y.clone()].concat()).is_none());
        // Bits above the 521 of a coordinate.
        assert!(pair.agree(&[vec![0x02], vec![0; 65], y].concat()).is_none());
    }

    #[test]
    fn scalars_of_p521_are_drawn_from_the_whole_range() {
        struct Ones;
        impl SecureRng for Ones {
            fn fill(&mut self, destination: &mut [u8]) {
                destination.fill(0xff);
                // Below the order, which begins with 0x01 and 32 octets of ones, then 0xfa.
                destination[33] = 0xf0;
            }
        }
        let pair = EcpKeyPair::<NistP521>::generate(&mut Ones);
        let mut scalar = [0xff; 66];
        (scalar[0], scalar[33]) = (0x01, 0xf0);
        assert_eq!(pair.public(), EcpKeyPair::<NistP521>::from_scalar(&scalar).unwrap().public());
    }

    #[test]
    fn scalars_outside_the_range_are_refused() {
        assert!(EcpKeyPair::<NistP256>::from_scalar(&[0; 32]).is_none());
        assert!(EcpKeyPair::<NistP256>::from_scalar(&[0xff; 32]).is_none());
        assert!(EcpKeyPair::<NistP521>::from_scalar(&[0x02; 66]).is_none());
    }
}

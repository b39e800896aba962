//! DER AlgorithmIdentifiers of signature schemes (RFC 7427 §3 and appendix A).

use x509_parser::asn1_rs::{Any, FromDer, Oid, oid};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use crate::crypto::signature::SignatureError;
use crate::crypto::signature::scheme::{RsaHash, SignatureScheme};

/// Longest algorithm identifier that is shown to a human, in octets.
const MAX_SHOWN: usize = 32;

const RSA_PKCS1: [Oid<'static>; 3] =
    [oid!(1.2.840.113549.1.1.11), oid!(1.2.840.113549.1.1.12), oid!(1.2.840.113549.1.1.13)];
const RSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
const MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);
const ECDSA_SHA256: Oid<'static> = oid!(1.2.840.10045.4.3.2);
const ECDSA_SHA384: Oid<'static> = oid!(1.2.840.10045.4.3.3);
const ED25519: Oid<'static> = oid!(1.3.101.112);

/// Octets of the identifier of SHA2-256 before its last, which tells the SHA-2 functions apart.
const SHA2_PREFIX: [u8; 10] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

impl SignatureScheme {
    /// The DER AlgorithmIdentifier that stands in front of a signature in AUTH (RFC 7427 §3).
    pub fn algorithm_identifier(self) -> Vec<u8> {
        match self {
            Self::RsaPss(hash) => rsa_pss(hash),
            Self::RsaPkcs1(hash) => {
                let last = match hash {
                    RsaHash::Sha256 => 0x0b,
                    RsaHash::Sha384 => 0x0c,
                    RsaHash::Sha512 => 0x0d,
                };
                vec![0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00]
            }
            Self::EcdsaSha256 => vec![0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::EcdsaSha384 => vec![0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
            Self::Ed25519 => vec![0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
        }
    }

    /// The scheme with this DER AlgorithmIdentifier. Parameters that are NULL may be left out (RFC 4055 §2.1).
    pub fn from_algorithm_identifier(der: &[u8]) -> Result<Self, SignatureError> {
        parse(der).ok_or_else(|| {
            let shown = hex(&der[..der.len().min(MAX_SHOWN)]);
            let more = if der.len() > MAX_SHOWN { "…" } else { "" };
            SignatureError::UnsupportedAlgorithm(format!("{shown}{more}"))
        })
    }
}

fn rsa_pss(hash: RsaHash) -> Vec<u8> {
    let (last, len) = match hash {
        RsaHash::Sha256 => (1, 32),
        RsaHash::Sha384 => (2, 48),
        RsaHash::Sha512 => (3, 64),
    };
    let hash = [&SHA2_PREFIX[..], &[last, 0x05, 0x00]].concat();
    let mut der = vec![0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
    der.extend([0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d]);
    der.extend(&hash);
    der.extend([0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08]);
    der.extend([0x30, 0x0d]);
    der.extend(&hash);
    der.extend([0xa2, 0x03, 0x02, 0x01, len]);
    der
}

fn parse(der: &[u8]) -> Option<SignatureScheme> {
    let (rest, identifier) = AlgorithmIdentifier::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let (algorithm, parameters) = (identifier.algorithm, identifier.parameters);
    let no_parameters = parameters.as_ref().is_none_or(is_null);
    if algorithm == RSA_PSS {
        return parse_pss(&parameters?).map(SignatureScheme::RsaPss);
    }
    let scheme = match RSA_PKCS1.iter().position(|oid| *oid == algorithm) {
        Some(index) => SignatureScheme::RsaPkcs1(RsaHash::ALL[index]),
        None if algorithm == ECDSA_SHA256 => SignatureScheme::EcdsaSha256,
        None if algorithm == ECDSA_SHA384 => SignatureScheme::EcdsaSha384,
        None if algorithm == ED25519 => SignatureScheme::Ed25519,
        None => return None,
    };
    no_parameters.then_some(scheme)
}

/// The hash of RSASSA-PSS parameters, where the mask and the salt must go with it.
fn parse_pss(parameters: &Any<'_>) -> Option<RsaHash> {
    let parameters = RsaSsaPssParams::try_from(parameters).ok()?;
    let (hash, salt_len) = sha2(parameters.hash_algorithm()?)?;
    let mask = parameters.mask_gen_algorithm_raw()?;
    let mask_der = mask_der(mask)?;
    let (rest, mask_hash) = AlgorithmIdentifier::from_der(&mask_der).ok()?;
    let (mask_hash, _) = sha2(&mask_hash)?;
    let agree = mask.algorithm == MGF1
        && rest.is_empty()
        && mask_hash == hash
        && parameters.salt_length() == salt_len
        && parameters.trailer_field() == 1;
    agree.then_some(hash)
}

/// The parameters of the mask generation function, as a structure of their own.
fn mask_der(mask: &AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    let parameters = mask.parameters.as_ref()?;
    let len = u8::try_from(parameters.data.len()).ok().filter(|len| *len < 0x80)?;
    Some([&[0x30, len], parameters.data].concat())
}

fn sha2(identifier: &AlgorithmIdentifier<'_>) -> Option<(RsaHash, u32)> {
    let with_len = [
        (oid!(2.16.840.1.101.3.4.2.1), RsaHash::Sha256, 32),
        (oid!(2.16.840.1.101.3.4.2.2), RsaHash::Sha384, 48),
        (oid!(2.16.840.1.101.3.4.2.3), RsaHash::Sha512, 64),
    ];
    if !identifier.parameters.as_ref().is_none_or(is_null) {
        return None;
    }
    let found = with_len.into_iter().find(|(oid, ..)| *oid == identifier.algorithm);
    found.map(|(_, hash, len)| (hash, len))
}

fn is_null(parameters: &Any<'_>) -> bool {
    parameters.header.is_universal() && parameters.tag().0 == 5 && parameters.data.is_empty()
}

fn hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

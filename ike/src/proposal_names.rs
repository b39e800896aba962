//! Names of transforms as strongSwan writes them, also of ones this crate does not implement.

use crate::wire::{Transform, TransformType};

/// The name of a transform, such as `aes256gcm16` or `modp2048`, and a word on attributes that nobody knows.
pub(crate) fn transform_name(transform: &Transform) -> String {
    let name = algorithm_name(transform);
    if transform.key_bits().is_ok() { name } else { format!("{name} with an unknown attribute") }
}

fn algorithm_name(transform: &Transform) -> String {
    let bits = transform.key_bits().ok().flatten().map_or(String::new(), |bits| bits.to_string());
    let id = transform.id;
    let name = match (transform.kind, id) {
        (TransformType::ENCR, 3) => "3des",
        (TransformType::ENCR, 12) => return format!("aes{bits}"),
        (TransformType::ENCR, 13) => return format!("aes{bits}ctr"),
        (TransformType::ENCR, 14..=16) => return format!("aes{bits}ccm{}", 8 + 4 * (id - 14)),
        (TransformType::ENCR, 18..=20) => return format!("aes{bits}gcm{}", 8 + 4 * (id - 18)),
        (TransformType::ENCR, 28) => "chacha20poly1305",
        (TransformType::ENCR, 29) => return format!("aes{bits}ccm8iiv"),
        (TransformType::ENCR, 30) => return format!("aes{bits}gcm16iiv"),
        (TransformType::ENCR, 31) => "chacha20poly1305iiv",
        (TransformType::PRF, 1) => "prfmd5",
        (TransformType::PRF, 2) => "prfsha1",
        (TransformType::PRF, 4) => "prfaesxcbc",
        (TransformType::PRF, 5) => "prfsha256",
        (TransformType::PRF, 6) => "prfsha384",
        (TransformType::PRF, 7) => "prfsha512",
        (TransformType::PRF, 8) => "prfaescmac",
        (TransformType::INTEG | TransformType::DH, 0) => "none",
        (TransformType::INTEG, 1) => "md5",
        (TransformType::INTEG, 2) => "sha1",
        (TransformType::INTEG, 12) => "sha256",
        (TransformType::INTEG, 13) => "sha384",
        (TransformType::INTEG, 14) => "sha512",
        (TransformType::DH, 1) => "modp768",
        (TransformType::DH, 2) => "modp1024",
        (TransformType::DH, 5) => "modp1536",
        (TransformType::DH, 14) => "modp2048",
        (TransformType::DH, 15) => "modp3072",
        (TransformType::DH, 16) => "modp4096",
        (TransformType::DH, 17) => "modp6144",
        (TransformType::DH, 18) => "modp8192",
        (TransformType::DH, 19) => "ecp256",
        (TransformType::DH, 20) => "ecp384",
        (TransformType::DH, 21) => "ecp521",
        (TransformType::DH, 31) => "x25519",
        (TransformType::DH, 32) => "x448",
        (TransformType::ESN, 0) => "noesn",
        (TransformType::ESN, 1) => "esn",
        _ => return format!("{}-{id}", kind_name(transform.kind)),
    };
    name.to_owned()
}

/// What a kind of transform is called in messages for humans.
pub(crate) fn kind_name(kind: TransformType) -> String {
    let name = match kind {
        TransformType::ENCR => "encryption",
        TransformType::PRF => "PRF",
        TransformType::INTEG => "integrity",
        TransformType::DH => "DH group",
        TransformType::ESN => "sequence numbers",
        TransformType(number) => return format!("transform type {number}"),
    };
    name.to_owned()
}

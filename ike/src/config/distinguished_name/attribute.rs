//! Kinds of attributes and their values.

use x509_parser::asn1_rs::{Any, Oid, ToDer, oid};

use crate::der;

/// Names of attributes. The first name of a kind is the one that is written.
const NAMES: [(&str, Oid<'static>); 23] = [
    ("C", oid!(2.5.4.6)),
    ("ST", oid!(2.5.4.8)),
    ("L", oid!(2.5.4.7)),
    ("STREET", oid!(2.5.4.9)),
    ("O", oid!(2.5.4.10)),
    ("OU", oid!(2.5.4.11)),
    ("CN", oid!(2.5.4.3)),
    ("SN", oid!(2.5.4.5)),
    ("serialNumber", oid!(2.5.4.5)),
    ("T", oid!(2.5.4.12)),
    ("title", oid!(2.5.4.12)),
    ("D", oid!(2.5.4.13)),
    ("description", oid!(2.5.4.13)),
    ("postalCode", oid!(2.5.4.17)),
    ("N", oid!(2.5.4.41)),
    ("S", oid!(2.5.4.4)),
    ("G", oid!(2.5.4.42)),
    ("dnQualifier", oid!(2.5.4.46)),
    ("UID", oid!(0.9.2342.19200300.100.1.1)),
    ("DC", oid!(0.9.2342.19200300.100.1.25)),
    ("E", EMAIL_ADDRESS),
    ("emailAddress", EMAIL_ADDRESS),
    ("email", EMAIL_ADDRESS),
];
const DOMAIN_COMPONENT: Oid<'static> = oid!(0.9.2342.19200300.100.1.25);
const EMAIL_ADDRESS: Oid<'static> = oid!(1.2.840.113549.1.9.1);

/// The kind of an attribute by its name, in any case, or its dotted object identifier.
pub(super) fn kind(name: &str) -> Option<Oid<'static>> {
    let known = NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match known {
        Some((_, oid)) => Some(oid),
        None => dotted(name),
    }
}

/// The name of a kind of attribute, or its dotted object identifier.
pub(super) fn name(kind: &Oid<'_>) -> String {
    let known = NAMES.into_iter().find(|(_, oid)| *oid == *kind);
    known.map_or_else(|| kind.to_id_string(), |(name, _)| name.to_owned())
}

/// Whether the object identifier is one: the parser takes any octets. Its arcs have as many bits as are shown and read.
pub(super) fn is_well_formed(kind: &Oid<'_>) -> bool {
    const CONTINUES: u8 = 0x80;
    // Nine octets of seven bits.
    const LONGEST_ARC: usize = 9;
    let octets = kind.as_bytes();
    let mut arcs = octets.split_inclusive(|octet| octet & CONTINUES == 0);
    octets.last().is_some_and(|last| last & CONTINUES == 0)
        && arcs.all(|arc| arc.len() <= LONGEST_ARC && arc.first() != Some(&CONTINUES))
}

/// An attribute with its value in DER.
pub(super) fn element(kind: &Oid<'_>, value: &[u8]) -> Option<Vec<u8>> {
    let kind = kind.to_der_vec().ok()?;
    Some(der::element(der::SEQUENCE, &[&kind, value]))
}

/// Text as the DER value of an attribute, in the string type that certificates have there (RFC 5280 appendix A).
pub(super) fn text_value(kind: &Oid<'_>, text: &str) -> Vec<u8> {
    let is_printable = |octet: u8| octet.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&octet);
    let tag = if [DOMAIN_COMPONENT, EMAIL_ADDRESS].contains(kind) && text.is_ascii() {
        der::IA5_STRING
    } else if text.bytes().all(is_printable) {
        der::PRINTABLE_STRING
    } else {
        der::UTF8_STRING
    };
    der::element(tag, &[text.as_bytes()])
}

/// The text of a value, `None` when it is of no type of text.
pub(super) fn text(value: &Any<'_>) -> Option<String> {
    if !value.header.is_universal() || value.header.is_constructed() {
        return None;
    }
    match u8::try_from(value.tag().0).ok()? {
        der::UTF8_STRING | der::PRINTABLE_STRING | der::IA5_STRING => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        // In practice Latin-1.
        der::TELETEX_STRING => Some(value.data.iter().map(|octet| char::from(*octet)).collect()),
        der::BMP_STRING => {
            let (units, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        }
        _ => None,
    }
}

fn dotted(text: &str) -> Option<Oid<'static>> {
    let arcs = text.split('.').map(|arc| arc.parse().ok()).collect::<Option<Vec<u64>>>()?;
    (arcs.len() > 2).then(|| Oid::from(&arcs).ok()).flatten()
}

//! When two names are the same (RFC 5280 §7.1).

use x509_parser::asn1_rs::Any;
use x509_parser::x509::{RelativeDistinguishedName, X509Name};

use crate::config::distinguished_name::attribute;

pub(super) fn is_same(one: &X509Name<'_>, other: &X509Name<'_>) -> bool {
    one.iter_rdn().map(attributes).eq(other.iter_rdn().map(attributes))
}

/// The attributes of one level, whose order does not count.
fn attributes(level: &RelativeDistinguishedName<'_>) -> Vec<(Vec<u8>, Value)> {
    let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        (attribute.attr_type().as_bytes().to_vec(), Value::of(attribute.attr_value()))
    };
    let mut attributes: Vec<_> = level.iter().map(attribute).collect();
    attributes.sort();
    attributes
}

/// A value in the form in which it is compared.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    Other { tag: u32, octets: Vec<u8> },
}

impl Value {
    fn of(value: &Any<'_>) -> Self {
        match attribute::text(value) {
            Some(text) => {
                let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
                Self::Text(words.join(" ").to_lowercase())
            }
            None => Self::Other { tag: value.tag().0, octets: value.data.to_vec() },
        }
    }
}

//! Distinguished names: subjects and issuers of certificates, and ID_DER_ASN1_DN.

mod attribute;
mod compare;
mod text;

use std::fmt;
use std::str::FromStr;

use x509_parser::asn1_rs::{FromDer, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

use crate::config::IdentityError;
use crate::der;

/// Longest name, in octets of DER.
const MAX_LEN: usize = 4096;

/// A distinguished name (X.501) in DER: a sequence of attributes such as `C=DE, O=Example, CN=gw1`, from the root of the
/// tree to its leaf.
///
/// `==` compares octets; whether two names mean the same is told by [`Self::is_same`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    /// The name in these octets: a DER Name (RFC 5280 §4.1.2.4) of at most 4096 octets.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        if der.len() > MAX_LEN {
            return Err(IdentityError::TooLong);
        }
        match X509Name::from_der(der) {
            // The parser stops at what is no attribute.
            Ok((&[], name)) if encode(&name).as_deref() == Some(der) => Ok(Self(der.to_vec())),
            _ => Err(IdentityError::MalformedDer),
        }
    }

    /// The octets of the DER Name.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }

    /// Whether the name has no attributes.
    pub fn is_empty(&self) -> bool {
        self.name().iter_rdn().next().is_none()
    }

    /// Whether both names consist of the same attributes in the same order (RFC 5280 §7.1): text is compared without
    /// regard to its encoding, to case and to the number of spaces.
    pub fn is_same(&self, other: &Self) -> bool {
        compare::is_same(&self.name(), &other.name())
    }

    fn name(&self) -> X509Name<'_> {
        let (_, name) = X509Name::from_der(&self.0).expect("it was parsed when it was made");
        name
    }
}

impl FromStr for DistinguishedName {
    type Err = IdentityError;

    /// Reads `C=DE, O=Example, CN=gw1`. `\` in front of a character takes its meaning; `+` joins several attributes at
    /// one level; an attribute may be given as a dotted object identifier and a value as `#` with the hexadecimal digits
    /// of its DER.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let der = text::encode(text)?;
        if der.len() > MAX_LEN {
            return Err(IdentityError::TooLong);
        }
        Ok(Self(der))
    }
}

impl fmt::Display for DistinguishedName {
    /// The form that [`Self::from_str`] reads. Control characters are escaped, so it fits on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(&self.name(), f)
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

fn encode(name: &X509Name<'_>) -> Option<Vec<u8>> {
    let attribute = |attribute: &AttributeTypeAndValue<'_>| {
        let kind = Some(attribute.attr_type()).filter(|kind| attribute::is_well_formed(kind))?;
        attribute::element(kind, &attribute.attr_value().to_der_vec().ok()?)
    };
    let level = |level: &RelativeDistinguishedName<'_>| {
        let attributes = level.iter().map(attribute).collect::<Option<Vec<_>>>()?;
        Some(der::element(der::SET, &attributes.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    };
    let levels = name.iter_rdn().map(level).collect::<Option<Vec<_>>>()?;
    Some(der::element(der::SEQUENCE, &levels.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests;

//! Names as text.

use std::fmt;

use x509_parser::asn1_rs::{Any, FromDer, ToDer};
use x509_parser::x509::X509Name;

use crate::config::IdentityError;
use crate::config::distinguished_name::attribute;
use crate::der;

/// Longest text that is read, in octets; no name that fits DER of 4096 octets needs more.
const MAX_TEXT: usize = 16_384;

pub(super) fn encode(text: &str) -> Result<Vec<u8>, IdentityError> {
    if text.len() > MAX_TEXT {
        return Err(IdentityError::TooLong);
    }
    let levels = split(text, ',').into_iter().map(encode_level).collect::<Result<Vec<_>, _>>()?;
    let levels: Vec<&[u8]> = levels.iter().map(Vec::as_slice).collect();
    Ok(der::element(der::SEQUENCE, &levels))
}

pub(super) fn write(name: &X509Name<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, level) in name.iter_rdn().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        for (index, attribute) in level.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "+" })?;
            write!(f, "{}=", attribute::name(attribute.attr_type()))?;
            write_value(attribute.attr_value(), f)?;
        }
    }
    Ok(())
}

fn encode_level(text: &str) -> Result<Vec<u8>, IdentityError> {
    let mut attributes = split(text, '+').into_iter().map(encode_attribute).collect::<Result<Vec<_>, _>>()?;
    // DER sorts the elements of a set.
    attributes.sort();
    let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    Ok(der::element(der::SET, &attributes))
}

fn encode_attribute(text: &str) -> Result<Vec<u8>, IdentityError> {
    let (name, value) = text.split_once('=').ok_or_else(|| IdentityError::NoValue(text.trim().to_owned()))?;
    let (name, value) = (name.trim(), trim(value));
    let kind = attribute::kind(name).ok_or_else(|| IdentityError::UnknownAttribute(name.to_owned()))?;
    if value.is_empty() {
        return Err(IdentityError::NoValue(name.to_owned()));
    }
    let malformed = || IdentityError::MalformedValue(name.to_owned());
    let value = if let Some(digits) = value.strip_prefix('#') {
        from_hex(digits).filter(|der| is_element(der)).ok_or_else(malformed)?
    } else {
        attribute::text_value(&kind, &unescape(value).ok_or_else(malformed)?)
    };
    attribute::element(&kind, &value).ok_or_else(|| IdentityError::UnknownAttribute(name.to_owned()))
}

/// The parts between separators that are not escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut escaped = false;
    let is_separator = |character: char| {
        let found = !escaped && character == separator;
        escaped = !escaped && character == '\\';
        found
    };
    text.split(is_separator).collect()
}

/// Takes away spaces around a value, except an escaped one at its end.
fn trim(value: &str) -> &str {
    let value = value.trim_start();
    let trimmed = value.trim_end();
    let backslashes = trimmed.bytes().rev().take_while(|octet| *octet == b'\\').count();
    let is_escaped = backslashes % 2 == 1 && trimmed.len() < value.len();
    if is_escaped { &value[..=trimmed.len()] } else { trimmed }
}

fn is_element(der: &[u8]) -> bool {
    matches!(Any::from_der(der), Ok((&[], value)) if value.to_der_vec().is_ok_and(|again| again == der))
}

/// Resolves `\` in front of a character, and of two hexadecimal digits.
fn unescape(value: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        octets.extend(rest[..at].bytes());
        rest = &rest[at + 1..];
        if let Some(octet) = rest.get(..2).and_then(from_hex) {
            octets.extend(octet);
            rest = &rest[2..];
        } else {
            let character = rest.chars().next()?;
            octets.extend(rest[..character.len_utf8()].bytes());
            rest = &rest[character.len_utf8()..];
        }
    }
    octets.extend(rest.bytes());
    String::from_utf8(octets).ok()
}

fn write_value(value: &Any<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(text) = attribute::text(value) else {
        let der = value.to_der_vec().map_err(|_| fmt::Error)?;
        f.write_str("#")?;
        return der.iter().try_for_each(|octet| write!(f, "{octet:02x}"));
    };
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '\\' => write!(f, "\\{character}")?,
            '#' if index == 0 => f.write_str("\\#")?,
            ' ' if index == 0 || index == last => f.write_str("\\20")?,
            // Also what changes the direction of text or breaks lines elsewhere.
            _ if !character.is_ascii() && !character.is_alphanumeric() || character.is_control() => {
                let mut buffer = [0; 4];
                character
                    .encode_utf8(&mut buffer)
                    .bytes()
                    .try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
            }
            _ => write!(f, "{character}")?,
        }
    }
    Ok(())
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
    let octet = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let octets = pairs.iter().map(octet).collect::<Option<Vec<_>>>()?;
    (rest.is_empty() && !octets.is_empty()).then_some(octets)
}

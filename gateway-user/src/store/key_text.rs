//! Shared keys as text: in files and on the API, and made at random.

use std::fmt;

use rand::RngExt;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::model::SharedKey;

/// A [`SharedKey`] that serializes as its text. Wiped from memory when dropped, never shown by `Debug`.
#[derive(Clone, Debug)]
pub struct KeyText(pub SharedKey);

// About 190 bits.
const RANDOM_KEY_LEN: usize = 32;

/// A random key of 32 letters and digits.
pub fn random_key() -> SharedKey {
    let mut text = Zeroizing::new(String::with_capacity(RANDOM_KEY_LEN));
    let mut rng = rand::rng();
    for _ in 0..RANDOM_KEY_LEN {
        text.push(char::from(rng.sample(rand::distr::Alphanumeric)));
    }
    SharedKey::new(text.as_str()).expect("letters and digits of a valid number")
}

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = KeyText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shared key")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<KeyText, E> {
                self.visit_string(text.to_owned())
            }
            fn visit_string<E: Error>(self, text: String) -> Result<KeyText, E> {
                SharedKey::new(text).map(KeyText).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_keys_are_alphanumeric_and_differ() {
        let (a, b) = (random_key(), random_key());
        assert_eq!(a.expose().len(), 32);
        assert!(a.expose().chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(a.expose(), b.expose());
    }

    #[test]
    fn text_form_keeps_the_rule_and_debug_shows_nothing() {
        let key: KeyText = serde_json::from_str(r#""hunter\"2 ""#).unwrap();
        assert_eq!(key.0.expose(), "hunter\"2 ");
        assert_eq!(serde_json::to_string(&key).unwrap(), r#""hunter\"2 ""#);
        assert!(!format!("{key:?}").contains("hunter"));
        assert!(serde_json::from_str::<KeyText>(r#""a\nb""#).is_err());
        assert!(serde_json::from_str::<KeyText>(r#""""#).is_err());
    }
}

//! The rule for pre-shared keys.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// A pre-shared key: 1 to 128 printable ASCII characters (0x20–0x7E).
///
/// The classic Azure rule (letters and digits only) is a subset. The memory is overwritten on drop and `Debug` shows
/// nothing of the content.
#[derive(Clone)]
pub struct SharedKey(Zeroizing<String>);

/// Why a string is not a pre-shared key. Names the rule, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SharedKeyError {
    /// The string is empty or longer than [`SharedKey::MAX_LEN`].
    #[error("a shared key has 1 to 128 characters")]
    Length,
    /// The string has a character outside 0x20–0x7E.
    #[error("a shared key has only printable ASCII characters (letters, digits, punctuation, space)")]
    Character,
}

impl SharedKey {
    /// Most characters a key may have.
    pub const MAX_LEN: usize = 128;

    /// Takes `key` over when it keeps the rule; a refused key is overwritten as well.
    pub fn new(key: impl Into<String>) -> Result<Self, SharedKeyError> {
        let key = Zeroizing::new(key.into());
        if !key.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            return Err(SharedKeyError::Character);
        }
        if key.is_empty() || key.len() > Self::MAX_LEN {
            return Err(SharedKeyError::Length);
        }
        Ok(Self(key))
    }

    /// The key itself. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

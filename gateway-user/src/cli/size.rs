//! Sizes of files.

use std::str::FromStr;

/// A number of bytes: plain, or with k, m or g for 2^10, 2^20 and 2^30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let power = match text.chars().last().map(|unit| unit.to_ascii_lowercase()) {
            Some('k') => 10,
            Some('m') => 20,
            Some('g') => 30,
            _ => 0,
        };
        let digits = if power == 0 { text } else { &text[..text.len() - 1] };
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << power));
        number.map(Self).ok_or("expected a number of bytes, perhaps with k, m or g")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_two() {
        for (text, bytes) in [("0", 0), ("1500", 1500), ("2k", 2048), ("3M", 3 << 20), ("1g", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "k", "-1", "1.5m", "1t", "18446744073709551615g"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}

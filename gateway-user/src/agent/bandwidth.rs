//! The syntax of bandwidths on the command line.

use std::fmt;
use std::str::FromStr;

/// A rate in bit/s, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bandwidth(u64);

/// Why a text is no bandwidth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no bandwidth: expected a whole number of bit/s above zero, or with kbit, mbit or gbit, such as 100mbit"
)]
pub struct BandwidthError {
    text: String,
}

/// Units and their size in bit/s; multiples of 1000, as links count.
const UNITS: [(&str, u64); 3] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];

impl Bandwidth {
    /// This many bit/s; `None` for zero.
    pub const fn from_bits(rate: u64) -> Option<Self> {
        if rate == 0 { None } else { Some(Self(rate)) }
    }

    /// The rate in bit/s.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Bandwidth {
    type Err = BandwidthError;

    fn from_str(text: &str) -> Result<Self, BandwidthError> {
        let lower = text.to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, size)| Some((lower.strip_suffix(name)?, *size)))
            .unwrap_or((&lower, 1));
        // u64's own parser would take a plus sign.
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let rate = is_number.then(|| number.parse::<u64>().ok()?.checked_mul(unit)).flatten();
        rate.and_then(Self::from_bits).ok_or_else(|| BandwidthError { text: text.to_owned() })
    }
}

impl fmt::Display for Bandwidth {
    /// The shortest exact form: `100mbit`, `1500kbit`, `1234567bit/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().rev().find(|(_, size)| self.0.is_multiple_of(*size)) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}bit/s", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units() {
        for (text, rate) in [
            ("1", 1),
            ("64000", 64_000),
            ("100kbit", 100_000),
            ("100mbit", 100_000_000),
            ("100Mbit", 100_000_000),
            ("2GBIT", 2_000_000_000),
        ] {
            assert_eq!(text.parse::<Bandwidth>().unwrap().bits_per_second(), rate, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for text in ["", "0", "0mbit", "mbit", "+5", "-5", "1.5gbit", "100 mbit", "100mb", "99999999999gbit"]
        {
            let error = text.parse::<Bandwidth>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no bandwidth")), "{error}");
        }
    }

    #[test]
    fn shown_in_the_largest_unit_that_fits() {
        for (text, shown) in [("100000kbit", "100mbit"), ("1500000", "1500kbit"), ("1234567", "1234567bit/s")]
        {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), shown);
        }
    }
}

//! Bandwidths, and how they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

/// A bandwidth, or none where one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalBandwidth {
    /// None.
    None,
    /// This one.
    Rate(Bandwidth),
}

/// Which packets the bandwidth of a gateway is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BandwidthDirection {
    /// Those of both directions together.
    #[default]
    Shared,
    /// Those of each direction by themselves.
    Separate,
}

/// A text that names no direction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no direction of a bandwidth: expected shared or separate")]
pub struct UnknownDirection {
    text: String,
}

/// What all tunnels of a gateway share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayBandwidth {
    /// The rate; `None` for no limit.
    pub rate: Option<Bandwidth>,
    /// Which packets it is for.
    pub direction: BandwidthDirection,
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

impl OptionalBandwidth {
    /// The bandwidth, if there is one.
    pub const fn rate(self) -> Option<Bandwidth> {
        match self {
            Self::None => None,
            Self::Rate(rate) => Some(rate),
        }
    }
}

impl From<Option<Bandwidth>> for OptionalBandwidth {
    fn from(rate: Option<Bandwidth>) -> Self {
        rate.map_or(Self::None, Self::Rate)
    }
}

impl FromStr for OptionalBandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        text.parse().map(Self::Rate).map_err(|error: BandwidthError| format!("{error}, or none"))
    }
}

impl fmt::Display for OptionalBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Rate(rate) => rate.fmt(f),
        }
    }
}

impl FromStr for BandwidthDirection {
    type Err = UnknownDirection;

    fn from_str(text: &str) -> Result<Self, UnknownDirection> {
        [Self::Shared, Self::Separate]
            .into_iter()
            .find(|direction| direction.to_string() == text)
            .ok_or_else(|| UnknownDirection { text: text.to_owned() })
    }
}

impl fmt::Display for BandwidthDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shared => "shared",
            Self::Separate => "separate",
        })
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
    fn none_is_one_where_it_may_be() {
        for text in ["none", "20mbit"] {
            assert_eq!(text.parse::<OptionalBandwidth>().unwrap().to_string(), text);
        }
        let error = "nothing".parse::<OptionalBandwidth>().unwrap_err();
        assert!(error.contains("\"nothing\" is no bandwidth") && error.ends_with(", or none"), "{error}");
    }

    #[test]
    fn directions_are_read_back_and_others_refused() {
        for direction in [BandwidthDirection::Shared, BandwidthDirection::Separate] {
            assert_eq!(direction.to_string().parse(), Ok(direction));
        }
        let error = "both".parse::<BandwidthDirection>().unwrap_err().to_string();
        assert_eq!(error, "\"both\" is no direction of a bandwidth: expected shared or separate");
    }

    #[test]
    fn shown_in_the_largest_unit_that_fits() {
        for (text, shown) in [("100000kbit", "100mbit"), ("1500000", "1500kbit"), ("1234567", "1234567bit/s")]
        {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), shown);
        }
    }
}

//! What becomes of the maximum segment sizes that TCP connections through tunnels announce.

use std::fmt;
use std::str::FromStr;

use gateway_common::mss;

/// Bounds of a fixed limit, in bytes: the least that Linux works with, and what a packet can hold.
const BOUNDS: (u16, u16) = (88, 65_495);

/// How announcements of maximum segment sizes are lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// To what the tunnel carries.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// To this many bytes, and to what the tunnel carries.
    AtMost(u16),
}

/// A text that is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, off, or a number of bytes from {} to {}", BOUNDS.0, BOUNDS.1)]
pub struct UnknownMssClamp;

impl MssClamp {
    /// As the datapath knows it, see [`gateway_common::GatewayConfig::mss_limit`].
    pub const fn limit(self) -> u32 {
        match self {
            Self::Auto => mss::FIT,
            Self::Off => mss::LEAVE,
            Self::AtMost(bytes) => bytes as u32,
        }
    }
}

impl FromStr for MssClamp {
    type Err = UnknownMssClamp;

    fn from_str(text: &str) -> Result<Self, UnknownMssClamp> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            number => {
                let number = number.parse().ok().filter(|number| (BOUNDS.0..=BOUNDS.1).contains(number));
                number.map(Self::AtMost).ok_or(UnknownMssClamp)
            }
        }
    }
}

impl fmt::Display for MssClamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::AtMost(bytes) => bytes.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values_say_the_same() {
        for (text, value, limit) in [
            ("auto", MssClamp::Auto, 0xffff),
            ("off", MssClamp::Off, 0),
            ("88", MssClamp::AtMost(88), 88),
            ("65495", MssClamp::AtMost(65_495), 65_495),
        ] {
            assert_eq!((text.parse(), value.to_string(), value.limit()), (Ok(value), text.to_owned(), limit));
        }
        for wrong in ["", "on", "87", "65496", "-1", "Auto", "1400 "] {
            assert_eq!(wrong.parse::<MssClamp>(), Err(UnknownMssClamp), "{wrong:?}");
        }
    }
}

//! The DSCP of outer headers.

use std::fmt;
use std::str::FromStr;

use gateway_common::dscp;

/// Which DSCP the headers around a connection's packets have (RFC 2983 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterDscp {
    /// That of the packet inside.
    Copy,
    /// This one, at most 63.
    Set(u8),
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected copy, or set:N with a DSCP from 0 to 63")]
pub struct UnknownOuterDscp;

impl OuterDscp {
    /// As the datapath knows it, see [`gateway_common::Sa::outer_dscp`].
    pub const fn in_sa(self) -> u32 {
        match self {
            Self::Copy => dscp::COPY,
            Self::Set(number) => dscp::set(number),
        }
    }
}

impl FromStr for OuterDscp {
    type Err = UnknownOuterDscp;

    fn from_str(text: &str) -> Result<Self, UnknownOuterDscp> {
        if text == "copy" {
            return Ok(Self::Copy);
        }
        let number = text.strip_prefix("set:").and_then(|number| number.parse().ok());
        number.filter(|number| *number <= dscp::MAX).map(Self::Set).ok_or(UnknownOuterDscp)
    }
}

impl fmt::Display for OuterDscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.write_str("copy"),
            Self::Set(number) => write!(f, "set:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values_say_the_same() {
        for (text, value) in
            [("copy", OuterDscp::Copy), ("set:0", OuterDscp::Set(0)), ("set:63", OuterDscp::Set(63))]
        {
            assert_eq!(text.parse(), Ok(value));
            assert_eq!(value.to_string(), text);
        }
        for wrong in ["", "set", "set:", "set:64", "set:-1", "set:256", "46", "Copy", "set: 1"] {
            assert_eq!(wrong.parse::<OuterDscp>(), Err(UnknownOuterDscp), "{wrong:?}");
        }
    }
}

//! The "don't fragment" bit of outer IPv4 headers.

use std::fmt;
use std::str::FromStr;

use gateway_common::df;

/// Whether routers may fragment a connection's packets on their way to the peer (RFC 4301 section 8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterDf {
    /// If they might fragment the packet inside.
    Copy,
    /// No.
    #[default]
    Set,
    /// Yes.
    Clear,
}

/// A text that is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected copy, set or clear")]
pub struct UnknownOuterDf;

impl OuterDf {
    const ALL: [(Self, &'static str, u32); 3] =
        [(Self::Copy, "copy", df::COPY), (Self::Set, "set", df::SET), (Self::Clear, "clear", df::CLEAR)];

    /// As the datapath knows it, see [`gateway_common::Sa::outer_df`].
    pub const fn in_sa(self) -> u32 {
        Self::ALL[self as usize].2
    }
}

impl FromStr for OuterDf {
    type Err = UnknownOuterDf;

    fn from_str(text: &str) -> Result<Self, UnknownOuterDf> {
        Self::ALL.iter().find(|(_, name, _)| *name == text).map(|found| found.0).ok_or(UnknownOuterDf)
    }
}

impl fmt::Display for OuterDf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_values_say_the_same() {
        for (text, value, number) in
            [("copy", OuterDf::Copy, 1), ("set", OuterDf::Set, 0), ("clear", OuterDf::Clear, 2)]
        {
            assert_eq!(
                (text.parse(), value.to_string(), value.in_sa()),
                (Ok(value), text.to_owned(), number)
            );
        }
        for wrong in ["", "Set", "no", "set "] {
            assert_eq!(wrong.parse::<OuterDf>(), Err(UnknownOuterDf), "{wrong:?}");
        }
    }
}

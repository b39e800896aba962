//! Where XDP programs run.

use std::fmt;
use std::str::FromStr;

/// Where the operator wants the XDP programs to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpModeChoice {
    /// In the drivers where all of them can, else behind them.
    #[default]
    Auto,
    /// In the drivers, or no gateway.
    Native,
    /// Behind the drivers, on socket buffers.
    Generic,
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no mode of XDP: expected auto, native or generic")]
pub struct UnknownXdpMode {
    text: String,
}

impl XdpModeChoice {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl FromStr for XdpModeChoice {
    type Err = UnknownXdpMode;

    fn from_str(text: &str) -> Result<Self, UnknownXdpMode> {
        [Self::Auto, Self::Native, Self::Generic]
            .into_iter()
            .find(|choice| choice.as_str() == text)
            .ok_or_else(|| UnknownXdpMode { text: text.to_owned() })
    }
}

impl fmt::Display for XdpModeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for choice in [XdpModeChoice::Auto, XdpModeChoice::Native, XdpModeChoice::Generic] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "driver".parse::<XdpModeChoice>().unwrap_err().to_string();
        assert_eq!(error, "\"driver\" is no mode of XDP: expected auto, native or generic");
    }
}

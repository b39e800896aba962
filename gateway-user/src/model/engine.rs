//! What seals and opens packets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An engine: who computes the AEAD of ESP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The XDP programs themselves.
    #[default]
    Kernel,
    /// Worker processes, by `AF_XDP` sockets; the XDP programs for what no worker can take.
    Xsk,
}

/// Which engine the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// [`Engine::Xsk`] where its workers come up, else [`Engine::Kernel`].
    #[default]
    Auto,
    /// [`Engine::Kernel`].
    Kernel,
    /// [`Engine::Xsk`], or no gateway.
    Xsk,
}

/// State of a worker process of [`Engine::Xsk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It was started and has not answered yet.
    #[default]
    Starting,
    /// It works.
    Running,
    /// It ended, and is started again after a pause.
    Failed,
}

/// A text that names no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no engine: expected auto, kernel or xsk")]
pub struct UnknownEngine {
    text: String,
}

impl Engine {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Xsk => "xsk",
        }
    }
}

impl EngineChoice {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::Xsk => "xsk",
        }
    }
}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        [Self::Auto, Self::Kernel, Self::Xsk]
            .into_iter()
            .find(|choice| choice.as_str() == text)
            .ok_or_else(|| UnknownEngine { text: text.to_owned() })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for choice in [EngineChoice::Auto, EngineChoice::Kernel, EngineChoice::Xsk] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for wrong in ["", "XSK", "dpdk"] {
            let error = wrong.parse::<EngineChoice>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("auto, kernel or xsk"),
                "{error}"
            );
        }
    }
}

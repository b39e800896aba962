//! Native and generic XDP.

use aya::programs::XdpMode as AttachMode;

/// How the programs run on the interfaces, on all of them alike: a frame that is redirected from native mode to an interface in generic
/// mode is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum XdpMode {
    /// In the drivers.
    #[default]
    Native,
    /// Behind the drivers, on socket buffers.
    Generic,
}

impl XdpMode {
    /// What the kernel is told.
    pub(super) fn attach_mode(self) -> AttachMode {
        match self {
            Self::Native => AttachMode::Driver,
            Self::Generic => AttachMode::Skb,
        }
    }

    /// Its name on every surface.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

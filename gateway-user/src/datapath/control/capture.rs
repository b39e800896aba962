//! Captures of the running datapath.

use anyhow::Result;

use super::super::capture::{CaptureSpec, CaptureStream};
use super::Datapath;

impl Datapath {
    /// Starts a capture; see [`super::super::capture::Captures::start`].
    ///
    /// # Errors
    /// Too many captures run, or the kernel refuses the memory.
    pub fn capture(&self, spec: CaptureSpec) -> Result<CaptureStream> {
        self.captures.start(spec)
    }
}

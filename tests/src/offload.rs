//! Offloads of virtual Ethernet ports that XDP programs face.

use crate::{NetNs, run};
use anyhow::Result;

impl NetNs {
    /// Makes the port `device` fit to face an XDP program: it computes every checksum and segment itself, because XDP
    /// forwards frames as they are, and it receives through NAPI (`gro on`), because only then the kernel accepts frames
    /// that XDP redirects into it.
    pub fn face_xdp(&self, device: &str) -> Result<()> {
        let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
        run(self.command("ethtool")?.arg("-K").arg(device).args(features)).map(|_| ())
    }
}

//! Building the agent.

use crate::cargo;
use crate::progress::Step;
use anyhow::Result;

/// Builds `vgw` in the release profile; the crate's build script builds the XDP programs.
pub(crate) fn vgw() -> Result<()> {
    let step = Step::begin("Building vgw and the XDP programs (release)");
    cargo::run(&mut cargo::cargo(["build", "--release", "--package", "gateway-user"]), "the build")?;
    step.end("built");
    Ok(())
}

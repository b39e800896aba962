//! Pinned maps, programs and links in the BPF file system.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Where the BPF file system is mounted on every distribution that mounts it.
const BPFFS: &str = "/sys/fs/bpf";

/// The pins of one gateway: a folder `<root>/<vnet>` of the BPF file system.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Makes the folder afresh. What an agent that died had pinned there is removed, which detaches its programs.
    pub(super) fn create(root: &Path, vnet: &str) -> Result<Self> {
        if root.starts_with(BPFFS) {
            mount_bpffs()?;
        }
        fs::create_dir_all(root).with_context(|| format!("cannot make folder {}", root.display()))?;
        if statfs(root).with_context(|| format!("cannot examine {}", root.display()))?.filesystem_type()
            != BPF_FS_MAGIC
        {
            bail!(
                "{} is not in a BPF file system; mount one with `mount -t bpf bpf {BPFFS}`",
                root.display()
            );
        }
        let pins = Self { directory: root.join(vnet) };
        pins.remove()?;
        fs::create_dir(&pins.directory)
            .with_context(|| format!("cannot make folder {}", pins.directory.display()))?;
        Ok(pins)
    }

    /// The folder.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes the folder with everything in it; a folder that is gone is no error.
    pub(super) fn remove(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", self.directory.display()));
            }
        };
        for entry in entries {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("cannot unpin {}", path.display()))?;
        }
        fs::remove_dir(&self.directory).with_context(|| format!("cannot remove {}", self.directory.display()))
    }
}

fn mount_bpffs() -> Result<()> {
    let mounted = statfs(BPFFS).is_ok_and(|statistics| statistics.filesystem_type() == BPF_FS_MAGIC);
    if !mounted {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("no BPF file system is mounted at {BPFFS}, and mounting one failed"))?;
        tracing::info!("mounted the BPF file system at {BPFFS}");
    }
    Ok(())
}

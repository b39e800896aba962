//! Pinned maps and attachments in the BPF file system.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
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
        make_private(root)?;
        if statfs(root).with_context(|| format!("cannot examine {}", root.display()))?.filesystem_type()
            != BPF_FS_MAGIC
        {
            bail!(
                "{} is not in a BPF file system; mount one with `mount -t bpf bpf {BPFFS}`",
                root.display()
            );
        }
        // The BPF file system reserves names with dots.
        let pins = Self { directory: root.join(vnet.replace('.', "~")) };
        pins.remove()?;
        make_private(&pins.directory)?;
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

/// Makes a folder for root alone. One that exists must be root's own: pins give access to keys.
fn make_private(directory: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make folder {}", directory.display()))?;
    let metadata =
        fs::metadata(directory).with_context(|| format!("cannot examine {}", directory.display()))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        bail!("{} must belong to this user, and no other may write to it", directory.display());
    }
    Ok(())
}

fn mount_bpffs() -> Result<()> {
    let mounted = statfs(BPFFS).is_ok_and(|statistics| statistics.filesystem_type() == BPF_FS_MAGIC);
    if !mounted {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("no BPF file system is mounted at {BPFFS}, and mounting one failed"))?;
        tracing::info!("mounted the BPF file system at {BPFFS}");
    }
    Ok(())
}

//! Replacing a file so that a crash leaves either the old content or the new.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

/// Writes `content` to `path` with mode 0600: into a temporary file beside it, which is synced and then renamed over
/// `path`; the directory is synced last, so that the rename itself survives a power loss.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    replace(path, &temporary, content).map_err(|source| {
        // The error that matters is the one above; a leftover is overwritten by the next attempt.
        let _ = std::fs::remove_file(&temporary);
        StoreError::Io { action: "write", path: path.to_owned(), source }
    })
}

fn replace(path: &Path, temporary: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
    // A leftover of an earlier crash keeps its mode when it is opened again.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    let directory = path.parent().expect("stored files lie in the store's directory");
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftover_of_a_crash_is_taken_over_with_a_private_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let leftover = dir.path().join("keys.new");
        std::fs::write(&leftover, "left over, longer than what follows").unwrap();
        std::fs::set_permissions(&leftover, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!leftover.exists());
    }

    #[test]
    fn failure_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        write(&path, b"old").unwrap();
        // A directory in the place of the temporary file makes the write fail before the rename.
        std::fs::create_dir(dir.path().join("keys.new")).unwrap();
        let error = write(&path, b"new").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("keys.json"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}

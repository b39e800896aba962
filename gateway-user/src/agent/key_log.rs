//! Keys for Wireshark, to look into a capture while something is being debugged.
//!
//! Whoever has these files can read what was captured. They are written only when the agent was started with `--key-log`,
//! which is told loudly. The directory works as a configuration directory of Wireshark 4:
//! `WIRESHARK_CONFIG_DIR=DIR tshark -o esp.enable_encryption_decode:TRUE -r FILE`.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use ike::{EspAead, EspSa, ExportedIkeKeys};
use zeroize::Zeroizing;

/// Rows that may wait for the disk; others are lost, and a row of a debugging aid is not worth waiting for.
const MOST_WAITING: usize = 1024;

/// Why the keys cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum KeyLogError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {reason}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        reason: io::Error,
    },
    /// Others could read the keys.
    #[error("{path} is to hold keys but has mode {mode:04o}; make it private (chmod go=)", path = path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else could read the keys.
    #[error("{path} is to hold keys but belongs to user {owner}; name a directory that does not exist yet", path = path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
}

/// Which of Wireshark's tables a row belongs to.
#[derive(Clone, Copy)]
enum Table {
    Ike,
    Esp,
}

/// Appends keys to the tables in a directory of mode 0700, from a thread of its own.
#[derive(Debug)]
pub(super) struct KeyLog {
    directory: PathBuf,
    rows: Option<SyncSender<(Table, Zeroizing<String>)>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyLog {
    /// Makes the directory and the two files if they are not there; refuses any that others can read or own.
    pub(super) fn open(directory: &Path) -> Result<Self, KeyLogError> {
        Self::open_as(directory, nix::unistd::geteuid().as_raw())
    }

    fn open_as(directory: &Path, user: u32) -> Result<Self, KeyLogError> {
        let failed = |reason| KeyLogError::Io { action: "make", path: directory.to_owned(), reason };
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => require_private(directory, &std::fs::metadata(directory).map_err(failed)?, user)?,
        }
        let ike = open_table(&directory.join("ikev2_decryption_table"), user)?;
        let esp = open_table(&directory.join("esp_sa"), user)?;
        let (rows, received) = sync_channel(MOST_WAITING);
        let thread = std::thread::spawn(move || write_rows(&received, ike, esp));
        Ok(Self { directory: directory.to_owned(), rows: Some(rows), thread: Some(thread) })
    }

    /// Where the keys are written.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds an IKE SA, unless Wireshark does not know its cipher.
    pub(super) fn add_ike(&self, keys: &ExportedIkeKeys) {
        let Some(encryption) = keys.wireshark_encryption() else { return };
        let mut row = row();
        put(&mut row, format_args!("{:016x},{:016x},", keys.spi_i, keys.spi_r));
        put_hex(&mut row, &keys.sk_ei);
        row.push(',');
        put_hex(&mut row, &keys.sk_er);
        put(&mut row, format_args!(",\"{encryption}\","));
        put_hex(&mut row, &keys.sk_ai);
        row.push(',');
        put_hex(&mut row, &keys.sk_ar);
        put(&mut row, format_args!(",\"{}\"\n", keys.wireshark_integrity()));
        self.add(Table::Ike, row);
    }

    /// Adds an SA that receives, unless Wireshark does not know its cipher.
    pub(super) fn add_inbound(&self, sa: &EspSa) {
        self.add_esp(sa, sa.remote.ip(), sa.local.ip());
    }

    /// Adds an SA that sends, likewise.
    pub(super) fn add_outbound(&self, sa: &EspSa) {
        self.add_esp(sa, sa.local.ip(), sa.remote.ip());
    }

    fn add_esp(&self, sa: &EspSa, source: std::net::IpAddr, destination: std::net::IpAddr) {
        if !matches!(sa.aead, EspAead::Aes128Gcm16 | EspAead::Aes256Gcm16) {
            return;
        }
        let version = if source.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut row = row();
        put(&mut row, format_args!("\"{version}\",\"{source}\",\"{destination}\",\"0x{:08x}\",", sa.spi));
        row.push_str("\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x");
        put_hex(&mut row, &sa.key);
        put_hex(&mut row, &*sa.salt);
        row.push_str("\",\"NULL\",\"\"\n");
        self.add(Table::Esp, row);
    }

    fn add(&self, table: Table, row: Zeroizing<String>) {
        if let Some(rows) = &self.rows
            && rows.try_send((table, row)).is_err()
        {
            tracing::warn!("the key log is too slow: the keys of an SA are missing in it");
        }
    }
}

impl Drop for KeyLog {
    /// Waits until all rows are written.
    fn drop(&mut self) {
        self.rows = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been told.
            let _ = thread.join();
        }
    }
}

/// A row, reserved in one piece: a growing string would leave copies of keys behind.
fn row() -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(1024))
}

fn put(row: &mut String, arguments: std::fmt::Arguments<'_>) {
    row.write_fmt(arguments).expect("writing to a string");
}

fn put_hex(row: &mut String, octets: &[u8]) {
    for octet in octets {
        put(row, format_args!("{octet:02x}"));
    }
}

fn open_table(path: &Path, user: u32) -> Result<File, KeyLogError> {
    let failed = |reason| KeyLogError::Io { action: "open", path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(failed)?;
    require_private(path, &file.metadata().map_err(failed)?, user)?;
    Ok(file)
}

fn require_private(path: &Path, metadata: &std::fs::Metadata, user: u32) -> Result<(), KeyLogError> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyLogError::Exposed { path: path.to_owned(), mode });
    }
    // In a place like /tmp anybody can make what an administrator is known to name.
    if metadata.uid() != user {
        return Err(KeyLogError::Foreign { path: path.to_owned(), owner: metadata.uid() });
    }
    Ok(())
}

fn write_rows(rows: &Receiver<(Table, Zeroizing<String>)>, mut ike: File, mut esp: File) {
    for (table, row) in rows {
        let file = match table {
            Table::Ike => &mut ike,
            Table::Esp => &mut esp,
        };
        if let Err(error) = file.write_all(row.as_bytes()) {
            tracing::warn!("the key log cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, read_to_string, set_permissions};

    use super::*;

    fn sa(aead: EspAead) -> EspSa {
        EspSa {
            spi: 0xabcd,
            aead,
            key: vec![0x11; 16].into(),
            salt: [1, 2, 3, 4].into(),
            esn: true,
            local: "192.0.2.1:500".parse().unwrap(),
            remote: "198.51.100.2:500".parse().unwrap(),
            udp_encapsulation: false,
            behind_nat: false,
            resource: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn rows_have_the_form_of_wireshark_and_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("keys");
        for _ in 0..2 {
            let log = KeyLog::open(&directory).unwrap();
            log.add_inbound(&sa(EspAead::Aes128Gcm16));
            log.add_outbound(&sa(EspAead::ChaCha20Poly1305));
        }
        let path = directory.join("esp_sa");
        let key = format!("{}01020304", "11".repeat(16));
        let row = format!(
            "\"IPv4\",\"198.51.100.2\",\"192.0.2.1\",\"0x0000abcd\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x{key}\",\"NULL\",\"\"\n"
        );
        assert_eq!(
            read_to_string(&path).unwrap(),
            row.repeat(2),
            "appended, without what Wireshark does not know"
        );
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        assert_eq!(mode(&directory.join("ikev2_decryption_table")), 0o600);
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("keys");
        drop(KeyLog::open(&directory).unwrap());
        set_permissions(directory.join("esp_sa"), Permissions::from_mode(0o640)).unwrap();
        let error = KeyLog::open(&directory).unwrap_err().to_string();
        assert!(error.contains("esp_sa") && error.contains("0640"), "{error}");
        set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
        let error = KeyLog::open(&directory).unwrap_err().to_string();
        assert!(error.contains("mode 0750"), "{error}");
    }

    #[test]
    fn what_somebody_else_made_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("keys");
        drop(KeyLog::open(&directory).unwrap());
        let another = nix::unistd::geteuid().as_raw() + 1;
        let error = KeyLog::open_as(&directory, another).unwrap_err().to_string();
        assert!(error.contains("keys is to hold keys but belongs to user"), "{error}");
        let error = open_table(&directory.join("esp_sa"), another).unwrap_err().to_string();
        assert!(error.contains("esp_sa is to hold keys but belongs to user"), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_a_table_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("keys");
        DirBuilder::new().mode(0o700).create(&directory).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, directory.join("esp_sa")).unwrap();
        assert!(KeyLog::open(&directory).is_err());
        assert!(!elsewhere.exists());
    }
}

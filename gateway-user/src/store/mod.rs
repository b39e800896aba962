//! What outlives a restart of the agent: the shared keys and the network configuration of one gateway, the parameters
//! of its connections, which of them were taken down by command, and the bandwidth that was set by command.
//!
//! Everything lies in one directory per VNet, mode 0700, in files of mode 0600. A file is replaced as a whole or not at
//! all: see [`atomic::write`]. That waits for the disk, so it is a [`Write`] of its own, which any thread can run.

mod atomic;
mod bandwidth;
mod held;
mod key_text;
mod keys;
mod parameters;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::model::GatewayBandwidth;

pub use key_text::{KeyText, random_key};
pub use keys::KeyRing;
pub use parameters::ParametersBySite;

/// The stored state of one gateway.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// A file that is to be replaced. Nothing is stored before [`Write::run`].
#[derive(Debug)]
#[must_use = "nothing is stored before it runs"]
pub struct Write {
    path: PathBuf,
    content: Content,
}

/// Some content is secret and may not show up in a log.
struct Content(Zeroizing<Vec<u8>>);

impl Write {
    /// Replaces the file, and returns when it and its directory are on the disk. Blocks.
    pub fn run(self) -> Result<(), StoreError> {
        atomic::write(&self.path, &self.content.0)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Why stored state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file of shared keys can be read by others than its owner.
    #[error(
        "{path} holds shared keys but has mode {mode:04o}; make it private (chmod 600) and replace keys that may have been read",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file exists but does not hold what it should.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never quotes its content.
        reason: String,
    },
}

impl Store {
    /// Opens the state of gateway `vnet` below `state_dir` and makes its directory (mode 0700) if there is none.
    pub fn open(state_dir: &Path, vnet: &str) -> Result<Self, StoreError> {
        let directory = state_dir.join(vnet);
        make_private_dir(&directory)?;
        Ok(Self { directory })
    }

    /// The network configuration stored last, as XML text; `None` if none was stored.
    pub fn load_netcfg(&self) -> Result<Option<String>, StoreError> {
        let path = self.netcfg_path();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { action: "read", path, source }),
        }
    }

    /// Puts a network configuration in place of the one before.
    pub fn write_netcfg(&self, xml: String) -> Write {
        write(self.netcfg_path(), xml.into_bytes())
    }

    /// The stored shared keys; an empty ring if none were stored.
    pub fn load_keys(&self) -> Result<KeyRing, StoreError> {
        let path = self.keys_path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(KeyRing::default()),
            Err(source) => return Err(StoreError::Io { action: "open", path, source }),
        };
        let read_error = |source| StoreError::Io { action: "read", path: path.clone(), source };
        let metadata = file.metadata().map_err(read_error)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Exposed { path, mode });
        }
        // Reserved in one piece: a growing vector would leave copies of the keys behind.
        let mut content = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
        file.read_to_end(&mut content).map_err(read_error)?;
        KeyRing::from_json(&content).map_err(|reason| StoreError::Damaged { path, reason })
    }

    /// Puts the shared keys in place of those before.
    pub fn write_keys(&self, keys: &KeyRing) -> Write {
        Write { path: self.keys_path(), content: Content(keys.to_json()) }
    }

    /// Sites whose connections were taken down by command; none if nothing was stored.
    pub fn load_held(&self) -> Result<BTreeSet<String>, StoreError> {
        load(self.held_path(), held::from_json)
    }

    /// Puts the sites whose connections were taken down by command in place of those before.
    pub fn write_held(&self, held: &BTreeSet<String>) -> Write {
        write(self.held_path(), held::to_json(held))
    }

    /// The parameters of single connections; none if nothing was stored.
    pub fn load_parameters(&self) -> Result<ParametersBySite, StoreError> {
        load(self.parameters_path(), parameters::from_json)
    }

    /// Puts the parameters of single connections in place of those before.
    pub fn write_parameters(&self, parameters: &ParametersBySite) -> Write {
        write(self.parameters_path(), parameters::to_json(parameters))
    }

    /// The bandwidth that was set by command; `None` if none was.
    pub fn load_bandwidth(&self) -> Result<Option<GatewayBandwidth>, StoreError> {
        load(self.bandwidth_path(), bandwidth::from_json)
    }

    /// Puts the bandwidth that was set by command in place of the one before; `None` for none.
    pub fn write_bandwidth(&self, bandwidth: Option<GatewayBandwidth>) -> Write {
        write(self.bandwidth_path(), bandwidth::to_json(bandwidth))
    }

    /// Where the network configuration lies.
    pub fn netcfg_path(&self) -> PathBuf {
        self.directory.join("netcfg.xml")
    }

    fn keys_path(&self) -> PathBuf {
        self.directory.join("keys.json")
    }

    fn held_path(&self) -> PathBuf {
        self.directory.join("held.json")
    }

    fn bandwidth_path(&self) -> PathBuf {
        self.directory.join("bandwidth.json")
    }

    fn parameters_path(&self) -> PathBuf {
        self.directory.join("parameters.json")
    }
}

/// What a file says; the default if there is none.
fn load<T: Default>(path: PathBuf, read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, StoreError> {
    match std::fs::read(&path) {
        Ok(content) => read(&content).map_err(|reason| StoreError::Damaged { path, reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(StoreError::Io { action: "read", path, source }),
    }
}

fn write(path: PathBuf, content: Vec<u8>) -> Write {
    Write { path, content: Content(content.into()) }
}

/// Makes a directory and its parents with mode 0700; one that exists gets that mode.
pub fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    let create = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    let restrict = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    create(path).and_then(|()| restrict(path)).map_err(|source| StoreError::Io {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BandwidthDirection, ConnectionParameters, ParametersDocument, SharedKey};

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).expect("exists").permissions().mode() & 0o7777
    }

    fn ring(site: &str, key: &str) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.set(site, SharedKey::new(key).expect("valid"));
        ring
    }

    #[test]
    fn keys_survive_in_private_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        assert!(store.load_keys().unwrap().get("VNet2").is_none());
        store.write_keys(&ring("VNet2", "correct horse \"battery\" \\ staple")).run().unwrap();

        let again = Store::open(dir.path(), "VNet1").unwrap();
        let keys = again.load_keys().unwrap();
        assert_eq!(keys.get("VNet2").unwrap().expose(), "correct horse \"battery\" \\ staple");
        assert_eq!(mode_of(&dir.path().join("VNet1")), 0o700);
        assert_eq!(mode_of(&dir.path().join("VNet1/keys.json")), 0o600);
        let names: Vec<_> = std::fs::read_dir(dir.path().join("VNet1"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["keys.json"], "no temporary file stays behind");
    }

    #[test]
    fn netcfg_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        assert_eq!(store.load_netcfg().unwrap(), None);
        store.write_netcfg("a long first text".to_owned()).run().unwrap();
        store.write_netcfg("short".to_owned()).run().unwrap();
        assert_eq!(store.load_netcfg().unwrap().as_deref(), Some("short"));
    }

    #[test]
    fn connections_taken_down_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        assert!(store.load_held().unwrap().is_empty());
        let held = BTreeSet::from(["VNet2".to_owned(), "VNet3".to_owned()]);
        store.write_held(&held).run().unwrap();
        assert_eq!(store.load_held().unwrap(), held);
        for content in ["", r#"{"version":2,"held":[]}"#, r#"{"version":1,"held":"VNet2"}"#] {
            atomic::write(&store.held_path(), content.as_bytes()).unwrap();
            let error = store.load_held().unwrap_err().to_string();
            assert!(error.contains("held.json is damaged"), "{error}");
        }
    }

    #[test]
    fn parameters_are_remembered_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        assert!(store.load_parameters().unwrap().is_empty());
        let document = ParametersDocument { dpd: Some(30), ..ParametersDocument::default() };
        let own = ConnectionParameters::try_from(document).unwrap();
        let parameters = ParametersBySite::from([("VNet2".to_owned(), own)]);
        store.write_parameters(&parameters).run().unwrap();
        assert_eq!(store.load_parameters().unwrap(), parameters);
        assert_eq!(mode_of(&store.parameters_path()), 0o600);
        for (content, complaint) in [
            (r#"{"version":2,"connections":{}}"#, "version 2"),
            (r#"{"version":1,"connections":{"VNet2":{"dpd":1}}}"#, "connection to VNet2: dpd: \"1\""),
            (r#"{"version":1,"connections":{"VNet2":{"ddp":30}}}"#, "ddp"),
        ] {
            atomic::write(&store.parameters_path(), content.as_bytes()).unwrap();
            let error = store.load_parameters().unwrap_err().to_string();
            assert!(error.contains("parameters.json is damaged") && error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_bandwidth_is_remembered_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        assert_eq!(store.load_bandwidth().unwrap(), None);
        let limited = GatewayBandwidth {
            rate: Some("50mbit".parse().unwrap()),
            direction: BandwidthDirection::Separate,
        };
        for bandwidth in [Some(limited), Some(GatewayBandwidth::default()), None] {
            store.write_bandwidth(bandwidth).run().unwrap();
            assert_eq!(store.load_bandwidth().unwrap(), bandwidth);
        }
        for (content, complaint) in [
            (r#"{"version":2,"bandwidth":null}"#, "version 2"),
            (r#"{"version":1,"bandwidth":{"rate":"0","direction":"shared"}}"#, "\"0\" is no bandwidth"),
        ] {
            atomic::write(&store.bandwidth_path(), content.as_bytes()).unwrap();
            let error = store.load_bandwidth().unwrap_err().to_string();
            assert!(error.contains("bandwidth.json is damaged") && error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn a_write_does_not_show_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        let write = store.write_keys(&ring("VNet2", "topsecret"));
        assert!(!format!("{write:?}").contains("topsecret"));
        assert!(!store.keys_path().exists(), "nothing is stored before it runs");
    }

    #[test]
    fn exposed_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        store.write_keys(&ring("VNet2", "secret")).run().unwrap();
        std::fs::set_permissions(store.keys_path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = store.load_keys().unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("keys.json"), "{error}");
    }

    #[test]
    fn damage_is_reported_without_quoting_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "VNet1").unwrap();
        for content in [
            "",
            "topsecret",
            r#"{"version":9,"keys":{}}"#,
            r#"{"version":1,"keys":{"VNet2":"top\u00e9secret"}}"#,
            r#"{"version":1,"keys":{"VNet2":["topsecret"]}}"#,
            r#"{"version":1,"keys":"topsecret"}"#,
        ] {
            atomic::write(&store.keys_path(), content.as_bytes()).unwrap();
            let error = store.load_keys().unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{content}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

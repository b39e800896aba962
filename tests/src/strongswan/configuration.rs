//! The daemon's settings and its connections, written as strongswan.conf and swanctl.conf.

use anyhow::Result;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Plugins of the daemon: algorithms, credentials, ESP in user space, control.
const PLUGINS: &str = "random nonce aesni openssl curve25519 chapoly gcm sha1 sha2 hmac kdf drbg pem pkcs1 pkcs8 \
                       x509 pubkey constraints revocation kernel-libipsec kernel-netlink socket-default vici updown";

/// Plugins of the control program, which reads the files of keys and certificates.
const CONTROL_PLUGINS: &str = "pem pkcs1 pkcs8 x509 pubkey random openssl curve25519";

/// Settings of a daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Half-open IKE SAs from which on it demands cookies; `None` for its own default.
    pub cookie_threshold: Option<u32>,
    /// Size in bytes of the IP packets that carry fragments of IKE messages (RFC 7383).
    pub fragment_size: u32,
    /// How often a request is sent again before the peer counts as dead; the times between are 0.5 s, 0.75 s and so on.
    pub retransmissions: u32,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { cookie_threshold: None, fragment_size: 1280, retransmissions: 5 }
    }
}

/// How both ends of a connection prove who they are.
#[derive(Clone)]
pub enum Authentication {
    /// Pre-shared key.
    Psk(String),
    /// Certificates, all in PEM.
    Certificate {
        /// The daemon's own certificate, then those of the authorities between it and an anchor.
        chain: Vec<String>,
        /// Its private key.
        key: String,
        /// Authority that both ends trust.
        anchor: String,
    },
}

/// A connection of the daemon to one peer gateway: one IKE SA with one Child SA, whose name is [`Peering::CHILD`].
#[derive(Clone)]
pub struct Peering {
    /// Its name.
    pub name: String,
    /// Own outer address.
    pub local: IpAddr,
    /// Outer address of the peer, or `%any`.
    pub remote: String,
    /// Own identity; its address by default.
    pub local_id: Option<String>,
    /// Identity that the peer must prove; its address by default.
    pub remote_id: Option<String>,
    /// How both ends authenticate.
    pub authentication: Authentication,
    /// The IKE proposal.
    pub ike_proposal: String,
    /// The ESP proposal, with the groups for perfect forward secrecy on rekeying.
    pub esp_proposal: String,
    /// Traffic selectors of the own side.
    pub local_selectors: Vec<String>,
    /// Traffic selectors of the peer's side.
    pub remote_selectors: Vec<String>,
    /// Age in seconds at which the IKE SA is rekeyed; 0 for never.
    pub ike_lifetime: u32,
    /// Age in seconds at which the Child SA is rekeyed; 0 for never.
    pub child_lifetime: u32,
    /// Idle time in seconds before the peer is asked whether it lives; 0 for never.
    pub dpd: u32,
}

impl Peering {
    /// Name of the Child SA's configuration.
    pub const CHILD: &'static str = "net";

    /// A connection between two addresses and the networks behind them, with usual algorithms and nothing done by time.
    pub fn new<A: Into<IpAddr>>(name: &str, local: (A, &str), remote: (A, &str), psk: &str) -> Self {
        Self {
            name: name.to_owned(),
            local: local.0.into(),
            remote: remote.0.into().to_string(),
            local_id: None,
            remote_id: None,
            authentication: Authentication::Psk(psk.to_owned()),
            ike_proposal: "aes256gcm16-prfsha384-x25519".to_owned(),
            esp_proposal: "aes256gcm16-x25519".to_owned(),
            local_selectors: vec![local.1.to_owned()],
            remote_selectors: vec![remote.1.to_owned()],
            ike_lifetime: 0,
            child_lifetime: 0,
            dpd: 0,
        }
    }

    fn local_id(&self) -> String {
        self.local_id.clone().unwrap_or_else(|| self.local.to_string())
    }

    fn remote_id(&self) -> String {
        self.remote_id.clone().unwrap_or_else(|| self.remote.clone())
    }
}

/// Where the files of one daemon lie; nobody but root can look into it.
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory, with the subfolders in which the control program looks for credentials.
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        for folder in ["x509", "x509ca", "private"] {
            std::fs::create_dir_all(path.join(folder))?;
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn settings(&self) -> PathBuf {
        self.0.join("strongswan.conf")
    }

    pub(super) fn connections(&self) -> PathBuf {
        self.0.join("swanctl.conf")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("charon.vici")
    }

    pub(super) fn uri(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(super) fn write_settings(&self, daemon: &Daemon, log: &Path) -> Result<()> {
        let mut text = String::new();
        write_section(&mut text, daemon, &self.uri(), log)?;
        self.write(&self.settings(), &text)
    }

    /// Replaces the connections and their credentials.
    pub(super) fn write_connections(&self, peerings: &[Peering]) -> Result<()> {
        let mut connections = String::new();
        let mut secrets = String::new();
        for peering in peerings {
            self.write_credentials(peering)?;
            write_connection(&mut connections, peering)?;
            if let Authentication::Psk(key) = &peering.authentication {
                let (name, local, remote) = (&peering.name, peering.local_id(), peering.remote_id());
                write!(
                    secrets,
                    "  ike-{name} {{\n    id-1 = \"{local}\"\n    id-2 = \"{remote}\"\n    secret = \"{key}\"\n  }}\n"
                )?;
            }
        }
        let text = format!("connections {{\n{connections}}}\nsecrets {{\n{secrets}}}\n");
        self.write(&self.connections(), &text)
    }

    fn write_credentials(&self, peering: &Peering) -> Result<()> {
        let Authentication::Certificate { chain, key, anchor } = &peering.authentication else {
            return Ok(());
        };
        let name = &peering.name;
        for (index, certificate) in chain.iter().enumerate() {
            // Authorities between the own certificate and the anchor lie with the anchors, but only the anchor is
            // self-signed.
            let path = match index {
                0 => self.0.join("x509").join(format!("{name}.pem")),
                _ => self.0.join("x509ca").join(format!("{name}-{index}.pem")),
            };
            self.write(&path, certificate)?;
        }
        self.write(&self.0.join("x509ca").join(format!("{name}.pem")), anchor)?;
        self.write(&self.0.join("private").join(format!("{name}.pem")), key)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        debug_assert!(path.starts_with(&self.0));
        let mut file: File =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

fn write_section(text: &mut String, daemon: &Daemon, uri: &str, log: &Path) -> std::fmt::Result {
    let Daemon { cookie_threshold, fragment_size, retransmissions } = daemon;
    let cookies = cookie_threshold
        .map(|threshold| format!("  cookie_threshold = {threshold}\n  cookie_threshold_ip = {threshold}\n"));
    write!(
        text,
        "charon {{\n  load = {PLUGINS}\n  send_vendor_id = yes\n  rsa_pss = yes\n  fragment_size = {fragment_size}\n{}  \
         retransmit_timeout = 0.5\n  retransmit_base = 1.5\n  retransmit_tries = {retransmissions}\n  \
         plugins {{\n    vici {{\n      socket = {uri}\n    }}\n  }}\n",
        cookies.unwrap_or_default(),
    )?;
    // Level 4 would print secrets.
    write!(
        text,
        "  filelog {{\n    file {{\n      path = {}\n      append = yes\n      flush_line = yes\n      \
         time_format = %H:%M:%S\n      default = 1\n      ike = 2\n      cfg = 1\n    }}\n  }}\n}}\n",
        log.display()
    )?;
    write!(text, "charon-systemd {{\n  journal {{\n    default = -1\n  }}\n}}\n")?;
    write!(text, "swanctl {{\n  load = {CONTROL_PLUGINS}\n  socket = {uri}\n}}\n")
}

fn write_connection(text: &mut String, peering: &Peering) -> std::fmt::Result {
    let Peering { name, local, remote, ike_proposal, ike_lifetime, dpd, .. } = peering;
    write!(
        text,
        "  {name} {{\n    version = 2\n    mobike = no\n    local_addrs = {local}\n    remote_addrs = {remote}\n    \
         proposals = {ike_proposal}\n    rekey_time = {ike_lifetime}\n    over_time = 60\n    dpd_delay = {dpd}\n    \
         fragmentation = yes\n    send_cert = always\n    keyingtries = 1\n"
    )?;
    let auth = match &peering.authentication {
        Authentication::Psk(_) => "psk",
        Authentication::Certificate { .. } => "pubkey",
    };
    let certificates = match &peering.authentication {
        Authentication::Psk(_) => String::new(),
        Authentication::Certificate { .. } => format!("      certs = {name}.pem\n"),
    };
    write!(
        text,
        "    local {{\n      auth = {auth}\n      id = \"{}\"\n{certificates}    }}\n    remote {{\n      auth = {auth}\n      \
         id = \"{}\"\n    }}\n",
        peering.local_id(),
        peering.remote_id()
    )?;
    write!(
        text,
        "    children {{\n      {} {{\n        mode = tunnel\n        local_ts = {}\n        remote_ts = {}\n        \
         esp_proposals = {}\n        rekey_time = {}\n        life_time = 0\n        dpd_action = clear\n        \
         start_action = none\n        close_action = none\n      }}\n    }}\n  }}\n",
        Peering::CHILD,
        peering.local_selectors.join(","),
        peering.remote_selectors.join(","),
        peering.esp_proposal,
        peering.child_lifetime,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_root_only_and_hold_what_was_asked_for() {
        let path = std::env::temp_dir().join(format!("vgw-charon-{}", std::process::id()));
        let directory = Directory::create(path.clone()).unwrap();
        let ends: (IpAddr, IpAddr) = ("192.0.2.2".parse().unwrap(), "198.51.100.2".parse().unwrap());
        let mut peering = Peering::new("site", (ends.0, "10.2.0.0/16"), (ends.1, "10.1.0.0/16"), "the key");
        peering.remote_id = Some("gw.example".to_owned());
        directory.write_connections(&[peering]).unwrap();
        let daemon = Daemon { cookie_threshold: Some(0), ..Daemon::default() };
        directory.write_settings(&daemon, Path::new("/log")).unwrap();

        let text = std::fs::read_to_string(directory.connections()).unwrap();
        for part in ["id = \"gw.example\"", "secret = \"the key\"", "local_ts = 10.2.0.0/16", "auth = psk"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&directory.connections())), (0o700, 0o600));
        let text = std::fs::read_to_string(directory.settings()).unwrap();
        assert!(text.contains("cookie_threshold = 0") && text.contains("path = /log"), "{text}");
        std::fs::remove_dir_all(path).unwrap();
    }
}

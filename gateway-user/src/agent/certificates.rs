//! Certificates and private keys from files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ike::crypto::SignatureError;
use ike::{CertificateError, Credentials, TrustAnchors};
use zeroize::Zeroizing;

/// Largest file that is read, in octets: room for every authority of a system.
const MOST_OCTETS: u64 = 1 << 20;

/// Where the certificates lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The gateway's certificate, followed by those of the authorities above it, and its private key; PEM.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Certificates of the authorities one of which must have issued a peer's; PEM.
    pub authorities: Vec<PathBuf>,
    /// Revocation lists of these authorities; PEM.
    pub revocation_lists: Vec<PathBuf>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: io::Error,
    },
    /// It is larger than any file of certificates.
    #[error("{path} is larger than {MOST_OCTETS} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A private key can be read by others than its owner.
    #[error(
        "{path} holds a private key but has mode {mode:04o}; make it private (chmod 600) and replace a key that may have been read",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content cannot be used.
    #[error("cannot use {path}: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: CertificateError,
    },
}

/// What the files hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) trust: Option<Arc<TrustAnchors>>,
}

impl CertificateFiles {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads all of them. Blocks.
    pub(super) fn load(&self) -> Result<Certificates, CertificateFileError> {
        let credentials = match &self.own {
            None => None,
            Some((chain, key)) => {
                let (certificates, private) = (read(chain, false)?, read(key, true)?);
                let credentials = Credentials::from_pem(&certificates, &private).map_err(|reason| {
                    let path = if is_about_key(&reason) { key } else { chain };
                    CertificateFileError::Content { path: path.clone(), reason }
                })?;
                Some(Arc::new(credentials))
            }
        };
        Ok(Certificates { credentials, trust: self.load_trust()? })
    }

    fn load_trust(&self) -> Result<Option<Arc<TrustAnchors>>, CertificateFileError> {
        let Some(first) = self.authorities.first() else { return Ok(None) };
        let content = |path: &Path| {
            let path = path.to_owned();
            move |reason| CertificateFileError::Content { path, reason }
        };
        // Each is checked alone, so that an error names its file.
        let mut pem = Vec::new();
        for path in &self.authorities {
            let certificates = read(path, false)?;
            TrustAnchors::from_pem(&certificates).map_err(content(path))?;
            pem.extend_from_slice(&certificates);
            pem.push(b'\n');
        }
        let mut trust = TrustAnchors::from_pem(&pem).map_err(content(first))?;
        for path in &self.revocation_lists {
            trust = trust.with_crls(&read(path, false)?).map_err(content(path))?;
        }
        Ok(Some(Arc::new(trust)))
    }
}

fn is_about_key(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NoPrivateKey
            | CertificateError::DamagedPrivateKey
            | CertificateError::SeveralPrivateKeys
            | CertificateError::Key(SignatureError::PrivateKey { .. } | SignatureError::OtherPublicKey)
    )
}

fn read(path: &Path, is_secret: bool) -> Result<Zeroizing<Vec<u8>>, CertificateFileError> {
    let failed = |reason| CertificateFileError::Read { path: path.to_owned(), reason };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if is_secret && mode & 0o077 != 0 {
        return Err(CertificateFileError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MOST_OCTETS {
        return Err(CertificateFileError::TooLarge { path: path.to_owned() });
    }
    // Reserved in one piece: a growing vector would leave copies of the key behind.
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(MOST_OCTETS).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::super::test_support::write_certificates;
    use super::*;

    #[test]
    fn certificates_and_authorities_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_certificates(dir.path(), "gw1.example");
        let Certificates { credentials, trust } = files.load().unwrap();
        assert!(trust.is_some());
        assert!(credentials.is_some_and(|own| own.proves(&"gw1.example".parse().unwrap())));
        let none = CertificateFiles::default().load().unwrap();
        assert!(none.credentials.is_none() && none.trust.is_none());
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_certificates(dir.path(), "gw1.example");
        let key = files.own.clone().unwrap().1;
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = files.load().unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:04o}")) && error.contains("key.pem"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = write_certificates(dir.path(), "gw1.example");
        let (chain, key) = files.own.clone().unwrap();
        let missing = CertificateFiles { own: Some((dir.path().join("none.pem"), key)), ..files.clone() };
        assert!(missing.load().unwrap_err().to_string().contains("none.pem"));
        let swapped = CertificateFiles { authorities: vec![chain], ..files };
        let error = swapped.load().unwrap_err().to_string();
        assert!(error.contains("gateway.pem") && error.contains("authority"), "{error}");
    }
}

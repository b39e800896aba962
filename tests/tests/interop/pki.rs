//! Certificates for one test.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use testbed::strongswan::Authentication;
use testbed::{CertificateFiles, run};

/// Kind of the keys of all certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa,
    Ecdsa256,
    Ecdsa384,
    Ed25519,
}

/// A root that both ends trust.
pub(crate) struct Root {
    kind: KeyKind,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// What one end proves its name with, in PEM.
pub(crate) struct Credentials {
    chain: Vec<String>,
    key: String,
    anchor: String,
}

impl Root {
    /// Makes a root whose keys, and those of everything under it, are of `kind`.
    pub(crate) fn new(kind: KeyKind) -> Result<Self> {
        let authority = CertifiedIssuer::self_signed(authority("Root")?, kind.key()?)?;
        Ok(Self { kind, authority })
    }

    /// A certificate for the domain name `name`, with `intermediates` authorities of its own between it and the root.
    pub(crate) fn issue(&self, name: &str, intermediates: u8) -> Result<Credentials> {
        let key = self.kind.key()?;
        let mut between: Vec<CertifiedIssuer<'static, KeyPair>> = Vec::new();
        for number in 1..=intermediates {
            let issuer = between.last().unwrap_or(&self.authority);
            let params = authority(&format!("Authority {number} of {name}"))?;
            between.push(CertifiedIssuer::signed_by(params, self.kind.key()?, issuer)?);
        }
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let own = params.signed_by(&key, between.last().unwrap_or(&self.authority))?;
        let mut chain = vec![own.pem()];
        chain.extend(between.iter().rev().map(CertifiedIssuer::pem));
        Ok(Credentials { chain, key: key.serialize_pem(), anchor: self.authority.pem() })
    }
}

impl Credentials {
    /// For strongSwan.
    pub(crate) fn for_strongswan(self) -> Authentication {
        Authentication::Certificate { chain: self.chain, key: self.key, anchor: self.anchor }
    }

    /// For our gateway: writes the files into `directory`.
    pub(crate) fn into_files(self, directory: &Path) -> Result<CertificateFiles> {
        let directory = directory.join("pki");
        std::fs::create_dir(&directory)?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        let path = |name: &str| directory.join(name);
        let files =
            CertificateFiles { chain: path("chain.pem"), key: path("key.pem"), anchor: path("ca.pem") };
        let texts =
            [(&files.chain, self.chain.concat()), (&files.key, self.key), (&files.anchor, self.anchor)];
        for (path, text) in texts {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
        }
        Ok(files)
    }
}

impl KeyKind {
    fn key(self) -> Result<KeyPair> {
        Ok(match self {
            Self::Rsa => {
                // The library signs with RSA keys but makes none.
                let mut command = Command::new("openssl");
                command.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
                let pem = run(&mut command)?;
                KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).context("a key of openssl's")?
            }
            Self::Ecdsa256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Self::Ecdsa384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519)?,
        })
    }
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

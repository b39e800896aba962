//! What is offered and accepted: the algorithms of IKE SAs and Child SAs.

use std::fmt;

use crate::crypto::{DhGroup, EspAead, IkeAead, IkeCbc, Integrity, Prf};

/// Algorithms for an IKE SA: one of each list, most preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeProposal {
    /// Ciphers, and integrity algorithms where the ciphers need them.
    pub encryption: IkeEncryption,
    /// Pseudo-random functions.
    pub prf: Vec<Prf>,
    /// Diffie-Hellman groups.
    pub groups: Vec<DhGroup>,
}

/// The ciphers of an IKE proposal. A proposal holds ciphers of one kind; whoever wants both makes two of them
/// (RFC 7296 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IkeEncryption {
    /// Ciphers that protect integrity as well.
    Aead(Vec<IkeAead>),
    /// Ciphers with a separate integrity algorithm.
    Cbc {
        /// Ciphers.
        ciphers: Vec<IkeCbc>,
        /// Integrity algorithms.
        integrity: Vec<Integrity>,
    },
}

impl IkeEncryption {
    /// The names, ciphers first.
    fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Aead(ciphers) => ciphers.iter().map(|cipher| cipher.name()).collect(),
            Self::Cbc { ciphers, integrity } => {
                let ciphers = ciphers.iter().map(|cipher| cipher.name());
                ciphers.chain(integrity.iter().map(|integrity| integrity.name())).collect()
            }
        }
    }
}

impl IkeProposal {
    /// The `default` profile: AES-GCM-16 (256, 128), PRF HMAC-SHA2 (384, 256, 512), groups Curve25519, P-384, P-256 and
    /// MODP-2048. Groups that cost a responder more are left out: strangers could make it pay.
    pub fn default_profile() -> Self {
        Self {
            encryption: IkeEncryption::Aead(vec![IkeAead::Aes256Gcm16, IkeAead::Aes128Gcm16]),
            prf: vec![Prf::HmacSha384, Prf::HmacSha256, Prf::HmacSha512],
            groups: vec![DhGroup::X25519, DhGroup::Ecp384, DhGroup::Ecp256, DhGroup::Modp2048],
        }
    }

    /// Exactly one algorithm of each kind, with an AEAD cipher.
    pub fn single(encryption: IkeAead, prf: Prf, group: DhGroup) -> Self {
        Self { encryption: IkeEncryption::Aead(vec![encryption]), prf: vec![prf], groups: vec![group] }
    }
}

/// The names as strongSwan writes them: `aes256gcm16-aes128gcm16-prfsha384-x25519`, `aes256-sha256-prfsha256-ecp384`.
impl fmt::Display for IkeProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.encryption.names();
        names.extend(self.prf.iter().map(|prf| prf.name()));
        names.extend(self.groups.iter().map(|group| group.name()));
        f.write_str(&names.join("-"))
    }
}

/// Algorithms for a Child SA: one of each list, most preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspProposal {
    /// Ciphers.
    pub encryption: Vec<EspAead>,
    /// Diffie-Hellman groups for rekeying (perfect forward secrecy); an empty list rekeys without. The first Child SA
    /// takes its keys from the exchange of the IKE SA (RFC 7296 §1.2).
    pub groups: Vec<DhGroup>,
    /// Extended sequence numbers: which settings are acceptable.
    pub esn: Vec<bool>,
}

impl EspProposal {
    /// The `default` profile: ChaCha20-Poly1305, AES-GCM-16 (256, 128), ESN preferred, rekeying with Curve25519, P-384,
    /// P-256 or MODP-2048.
    ///
    /// Each cipher is offered with an implicit IV as well, behind all explicit ones: a peer that does not know these
    /// transforms skips them (RFC 7296 §3.3.6), one that prefers them gets them, and everyone else, this implementation
    /// included, keeps the form that every peer and every tool that looks at packets understands.
    pub fn default_profile() -> Self {
        Self {
            encryption: EspAead::ALL.to_vec(),
            groups: IkeProposal::default_profile().groups,
            esn: vec![true, false],
        }
    }

    /// Exactly one algorithm of each kind; `group` is that of rekeying, `None` rekeys without a key exchange.
    pub fn single(encryption: EspAead, group: Option<DhGroup>, esn: bool) -> Self {
        Self { encryption: vec![encryption], groups: group.into_iter().collect(), esn: vec![esn] }
    }
}

/// The names as strongSwan writes them: `chacha20poly1305-aes256gcm16-x25519-esn-noesn`.
impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ciphers = self.encryption.iter().map(|cipher| cipher.name());
        let groups = self.groups.iter().map(|group| group.name());
        let esn = self.esn.iter().map(|esn| if *esn { "esn" } else { "noesn" });
        f.write_str(&ciphers.chain(groups).chain(esn).collect::<Vec<_>>().join("-"))
    }
}

//! Proposals as text, in strongSwan's syntax: names of algorithms joined by `-`, those of one kind most preferred first.

use std::str::FromStr;

use crate::crypto::{DhGroup, EspAead, IkeAead, IkeCbc, Integrity, Prf};
use crate::proposal::{EspProposal, IkeEncryption, IkeProposal};
use crate::proposal_refused::{Refusal, refusal};

const ESN_NAMES: [(&str, bool); 2] = [("esn", true), ("noesn", false)];

/// Why a text is no proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// A name that nobody knows.
    #[error("unknown algorithm {token:?}; accepted are {accepted}")]
    Unknown {
        /// The name.
        token: String,
        /// Every accepted name.
        accepted: String,
    },
    /// An algorithm that would not protect the connection.
    #[error("{token} is insecure and not accepted: {reason}")]
    Insecure {
        /// Its name.
        token: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An algorithm of strongSwan that this implementation does not have.
    #[error("{token} is known but not supported; accepted are {accepted}")]
    Unsupported {
        /// Its name.
        token: String,
        /// Every accepted name.
        accepted: String,
    },
    /// A supported algorithm in the wrong proposal, or beside algorithms that exclude it.
    #[error("{token} does not belong here: {reason}")]
    Misplaced {
        /// Its name.
        token: String,
        /// Why not.
        reason: &'static str,
    },
    /// A kind of algorithm is missing.
    #[error("the proposal has no {kind}; name one of {accepted}")]
    Incomplete {
        /// The kind.
        kind: &'static str,
        /// The names of that kind.
        accepted: String,
    },
}

/// `aes256gcm16-prfsha384-ecp384`, or with AES-CBC `aes256-sha256-modp2048`: when no pseudo-random function is named, it
/// follows the integrity algorithms, as strongSwan does it. AEAD ciphers have no integrity algorithm to follow.
impl FromStr for IkeProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let (mut aead, mut cbc, mut integrity) = (Vec::new(), Vec::new(), Vec::new());
        let (mut prf, mut groups) = (Vec::new(), Vec::new());
        for token in text.split('-') {
            if let Some(cipher) = ike_aead(token) {
                add(&mut aead, cipher);
            } else if let Some(cipher) = ike_cbc(token) {
                add(&mut cbc, cipher);
            } else if let Some(algorithm) = integrity_of(token) {
                add(&mut integrity, algorithm);
            } else if let Some(function) = find(&Prf::ALL, token, Prf::name) {
                add(&mut prf, function);
            } else if let Some(group) = group(token) {
                add(&mut groups, group);
            } else {
                return Err(refused_in_ike(token));
            }
        }
        let encryption = match (aead.as_slice(), cbc.as_slice(), integrity.as_slice()) {
            ([], [], _) => return Err(incomplete("cipher", ike_cipher_names())),
            ([], [_, ..], []) => {
                return Err(incomplete("integrity algorithm", names(&Integrity::ALL, Integrity::name)));
            }
            ([], [_, ..], [_, ..]) => {
                if prf.is_empty() {
                    prf = integrity.iter().map(|integrity| integrity.prf()).collect();
                }
                IkeEncryption::Cbc { ciphers: cbc, integrity }
            }
            (_, [cipher, ..], _) => {
                let reason = "AEAD ciphers and AES-CBC need a proposal each (RFC 7296 §3.3)";
                return Err(misplaced(cipher.name(), reason));
            }
            (_, [], [integrity, ..]) => {
                let reason =
                    "AEAD ciphers protect integrity themselves; a pseudo-random function begins with prf";
                return Err(misplaced(integrity.name(), reason));
            }
            (_, [], []) => IkeEncryption::Aead(aead),
        };
        if prf.is_empty() {
            return Err(incomplete("pseudo-random function", names(&Prf::ALL, Prf::name)));
        }
        if groups.is_empty() {
            return Err(incomplete("key exchange group", group_names()));
        }
        Ok(Self { encryption, prf, groups })
    }
}

/// `aes256gcm16-ecp384-esn`: no group means rekeying without a key exchange, neither `esn` nor `noesn` means both, `esn`
/// preferred.
impl FromStr for EspProposal {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let mut proposal = Self { encryption: Vec::new(), groups: Vec::new(), esn: Vec::new() };
        for token in text.split('-') {
            if let Some(cipher) = esp_aead(token) {
                add(&mut proposal.encryption, cipher);
            } else if let Some(group) = group(token) {
                add(&mut proposal.groups, group);
            } else if let Some((_, esn)) = ESN_NAMES.into_iter().find(|(name, _)| *name == token) {
                add(&mut proposal.esn, esn);
            } else {
                return Err(refused_in_esp(token));
            }
        }
        if proposal.encryption.is_empty() {
            return Err(incomplete("cipher", names(&EspAead::ALL, EspAead::name)));
        }
        if proposal.esn.is_empty() {
            proposal.esn = vec![true, false];
        }
        Ok(proposal)
    }
}

/// A name that comes twice counts where it came first.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn find<T: Copy>(all: &[T], token: &str, name: impl Fn(T) -> &'static str) -> Option<T> {
    all.iter().copied().find(|item| name(*item) == token)
}

/// strongSwan writes the ICV of AES-GCM in octets, in bits or, for the longest, not at all.
fn canonical_gcm(token: &str) -> String {
    let stem = token.strip_suffix("gcm128").or_else(|| token.strip_suffix("gcm"));
    stem.map_or_else(|| token.to_owned(), |stem| format!("{stem}gcm16"))
}

fn ike_aead(token: &str) -> Option<IkeAead> {
    find(&IkeAead::ALL, &canonical_gcm(token), IkeAead::name)
}

fn esp_aead(token: &str) -> Option<EspAead> {
    find(&EspAead::ALL, &canonical_gcm(token), EspAead::name)
}

fn ike_cbc(token: &str) -> Option<IkeCbc> {
    let token = if token == "aes" { "aes128" } else { token };
    find(&IkeCbc::ALL, token, IkeCbc::name)
}

fn integrity_of(token: &str) -> Option<Integrity> {
    let token = match token {
        "sha2_256" => "sha256",
        "sha2_384" => "sha384",
        "sha2_512" => "sha512",
        token => token,
    };
    find(&Integrity::ALL, token, Integrity::name)
}

fn group(token: &str) -> Option<DhGroup> {
    let token = if token == "curve25519" { "x25519" } else { token };
    find(&DhGroup::ALL, token, DhGroup::name)
}

fn refused_in_ike(token: &str) -> ProposalError {
    if ESN_NAMES.iter().any(|(name, _)| *name == token) {
        return misplaced(token, "IKE messages have no sequence numbers of ESP");
    }
    if esp_aead(token).is_some() {
        return misplaced(token, "the implicit IV is the sequence number of ESP (RFC 8750)");
    }
    refused(token, || {
        let integrity = names(&Integrity::ALL, Integrity::name);
        [ike_cipher_names(), integrity, names(&Prf::ALL, Prf::name), group_names()].join(", ")
    })
}

fn refused_in_esp(token: &str) -> ProposalError {
    if ike_cbc(token).is_some() || integrity_of(token).is_some() {
        return misplaced(
            token,
            "ESP is AEAD only here; name a cipher such as aes256gcm16 and no integrity algorithm",
        );
    }
    if find(&Prf::ALL, token, Prf::name).is_some() {
        return misplaced(token, "a Child SA has no pseudo-random function of its own");
    }
    refused(token, || {
        [names(&EspAead::ALL, EspAead::name), group_names(), "esn, noesn".to_owned()].join(", ")
    })
}

fn refused(token: &str, accepted: impl FnOnce() -> String) -> ProposalError {
    let owned = token.to_owned();
    match refusal(token) {
        Some(Refusal::Insecure(reason)) => ProposalError::Insecure { token: owned, reason },
        Some(Refusal::Unsupported) => ProposalError::Unsupported { token: owned, accepted: accepted() },
        None => ProposalError::Unknown { token: owned, accepted: accepted() },
    }
}

fn misplaced(token: &str, reason: &'static str) -> ProposalError {
    ProposalError::Misplaced { token: token.to_owned(), reason }
}

fn incomplete(kind: &'static str, accepted: String) -> ProposalError {
    ProposalError::Incomplete { kind, accepted }
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", ")
}

fn ike_cipher_names() -> String {
    [names(&IkeAead::ALL, IkeAead::name), names(&IkeCbc::ALL, IkeCbc::name)].join(", ")
}

fn group_names() -> String {
    names(&DhGroup::ALL, DhGroup::name)
}

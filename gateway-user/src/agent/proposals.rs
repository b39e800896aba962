//! Proposals as they are written on the command line, in strongSwan's names.

use std::str::FromStr;

use ike::{DhGroup, EspAead, EspProposal, IkeAead, IkeEncryption, IkeProposal, Prf};

const IKE_CIPHERS: [IkeAead; 2] = [IkeAead::Aes256Gcm16, IkeAead::Aes128Gcm16];
const ESP_CIPHERS: [EspAead; 3] = [EspAead::ChaCha20Poly1305, EspAead::Aes256Gcm16, EspAead::Aes128Gcm16];
const GROUPS: [DhGroup; 4] = [DhGroup::X25519, DhGroup::Ecp384, DhGroup::Ecp256, DhGroup::Modp2048];

/// An IKE proposal: at least one cipher, one pseudo-random function and one group, joined by `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeToken(pub IkeProposal);

/// An ESP proposal: at least one cipher; groups for perfect forward secrecy on rekeying, none of them means without;
/// `esn`, `noesn` or both, none of them means both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspToken(pub EspProposal);

/// Why a text is no proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// A part of it names no algorithm.
    #[error("unknown algorithm {token:?}; accepted are {accepted}")]
    Unknown {
        /// The part.
        token: String,
        /// Every accepted name.
        accepted: String,
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

impl FromStr for IkeToken {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let (mut encryption, mut prf, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for token in text.split('-') {
            if let Some(cipher) = find(&IKE_CIPHERS, token, IkeAead::name) {
                encryption.push(cipher);
            } else if let Some(function) = find(&Prf::ALL, token, Prf::name) {
                prf.push(function);
            } else if let Some(group) = find(&GROUPS, token, DhGroup::name) {
                groups.push(group);
            } else {
                let accepted = [ike_cipher_names(), prf_names(), group_names()].join(", ");
                return Err(ProposalError::Unknown { token: token.to_owned(), accepted });
            }
        }
        require("cipher", &encryption, ike_cipher_names)?;
        require("pseudo-random function", &prf, prf_names)?;
        require("key exchange group", &groups, group_names)?;
        Ok(Self(IkeProposal { encryption: IkeEncryption::Aead(encryption), prf, groups }))
    }
}

impl FromStr for EspToken {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        let mut proposal = EspProposal { encryption: Vec::new(), groups: Vec::new(), esn: Vec::new() };
        for token in text.split('-') {
            if let Some(cipher) = find(&ESP_CIPHERS, token, EspAead::name) {
                proposal.encryption.push(cipher);
            } else if let Some(group) = find(&GROUPS, token, DhGroup::name) {
                proposal.groups.push(group);
            } else if token == "esn" || token == "noesn" {
                proposal.esn.push(token == "esn");
            } else {
                let accepted = [esp_cipher_names(), group_names(), "esn, noesn".to_owned()].join(", ");
                return Err(ProposalError::Unknown { token: token.to_owned(), accepted });
            }
        }
        require("cipher", &proposal.encryption, esp_cipher_names)?;
        if proposal.esn.is_empty() {
            proposal.esn = vec![true, false];
        }
        Ok(Self(proposal))
    }
}

fn find<T: Copy>(all: &[T], token: &str, name: impl Fn(T) -> &'static str) -> Option<T> {
    all.iter().copied().find(|item| name(*item) == token)
}

fn require<T>(kind: &'static str, found: &[T], accepted: impl Fn() -> String) -> Result<(), ProposalError> {
    if found.is_empty() {
        return Err(ProposalError::Incomplete { kind, accepted: accepted() });
    }
    Ok(())
}

fn ike_cipher_names() -> String {
    IKE_CIPHERS.map(IkeAead::name).join(", ")
}

fn esp_cipher_names() -> String {
    ESP_CIPHERS.map(EspAead::name).join(", ")
}

fn prf_names() -> String {
    Prf::ALL.map(Prf::name).join(", ")
}

fn group_names() -> String {
    GROUPS.map(DhGroup::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ike_proposals_keep_their_order() {
        let single: IkeToken = "aes256gcm16-prfsha384-x25519".parse().unwrap();
        assert_eq!(single.0, IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::X25519));
        let several: IkeToken = "aes128gcm16-prfsha256-modp2048-ecp384-aes256gcm16".parse().unwrap();
        assert_eq!(several.0.to_string(), "aes128gcm16-aes256gcm16-prfsha256-modp2048-ecp384");
    }

    #[test]
    fn esp_proposals_say_pfs_and_esn_or_not() {
        let plain: EspToken = "chacha20poly1305".parse().unwrap();
        assert_eq!(plain.0.to_string(), "chacha20poly1305-esn-noesn");
        assert!(plain.0.groups.is_empty());
        let full: EspToken = "aes256gcm16-ecp384-noesn".parse().unwrap();
        assert_eq!(full.0, EspProposal::single(EspAead::Aes256Gcm16, Some(DhGroup::Ecp384), false));
    }

    #[test]
    fn unknown_and_missing_parts_are_named() {
        let error = "aes256gcm16-prfsha1-x25519".parse::<IkeToken>().unwrap_err().to_string();
        assert!(error.contains("\"prfsha1\"") && error.contains("prfsha384, prfsha512"), "{error}");
        let error = "aes256gcm16-x25519".parse::<IkeToken>().unwrap_err().to_string();
        assert!(error.contains("no pseudo-random function") && error.contains("prfsha256"), "{error}");
        let error = "x25519".parse::<EspToken>().unwrap_err().to_string();
        assert!(error.contains("no cipher") && error.contains("chacha20poly1305"), "{error}");
        assert!("".parse::<EspToken>().is_err());
        // Ciphers of ESP are not all ciphers of IKE.
        assert!("chacha20poly1305-prfsha384-x25519".parse::<IkeToken>().is_err());
    }
}

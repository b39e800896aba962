//! What a gateway's profile means for its peers.

use std::time::Duration;

use ike::{DhGroup, EspAead, EspProposal, IkeAead, IkeCbc, IkeEncryption, IkeProposal, Integrity, Prf};
use rand::RngExt;

use crate::model::{Engine, Profile};

/// Bytes after which an SA is used no more, and the earlier number after which it is rekeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteLifetime {
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl ByteLifetime {
    /// The lifetime of a new SA. The soft limit lies between 85 and 90 percent of the hard one, at random, so that the
    /// two ends of a connection seldom rekey at once.
    pub(super) fn new(profile: Profile) -> Self {
        let hard: u64 = match profile {
            Profile::Default => 100_000_000_000,
            Profile::Azure => 102_400_000 * 1024,
        };
        let percent = hard / 100;
        Self { soft: rand::rng().random_range(85 * percent..=90 * percent), hard }
    }
}

/// What a profile says about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProfileTerms {
    /// IKE proposals, best first.
    pub(super) ike_proposals: Vec<IkeProposal>,
    /// ESP proposals, best first.
    pub(super) esp_proposals: Vec<EspProposal>,
    /// Age at which an IKE SA is rekeyed.
    pub(super) ike_lifetime: Duration,
    /// Age at which a Child SA is rekeyed.
    pub(super) child_lifetime: Duration,
}

/// Which ciphers are tried first, where a profile leaves the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CipherPreference {
    /// ChaCha20-Poly1305: the fastest in XDP programs, and constant-time there.
    #[default]
    ChaCha20Poly1305,
    /// AES-GCM: the fastest with AES instructions, which only user space has.
    AesGcm,
}

impl CipherPreference {
    /// What suits an engine on this machine.
    pub(super) fn of(engine: Engine) -> Self {
        match engine {
            Engine::Xsk if has_aes_instructions() => Self::AesGcm,
            _ => Self::ChaCha20Poly1305,
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

impl ProfileTerms {
    /// What `profile` says, with ciphers in the order of `preference` where it names several.
    pub(super) fn of(profile: Profile, preference: CipherPreference) -> Self {
        match profile {
            Profile::Default => Self {
                ike_proposals: vec![IkeProposal::default_profile()],
                esp_proposals: vec![default_esp_proposal(preference)],
                ike_lifetime: Duration::from_hours(8),
                child_lifetime: Duration::from_hours(1),
            },
            Profile::Azure => Self {
                ike_proposals: azure_ike_proposals(),
                esp_proposals: vec![EspProposal::single(EspAead::Aes256Gcm16, None, false)],
                ike_lifetime: Duration::from_hours(8),
                child_lifetime: Duration::from_mins(450),
            },
        }
    }
}

/// Forms with implicit IVs stay behind all others, see [`EspProposal::default_profile`].
fn default_esp_proposal(preference: CipherPreference) -> EspProposal {
    let mut proposal = EspProposal::default_profile();
    if preference == CipherPreference::AesGcm {
        let is_chacha =
            |aead: &EspAead| matches!(aead, EspAead::ChaCha20Poly1305 | EspAead::ChaCha20Poly1305Iiv);
        proposal.encryption.sort_by_key(|aead| (aead.implicit_iv(), is_chacha(aead)));
    }
    proposal
}

/// Azure's side knows AES-256 as GCM and as CBC with SHA-2, the groups P-384 and MODP-2048. Left out is what it accepts
/// as well but is insecure: SHA-1, 3DES and the 1024-bit group.
fn azure_ike_proposals() -> Vec<IkeProposal> {
    let proposal = |encryption| IkeProposal {
        encryption,
        prf: vec![Prf::HmacSha384, Prf::HmacSha256],
        groups: vec![DhGroup::Ecp384, DhGroup::Modp2048],
    };
    let cbc = IkeEncryption::Cbc {
        ciphers: vec![IkeCbc::Aes256],
        integrity: vec![Integrity::HmacSha384, Integrity::HmacSha256],
    };
    vec![proposal(IkeEncryption::Aead(vec![IkeAead::Aes256Gcm16])), proposal(cbc)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_profile_prefers_chacha20_in_the_kernel() {
        let terms = ProfileTerms::of(Profile::Default, CipherPreference::of(Engine::Kernel));
        assert_eq!(
            terms.ike_proposals.iter().map(IkeProposal::to_string).collect::<Vec<_>>(),
            ["aes256gcm16-aes128gcm16-prfsha384-prfsha256-prfsha512-x25519-ecp384-ecp256-modp2048"]
        );
        assert_eq!(
            terms.esp_proposals.iter().map(EspProposal::to_string).collect::<Vec<_>>(),
            [concat!(
                "chacha20poly1305-aes256gcm16-aes128gcm16-chacha20poly1305iiv-aes256gcm16iiv-aes128gcm16iiv-",
                "x25519-ecp384-ecp256-modp2048-esn-noesn"
            )]
        );
        assert_eq!(terms.child_lifetime, Duration::from_hours(1));
    }

    #[test]
    fn default_profile_prefers_aes_where_there_are_instructions_for_it() {
        let terms = ProfileTerms::of(Profile::Default, CipherPreference::AesGcm);
        assert_eq!(
            terms.esp_proposals.iter().map(EspProposal::to_string).collect::<Vec<_>>(),
            [concat!(
                "aes256gcm16-aes128gcm16-chacha20poly1305-aes256gcm16iiv-aes128gcm16iiv-chacha20poly1305iiv-",
                "x25519-ecp384-ecp256-modp2048-esn-noesn"
            )]
        );
        let preference = CipherPreference::of(Engine::Xsk);
        assert_eq!(preference == CipherPreference::AesGcm, has_aes_instructions());
    }

    #[test]
    fn azure_profile() {
        let terms = ProfileTerms::of(Profile::Azure, CipherPreference::AesGcm);
        assert_eq!(
            terms.ike_proposals.iter().map(IkeProposal::to_string).collect::<Vec<_>>(),
            [
                "aes256gcm16-prfsha384-prfsha256-ecp384-modp2048",
                "aes256-sha384-sha256-prfsha384-prfsha256-ecp384-modp2048",
            ]
        );
        assert_eq!(terms.esp_proposals, [EspProposal::single(EspAead::Aes256Gcm16, None, false)]);
        assert_eq!(terms.ike_lifetime, Duration::from_hours(8));
        assert_eq!(terms.child_lifetime, Duration::from_mins(450));
        assert_eq!(ByteLifetime::new(Profile::Azure).hard, 104_857_600_000);
    }

    #[test]
    fn soft_byte_lifetime_lies_below_the_hard_one() {
        for profile in [Profile::Default, Profile::Azure] {
            let lifetime = ByteLifetime::new(profile);
            let share = lifetime.soft * 100 / lifetime.hard;
            assert!((84..=90).contains(&share), "{lifetime:?}");
        }
    }
}

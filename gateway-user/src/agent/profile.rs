//! What a gateway's profile means for its peers.

use std::time::Duration;

use ike::{DhGroup, EspAead, EspProposal, IkeAead, IkeCbc, IkeEncryption, IkeProposal, Integrity, Prf};
use rand::RngExt;

use crate::model::Profile;

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

impl ProfileTerms {
    /// What `profile` says.
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::Default => Self {
                ike_proposals: vec![IkeProposal::default_profile()],
                esp_proposals: vec![EspProposal::default_profile()],
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
    fn default_profile_prefers_chacha20() {
        let terms = ProfileTerms::of(Profile::Default);
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
    fn azure_profile() {
        let terms = ProfileTerms::of(Profile::Azure);
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

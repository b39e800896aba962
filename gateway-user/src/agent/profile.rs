//! What a gateway's profile means for its peers.

use std::net::IpAddr;
use std::time::Duration;

use ike::{
    DhGroup, EspAead, EspProposal, IkeAead, IkeCbc, IkeEncryption, IkeProposal, Integrity, PeerConfig, Prf,
    Psk,
};
use rand::RngExt;

use super::settings::Settings;
use crate::model::{Profile, SharedKey};

/// Rekeying must be possible within this time even when Child SAs live only for seconds.
const SHORTEST_REKEY_MARGIN: Duration = Duration::from_secs(30);

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

/// How to talk to the peer at `remote`.
pub(super) fn peer_config(
    settings: &Settings,
    profile: Profile,
    remote: IpAddr,
    key: &SharedKey,
) -> PeerConfig {
    let peering = &settings.peering;
    let psk = Psk::new(key.expose().as_bytes());
    let mut config = PeerConfig::new(settings.wan_address.into(), remote, psk);
    if profile == Profile::Azure {
        config.ike_proposals = azure_ike_proposals();
        config.esp_proposals = vec![EspProposal::single(EspAead::Aes256Gcm16, None, false)];
        config.child_lifetime = Duration::from_mins(450);
    }
    if !peering.ike_proposals.is_empty() {
        config.ike_proposals.clone_from(&peering.ike_proposals);
    }
    if !peering.esp_proposals.is_empty() {
        config.esp_proposals.clone_from(&peering.esp_proposals);
    }
    config.child_lifetime = peering.child_lifetime.unwrap_or(config.child_lifetime);
    config.rekey_jitter = config.child_lifetime / 10;
    config.rekey_margin = (config.child_lifetime / 10).max(SHORTEST_REKEY_MARGIN);
    config.dpd_interval = peering.dpd_interval;
    config.force_udp_encapsulation = peering.force_udp_encapsulation;
    config
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
    use super::super::test_support::settings;
    use super::*;

    fn config(settings: &Settings, profile: Profile) -> PeerConfig {
        let key = SharedKey::new("key").unwrap();
        peer_config(settings, profile, "192.0.2.2".parse().unwrap(), &key)
    }

    #[test]
    fn default_profile_prefers_chacha20_and_initiates() {
        let config = config(&settings("VNet1"), Profile::Default);
        assert_eq!(
            config.ike_proposals.iter().map(IkeProposal::to_string).collect::<Vec<_>>(),
            ["aes256gcm16-aes128gcm16-prfsha384-prfsha256-prfsha512-x25519-ecp384-ecp256-modp2048"]
        );
        assert_eq!(
            config.esp_proposals.iter().map(EspProposal::to_string).collect::<Vec<_>>(),
            ["chacha20poly1305-aes256gcm16-aes128gcm16-x25519-ecp384-ecp256-modp2048-esn-noesn"]
        );
        assert_eq!(config.mode, ike::ConnectionMode::Default);
        assert!(!config.force_udp_encapsulation);
        assert_eq!(config.child_lifetime, Duration::from_hours(1));
        assert_eq!(config.local, IpAddr::from([192, 0, 2, 1]));
    }

    #[test]
    fn azure_profile() {
        let config = config(&settings("VNet1"), Profile::Azure);
        assert_eq!(
            config.ike_proposals.iter().map(IkeProposal::to_string).collect::<Vec<_>>(),
            [
                "aes256gcm16-prfsha384-prfsha256-ecp384-modp2048",
                "aes256-sha384-sha256-prfsha384-prfsha256-ecp384-modp2048",
            ]
        );
        assert_eq!(config.esp_proposals, [EspProposal::single(EspAead::Aes256Gcm16, None, false)]);
        assert_eq!(config.child_lifetime, Duration::from_mins(450));
        assert_eq!(ByteLifetime::new(Profile::Azure).hard, 104_857_600_000);
    }

    #[test]
    fn options_stand_above_the_profile() {
        let mut settings = settings("VNet1");
        settings.peering.child_lifetime = Some(Duration::from_mins(1));
        settings.peering.dpd_interval = Duration::from_secs(9);
        settings.peering.force_udp_encapsulation = true;
        settings.peering.esp_proposals = vec![EspProposal::single(EspAead::Aes128Gcm16, None, true)];
        let config = config(&settings, Profile::Azure);
        assert_eq!(config.child_lifetime, Duration::from_mins(1));
        assert_eq!(
            (config.rekey_jitter, config.rekey_margin),
            (Duration::from_secs(6), Duration::from_secs(30))
        );
        assert_eq!(config.dpd_interval, Duration::from_secs(9));
        assert!(config.force_udp_encapsulation);
        assert_eq!(config.esp_proposals[0].encryption, [EspAead::Aes128Gcm16]);
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

//! The terms of a connection: what was set for it, else what the agent's options say, else the profile.

use std::net::IpAddr;
use std::time::Duration;

use gateway_common::limits::REPLAY_WINDOW_DEFAULT;
use ike::{Auth, ConnectionMode, EspProposal, Identity, IkeProposal, PeerConfig, Psk};

use super::profile::ProfileTerms;
use super::settings::Settings;
use crate::api::types::{InForce, ParametersInForce, Source};
use crate::datapath::{PacketPolicy, TunnelShare};
use crate::model::{
    AuthMethod, Bandwidth, ConnectionParameters, OptionalBandwidth, OuterDf, OuterDscp, Profile,
    TrafficSelectors,
};

/// Rekeying must be possible within this time even when SAs live only for seconds.
const SHORTEST_REKEY_MARGIN: Duration = Duration::from_secs(30);

/// Idle time after which a peer's liveness is checked, in every profile.
const DPD: Duration = Duration::from_secs(45);

/// The terms of one connection, each value with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    mode: InForce<ConnectionMode>,
    auth: InForce<AuthMethod>,
    local_id: InForce<Identity>,
    /// Who the peer must be; `None` takes any.
    remote_id: InForce<Option<Identity>>,
    ike_proposals: InForce<Vec<IkeProposal>>,
    esp_proposals: InForce<Vec<EspProposal>>,
    traffic_selectors: InForce<TrafficSelectors>,
    ike_lifetime: InForce<Duration>,
    child_lifetime: InForce<Duration>,
    dpd: InForce<Duration>,
    child_sas: InForce<u16>,
    replay_window: InForce<u16>,
    dscp: InForce<OuterDscp>,
    df: InForce<OuterDf>,
    weight: InForce<u16>,
    guarantee: InForce<OptionalBandwidth>,
    ceiling: InForce<OptionalBandwidth>,
    force_udp_encapsulation: bool,
}

impl Terms {
    /// The terms of a connection with parameters `own`, or none of its own. `own_name` is what the gateway's certificate
    /// says, if there is one, and `own_address` where the peer finds the gateway.
    pub(super) fn new(
        settings: &Settings,
        profile: Profile,
        own: Option<&ConnectionParameters>,
        own_name: Option<Identity>,
        own_address: IpAddr,
    ) -> Self {
        let own = own.cloned().unwrap_or_default();
        let auth = choose(own.auth, None, AuthMethod::Psk);
        let own_name = own_name.filter(|_| auth.value == AuthMethod::Certificate);
        let own_name = own_name.unwrap_or_else(|| own_address.into());
        let peering = &settings.peering;
        let most = peering.child_sas;
        let profile = ProfileTerms::of(profile, settings.preference);
        Self {
            auth,
            mode: choose(own.mode, None, ConnectionMode::Default),
            local_id: choose(own.local_id, None, own_name),
            remote_id: choose(own.remote_id.map(Some), None, None),
            ike_proposals: choose(
                own.ike_proposals,
                unless_empty(&peering.ike_proposals),
                profile.ike_proposals,
            ),
            esp_proposals: choose(
                own.esp_proposals,
                unless_empty(&peering.esp_proposals),
                profile.esp_proposals,
            ),
            traffic_selectors: choose(own.traffic_selectors, None, TrafficSelectors::Any),
            ike_lifetime: choose(own.ike_lifetime, peering.ike_lifetime, profile.ike_lifetime),
            child_lifetime: choose(own.child_lifetime, peering.child_lifetime, profile.child_lifetime),
            dpd: choose(own.dpd, peering.dpd_interval, DPD),
            // The datapath's room for them is fixed when the agent starts.
            child_sas: choose(own.child_sas.map(|own| own.min(most)), (most > 1).then_some(most), 1),
            replay_window: choose(own.replay_window, None, REPLAY_WINDOW_DEFAULT as u16),
            dscp: choose(own.dscp, None, OuterDscp::Copy),
            df: choose(own.df, None, OuterDf::Set),
            weight: choose(own.weight, None, 1),
            guarantee: choose(own.guarantee, None, OptionalBandwidth::None),
            ceiling: choose(own.ceiling, None, OptionalBandwidth::None),
            force_udp_encapsulation: peering.force_udp_encapsulation,
        }
    }

    /// The terms as the API shows them.
    pub(super) fn in_force(&self) -> ParametersInForce {
        ParametersInForce {
            mode: self.mode.show(ToString::to_string),
            auth: self.auth.show(ToString::to_string),
            local_id: self.local_id.show(ToString::to_string),
            remote_id: self
                .remote_id
                .show(|id| id.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string)),
            ike_proposals: self.ike_proposals.show(|list| texts(list)),
            esp_proposals: self.esp_proposals.show(|list| texts(list)),
            traffic_selectors: self.traffic_selectors.show(ToString::to_string),
            ike_lifetime: self.ike_lifetime.show(Duration::as_secs),
            child_lifetime: self.child_lifetime.show(Duration::as_secs),
            dpd: self.dpd.show(Duration::as_secs),
            child_sas: self.child_sas.show(|number| *number),
            replay_window: self.replay_window.show(|number| *number),
            dscp: self.dscp.show(ToString::to_string),
            df: self.df.show(ToString::to_string),
            weight: self.weight.show(|number| *number),
            guarantee: self.guarantee.show(ToString::to_string),
            ceiling: self.ceiling.show(ToString::to_string),
        }
    }

    /// Which end begins.
    pub(super) fn mode(&self) -> ConnectionMode {
        self.mode.value
    }

    /// How the ends prove who they are.
    pub(super) fn auth(&self) -> AuthMethod {
        self.auth.value
    }

    /// What the tunnel gets of the gateway's bandwidth.
    pub(super) fn share(&self) -> TunnelShare {
        let rate = |rate: OptionalBandwidth| rate.rate().map(Bandwidth::bits_per_second);
        TunnelShare {
            weight: self.weight.value,
            guarantee: rate(self.guarantee.value),
            ceiling: rate(self.ceiling.value),
        }
    }

    /// Who this end says it is.
    pub(super) fn local_id(&self) -> &Identity {
        &self.local_id.value
    }

    /// Which packets the connection is for.
    pub(super) fn traffic_selectors(&self) -> TrafficSelectors {
        self.traffic_selectors.value
    }

    /// Whether the peer must be somebody certain.
    pub(super) fn has_remote_id(&self) -> bool {
        self.remote_id.value.is_some()
    }

    /// What the datapath does with the connection's packets.
    pub(super) fn packet_policy(&self) -> PacketPolicy {
        PacketPolicy {
            replay_window: self.replay_window.value.into(),
            dscp: self.dscp.value,
            df: self.df.value,
        }
    }

    /// How to talk to the peer at `remote`.
    pub(super) fn peer_config(&self, local: IpAddr, remote: IpAddr, auth: Auth) -> PeerConfig {
        // Every field that depends on the terms is set below, and the key with `auth`.
        let mut config = PeerConfig::new(local, remote, Psk::new(""));
        config.auth = auth;
        config.local_id.clone_from(&self.local_id.value);
        config.remote_id.clone_from(&self.remote_id.value);
        config.mode = self.mode.value;
        config.ike_proposals.clone_from(&self.ike_proposals.value);
        config.esp_proposals.clone_from(&self.esp_proposals.value);
        config.ike_lifetime = self.ike_lifetime.value;
        config.child_lifetime = self.child_lifetime.value;
        config.rekey_jitter = config.child_lifetime / 10;
        config.rekey_margin = (config.child_lifetime / 10).max(SHORTEST_REKEY_MARGIN);
        config.dpd_interval = self.dpd.value;
        config.child_sas = self.child_sas.value;
        config.force_udp_encapsulation = self.force_udp_encapsulation;
        config
    }
}

fn choose<T>(connection: Option<T>, option: Option<T>, profile: T) -> InForce<T> {
    match (connection, option) {
        (Some(value), _) => InForce { value, source: Source::Connection },
        (None, Some(value)) => InForce { value, source: Source::Option },
        (None, None) => InForce { value: profile, source: Source::Profile },
    }
}

fn unless_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::settings;
    use super::*;
    use crate::model::ParametersDocument;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn config(terms: &Terms) -> PeerConfig {
        let auth = Psk::new("key").into();
        terms.peer_config(OWN, "192.0.2.2".parse().unwrap(), auth)
    }

    fn document() -> ParametersDocument {
        ParametersDocument::default()
    }

    #[test]
    fn connection_stands_above_option_and_option_above_profile() {
        let mut settings = settings("VNet1");
        let profile_only = Terms::new(&settings, Profile::Azure, None, None, OWN);
        assert_eq!(
            profile_only.in_force().child_lifetime,
            InForce { value: 27_000, source: Source::Profile }
        );
        assert_eq!(profile_only.in_force().dpd, InForce { value: 45, source: Source::Profile });

        settings.peering.child_lifetime = Some(Duration::from_mins(1));
        settings.peering.dpd_interval = Some(Duration::from_secs(9));
        let own = ParametersDocument {
            dpd: Some(20),
            ike_lifetime: Some(100),
            esp_proposals: Some(vec!["aes128gcm16-noesn".to_owned()]),
            ..document()
        };
        let own = ConnectionParameters::try_from(own).unwrap();
        let terms = Terms::new(&settings, Profile::Azure, Some(&own), None, OWN);
        let shown = terms.in_force();
        assert_eq!(shown.child_lifetime, InForce { value: 60, source: Source::Option });
        assert_eq!(shown.dpd, InForce { value: 20, source: Source::Connection });
        assert_eq!(shown.esp_proposals.value, ["aes128gcm16-noesn"]);
        let config = config(&terms);
        assert_eq!(config.ike_lifetime, Duration::from_secs(100));
        assert_eq!(config.child_lifetime, Duration::from_mins(1));
        assert_eq!(
            (config.rekey_jitter, config.rekey_margin),
            (Duration::from_secs(6), Duration::from_secs(30))
        );
        assert_eq!(config.dpd_interval, Duration::from_secs(20));
        assert_eq!(config.esp_proposals[0].to_string(), "aes128gcm16-noesn");
        assert_eq!(config.ike_proposals, ProfileTerms::of(Profile::Azure, settings.preference).ike_proposals);
    }

    #[test]
    fn the_mode_is_handed_to_ike() {
        let own = ParametersDocument { mode: Some("responder".to_owned()), ..document() };
        let own = ConnectionParameters::try_from(own).unwrap();
        let settings = settings("VNet1");
        let mode = |own| config(&Terms::new(&settings, Profile::Default, own, None, OWN)).mode;
        assert_eq!((mode(Some(&own)), mode(None)), (ConnectionMode::Responder, ConnectionMode::Default));
    }

    #[test]
    fn with_certificates_the_identity_is_the_certificates() {
        let own = ParametersDocument { auth: Some("certificate".to_owned()), ..document() };
        let own = ConnectionParameters::try_from(own).unwrap();
        let name: Identity = "gw1.example".parse().unwrap();
        let settings = settings("VNet1");
        let id =
            |own, name| Terms::new(&settings, Profile::Default, own, name, OWN).in_force().local_id.value;
        assert_eq!(id(Some(&own), Some(name.clone())), "gw1.example");
        assert_eq!(id(None, Some(name)), "192.0.2.1", "with a shared key it is the address");
    }
}

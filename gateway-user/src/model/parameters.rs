//! What can be set for one connection, above the agent's options and the gateway's profile.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gateway_common::limits::REPLAY_WINDOW_MAX;
use ike::{ConnectionMode, EspProposal, Identity, IkeProposal, PeerConfig};
use serde::{Deserialize, Serialize};

use super::bandwidth::OptionalBandwidth;
use super::{OuterDf, OuterDscp};

/// Bounds of the age at which an IKE SA is rekeyed, in seconds.
pub const IKE_LIFETIME: (u64, u64) = (10, 604_800);

/// Bounds of the age at which a Child SA is rekeyed, in seconds.
pub const CHILD_LIFETIME: (u64, u64) = (5, 172_800);

/// Bounds of the idle time after which a peer's liveness is checked, in seconds.
pub const DPD: (u64, u64) = (9, 3600);

/// Bounds of the number of Child SAs for single receive queues; 1 stands for none.
pub const CHILD_SAS: (u16, u16) = (1, PeerConfig::MAX_CHILD_SAS);

/// Bounds of the anti-replay window, in packets.
const REPLAY_WINDOW: (u16, u16) = (64, REPLAY_WINDOW_MAX as u16);
/// Bounds of a connection's weight in the shared bandwidth.
pub const WEIGHT: (u16, u16) = gateway_common::budget::WEIGHTS;

/// Most proposals of one kind.
const MAX_PROPOSALS: usize = 16;

/// How the ends of a connection prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// By the connection's shared key.
    Psk,
    /// By certificates.
    Certificate,
}

/// Which packets a connection is for, as IKE negotiates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficSelectors {
    /// All: what goes into the tunnel is a matter of routes.
    Any,
    /// Those between the prefixes of the VNet and the site's.
    Prefixes,
}

/// Every connection mode.
const MODES: [ConnectionMode; 4] =
    [ConnectionMode::Default, ConnectionMode::Initiator, ConnectionMode::Responder, ConnectionMode::OnDemand];

const SELECTORS: [TrafficSelectors; 2] = [TrafficSelectors::Any, TrafficSelectors::Prefixes];

const AUTH_METHODS: [AuthMethod; 2] = [AuthMethod::Psk, AuthMethod::Certificate];

/// The parameters of one connection as typed values; what is `None` comes from the agent's options or the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionParameters {
    /// Which end begins.
    pub mode: Option<ConnectionMode>,
    /// How the ends prove who they are.
    pub auth: Option<AuthMethod>,
    /// Who this end says it is.
    pub local_id: Option<Identity>,
    /// Who the peer must be.
    pub remote_id: Option<Identity>,
    /// IKE proposals, best first, at least one.
    pub ike_proposals: Option<Vec<IkeProposal>>,
    /// ESP proposals, best first, at least one.
    pub esp_proposals: Option<Vec<EspProposal>>,
    /// Which packets the connection is for.
    pub traffic_selectors: Option<TrafficSelectors>,
    /// Age at which an IKE SA is rekeyed.
    pub ike_lifetime: Option<Duration>,
    /// Age at which a Child SA is rekeyed.
    pub child_lifetime: Option<Duration>,
    /// Idle time after which the peer's liveness is checked.
    pub dpd: Option<Duration>,
    /// Child SAs for single receive queues (RFC 9611); 1 stands for none.
    pub child_sas: Option<u16>,
    /// Anti-replay window in packets.
    pub replay_window: Option<u16>,
    /// DSCP of outer headers.
    pub dscp: Option<OuterDscp>,
    /// "Don't fragment" bit of outer IPv4 headers.
    pub df: Option<OuterDf>,
    /// Its part in what busy tunnels share of the gateway's bandwidth, against theirs.
    pub weight: Option<u16>,
    /// Bandwidth that its tunnel always gets.
    pub guarantee: Option<OptionalBandwidth>,
    /// Bandwidth that its tunnel never exceeds.
    pub ceiling: Option<OptionalBandwidth>,
}

/// The same as text and numbers: a body of the API, and what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParametersDocument {
    /// `default`, `initiator`, `responder` or `on-demand`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `psk` or `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// Who this end says it is: an address, a domain name, an e-mail address or a distinguished name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    /// Who the peer must be, in the same forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// IKE proposals such as `aes256gcm16-prfsha384-x25519`, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike_proposals: Option<Vec<String>>,
    /// ESP proposals such as `chacha20poly1305`, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub esp_proposals: Option<Vec<String>>,
    /// `any`, or `prefixes` for those of the VNet and of the site only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_selectors: Option<String>,
    /// Age in seconds at which an IKE SA is rekeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike_lifetime: Option<u64>,
    /// Age in seconds at which a Child SA is rekeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_lifetime: Option<u64>,
    /// Idle time in seconds after which the peer's liveness is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd: Option<u64>,
    /// Child SAs for single receive queues, from 1, which stands for none, to 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_sas: Option<u16>,
    /// Anti-replay window in packets, from 64 to 8160.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_window: Option<u16>,
    /// DSCP of outer headers: `copy` for that of the inner ones, or `set:N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<String>,
    /// "Don't fragment" bit of outer IPv4 headers: `copy`, `set` or `clear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub df: Option<String>,
    /// Its part in what busy tunnels share of the gateway's bandwidth, from 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Bandwidth that its tunnel always gets, such as `20mbit`, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<String>,
    /// Bandwidth that its tunnel never exceeds, such as `50mbit`, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<String>,
}

/// A value that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not accepted: {rule}")]
pub struct ParameterError {
    /// Name of the parameter, as in [`ParametersDocument`].
    pub field: &'static str,
    /// The value as it was given.
    pub value: String,
    /// What is accepted.
    pub rule: String,
}

impl ConnectionParameters {
    /// These parameters with those of `other` in place of their own.
    #[must_use]
    pub fn overlaid(self, other: Self) -> Self {
        Self {
            mode: other.mode.or(self.mode),
            auth: other.auth.or(self.auth),
            local_id: other.local_id.or(self.local_id),
            remote_id: other.remote_id.or(self.remote_id),
            ike_proposals: other.ike_proposals.or(self.ike_proposals),
            esp_proposals: other.esp_proposals.or(self.esp_proposals),
            traffic_selectors: other.traffic_selectors.or(self.traffic_selectors),
            ike_lifetime: other.ike_lifetime.or(self.ike_lifetime),
            child_lifetime: other.child_lifetime.or(self.child_lifetime),
            dpd: other.dpd.or(self.dpd),
            child_sas: other.child_sas.or(self.child_sas),
            replay_window: other.replay_window.or(self.replay_window),
            dscp: other.dscp.or(self.dscp),
            df: other.df.or(self.df),
            weight: other.weight.or(self.weight),
            guarantee: other.guarantee.or(self.guarantee),
            ceiling: other.ceiling.or(self.ceiling),
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The parameters as text and numbers; [`TryFrom`] reads them back.
    pub fn document(&self) -> ParametersDocument {
        ParametersDocument {
            mode: self.mode.map(|mode| mode.to_string()),
            auth: self.auth.map(|auth| auth.to_string()),
            local_id: self.local_id.as_ref().map(ToString::to_string),
            remote_id: self.remote_id.as_ref().map(ToString::to_string),
            ike_proposals: self.ike_proposals.as_deref().map(texts),
            esp_proposals: self.esp_proposals.as_deref().map(texts),
            traffic_selectors: self.traffic_selectors.map(|selectors| selectors.to_string()),
            ike_lifetime: self.ike_lifetime.map(|lifetime| lifetime.as_secs()),
            child_lifetime: self.child_lifetime.map(|lifetime| lifetime.as_secs()),
            dpd: self.dpd.map(|dpd| dpd.as_secs()),
            child_sas: self.child_sas,
            replay_window: self.replay_window,
            dscp: self.dscp.map(|dscp| dscp.to_string()),
            df: self.df.map(|df| df.to_string()),
            weight: self.weight,
            guarantee: self.guarantee.map(|rate| rate.to_string()),
            ceiling: self.ceiling.map(|rate| rate.to_string()),
        }
    }
}

impl TryFrom<ParametersDocument> for ConnectionParameters {
    /// Every value that is not accepted; at least one.
    type Error = Vec<ParameterError>;

    fn try_from(document: ParametersDocument) -> Result<Self, Vec<ParameterError>> {
        let mut errors = Errors::default();
        let parameters = Self {
            mode: errors.parse("mode", document.mode, |text| named(text, &MODES)),
            auth: errors.parse("auth", document.auth, |text| named(text, &AUTH_METHODS)),
            local_id: errors.parse("local_id", document.local_id, Identity::from_str),
            remote_id: errors.parse("remote_id", document.remote_id, Identity::from_str),
            ike_proposals: errors.list("ike_proposals", document.ike_proposals, str::parse::<IkeProposal>),
            esp_proposals: errors.list("esp_proposals", document.esp_proposals, str::parse::<EspProposal>),
            traffic_selectors: errors
                .parse("traffic_selectors", document.traffic_selectors, |text| named(text, &SELECTORS)),
            ike_lifetime: errors.seconds("ike_lifetime", document.ike_lifetime, IKE_LIFETIME),
            child_lifetime: errors.seconds("child_lifetime", document.child_lifetime, CHILD_LIFETIME),
            dpd: errors.seconds("dpd", document.dpd, DPD),
            child_sas: errors.number("child_sas", document.child_sas, CHILD_SAS),
            replay_window: errors.number("replay_window", document.replay_window, REPLAY_WINDOW),
            dscp: errors.parse("dscp", document.dscp, str::parse),
            df: errors.parse("df", document.df, str::parse),
            weight: errors.number("weight", document.weight, WEIGHT),
            guarantee: errors.parse("guarantee", document.guarantee, OptionalBandwidth::from_str),
            ceiling: errors.parse("ceiling", document.ceiling, OptionalBandwidth::from_str),
        };
        if errors.0.is_empty() { Ok(parameters) } else { Err(errors.0) }
    }
}

impl fmt::Display for TrafficSelectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Prefixes => "prefixes",
        })
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Psk => "psk",
            Self::Certificate => "certificate",
        })
    }
}

/// The item of `all` with this name; the error lists the names.
fn named<T: Copy + ToString>(text: &str, all: &[T]) -> Result<T, String> {
    all.iter().copied().find(|item| item.to_string() == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(ToString::to_string).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// What was found wrong so far.
#[derive(Default)]
struct Errors(Vec<ParameterError>);

impl Errors {
    fn add(&mut self, field: &'static str, value: &impl ToString, rule: &impl ToString) {
        self.0.push(ParameterError { field, value: value.to_string(), rule: rule.to_string() });
    }

    fn parse<T, E: ToString>(
        &mut self,
        field: &'static str,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text?;
        parse(&text).map_err(|rule| self.add(field, &text, &rule)).ok()
    }

    fn list<T, E: ToString>(
        &mut self,
        field: &'static str,
        texts: Option<Vec<String>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let texts = texts?;
        if !(1..=MAX_PROPOSALS).contains(&texts.len()) {
            let rule = format!("expected 1 to {MAX_PROPOSALS} of them, not {}", texts.len());
            self.add(field, &texts.join(", "), &rule);
            return None;
        }
        let parsed =
            texts.iter().filter_map(|text| parse(text).map_err(|rule| self.add(field, text, &rule)).ok());
        Some(parsed.collect())
    }

    fn number(&mut self, field: &'static str, number: Option<u16>, (min, max): (u16, u16)) -> Option<u16> {
        let number = number?;
        if !(min..=max).contains(&number) {
            self.add(field, &number, &format!("expected a number from {min} to {max}"));
            return None;
        }
        Some(number)
    }

    fn seconds(
        &mut self,
        field: &'static str,
        number: Option<u64>,
        (min, max): (u64, u64),
    ) -> Option<Duration> {
        let number = number?;
        if !(min..=max).contains(&number) {
            self.add(field, &number, &format!("expected a number of seconds from {min} to {max}"));
            return None;
        }
        Some(Duration::from_secs(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ParametersDocument {
        ParametersDocument {
            mode: Some("on-demand".to_owned()),
            auth: Some("certificate".to_owned()),
            local_id: Some("gw1.example".to_owned()),
            remote_id: Some("C=DE, O=Example, CN=gw2".to_owned()),
            ike_proposals: Some(vec!["aes256gcm16-prfsha384-x25519".to_owned()]),
            esp_proposals: Some(vec!["aes128gcm16-esn".to_owned(), "chacha20poly1305-noesn".to_owned()]),
            traffic_selectors: Some("prefixes".to_owned()),
            ike_lifetime: Some(1200),
            child_lifetime: Some(600),
            dpd: Some(9),
            child_sas: Some(16),
            replay_window: Some(64),
            dscp: Some("set:46".to_owned()),
            df: Some("copy".to_owned()),
            weight: Some(1000),
            guarantee: Some("20mbit".to_owned()),
            ceiling: Some("none".to_owned()),
        }
    }

    #[test]
    fn documents_and_parameters_say_the_same() {
        let parameters = ConnectionParameters::try_from(full()).unwrap();
        assert_eq!(parameters.mode, Some(ConnectionMode::OnDemand));
        assert_eq!(parameters.child_lifetime, Some(Duration::from_mins(10)));
        assert_eq!(parameters.document(), full());
        assert!(!parameters.is_empty());
        assert!(ConnectionParameters::try_from(ParametersDocument::default()).unwrap().is_empty());
    }

    #[test]
    fn every_wrong_value_is_named_with_its_rule() {
        let document = ParametersDocument {
            mode: Some("both".to_owned()),
            auth: Some("eap".to_owned()),
            local_id: Some("C=DE, what".to_owned()),
            remote_id: None,
            ike_proposals: Some(vec!["aes256gcm16-prfsha384-x25519".to_owned(), "3des".to_owned()]),
            esp_proposals: Some(Vec::new()),
            traffic_selectors: Some("all".to_owned()),
            ike_lifetime: Some(9),
            child_lifetime: Some(4),
            dpd: Some(3601),
            child_sas: Some(17),
            replay_window: Some(63),
            dscp: Some("set:64".to_owned()),
            df: Some("no".to_owned()),
            weight: Some(0),
            guarantee: Some("20mb".to_owned()),
            ceiling: Some("0".to_owned()),
        };
        let errors = ConnectionParameters::try_from(document).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| (error.field, error.value.as_str())).collect();
        assert_eq!(
            fields,
            [
                ("mode", "both"),
                ("auth", "eap"),
                ("local_id", "C=DE, what"),
                ("ike_proposals", "3des"),
                ("esp_proposals", ""),
                ("traffic_selectors", "all"),
                ("ike_lifetime", "9"),
                ("child_lifetime", "4"),
                ("dpd", "3601"),
                ("child_sas", "17"),
                ("replay_window", "63"),
                ("dscp", "set:64"),
                ("df", "no"),
                ("weight", "0"),
                ("guarantee", "20mb"),
                ("ceiling", "0"),
            ]
        );
        let text = errors[0].to_string();
        let rule = "expected one of default, initiator, responder, on-demand";
        assert_eq!(text, format!("mode: \"both\" is not accepted: {rule}"));
        assert!(errors[8].to_string().contains("from 9 to 3600"));
        let text = errors[10].to_string();
        assert_eq!(text, "replay_window: \"63\" is not accepted: expected a number from 64 to 8160");
    }

    #[test]
    fn what_is_given_later_stands_above() {
        let old = ConnectionParameters::try_from(full()).unwrap();
        let new =
            ConnectionParameters { mode: Some(ConnectionMode::Responder), ..ConnectionParameters::default() };
        let both = old.clone().overlaid(new);
        assert_eq!(both, ConnectionParameters { mode: Some(ConnectionMode::Responder), ..old });
    }
}

//! Traffic selectors of Child SAs (RFC 7296 §2.9): ranges of addresses, for every protocol and port.

use crate::config::PeerConfig;
use crate::sa::payloads::Payloads;
use crate::wire::{AddressRange, Payload, Selector, TrafficSelector};

/// Why a Child SA is refused that has no selectors.
pub(crate) const NO_SELECTORS: &str = "no common traffic selectors for every protocol and port";
/// Why an answer is refused that is no part of what was offered.
const BEYOND_OFFER: &str = "peer answered with traffic selectors beyond those we offered";
/// Most ranges of one side that are offered or agreed on.
const MAX_RANGES: usize = 128;
/// Most address ranges of one side that a human is told of.
const MAX_TOLD: usize = 4;

/// What a Child SA is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildSelectors {
    /// Addresses on our side.
    pub(crate) local: Vec<AddressRange>,
    /// Addresses on the peer's side.
    pub(crate) remote: Vec<AddressRange>,
}

impl ChildSelectors {
    /// What the configuration asks for.
    pub(crate) fn wanted(config: &PeerConfig) -> Self {
        let ranges = |configured: &[AddressRange]| {
            let ranges = if configured.is_empty() { &AddressRange::ANY } else { configured };
            ranges.iter().take(MAX_RANGES).copied().collect()
        };
        Self { local: ranges(&config.local_selectors), remote: ranges(&config.remote_selectors) }
    }

    /// What of a peer's offer lies in our configuration, in the peer's order, so that what it names first is in it when
    /// that is possible at all; `None` when a side is left with nothing. Selectors of some protocols or ports only are
    /// left out, because the data plane cannot keep to them.
    pub(crate) fn narrowed(offer: Payloads<'_>, config: &PeerConfig) -> Option<Self> {
        let wanted = Self::wanted(config);
        let remote = common(offer.selectors_initiator()?, &wanted.remote)?;
        let local = common(offer.selectors_responder()?, &wanted.local)?;
        Some(Self { local, remote })
    }

    /// Takes the answer to our offer, which must be a part of it.
    pub(crate) fn answered(answer: Payloads<'_>, config: &PeerConfig) -> Result<Self, &'static str> {
        let wanted = Self::wanted(config);
        let side = |selectors: Option<&[TrafficSelector]>, wanted: &[AddressRange]| {
            let ranges: Option<Vec<_>> = selectors.ok_or(NO_SELECTORS)?.iter().map(whole_range).collect();
            let ranges = ranges.ok_or(NO_SELECTORS)?;
            if covers(wanted, &ranges) { Ok(ranges) } else { Err(BEYOND_OFFER) }
        };
        Ok(Self {
            local: side(answer.selectors_initiator(), &wanted.local)?,
            remote: side(answer.selectors_responder(), &wanted.remote)?,
        })
    }

    /// The payloads of who asks for a Child SA.
    pub(crate) fn offer(&self) -> [Payload; 2] {
        [
            Payload::SelectorsInitiator(selectors(&self.local)),
            Payload::SelectorsResponder(selectors(&self.remote)),
        ]
    }

    /// The payloads of who answers.
    pub(crate) fn answer(&self) -> [Payload; 2] {
        [
            Payload::SelectorsInitiator(selectors(&self.remote)),
            Payload::SelectorsResponder(selectors(&self.local)),
        ]
    }

    /// Whether every address of `other` is one of these.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        covers(&self.local, &other.local) && covers(&self.remote, &other.remote)
    }

    /// Whether these are the same addresses, however they are written.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.covers(other) && other.covers(self)
    }

    /// What a human should know when it is less than the configuration asks for: we send everything, and the peer drops
    /// the rest.
    pub(crate) fn restriction(&self, config: &PeerConfig) -> Option<String> {
        (!self.covers(&Self::wanted(config)))
            .then(|| format!("peer narrowed the traffic selectors to {}", self.describe()))
    }

    /// For a human: ours first.
    pub(crate) fn describe(&self) -> String {
        let [local, remote] = [&self.local, &self.remote].map(|ranges| {
            let mut told: Vec<_> = ranges.iter().take(MAX_TOLD).map(ToString::to_string).collect();
            if ranges.len() > MAX_TOLD {
                told.push(format!("{} more", ranges.len() - MAX_TOLD));
            }
            told.join(", ")
        });
        format!("{local} === {remote}")
    }
}

fn common(proposed: &[TrafficSelector], wanted: &[AddressRange]) -> Option<Vec<AddressRange>> {
    let mut agreed: Vec<AddressRange> = Vec::new();
    for range in proposed.iter().filter_map(whole_range) {
        for part in wanted.iter().filter_map(|wanted| wanted.intersection(&range)) {
            if agreed.len() < MAX_RANGES && !covers(&agreed, &[part]) {
                agreed.push(part);
            }
        }
    }
    (!agreed.is_empty()).then_some(agreed)
}

/// The addresses of a selector that is for every protocol and port.
fn whole_range(selector: &TrafficSelector) -> Option<AddressRange> {
    match selector {
        TrafficSelector::Range(Selector { protocol: 0, ports: (0, u16::MAX), addresses }) => Some(*addresses),
        _ => None,
    }
}

fn selectors(ranges: &[AddressRange]) -> Vec<TrafficSelector> {
    let selector = |range: &AddressRange| {
        TrafficSelector::Range(Selector { protocol: 0, ports: (0, u16::MAX), addresses: *range })
    };
    ranges.iter().map(selector).collect()
}

/// Whether each address of `parts` is in one of `ranges`, which may touch and overlap.
fn covers(ranges: &[AddressRange], parts: &[AddressRange]) -> bool {
    let mut sorted: Vec<_> = ranges.iter().map(AddressRange::bounds).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(bool, u128, u128)> = Vec::new();
    for (family, first, last) in sorted {
        match merged.last_mut() {
            Some((same, _, end)) if *same == family && first <= end.saturating_add(1) => {
                *end = last.max(*end);
            }
            _ => merged.push((family, first, last)),
        }
    }
    let is_covered = |part: &AddressRange| {
        let (family, first, last) = part.bounds();
        merged.iter().any(|(same, from, to)| *same == family && *from <= first && last <= *to)
    };
    parts.iter().all(is_covered)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::Psk;

    fn range(prefix: &str) -> AddressRange {
        let (address, len) = prefix.split_once('/').unwrap();
        AddressRange::prefix(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    fn config(local: &[&str], remote: &[&str]) -> PeerConfig {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let [local_selectors, remote_selectors] =
            [local, remote].map(|ranges| ranges.iter().map(|prefix| range(prefix)).collect());
        PeerConfig { local_selectors, remote_selectors, ..PeerConfig::new(address, address, Psk::new("key")) }
    }

    /// What a responder of this configuration makes of an offer for these addresses of the initiator.
    fn narrowed(offered: &[Selector], config: &PeerConfig) -> Option<Vec<AddressRange>> {
        let offered = offered.iter().cloned().map(TrafficSelector::Range).collect();
        let any = selectors(&[AddressRange::ANY_IPV4]);
        let payloads = [Payload::SelectorsInitiator(offered), Payload::SelectorsResponder(any)];
        ChildSelectors::narrowed(Payloads(&payloads), config).map(|agreed| agreed.remote)
    }

    fn whole(prefix: &str) -> Selector {
        Selector { addresses: range(prefix), ..Selector::ANY_IPV4 }
    }

    #[test]
    fn selectors_of_some_protocols_or_ports_do_not_count() {
        let config = config(&[], &[]);
        let tcp = Selector { protocol: 6, ..Selector::ANY_IPV4 };
        let dns = Selector { ports: (53, 53), ..Selector::ANY_IPV4 };
        assert_eq!(narrowed(&[tcp.clone(), dns.clone()], &config), None);
        assert_eq!(narrowed(&[tcp, Selector::ANY_IPV4, dns], &config), Some(vec![AddressRange::ANY_IPV4]));
    }

    #[test]
    fn an_offer_is_narrowed_to_what_is_configured() {
        let sites = config(&["10.9.0.0/16"], &["10.1.0.0/16", "10.2.0.0/24"]);
        assert_eq!(
            narrowed(&[Selector::ANY_IPV4], &sites),
            Some(vec![range("10.1.0.0/16"), range("10.2.0.0/24")])
        );
        assert_eq!(
            narrowed(&[whole("10.1.7.0/24"), whole("10.7.0.0/16")], &sites),
            Some(vec![range("10.1.7.0/24")])
        );
        assert_eq!(narrowed(&[whole("10.7.0.0/16")], &sites), None);
        assert_eq!(narrowed(&[whole("::/0")], &sites), None);
    }

    #[test]
    fn what_the_peer_names_first_is_in_the_answer() {
        let sites = config(&[], &["10.1.0.0/16", "10.2.0.0/16"]);
        let packet = whole("10.2.3.4/32");
        let agreed = narrowed(&[packet.clone(), Selector::ANY_IPV4], &sites).unwrap();
        assert_eq!(agreed, [packet.addresses, range("10.1.0.0/16"), range("10.2.0.0/16")]);
        // However many there are.
        let hosts: Vec<_> = (0..=255).map(|host| whole(&format!("10.1.{host}.1/32"))).collect();
        let agreed = narrowed(&hosts, &sites).unwrap();
        assert_eq!((agreed.len(), agreed[0]), (MAX_RANGES, hosts[0].addresses));
    }

    #[test]
    fn an_answer_is_part_of_the_offer() {
        let sites = config(&["10.9.0.0/16"], &["10.1.0.0/17", "10.1.128.0/17", "2001:db8::/32"]);
        let answer = |local: &str, remote: &[&str]| {
            let remote: Vec<_> = remote.iter().map(|prefix| range(prefix)).collect();
            let payloads = ChildSelectors { local: vec![range(local)], remote }.offer();
            ChildSelectors::answered(Payloads(&payloads), &sites)
        };
        let both = answer("10.9.0.0/16", &["10.1.0.0/16", "2001:db8::/32"]).unwrap();
        assert_eq!(both.restriction(&sites), None);
        assert_eq!(
            answer("10.9.1.0/24", &["10.1.0.0/16"]).unwrap().restriction(&sites).unwrap(),
            "peer narrowed the traffic selectors to 10.9.1.0/24 === 10.1.0.0/16"
        );
        assert_eq!(answer("10.8.0.0/15", &["10.1.0.0/16"]), Err(BEYOND_OFFER));
        assert_eq!(answer("10.9.0.0/16", &["10.1.0.0/16", "10.2.0.0/32"]), Err(BEYOND_OFFER));
        assert_eq!(answer("10.9.0.0/16", &["::/0"]), Err(BEYOND_OFFER));
    }

    #[test]
    fn a_human_is_not_told_of_hundreds_of_ranges() {
        let many = vec![range("10.1.0.0/24"); 200];
        let text = ChildSelectors { local: many, remote: vec![AddressRange::ANY_IPV4] }.describe();
        assert!(text.ends_with(", 196 more === 0.0.0.0/0"), "{text}");
    }
}

//! Finding payloads in a message by kind.

use crate::wire::{
    AddressRange, Authentication, Certificate, Delete, Identification, KeyExchangeData, Notify, NotifyType,
    Payload, Proposal, Selector, TrafficSelector,
};

/// The payloads of a parsed message.
#[derive(Clone, Copy)]
pub(crate) struct Payloads<'a>(pub(crate) &'a [Payload]);

impl<'a> Payloads<'a> {
    pub(crate) fn proposals(self) -> Option<&'a [Proposal]> {
        self.find(|payload| match payload {
            Payload::SecurityAssociation(proposals) => Some(proposals.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn key_exchange(self) -> Option<&'a KeyExchangeData> {
        self.find(|payload| match payload {
            Payload::KeyExchange(exchange) => Some(exchange),
            _ => None,
        })
    }

    pub(crate) fn nonce(self) -> Option<&'a [u8]> {
        self.find(|payload| match payload {
            Payload::Nonce(nonce) => Some(nonce.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn id_initiator(self) -> Option<&'a Identification> {
        self.find(|payload| match payload {
            Payload::IdInitiator(identification) => Some(identification),
            _ => None,
        })
    }

    pub(crate) fn id_responder(self) -> Option<&'a Identification> {
        self.find(|payload| match payload {
            Payload::IdResponder(identification) => Some(identification),
            _ => None,
        })
    }

    pub(crate) fn authentication(self) -> Option<&'a Authentication> {
        self.find(|payload| match payload {
            Payload::Authentication(authentication) => Some(authentication),
            _ => None,
        })
    }

    pub(crate) fn certificates(self) -> impl Iterator<Item = &'a Certificate> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Certificate(certificate) => Some(certificate),
            _ => None,
        })
    }

    pub(crate) fn certificate_requests(self) -> impl Iterator<Item = &'a Certificate> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::CertificateRequest(request) => Some(request),
            _ => None,
        })
    }

    pub(crate) fn selectors_initiator(self) -> Option<&'a [TrafficSelector]> {
        self.find(|payload| match payload {
            Payload::SelectorsInitiator(selectors) => Some(selectors.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn selectors_responder(self) -> Option<&'a [TrafficSelector]> {
        self.find(|payload| match payload {
            Payload::SelectorsResponder(selectors) => Some(selectors.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn deletes(self) -> impl Iterator<Item = &'a Delete> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Delete(delete) => Some(delete),
            _ => None,
        })
    }

    pub(crate) fn notification(self, kind: NotifyType) -> Option<&'a Notify> {
        self.notifications().find(|notify| notify.kind == kind)
    }

    /// The first error notification.
    pub(crate) fn error(self) -> Option<&'a Notify> {
        self.notifications().find(|notify| notify.kind.is_error())
    }

    fn notifications(self) -> impl Iterator<Item = &'a Notify> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }

    fn find<T>(self, select: impl FnMut(&'a Payload) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(select)
    }
}

/// The traffic selectors of our side: everything.
pub(crate) fn any_to_any() -> Vec<TrafficSelector> {
    vec![TrafficSelector::Range(Selector::ANY_IPV4)]
}

/// Why a Child SA is refused that has no [`AgreedSelectors`].
pub(crate) const NO_SELECTORS: &str = "no common traffic selectors for every protocol and port";
/// Most address ranges of one side that a human is told of.
const MAX_RANGES: usize = 4;

/// The traffic selectors of a Child SA: what of the peer's lies in [`any_to_any`] (RFC 7296 §2.9).
pub(crate) struct AgreedSelectors {
    pub(crate) initiator: Vec<TrafficSelector>,
    pub(crate) responder: Vec<TrafficSelector>,
}

impl AgreedSelectors {
    /// `None` when a side is left with nothing.
    pub(crate) fn of(payloads: Payloads<'_>) -> Option<Self> {
        let initiator = narrow(payloads.selectors_initiator()?)?;
        let responder = narrow(payloads.selectors_responder()?)?;
        Some(Self { initiator, responder })
    }

    /// What a human should know when that is not all addresses: we send everything, and the peer drops the rest.
    pub(crate) fn restriction(&self) -> Option<String> {
        let any = &any_to_any()[0];
        let sides = [&self.initiator, &self.responder];
        (!sides.iter().all(|side| side.contains(any))).then(|| {
            let [initiator, responder] = sides.map(|side| describe(side));
            format!("peer narrowed the traffic selectors to {initiator} === {responder}")
        })
    }
}

/// Selectors of some protocols or ports only are left out, because the data plane cannot keep to them.
fn narrow(proposed: &[TrafficSelector]) -> Option<Vec<TrafficSelector>> {
    let narrowed = |selector: &TrafficSelector| match selector {
        TrafficSelector::Range(selector) => selector
            .intersection(&Selector::ANY_IPV4)
            .filter(|common| {
                Selector { addresses: Selector::ANY_IPV4.addresses, ..common.clone() } == Selector::ANY_IPV4
            })
            .map(TrafficSelector::Range),
        TrafficSelector::Unknown { .. } => None,
    };
    let common: Vec<_> = proposed.iter().filter_map(narrowed).collect();
    (!common.is_empty()).then_some(common)
}

fn describe(selectors: &[TrafficSelector]) -> String {
    let range = |selector: &TrafficSelector| match selector {
        TrafficSelector::Range(Selector { addresses: AddressRange::V4(first, last), .. }) => {
            format!("{first}-{last}")
        }
        TrafficSelector::Range(Selector { addresses: AddressRange::V6(first, last), .. }) => {
            format!("{first}-{last}")
        }
        TrafficSelector::Unknown { kind, .. } => format!("type {kind}"),
    };
    let mut ranges: Vec<_> = selectors.iter().take(MAX_RANGES).map(range).collect();
    if selectors.len() > MAX_RANGES {
        ranges.push(format!("{} more", selectors.len() - MAX_RANGES));
    }
    ranges.join(", ")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NET: AddressRange = AddressRange::V4(Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 1, 255, 255));

    fn agreed(initiator: &[Selector]) -> Option<AgreedSelectors> {
        let initiator = initiator.iter().cloned().map(TrafficSelector::Range).collect();
        let payloads = [Payload::SelectorsInitiator(initiator), Payload::SelectorsResponder(any_to_any())];
        AgreedSelectors::of(Payloads(&payloads))
    }

    #[test]
    fn selectors_of_some_protocols_or_ports_do_not_count() {
        let tcp = Selector { protocol: 6, ..Selector::ANY_IPV4 };
        let dns = Selector { ports: (53, 53), ..Selector::ANY_IPV4 };
        assert!(agreed(&[tcp.clone(), dns.clone()]).is_none());
        let agreed = agreed(&[tcp, Selector::ANY_IPV4, dns]).unwrap();
        assert_eq!(agreed.initiator, any_to_any());
        assert_eq!(agreed.restriction(), None);
    }

    #[test]
    fn a_restriction_of_addresses_is_told() {
        let net = Selector { addresses: NET, ..Selector::ANY_IPV4 };
        assert_eq!(
            agreed(std::slice::from_ref(&net)).unwrap().restriction().unwrap(),
            "peer narrowed the traffic selectors to 10.1.0.0-10.1.255.255 === 0.0.0.0-255.255.255.255"
        );
        let many = agreed(&vec![net.clone(); 200]).unwrap().restriction().unwrap();
        assert!(many.contains(", 196 more ==="), "{many}");
        assert_eq!(agreed(&[net, Selector::ANY_IPV4]).unwrap().restriction(), None);
    }
}

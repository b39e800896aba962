//! Finding payloads in a message by kind.

use crate::wire::{
    Authentication, Certificate, Delete, Identification, KeyExchangeData, Notify, NotifyType, Payload,
    Proposal, TrafficSelector,
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

//! A look at the payloads of an unprotected message that decodes none of them: what a stranger may cost.

use crate::wire::reader::Reader;
use crate::wire::{HEADER_LEN, Header, NotifyType, PayloadType};

/// The payloads of an unprotected message with their bodies, up to the first one that does not fit.
pub(crate) struct Outline<'a> {
    next: PayloadType,
    rest: Reader<'a>,
}

impl<'a> Outline<'a> {
    /// Nothing for a message whose header is invalid.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        let next = Header::parse(message).map_or(PayloadType::NONE, |(_, first)| first);
        Self { next, rest: Reader::new(message.get(HEADER_LEN..).unwrap_or_default()) }
    }

    /// The data of the first notification of this kind.
    pub(crate) fn notification(mut self, kind: NotifyType) -> Option<&'a [u8]> {
        self.find_map(|(payload, body)| {
            let mut body = Reader::new(body);
            let _protocol = body.u8().ok()?;
            let spi_len = body.u8().ok()?;
            let is_meant = payload == PayloadType::NOTIFY && NotifyType(body.u16().ok()?) == kind;
            body.take(usize::from(spi_len)).ok()?;
            is_meant.then(|| body.rest())
        })
    }

    /// The body of the first payload of this kind.
    pub(crate) fn body(mut self, kind: PayloadType) -> Option<&'a [u8]> {
        self.find_map(|(payload, body)| (payload == kind).then_some(body))
    }
}

impl<'a> Iterator for Outline<'a> {
    type Item = (PayloadType, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == PayloadType::NONE {
            return None;
        }
        let kind = std::mem::replace(&mut self.next, PayloadType::NONE);
        let following = PayloadType(self.rest.u8().ok()?);
        let _flags = self.rest.u8().ok()?;
        let length = self.rest.u16().ok()?;
        let body = self.rest.nested(length, 4).ok()?.rest();
        self.next = following;
        Some((kind, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ExchangeType, Message, Notify, Payload};

    #[test]
    fn finds_what_a_whole_parse_finds_and_stops_where_a_payload_does_not_fit() {
        let header = Header {
            spi_i: 1,
            spi_r: 0,
            exchange: ExchangeType::IKE_SA_INIT,
            from_initiator: true,
            response: false,
            message_id: 0,
        };
        let payloads = vec![
            Payload::Notify(Notify::esp(NotifyType::INVALID_SPI, 7)),
            Payload::Notify(Notify::new(NotifyType::COOKIE, *b"biscuit")),
            Payload::Nonce(vec![9; 32]),
        ];
        let message = Message { header, payloads }.encode();
        assert_eq!(Outline::of(&message).count(), 3);
        assert_eq!(Outline::of(&message).notification(NotifyType::COOKIE), Some(&b"biscuit"[..]));
        assert_eq!(Outline::of(&message).body(PayloadType::NONCE), Some(&[9; 32][..]));
        assert_eq!(Outline::of(&message).notification(NotifyType::INVALID_SYNTAX), None);
        for at in 0..message.len() {
            for value in [0, 1, 255] {
                let mut damaged = message.clone();
                damaged[at] = value;
                assert!(Outline::of(&damaged).count() <= message.len() / 4);
                let cut = Outline::of(&message[..at]);
                assert_eq!(cut.count(), 0, "the length in the header is checked");
            }
        }
    }
}

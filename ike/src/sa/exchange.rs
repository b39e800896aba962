//! Requests and responses of one IKE SA: window of one, message IDs, retransmission (RFC 7296 §2.1 to §2.3).

use std::time::{Duration, Instant};

use crate::config::RetransmitPolicy;
use crate::wire::{ExchangeType, Header};

/// How often in a second a response is sent again. An honest peer asks less often; who has recorded a request could
/// otherwise have the response, which may be much longer, sent to any address at any rate.
const REPEATS_PER_SECOND: u32 = 4;

/// Both directions of a request/response channel.
pub(crate) struct Window {
    next_id: u32,
    outstanding: Option<Outstanding>,
    expected_id: u32,
    answered: Option<Answered>,
}

struct Outstanding {
    exchange: ExchangeType,
    /// The message: one, or its fragments.
    datagrams: Vec<Vec<u8>>,
    transmissions: u32,
    interval: Duration,
    due: Instant,
}

/// The last request we answered, to recognise it when it comes again, and the answer.
struct Answered {
    exchange: ExchangeType,
    /// The request as it came; of one in fragments, the first of them.
    request: Vec<u8>,
    /// The response: one message, or its fragments.
    response: Vec<Vec<u8>>,
    /// When the present second of repetitions began, and how many it has seen.
    repeated: (Instant, u32),
}

/// What to do with a request by its message ID.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The next one: process it.
    New,
    /// The one answered last: send the very same response again.
    Duplicate,
    /// The message ID of the one answered last, but other octets: that request, if the message is authentic.
    Similar,
    /// Out of the window.
    Stray,
}

/// What the retransmission timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retry<'a> {
    Wait,
    Send(&'a [Vec<u8>]),
    GiveUp,
}

impl Window {
    /// The window of an original initiator before IKE_SA_INIT.
    pub(crate) fn initiator() -> Self {
        Self { next_id: 0, outstanding: None, expected_id: 0, answered: None }
    }

    /// The window of an original responder that has answered IKE_SA_INIT.
    pub(crate) fn responder(now: Instant, request: Vec<u8>, response: Vec<u8>) -> Self {
        let (exchange, response) = (ExchangeType::IKE_SA_INIT, vec![response]);
        let answered = Some(Answered { exchange, request, response, repeated: (now, 0) });
        Self { next_id: 0, outstanding: None, expected_id: 1, answered }
    }

    /// The window of an IKE SA that replaces another: both ends count from zero (RFC 7296 §2.2).
    pub(crate) fn rekeyed() -> Self {
        Self::initiator()
    }

    /// Whether a request may be sent.
    pub(crate) fn is_free(&self) -> bool {
        self.outstanding.is_none()
    }

    /// The message ID of the outstanding request, or else of the next one.
    pub(crate) fn request_id(&self) -> u32 {
        self.next_id
    }

    /// Notes a request that is sent now under [`Self::request_id`]. An outstanding one is replaced, as when IKE_SA_INIT
    /// is repeated with a cookie.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        policy: &RetransmitPolicy,
        exchange: ExchangeType,
        datagrams: Vec<Vec<u8>>,
    ) {
        let (interval, transmissions) = (policy.initial, 1);
        let due = now + interval;
        self.outstanding = Some(Outstanding { exchange, datagrams, transmissions, interval, due });
    }

    /// Whether a response of this exchange and with this message ID answers the outstanding request.
    pub(crate) fn awaits(&self, exchange: ExchangeType, id: u32) -> bool {
        let sent = self.outstanding.as_ref().map(|outstanding| outstanding.exchange);
        sent == Some(exchange) && id == self.next_id
    }

    /// The outstanding request has been answered.
    pub(crate) fn complete(&mut self) {
        if self.outstanding.take().is_some() {
            self.next_id += 1;
        }
    }

    /// How often the outstanding request has been sent.
    pub(crate) fn transmissions(&self) -> u32 {
        self.outstanding.as_ref().map_or(0, |outstanding| outstanding.transmissions)
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|outstanding| outstanding.due)
    }

    /// The retransmission timer.
    pub(crate) fn handle_timeout(&mut self, now: Instant, policy: &RetransmitPolicy) -> Retry<'_> {
        let Some(outstanding) = self.outstanding.as_mut().filter(|outstanding| outstanding.due <= now) else {
            return Retry::Wait;
        };
        if outstanding.transmissions >= policy.tries {
            return Retry::GiveUp;
        }
        outstanding.transmissions += 1;
        outstanding.interval = (outstanding.interval * 2).min(policy.max);
        outstanding.due = now + outstanding.interval;
        Retry::Send(&outstanding.datagrams)
    }

    /// Classifies a request. Before authentication only identical octets count as a duplicate, so that a stranger who
    /// guesses a message ID cannot make us send. Nobody can vouch for an IKE_SA_INIT with other octets.
    pub(crate) fn incoming(&self, header: &Header, datagram: &[u8]) -> Incoming {
        if header.message_id == self.expected_id {
            return Incoming::New;
        }
        let is_last = header.message_id.checked_add(1) == Some(self.expected_id);
        match self.answered.as_ref().filter(|answered| is_last && answered.exchange == header.exchange) {
            Some(answered) if answered.request == datagram => Incoming::Duplicate,
            Some(answered) if answered.exchange != ExchangeType::IKE_SA_INIT => Incoming::Similar,
            _ => Incoming::Stray,
        }
    }

    /// The last response, to be sent again; `None` when that has been done too often just now.
    pub(crate) fn repeat(&mut self, now: Instant) -> Option<&[Vec<u8>]> {
        let Answered { response, repeated: (since, count), .. } = self.answered.as_mut()?;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count <= REPEATS_PER_SECOND).then_some(response)
    }

    /// Notes the response to the request with the expected message ID. Of a request in fragments, `request` is the
    /// first one.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        exchange: ExchangeType,
        request: Vec<u8>,
        response: Vec<Vec<u8>>,
    ) {
        self.answered = Some(Answered { exchange, request, response, repeated: (now, 0) });
        self.expected_id += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetransmitPolicy =
        RetransmitPolicy { initial: Duration::from_secs(1), max: Duration::from_secs(3), tries: 4 };

    #[test]
    fn intervals_double_up_to_the_longest_and_then_it_is_given_up() {
        let start = Instant::now();
        let mut window = Window::initiator();
        window.sent(start, &POLICY, ExchangeType::IKE_AUTH, vec![vec![7], vec![8]]);
        assert_eq!(window.handle_timeout(start, &POLICY), Retry::Wait);
        let mut sent_at = Vec::new();
        loop {
            let due = window.due().unwrap();
            match window.handle_timeout(due, &POLICY) {
                Retry::Send(datagrams) => assert_eq!(datagrams, [[7], [8]]),
                Retry::GiveUp => {
                    assert_eq!(due - start, Duration::from_secs(9));
                    break;
                }
                Retry::Wait => panic!("it was due"),
            }
            sent_at.push((due - start).as_secs());
        }
        assert_eq!(sent_at, [1, 3, 6]);
    }

    fn request(exchange: ExchangeType, message_id: u32) -> Header {
        Header { spi_i: 1, spi_r: 2, exchange, from_initiator: true, response: false, message_id }
    }

    #[test]
    fn only_the_identical_last_request_is_a_duplicate() {
        let init = |id| request(ExchangeType::IKE_SA_INIT, id);
        let auth = |id| request(ExchangeType::IKE_AUTH, id);
        let mut window = Window::responder(Instant::now(), vec![1], vec![2]);
        assert_eq!(window.incoming(&init(0), &[1]), Incoming::Duplicate);
        assert_eq!(window.incoming(&init(0), &[9]), Incoming::Stray);
        assert_eq!(window.incoming(&auth(0), &[1]), Incoming::Stray);
        assert_eq!(window.incoming(&auth(1), &[3]), Incoming::New);
        let response = vec![vec![4], vec![5]];
        window.answer(Instant::now(), ExchangeType::IKE_AUTH, vec![3], response.clone());
        assert_eq!(window.incoming(&auth(1), &[3]), Incoming::Duplicate);
        assert_eq!(window.incoming(&auth(1), &[9]), Incoming::Similar);
        assert_eq!(window.incoming(&request(ExchangeType::INFORMATIONAL, 1), &[9]), Incoming::Stray);
        assert_eq!(window.incoming(&init(0), &[1]), Incoming::Stray);
        assert_eq!(window.incoming(&auth(3), &[1]), Incoming::Stray);
        assert_eq!(window.incoming(&auth(u32::MAX), &[1]), Incoming::Stray);
    }

    #[test]
    fn a_response_is_repeated_a_few_times_a_second() {
        let start = Instant::now();
        let mut window = Window::responder(start, vec![1], vec![2]);
        for second in 0..3 {
            let now = start + Duration::from_secs(second);
            let repeated = (0..100).filter(|_| window.repeat(now).is_some()).count();
            assert_eq!(repeated, 4);
        }
        assert_eq!(Window::initiator().repeat(start), None);
    }

    #[test]
    fn a_response_counts_once() {
        let mut window = Window::initiator();
        let exchange = ExchangeType::IKE_AUTH;
        assert!(!window.awaits(exchange, 0));
        window.sent(Instant::now(), &POLICY, exchange, vec![vec![7]]);
        assert!(window.awaits(exchange, 0) && !window.awaits(exchange, 1));
        assert!(!window.awaits(ExchangeType::INFORMATIONAL, 0));
        window.complete();
        assert!(!window.awaits(exchange, 0) && window.is_free());
        window.complete();
        assert_eq!(window.request_id(), 1);
    }
}

//! IKE_SA_INIT (RFC 7296 §1.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::config::{PeerConfig, PeerId};
use crate::crypto::{DhGroup, DhKeyPair, KeyExchange};
use crate::proposal_choice::{check_ike_answer, choose_ike, describe, ike_offer};
use crate::sa::auth::AuthSent;
use crate::sa::certificates::init_payloads;
use crate::sa::context::{Context, Notice, Path};
use crate::sa::exchange::Window;
use crate::sa::nat::{Nat, nat_payloads};
use crate::sa::payloads::Payloads;
use crate::sa::protection::Protection;
use crate::sa::{CLOSED_LINGER, Fragments, IkeSa, Phase};
use crate::wire::{ExchangeType, Header, KeyExchangeData, Message, Notify, NotifyType, ParseError, Payload};

/// More rounds of cookies and other groups than any honest responder asks for.
const MAX_RESTARTS: u8 = 8;
/// Longest cookie (RFC 7296 §2.6).
const MAX_COOKIE_LEN: usize = 64;
/// How long the true answer to IKE_SA_INIT may follow one that ends the attempt.
const REFUSAL_GRACE: Duration = Duration::from_secs(3);

/// An initiator that waits for the answer to IKE_SA_INIT.
pub(crate) struct InitSent {
    nonce: Vec<u8>,
    key_pair: DhKeyPair,
    cookie: Option<Vec<u8>>,
    /// The request as it was sent last: what AUTH covers.
    request: Vec<u8>,
    restarts: u8,
    /// Set by an answer that does not lead on.
    refusal: Option<InitRefusal>,
}

/// Why an attempt ends unless a better answer comes.
struct InitRefusal {
    reason: String,
    ends_at: Instant,
}

impl InitSent {
    /// When the attempt ends because of a refusal.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.refusal.as_ref().map(|refusal| refusal.ends_at)
    }

    /// Why it ends then.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|refusal| refusal.reason.as_str())
    }
}

/// A responder that waits for IKE_AUTH.
pub(crate) struct HalfOpen {
    pub(crate) nonces: Nonces,
    pub(crate) messages: InitMessages,
    pub(crate) deadline: Instant,
}

/// The nonces of one exchange.
#[derive(Clone)]
pub(crate) struct Nonces {
    pub(crate) initiator: Vec<u8>,
    pub(crate) responder: Vec<u8>,
}

impl Nonces {
    /// What decides collisions (RFC 7296 §2.8.1).
    pub(crate) fn lowest(&self) -> &[u8] {
        self.initiator.as_slice().min(&self.responder)
    }
}

/// Both messages of IKE_SA_INIT, which AUTH covers.
pub(crate) struct InitMessages {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

/// What a responder does about an IKE_SA_INIT request.
pub(crate) enum InitAnswer {
    /// Nothing: it is malformed beyond an answer.
    Ignore,
    /// An error answer, which leaves no state.
    Refuse(Vec<u8>),
    /// An SA that waits for IKE_AUTH, or one that has ended but counts against the limits because it cost a key
    /// exchange; the answer is queued.
    Accept(Box<IkeSa>),
}

impl IkeSa {
    /// Starts an SA under our SPI `spi_i` and sends IKE_SA_INIT.
    pub(crate) fn initiate(
        ctx: &mut Context<'_>,
        spi_i: u64,
        peer: PeerId,
        config: Arc<PeerConfig>,
        path: Path,
    ) -> Result<Self, String> {
        let group = config.ike_proposals.first().and_then(|proposal| proposal.groups.first());
        let group = *group.ok_or("no IKE proposal is configured")?;
        let init = InitSent {
            nonce: ctx.nonce(),
            key_pair: DhKeyPair::generate(group, ctx.rng),
            cookie: None,
            request: Vec::new(),
            restarts: 0,
            refusal: None,
        };
        let mut sa = Self {
            peer,
            config,
            initiator: true,
            spi_i,
            spi_r: 0,
            path,
            first_remote: Some(path.remote),
            nat: Nat::default(),
            window: Window::initiator(),
            peer_identity: "".into(),
            fragmentation: false,
            fragments: Fragments::default(),
            protection: None,
            phase: Phase::InitSent(Box::new(init)),
            created: ctx.next_order(),
            pump_at: None,
        };
        sa.send_init(ctx);
        Ok(sa)
    }

    fn send_init(&mut self, ctx: &mut Context<'_>) {
        let Phase::InitSent(init) = &mut self.phase else { return };
        let mut payloads = Vec::new();
        if let Some(cookie) = &init.cookie {
            payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.as_slice())));
        }
        payloads.push(Payload::SecurityAssociation(ike_offer(&self.config.ike_proposals)));
        payloads.push(key_exchange_payload(&init.key_pair));
        payloads.push(Payload::Nonce(init.nonce.clone()));
        payloads.extend(nat_payloads(ctx, self.spi_i, 0, self.path, self.config.force_udp_encapsulation));
        payloads.push(fragmentation_supported());
        payloads.extend(init_payloads(&self.config.auth, true));
        let header = Header {
            spi_i: self.spi_i,
            spi_r: 0,
            exchange: ExchangeType::IKE_SA_INIT,
            from_initiator: true,
            response: false,
            message_id: 0,
        };
        init.request = Message { header, payloads }.encode();
        let request = vec![init.request.clone()];
        ctx.transmit(self.path, &request);
        self.window.sent(ctx.now, &ctx.config.retransmit, header.exchange, request);
    }

    /// Processes a response while waiting for the one to IKE_SA_INIT. Nothing of it is authenticated: what does not fit
    /// is ignored, and after a refusal the true response may still follow for a while (RFC 7296 §2.21.1).
    pub(super) fn handle_init_response(&mut self, ctx: &mut Context<'_>, from: Path, datagram: &[u8]) {
        let Ok(Message { header, payloads }) = Message::parse(datagram) else { return };
        if header.exchange != ExchangeType::IKE_SA_INIT || from != self.path {
            return;
        }
        let found = Payloads(&payloads);
        if let Some(cookie) = found.notification(NotifyType::COOKIE) {
            self.restart_with_cookie(ctx, &cookie.data);
        } else if let Some(wanted) = found.notification(NotifyType::INVALID_KE_PAYLOAD) {
            self.restart_with_group(ctx, &wanted.data);
        } else if let Some(error) = found.error() {
            let reason = match error.kind {
                NotifyType::NO_PROPOSAL_CHOSEN => {
                    format!("peer refused our proposal; we offered {}", describe(&self.config.ike_proposals))
                }
                kind => format!("peer refused our IKE_SA_INIT: it says {}", kind.name()),
            };
            self.init_refused(ctx, reason);
        } else {
            self.complete_init(ctx, &header, &payloads, datagram);
        }
    }

    fn init_refused(&mut self, ctx: &mut Context<'_>, reason: String) {
        let Phase::InitSent(init) = &mut self.phase else { return };
        let ends_at = init.ends_at().unwrap_or(ctx.now + REFUSAL_GRACE);
        ctx.notify(Notice::Refused(reason.clone()));
        init.refusal = Some(InitRefusal { reason, ends_at });
    }

    fn restart_with_cookie(&mut self, ctx: &mut Context<'_>, cookie: &[u8]) {
        let Phase::InitSent(init) = &mut self.phase else { return };
        // The same cookie again answers a request that was sent twice.
        let repeated = init.cookie.as_deref() == Some(cookie);
        if repeated || cookie.is_empty() || cookie.len() > MAX_COOKIE_LEN || init.restarts >= MAX_RESTARTS {
            return;
        }
        init.restarts += 1;
        init.cookie = Some(cookie.to_vec());
        self.send_init(ctx);
    }

    fn restart_with_group(&mut self, ctx: &mut Context<'_>, data: &[u8]) {
        let Phase::InitSent(init) = &mut self.phase else { return };
        let named = group_of_notification(data);
        let offers = |wanted: &DhGroup| {
            self.config.ike_proposals.iter().any(|proposal| proposal.groups.contains(wanted))
        };
        let Some(wanted) = named.filter(offers) else {
            let name = match (named, data) {
                (Some(group), _) => group.name().to_owned(),
                (None, [high, low]) => format!("number {}", u16::from_be_bytes([*high, *low])),
                (None, _) => return,
            };
            let offered = describe(&self.config.ike_proposals);
            return self.init_refused(
                ctx,
                format!("peer refused our proposal: it wants DH group {name}; we offered {offered}"),
            );
        };
        if wanted == init.key_pair.group() || init.restarts >= MAX_RESTARTS {
            return;
        }
        debug!(peer = %self.peer, group = wanted.name(), "peer wants another group");
        init.restarts += 1;
        init.key_pair = DhKeyPair::generate(wanted, ctx.rng);
        self.send_init(ctx);
    }

    fn complete_init(
        &mut self,
        ctx: &mut Context<'_>,
        header: &Header,
        payloads: &[Payload],
        datagram: &[u8],
    ) {
        let found = Payloads(payloads);
        let (Some(proposals), Some(exchange), Some(nonce)) =
            (found.proposals(), found.key_exchange(), found.nonce())
        else {
            return;
        };
        let Phase::InitSent(init) = &mut self.phase else { return };
        if header.spi_r == 0 {
            return;
        }
        let suite = match check_ike_answer(proposals, &self.config.ike_proposals) {
            Ok(suite) if suite.group == init.key_pair.group() && suite.group.id() == exchange.group => suite,
            Ok(_) => {
                let reason = "peer chose another group than its public value has".to_owned();
                return self.init_refused(ctx, reason);
            }
            Err(mismatch) => {
                return self.init_refused(ctx, format!("peer chose what we did not offer: {mismatch}"));
            }
        };
        let nonces = Nonces { initiator: init.nonce.clone(), responder: nonce.to_vec() };
        let messages = InitMessages { request: init.request.clone(), response: datagram.to_vec() };
        let protection = init.key_pair.agree(&exchange.data).and_then(|shared| {
            let inputs = KeyExchange {
                shared: &shared,
                nonce_i: &nonces.initiator,
                nonce_r: &nonces.responder,
                spi_i: self.spi_i,
                spi_r: header.spi_r,
            };
            Protection::new(suite, true, &inputs)
        });
        let protection = match protection {
            Ok(protection) => protection,
            Err(error) => return self.init_refused(ctx, format!("key exchange failed: {error}")),
        };
        self.spi_r = header.spi_r;
        self.nat = Nat::detect(header, payloads, self.path, self.config.force_udp_encapsulation);
        self.nat.move_path(&mut self.path);
        self.fragmentation = understands_fragments(found);
        self.protection = Some(protection);
        self.export_keys(ctx);
        self.window.complete();
        let inbound_spi = ctx.esp_spi();
        self.send_auth(ctx, AuthSent { nonces, messages, inbound_spi });
    }
}

/// Answers an IKE_SA_INIT request of a known peer; an SA that comes of it gets our SPI `spi_r`.
pub(crate) fn answer_init(
    ctx: &mut Context<'_>,
    spi_r: u64,
    peer: PeerId,
    config: Arc<PeerConfig>,
    path: Path,
    datagram: &[u8],
) -> InitAnswer {
    let Ok((header, _)) = Header::parse(datagram) else { return InitAnswer::Ignore };
    let payloads = match Message::parse(datagram) {
        Ok(message) => message.payloads,
        Err(ParseError::UnsupportedCritical(kind)) => {
            let notify = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [kind.0]);
            let answer = unprotected_answer(&header, notify);
            // Nobody gets more than they sent, whose address may be forged.
            let is_short = answer.len() <= datagram.len();
            return if is_short { InitAnswer::Refuse(answer) } else { InitAnswer::Ignore };
        }
        Err(_) => return InitAnswer::Ignore,
    };
    let found = Payloads(&payloads);
    let (Some(proposals), Some(exchange), Some(nonce)) =
        (found.proposals(), found.key_exchange(), found.nonce())
    else {
        return InitAnswer::Ignore;
    };
    let choice = match choose_ike(proposals, &config.ike_proposals, DhGroup::from_id(exchange.group)) {
        Ok(choice) => choice,
        Err(mismatch) => {
            debug!(%peer, %mismatch, "IKE proposal refused");
            ctx.notify(Notice::Refused(format!("we refused the peer's proposal: {mismatch}")));
            return InitAnswer::Refuse(unprotected_answer(
                &header,
                Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []),
            ));
        }
    };
    let group = choice.suite.group;
    if group.id() != exchange.group {
        debug!(%peer, group = group.name(), "asking for another group");
        let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.id().to_be_bytes());
        return InitAnswer::Refuse(unprotected_answer(&header, notify));
    }
    if exchange.data.len() != group.public_len() {
        return InitAnswer::Refuse(unprotected_answer(&header, Notify::new(NotifyType::INVALID_SYNTAX, [])));
    }
    let key_pair = DhKeyPair::generate(group, ctx.rng);
    let nonces = Nonces { initiator: nonce.to_vec(), responder: ctx.nonce() };
    let protection = key_pair.agree(&exchange.data).and_then(|shared| {
        let inputs = KeyExchange {
            shared: &shared,
            nonce_i: &nonces.initiator,
            nonce_r: &nonces.responder,
            spi_i: header.spi_i,
            spi_r,
        };
        Protection::new(choice.suite, false, &inputs)
    });
    let response = if protection.is_ok() {
        let mut answer = vec![
            Payload::SecurityAssociation(vec![choice.proposal]),
            key_exchange_payload(&key_pair),
            Payload::Nonce(nonces.responder.clone()),
        ];
        answer.extend(nat_payloads(ctx, header.spi_i, spi_r, path, config.force_udp_encapsulation));
        if understands_fragments(found) {
            answer.push(fragmentation_supported());
        }
        answer.extend(init_payloads(&config.auth, false));
        let header = Header { spi_r, from_initiator: false, response: true, ..header };
        Message { header, payloads: answer }.encode()
    } else {
        unprotected_answer(&header, Notify::new(NotifyType::INVALID_SYNTAX, []))
    };
    ctx.transmit(path, std::slice::from_ref(&response));
    let nat = Nat::detect(&header, &payloads, path, config.force_udp_encapsulation);
    let window = Window::responder(ctx.now, datagram.to_vec(), response.clone());
    let phase = if protection.is_ok() {
        let deadline = ctx.now + ctx.config.half_open_timeout;
        let messages = InitMessages { request: datagram.to_vec(), response };
        Phase::HalfOpen(Box::new(HalfOpen { nonces, messages, deadline }))
    } else {
        Phase::Closed { until: ctx.now + CLOSED_LINGER }
    };
    InitAnswer::Accept(Box::new(IkeSa {
        peer,
        config,
        initiator: false,
        spi_i: header.spi_i,
        spi_r,
        path,
        first_remote: Some(path.remote),
        nat,
        window,
        peer_identity: "".into(),
        fragmentation: understands_fragments(found),
        fragments: Fragments::default(),
        protection: protection.ok(),
        phase,
        created: ctx.next_order(),
        pump_at: None,
    }))
}

/// An error answer without state: the responder's SPI stays zero (RFC 7296 §2.6).
pub(crate) fn unprotected_answer(request: &Header, notify: Notify) -> Vec<u8> {
    let header = Header { from_initiator: !request.from_initiator, response: true, ..*request };
    Message { header, payloads: vec![Payload::Notify(notify)] }.encode()
}

pub(super) fn key_exchange_payload(key_pair: &DhKeyPair) -> Payload {
    let data = key_pair.public().to_vec();
    Payload::KeyExchange(KeyExchangeData { group: key_pair.group().id(), data })
}

fn fragmentation_supported() -> Payload {
    Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []))
}

/// Whether the sender of a message of IKE_SA_INIT understands fragments.
fn understands_fragments(found: Payloads<'_>) -> bool {
    found.notification(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some()
}

/// The group an INVALID_KE_PAYLOAD notification asks for.
pub(super) fn group_of_notification(data: &[u8]) -> Option<DhGroup> {
    DhGroup::from_id(u16::from_be_bytes(data.try_into().ok()?))
}

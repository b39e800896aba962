//! One IKE SA with its Child SAs, as a state machine that is stepped with messages, time and wishes.
//!
//! - `init`: IKE_SA_INIT in both roles;
//! - `auth`: IKE_AUTH in both roles; `proof`: AUTH itself; `certificates`: CERT and CERTREQ;
//! - `established`: what an authenticated SA does by itself, and its timers;
//! - `places`: what the Child SAs are for;
//! - `rekey_child`, `rekey_ike`: CREATE_CHILD_SA; `wish`: when it is asked for again;
//! - `informational`: deletes, liveness, errors;
//! - `exchange`: window and retransmission; `fragments`: messages in parts; `protection`: keys of the SK payload; `child`: Child SAs.

pub(crate) mod clock;
pub(crate) mod context;

mod auth;
mod certificates;
mod child;
pub(crate) mod established;
mod exchange;
mod fragments;
mod hints;
mod identity;
mod informational;
mod init;
mod nat;
mod payloads;
pub(crate) mod places;
mod proof;
mod protection;
mod rekey_child;
mod rekey_ike;
mod selectors;
mod summary;
mod wish;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::config::{PeerConfig, PeerId};
use crate::key_export::ExportedIkeKeys;
use crate::wire::{
    ExchangeType, Header, Message, NotifyType, OpenError, ParseError, Payload, SealedFragment, SealedMessage,
};
use auth::AuthSent;
use context::{Context, IKE_PORT, NAT_PORT, Notice, Path};
use established::{Established, Pending};
use exchange::{Incoming, Retry, Window};
use fragments::{Reassembly, Whole, largest_message};
use init::{HalfOpen, InitSent};
pub(crate) use init::{InitAnswer, answer_init, unprotected_answer};
use nat::Nat;
use protection::Protection;
use rekey_ike::IkeRekeySent;
pub(crate) use summary::{Standing, Summary};

/// How long an ended SA still answers requests that come again.
const CLOSED_LINGER: Duration = Duration::from_secs(10);

/// One IKE SA.
pub(crate) struct IkeSa {
    pub(crate) peer: PeerId,
    config: Arc<PeerConfig>,
    /// We are the original initiator.
    initiator: bool,
    spi_i: u64,
    spi_r: u64,
    path: Path,
    /// Where IKE_SA_INIT came from, if that made it; with SPIi this recognises the request when it comes again.
    first_remote: Option<SocketAddr>,
    nat: Nat,
    window: Window,
    /// Who the peer has proved to be, for a human; empty before.
    peer_identity: Arc<str>,
    /// The peer understands fragments, too (RFC 7383 §2.3).
    fragmentation: bool,
    fragments: Fragments,
    /// Present once both public values are known.
    protection: Option<Protection>,
    phase: Phase,
    /// Order among all SAs of the endpoint in which this one came into being.
    created: u64,
    /// Something has waited since then for a step that may compute.
    pump_at: Option<Instant>,
}

/// Messages of which some fragments have arrived.
#[derive(Default)]
struct Fragments {
    request: Reassembly,
    response: Reassembly,
}

impl Fragments {
    fn of(&mut self, header: &Header) -> &mut Reassembly {
        if header.response { &mut self.response } else { &mut self.request }
    }
}

enum Phase {
    InitSent(Box<InitSent>),
    HalfOpen(Box<HalfOpen>),
    AuthSent(Box<AuthSent>),
    Established(Box<Established>),
    /// The SA is of no more use here. The peer is told as soon as the window is free, `told` once that has begun.
    Closing {
        told: bool,
        message: Vec<Payload>,
        /// A rekey of this IKE SA was under way: what it makes goes too.
        rekey: Option<Box<IkeRekeySent>>,
    },
    /// The SA holds no Child SAs: it has been replaced by a rekey, or replaces another and has not inherited. Deleted at
    /// the given time, unless it inherits or the peer deletes it.
    Bare {
        until: Instant,
    },
    /// Answers requests that come again until the given time.
    Closed {
        until: Instant,
    },
    Dead,
}

impl IkeSa {
    /// The SPI by which messages find this SA.
    pub(crate) fn local_spi(&self) -> u64 {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    /// Whether the SPIs of a message are those of this SA; the responder's is not known from the start, nor in a repeated
    /// IKE_SA_INIT request.
    pub(crate) fn has_spis(&self, header: &Header) -> bool {
        let responder_unknown = if self.initiator {
            self.spi_r == 0
        } else {
            header.exchange == ExchangeType::IKE_SA_INIT && header.spi_r == 0
        };
        self.spi_i == header.spi_i && (responder_unknown || self.spi_r == header.spi_r)
    }

    fn protection(&self) -> &Protection {
        self.protection.as_ref().expect("an SA has keys once IKE_SA_INIT is complete")
    }

    /// Shows the keys to a user who wants to see them.
    fn export_keys(&self, ctx: &mut Context<'_>) {
        if let Some(protection) = self.protection.as_ref().filter(|_| ctx.config.export_keys) {
            let algorithms = protection.suite.algorithms;
            let keys = ExportedIkeKeys::new(algorithms, self.spi_i, self.spi_r, &protection.keys);
            ctx.notify(Notice::Keys(keys));
        }
    }

    /// Set for an SA that can carry Child SAs.
    fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            _ => None,
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.phase, Phase::Dead)
    }

    /// Timers and secrets of the peer from now on.
    pub(crate) fn set_config(&mut self, config: Arc<PeerConfig>) {
        self.config = config;
    }

    /// Processes a message whose SPI is ours.
    pub(crate) fn handle(&mut self, ctx: &mut Context<'_>, from: Path, datagram: &[u8], header: &Header) {
        // Also keeps our own messages from being reflected at us.
        if header.from_initiator == self.initiator {
            return;
        }
        if header.response {
            if !self.window.awaits(header.exchange, header.message_id) {
                return;
            }
            if matches!(self.phase, Phase::InitSent(_)) {
                self.handle_init_response(ctx, from, datagram);
                return;
            }
        } else {
            match self.window.incoming(header, datagram) {
                Incoming::New => {}
                Incoming::Similar if !self.is_repetition(datagram) => return,
                Incoming::Duplicate | Incoming::Similar => {
                    let Some(response) = self.window.repeat(ctx.now) else { return };
                    ctx.transmit(from, response);
                    if let Phase::Established(established) = &mut self.phase {
                        established.peer_still_waits(ctx);
                    }
                    return;
                }
                Incoming::Stray => return,
            }
        }
        self.handle_sealed(ctx, from, datagram);
    }

    /// Whether a request with the message ID of the one answered last is that request in another form: the peer has cut
    /// it into other fragments, or into any at all. Of fragments only the first brings the response about, so that there
    /// is one response to them all (RFC 7383 §2.6.1).
    fn is_repetition(&self, datagram: &[u8]) -> bool {
        let Some(protection) = &self.protection else { return false };
        match SealedFragment::parse(datagram) {
            Ok(sealed) if !self.fragmentation || sealed.position.number != 1 => false,
            Ok(sealed) => sealed.open(&protection.open).is_ok(),
            Err(_) => {
                SealedMessage::parse(datagram).is_ok_and(|sealed| sealed.open(&protection.open).is_ok())
            }
        }
    }

    fn handle_sealed(&mut self, ctx: &mut Context<'_>, from: Path, datagram: &[u8]) {
        let Some(protection) = &self.protection else { return };
        let (header, opened) = if let Ok(sealed) = SealedFragment::parse(datagram) {
            if !self.fragmentation {
                return;
            }
            let reassembly = self.fragments.of(&sealed.header);
            let whole = reassembly.take(ctx.now, &protection.open, &sealed, datagram);
            let Some(whole) = whole else { return };
            (sealed.header, whole)
        } else {
            let Ok(sealed) = SealedMessage::parse(datagram) else { return };
            let payloads = sealed.open(&protection.open);
            if payloads == Err(OpenError::Integrity) {
                debug!(peer = %self.peer, "message failed its integrity check");
                return;
            }
            (sealed.header, Whole { payloads, first_datagram: datagram.to_vec() })
        };
        self.fragments.of(&header).forget();
        self.authenticated(ctx, from);
        let Whole { payloads, first_datagram } = opened;
        match (payloads, header.response) {
            (Ok(payloads), true) => self.handle_response(ctx, &payloads),
            (Ok(payloads), false) => self.handle_request(ctx, from, &header, &payloads, &first_datagram),
            (Err(error), true) => {
                self.window.complete();
                if matches!(self.phase, Phase::Closing { told: true, .. }) {
                    self.phase = Phase::Dead;
                }
                let bare = Phase::Bare { until: ctx.now };
                if !self.hand_over_to_rival(ctx, bare) {
                    self.close(ctx, vec![], format!("malformed response from the peer: {error}"));
                }
            }
            (Err(error), false) => self.refuse_malformed(ctx, from, &header, error, &first_datagram),
        }
        self.pump(ctx);
    }

    /// A message with the keys of this SA has arrived from `from`.
    fn authenticated(&mut self, ctx: &mut Context<'_>, from: Path) {
        match &mut self.phase {
            // The initiator has moved to port 4500, or a NAT maps that port differently.
            Phase::HalfOpen(_) => self.path = from,
            Phase::Established(established) => {
                established.last_received = ctx.now;
                established.hints.refuted();
                if !established.confirmed {
                    established.confirmed = true;
                    ctx.notify(Notice::Confirmed);
                }
                // Only the end that is not behind a NAT follows (RFC 7296 §2.23).
                if self.nat.remote && !self.nat.local && from.remote != self.path.remote {
                    debug!(peer = %self.peer, old = %self.path.remote, new = %from.remote, "NAT mapping changed");
                    self.path.remote = from.remote;
                    established.moved(ctx, from.remote);
                }
            }
            _ => {}
        }
    }

    fn handle_request(
        &mut self,
        ctx: &mut Context<'_>,
        from: Path,
        header: &Header,
        payloads: &[Payload],
        datagram: &[u8],
    ) {
        if let Phase::Established(established) = &mut self.phase {
            established.peer_has_answer(ctx);
        }
        let response = match (&self.phase, header.exchange) {
            (Phase::HalfOpen(_), ExchangeType::IKE_AUTH) => {
                self.export_keys(ctx);
                self.handle_auth_request(ctx, payloads)
            }
            (Phase::Established(_), ExchangeType::CREATE_CHILD_SA) => {
                self.handle_rekey_request(ctx, payloads)
            }
            (
                Phase::Established(_) | Phase::Bare { .. } | Phase::Closing { .. },
                ExchangeType::INFORMATIONAL,
            ) => self.handle_informational_request(ctx, payloads),
            (Phase::Bare { .. } | Phase::Closing { .. }, ExchangeType::CREATE_CHILD_SA) => {
                vec![error_payload(NotifyType::TEMPORARY_FAILURE)]
            }
            (Phase::Established(_) | Phase::Bare { .. }, _) => {
                vec![error_payload(NotifyType::INVALID_SYNTAX)]
            }
            // An initiator that found our answer wanting, or deletes what we have given up.
            (Phase::Closed { .. }, ExchangeType::INFORMATIONAL) => Vec::new(),
            // Too early: the peer repeats the request, and by then we are further.
            _ => return,
        };
        self.respond(ctx, from, header, response, datagram);
    }

    fn handle_response(&mut self, ctx: &mut Context<'_>, payloads: &[Payload]) {
        self.window.complete();
        match &mut self.phase {
            Phase::AuthSent(_) => self.handle_auth_response(ctx, payloads),
            Phase::Established(_) => self.handle_established_response(ctx, payloads),
            Phase::Closing { told: true, .. } => self.phase = Phase::Dead,
            Phase::Closing { told: false, rekey, .. } => {
                if let Some(sent) = rekey.take() {
                    self.delete_rekeyed(ctx, &sent, payloads);
                }
            }
            // A request from before the SA was replaced; the others have none outstanding.
            Phase::Bare { .. }
            | Phase::InitSent(_)
            | Phase::HalfOpen(_)
            | Phase::Closed { .. }
            | Phase::Dead => {}
        }
    }

    /// Answers a request that is from the peer but malformed (RFC 7296 §2.21.3).
    fn refuse_malformed(
        &mut self,
        ctx: &mut Context<'_>,
        from: Path,
        header: &Header,
        error: OpenError,
        datagram: &[u8],
    ) {
        if let OpenError::Content(ParseError::UnsupportedCritical(kind)) = error {
            let notify = crate::wire::Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [kind.0]);
            self.respond(ctx, from, header, vec![Payload::Notify(notify)], datagram);
            if matches!(self.phase, Phase::HalfOpen(_)) {
                self.end(ctx, error.to_string());
            }
        } else {
            self.respond(ctx, from, header, vec![error_payload(NotifyType::INVALID_SYNTAX)], datagram);
            self.end(ctx, format!("malformed request from the peer: {error}"));
        }
    }

    fn respond(
        &mut self,
        ctx: &mut Context<'_>,
        from: Path,
        request: &Header,
        payloads: Vec<Payload>,
        datagram: &[u8],
    ) {
        let header = Header { from_initiator: self.initiator, response: true, ..*request };
        let Some(response) = self.seal(ctx, from, &Message { header, payloads }) else { return };
        ctx.transmit(from, &response);
        self.window.answer(ctx.now, header.exchange, datagram.to_vec(), response);
    }

    /// Sends a protected request. The window must be free.
    fn request(&mut self, ctx: &mut Context<'_>, exchange: ExchangeType, payloads: Vec<Payload>) {
        let header = Header {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            exchange,
            from_initiator: self.initiator,
            response: false,
            message_id: self.window.request_id(),
        };
        let Some(request) = self.seal(ctx, self.path, &Message { header, payloads }) else { return };
        ctx.transmit(self.path, &request);
        self.window.sent(ctx.now, &ctx.config.retransmit, exchange, request);
    }

    /// The datagrams of a protected message.
    fn seal(&mut self, ctx: &Context<'_>, path: Path, message: &Message) -> Option<Vec<Vec<u8>>> {
        let largest = if self.fragmentation {
            largest_message(ctx.config.fragment_size, path.remote)
        } else {
            usize::MAX
        };
        Some(self.protection.as_mut()?.seal(message, largest))
    }

    /// Sends what waits for a free window.
    fn pump(&mut self, ctx: &mut Context<'_>) {
        if !self.window.is_free() {
            return;
        }
        if ctx.light {
            self.pump_at = Some(ctx.now);
            return;
        }
        self.pump_at = None;
        match &mut self.phase {
            Phase::Established(_) => self.pump_established(ctx),
            Phase::Closing { told: told @ false, message, .. } => {
                *told = true;
                let message = std::mem::take(message);
                self.request(ctx, ExchangeType::INFORMATIONAL, message);
            }
            _ => {}
        }
    }

    /// The SA has ended on both sides, or was never anything. It answers repeated requests for a while.
    fn end(&mut self, ctx: &mut Context<'_>, reason: String) {
        if matches!(self.phase, Phase::Closed { .. }) {
            return;
        }
        self.retire_children(ctx);
        self.window.complete();
        let given_up_before = matches!(self.phase, Phase::Closing { .. } | Phase::Bare { .. });
        self.phase = match self.protection {
            Some(_) => Phase::Closed { until: ctx.now + CLOSED_LINGER },
            None => Phase::Dead,
        };
        if !given_up_before {
            ctx.notify(Notice::Ended { reason });
        }
    }

    /// Gives the SA up and tells the peer: with a delete, and `more` in front of it.
    pub(crate) fn close(&mut self, ctx: &mut Context<'_>, more: Vec<Payload>, reason: String) {
        match self.phase {
            Phase::AuthSent(_) | Phase::Established(_) => {
                self.retire_children(ctx);
                let rekey = match &mut self.phase {
                    Phase::Established(established) => {
                        established.pending.take().and_then(Pending::ike_rekey)
                    }
                    _ => None,
                };
                let mut message = more;
                message.push(delete_ike_sa());
                self.phase = Phase::Closing { told: false, message, rekey };
                ctx.notify(Notice::Ended { reason });
                self.pump(ctx);
            }
            Phase::Bare { .. } => {
                self.give_up_bare();
                self.pump(ctx);
            }
            Phase::InitSent(_) | Phase::HalfOpen(_) => self.discard(ctx, reason),
            Phase::Closing { .. } | Phase::Closed { .. } | Phase::Dead => {}
        }
    }

    /// Forgets the SA without a word to the peer.
    pub(crate) fn discard(&mut self, ctx: &mut Context<'_>, reason: String) {
        self.retire_children(ctx);
        self.phase = Phase::Dead;
        ctx.notify(Notice::Ended { reason });
    }

    fn retire_children(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase {
            established.retire(ctx);
        }
    }

    pub(crate) fn next_timeout(&self, keepalive: Duration) -> Option<Instant> {
        let own = match &self.phase {
            Phase::HalfOpen(half_open) => Some(half_open.deadline),
            Phase::Closed { until } | Phase::Bare { until } => Some(*until),
            Phase::Established(_) => self.established_timeout(keepalive),
            Phase::InitSent(init) => init.ends_at(),
            Phase::AuthSent(_) | Phase::Closing { .. } | Phase::Dead => None,
        };
        let fragments = [&self.fragments.request, &self.fragments.response];
        let fragments = fragments.into_iter().filter_map(Reassembly::expires_at);
        own.into_iter().chain(self.window.due()).chain(fragments).chain(self.pump_at).min()
    }

    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        self.pump_at = None;
        self.fragments.request.handle_timeout(ctx.now);
        self.fragments.response.handle_timeout(ctx.now);
        match self.window.handle_timeout(ctx.now, &ctx.config.retransmit) {
            Retry::Wait => {}
            Retry::Send(request) => {
                let request = request.to_vec();
                ctx.transmit(self.path, &request);
                self.wonder(ctx);
            }
            Retry::GiveUp => {
                self.discard_unanswered(ctx);
                return;
            }
        }
        match &self.phase {
            Phase::InitSent(init) if init.ends_at().is_some_and(|at| at <= ctx.now) => {
                self.discard_unanswered(ctx);
                return;
            }
            Phase::HalfOpen(half_open) if half_open.deadline <= ctx.now => {
                self.phase = Phase::Dead;
                let port = if self.nat.encapsulation { NAT_PORT } else { IKE_PORT };
                let reason = format!(
                    "peer asked for an IKE SA and did not go on to IKE_AUTH: does our answer reach it, and its next \
                     message our UDP port {port}?"
                );
                ctx.notify(Notice::Refused(reason));
            }
            Phase::Closed { until } if *until <= ctx.now => self.phase = Phase::Dead,
            Phase::Bare { until } if *until <= ctx.now => self.give_up_bare(),
            Phase::Established(_) => self.established_timers(ctx),
            _ => {}
        }
        self.pump(ctx);
    }

    fn discard_unanswered(&mut self, ctx: &mut Context<'_>) {
        if self.hand_over_to_rival(ctx, Phase::Dead) {
            return;
        }
        let Path { local, remote } = self.path;
        let reason = match &self.phase {
            Phase::InitSent(init) => init.refusal().map_or_else(
                || {
                    let us = local.ip();
                    format!("peer does not answer IKE_SA_INIT at {remote}: is it up, and does it expect us at {us}?")
                },
                str::to_owned,
            ),
            Phase::AuthSent(_) if remote.port() == NAT_PORT => {
                format!("peer does not answer IKE_AUTH at {remote}: does UDP port {NAT_PORT} reach it?")
            }
            Phase::AuthSent(_) => format!("peer does not answer IKE_AUTH at {remote}"),
            Phase::Established(_) => format!("peer does not answer any more at {remote}"),
            // Nobody waits for the outcome.
            _ => {
                self.phase = Phase::Dead;
                return;
            }
        };
        self.discard(ctx, reason);
    }
}

fn delete_ike_sa() -> Payload {
    Payload::Delete(crate::wire::Delete::IkeSa)
}

fn error_payload(kind: NotifyType) -> Payload {
    Payload::Notify(crate::wire::Notify::new(kind, []))
}

//! The part of the work that costs time: steps of IKE SAs, detached from the endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha20Rng;

use crate::config::{EndpointConfig, PeerConfig, PeerId};
use crate::event::Transmit;
use crate::sa::clock::WallClock;
use crate::sa::context::{Context, Counters, Notice, Path};
use crate::sa::{IkeSa, InitAnswer, answer_init};
use crate::wire::Header;

/// A piece of work for one IKE SA, from [`crate::Endpoint::poll_work`]: all the cryptography of IKE is in there.
///
/// It needs nothing of the endpoint and may run on any thread, at any time and in any order. Until its [`Done`] is handed
/// back, its IKE SA waits; others do not.
pub struct Work {
    pub(super) spi: u64,
    pub(super) now: Instant,
    pub(super) clock: WallClock,
    pub(super) sole: bool,
    pub(super) rng: ChaCha20Rng,
    pub(super) config: Arc<EndpointConfig>,
    pub(super) counters: Arc<Counters>,
    pub(super) job: Job,
}

/// What a [`Work`] came to, for [`crate::Endpoint::handle_done`].
pub struct Done {
    pub(super) spi: u64,
    pub(super) outcome: Outcome,
    pub(super) transmits: Vec<Transmit>,
    pub(super) notices: Vec<Notice>,
}

pub(super) enum Job {
    /// Give an SA what has arrived for it.
    Step { sa: Box<IkeSa>, inputs: Vec<Input> },
    /// Make an IKE_SA_INIT request.
    Initiate { peer: PeerId, config: Arc<PeerConfig>, path: Path },
    /// Answer an IKE_SA_INIT request.
    Answer { peer: PeerId, config: Arc<PeerConfig>, path: Path, datagram: Vec<u8> },
}

/// What makes an SA do something.
pub(super) enum Input {
    Datagram { from: Path, header: Header, datagram: Vec<u8> },
    Timeout,
}

pub(super) enum Outcome {
    Sa(Box<IkeSa>),
    /// A request that leaves no SA, answered or not.
    NoSa,
    /// Nothing can be sent to the peer, for this reason.
    NotInitiated(String),
}

impl Work {
    /// Does the work. This may take as long as a few Diffie-Hellman computations and signatures do.
    pub fn run(self) -> Done {
        let Self { spi, now, clock, sole, mut rng, config, counters, job } = self;
        let mut ctx = Context {
            now,
            clock,
            rng: &mut rng,
            config: &config,
            counters: &counters,
            sole,
            light: false,
            transmits: Vec::new(),
            notices: Vec::new(),
        };
        let outcome = match job {
            Job::Step { mut sa, inputs } => {
                for input in inputs {
                    step(&mut sa, &mut ctx, &input);
                }
                Outcome::Sa(sa)
            }
            Job::Initiate { peer, config, path } => {
                match IkeSa::initiate(&mut ctx, spi, peer, config, path) {
                    Ok(sa) => Outcome::Sa(Box::new(sa)),
                    Err(reason) => Outcome::NotInitiated(reason),
                }
            }
            Job::Answer { peer, config, path, datagram } => {
                match answer_init(&mut ctx, spi, peer, config, path, &datagram) {
                    InitAnswer::Ignore => Outcome::NoSa,
                    InitAnswer::Refuse(response) => {
                        ctx.transmit(path, &[response]);
                        Outcome::NoSa
                    }
                    InitAnswer::Accept(sa) => Outcome::Sa(sa),
                }
            }
        };
        Done { spi, outcome, transmits: ctx.transmits, notices: ctx.notices }
    }
}

fn step(sa: &mut IkeSa, ctx: &mut Context<'_>, input: &Input) {
    if sa.is_dead() {
        return;
    }
    match input {
        Input::Datagram { from, header, datagram } => {
            if sa.has_spis(header) {
                sa.handle(ctx, *from, datagram, header);
            }
        }
        Input::Timeout => sa.handle_timeout(ctx),
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("spi", &format_args!("{:016x}", self.spi)).finish_non_exhaustive()
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("spi", &format_args!("{:016x}", self.spi)).finish_non_exhaustive()
    }
}

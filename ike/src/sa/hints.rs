//! Hints that an end has lost its state (RFC 7296 §1.5, §2.4). A hint is no proof: it brings about one liveness check, and
//! only when that stays unanswered the endpoint is told, which then connects anew beside this SA.

use std::time::{Duration, Instant};

use crate::sa::context::{Context, Notice};
use crate::sa::{IkeSa, Phase};

/// Pause between liveness checks upon hints.
const HINT_PAUSE: Duration = Duration::from_secs(10);
/// So many transmissions of a request without an answer make a hint credible.
const CREDIBLE_AFTER: u32 = 4;

/// What hints there were for an established SA, and what is to be told to the peer.
#[derive(Default)]
pub(crate) struct Hints {
    /// There was a hint, and nothing authentic from the peer since.
    open: bool,
    last: Option<Instant>,
    /// SPI of an ESP packet from the peer that has no SA here, to be told.
    report: Option<u32>,
}

impl Hints {
    /// The peer lives, and knows the SA.
    pub(super) fn refuted(&mut self) {
        self.open = false;
    }

    pub(super) fn take_report(&mut self) -> Option<u32> {
        self.report.take()
    }
}

impl IkeSa {
    /// Somebody says that the peer does not know this SA or its Child SA any more.
    pub(crate) fn take_hint(&mut self, ctx: &mut Context<'_>) {
        let Phase::Established(established) = &mut self.phase else { return };
        if established.hints.last.is_some_and(|last| ctx.now < last + HINT_PAUSE) {
            return;
        }
        established.hints.last = Some(ctx.now);
        established.hints.open = true;
        // An outstanding request is a check as well.
        established.probe_wanted = self.window.is_free();
        self.pump(ctx);
    }

    /// The peer has sent an ESP packet with an SPI that is unknown here.
    pub(crate) fn report_invalid_spi(&mut self, ctx: &mut Context<'_>, spi: u32) {
        if let Phase::Established(established) = &mut self.phase {
            established.hints.report = Some(spi);
            self.pump(ctx);
        }
    }

    /// A request has been sent once more.
    pub(super) fn wonder(&mut self, ctx: &mut Context<'_>) {
        let Phase::Established(established) = &mut self.phase else { return };
        if established.hints.open && self.window.transmissions() >= CREDIBLE_AFTER {
            established.hints.open = false;
            ctx.notify(Notice::Silent);
        }
    }
}

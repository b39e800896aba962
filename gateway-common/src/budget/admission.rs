//! Whether a packet passes. Nothing waits anywhere: each packet is judged when it comes, on whichever CPU, by a few shared words.
//!
//! Two things are known at any time: `ahead`, how far the gateway's virtual clock is ahead of now (the queue that there would be if
//! packets waited), and each busy tunnel's *lead*, what it has used by its weight beyond the gateway's round. The round stands for one
//! turn of a deficit round robin, but goes on without a scheduler: a packet of a tunnel that leads moves it towards the tunnel's count, when
//! there is capacity for the packet. Every other tunnel lags behind then and is entitled to the same, by its weight. While a tunnel
//! that lags far behind loses packets, the round is *held*: those that lead must wait for it.
//!
//! ```text
//! ahead of now   0 ─────────────────────────────── 1 ──── 5/4 of the depth
//! passes         the less the tunnel leads          │ the more it lags
//! ```

use super::{Budget, Share, TICK_SHIFT, WEIGHT_SHIFT, cost};
use crate::SharedWord;

/// What becomes of a packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Pass = 0,
    /// It passes, marked "congestion experienced" (RFC 3168).
    Mark = 1,
    /// It is dropped.
    Drop = 2,
}

/// The packet to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Now, in ns of the monotonic clock.
    pub now_ns: u64,
    /// Length of the inner IP packet.
    pub bytes: u32,
    /// Whether its transport understands marks: the ECN field is not zero.
    pub is_ecn_capable: bool,
}

/// The words that a packet moves, where they lie in the maps.
pub trait Clocks: Copy {
    /// How they are accessed.
    type Word: SharedWord;

    /// [`super::RoundMeter::arrival`].
    fn arrival(self) -> Self::Word;
    /// [`super::RoundMeter::round`].
    fn round(self) -> Self::Word;
    /// [`super::RoundMeter::held_until`].
    fn held_until(self) -> Self::Word;
    /// [`super::ShareMeter::used`].
    fn used(self) -> Self::Word;
    /// [`super::ShareMeter::guarantee`].
    fn guarantee(self) -> Self::Word;
    /// [`super::ShareMeter::ceiling`].
    fn ceiling(self) -> Self::Word;
}

/// Judges a packet of the tunnel with `share`, and charges it if it passes. `budget` must be active.
///
/// What this calls is not inlined, because the XDP programs have next to no stack left.
#[inline(always)]
pub fn admit<C: Clocks>(clocks: C, budget: &Budget, share: &Share, packet: &Packet) -> Verdict {
    let mut verdict = Verdict::Pass;
    if share.ceiling_byte_time != 0 {
        verdict = judge_by_ceiling(clocks, share, packet);
        if let Verdict::Drop = verdict {
            return Verdict::Drop;
        }
    }
    if budget.byte_time != 0 {
        if let Verdict::Drop = judge_by_guarantee(clocks, share, packet) {
            match judge_by_share(clocks, budget, share, packet) {
                Verdict::Pass => {}
                Verdict::Mark => verdict = Verdict::Mark,
                Verdict::Drop => return Verdict::Drop,
            }
            move_round(clocks, share, packet);
            charge_share(clocks, budget, share, packet);
        } else {
            charge(clocks.guarantee(), packet.now(), cost(share.guarantee_byte_time, packet.bytes));
            charge_guaranteed(clocks, budget, share, packet);
        }
    }
    if share.ceiling_byte_time != 0 {
        charge(clocks.ceiling(), packet.now(), cost(share.ceiling_byte_time, packet.bytes));
    }
    verdict
}

#[inline(never)]
fn judge_by_ceiling<C: Clocks>(clocks: C, share: &Share, packet: &Packet) -> Verdict {
    let depth = share.ceiling_depth;
    judge(ahead(clocks.ceiling().load(), packet.now()), depth, depth, packet)
}

/// Whether the packet passes whatever others do.
#[inline(always)]
fn judge_by_guarantee<C: Clocks>(clocks: C, share: &Share, packet: &Packet) -> Verdict {
    if share.guarantee_byte_time == 0
        || ahead(clocks.guarantee().load(), packet.now()) > share.guarantee_depth
    {
        return Verdict::Drop;
    }
    Verdict::Pass
}

#[inline(never)]
fn judge_by_share<C: Clocks>(clocks: C, budget: &Budget, share: &Share, packet: &Packet) -> Verdict {
    let lead = Lead::of(clocks, share).value;
    let allowed = allowed(budget, share, lead);
    let verdict = judge(ahead(clocks.arrival().load(), packet.now()), allowed, budget.depth, packet);
    // Half of what a tunnel may lag behind.
    if let Verdict::Drop = verdict
        && allowed >= budget.depth + (budget.depth >> 3)
    {
        // When another CPU was faster, it has said the same.
        let held_until = clocks.held_until();
        held_until.compare_exchange(held_until.load(), packet.now().wrapping_add(budget.depth << 1));
    }
    verdict
}

/// Moves the round towards a tunnel that leads it and may send.
#[inline(never)]
fn move_round<C: Clocks>(clocks: C, share: &Share, packet: &Packet) {
    let lead = Lead::of(clocks, share);
    if lead.value > 0 && ahead(clocks.held_until().load(), packet.now()) == 0 {
        // Not all the way: tunnels that come first would carry it along at their own pace. When another CPU was faster, it has gone on so.
        let step = lead.value.cast_unsigned() >> 2;
        clocks.round().compare_exchange(lead.round, lead.round.wrapping_add(step));
    }
}

#[inline(never)]
fn charge_share<C: Clocks>(clocks: C, budget: &Budget, share: &Share, packet: &Packet) {
    let cost = cost(budget.byte_time, packet.bytes);
    charge(clocks.arrival(), packet.now(), cost);
    Lead::of(clocks, share).add(clocks, share, cost);
}

/// What is guaranteed counts for the share, but what goes beyond the share is no debt that lasts.
#[inline(never)]
fn charge_guaranteed<C: Clocks>(clocks: C, budget: &Budget, share: &Share, packet: &Packet) {
    let cost = cost(budget.byte_time, packet.bytes);
    charge(clocks.arrival(), packet.now(), cost);
    let lead = Lead::of(clocks, share);
    if lead.value < share.credit.cast_signed() {
        lead.add(clocks, share, cost);
    }
}

impl Packet {
    /// The tick of its arrival.
    #[inline(always)]
    const fn now(&self) -> u64 {
        self.now_ns << TICK_SHIFT
    }
}

/// What a tunnel has used by its weight beyond the gateway's round.
struct Lead {
    used: u64,
    round: u64,
    value: i64,
    /// Whether the tunnel's count is one to go on from.
    is_recent: bool,
}

impl Lead {
    /// A tunnel that was idle is no further behind than its credit. No busy one is far ahead: that is a count from long ago.
    #[inline(always)]
    fn of<C: Clocks>(clocks: C, share: &Share) -> Self {
        let (used, round) = (clocks.used().load(), clocks.round().load());
        let credit = share.credit.cast_signed();
        let counted = used.wrapping_sub(round).cast_signed();
        let is_recent = counted >= -credit && counted <= credit << 2;
        Self { used, round, value: if is_recent { counted } else { -credit }, is_recent }
    }

    /// Counts what takes `cost` ticks.
    #[inline(always)]
    fn add<C: Clocks>(&self, clocks: C, share: &Share, cost: u64) {
        let cost = cost.wrapping_mul(share.inverse_weight);
        let least = self.round.wrapping_sub(share.credit);
        if self.is_recent || !clocks.used().compare_exchange(self.used, least.wrapping_add(cost)) {
            clocks.used().fetch_add(cost);
        }
    }
}

/// How far the gateway's clock may be ahead for a packet of a tunnel with this lead, in ticks.
#[inline(always)]
fn allowed(budget: &Budget, share: &Share, lead: i64) -> u64 {
    if lead > 0 {
        // The time in which the tunnel of the largest weight would catch up, and half of what it takes this one.
        let lead = lead.cast_unsigned() >> WEIGHT_SHIFT;
        let (others, own) = (lead.wrapping_mul(budget.max_weight), lead.wrapping_mul(share.weight) >> 1);
        let most = budget.depth >> 1;
        budget.depth - if others < most { others } else { most } - if own < most { own } else { most }
    } else {
        // A quarter of what the tunnel may still catch up.
        let lags = (lead.unsigned_abs() >> WEIGHT_SHIFT).wrapping_mul(share.weight) >> 2;
        let most = budget.depth >> 2;
        budget.depth + if lags < most { lags } else { most }
    }
}

/// Judges a packet that finds a clock so far `ahead`, if it may be `allowed` ahead. Packets that understand it are marked over half a
/// depth below that, with a probability that grows as the square, and dropped only an eighth above it.
#[inline(always)]
fn judge(ahead: u64, allowed: u64, depth: u64, packet: &Packet) -> Verdict {
    if !packet.is_ecn_capable {
        return if ahead > allowed { Verdict::Drop } else { Verdict::Pass };
    }
    if ahead > allowed + (depth >> 3) {
        return Verdict::Drop;
    }
    let ramp = depth >> 1;
    let start = allowed.saturating_sub(ramp);
    if ahead <= start {
        return Verdict::Pass;
    }
    // Two draws that are both below a part are so with the square of its probability. The ramp is cut down to leave room for the factor.
    let part = (ahead - start) >> 8;
    let luck = packet.now_ns.wrapping_add(ahead).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (first, second) = (luck & 0xffff, luck >> 16);
    let is_below = ((ramp >> 8) * first) >> 16 < part && ((ramp >> 8) * second) >> 16 < part;
    if is_below { Verdict::Mark } else { Verdict::Pass }
}

/// How far a virtual clock is ahead of tick `now`; 0 if it is behind, or so far away that it was last moved years ago.
#[inline(always)]
pub const fn ahead(clock: u64, now: u64) -> u64 {
    let distance = clock.wrapping_sub(now);
    if distance > 1 << 60 { 0 } else { distance }
}

/// Moves a virtual clock. Every packet that passes is charged in full, whatever other CPUs do meanwhile.
#[inline(always)]
fn charge<W: SharedWord>(clock: W, now: u64, cost: u64) {
    let found = clock.load();
    let is_behind = ahead(found, now) == 0;
    if !is_behind || !clock.compare_exchange(found, now.wrapping_add(cost)) {
        clock.fetch_add(cost);
    }
}

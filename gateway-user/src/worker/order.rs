//! Keeps the order of a flow when it leaves the way through `vgw0` for the direct one.
//!
//! Packets that no way is noted for are handed back to the XDP program of `vgw0`. When a way is noted, later packets of the
//! flow could overtake those. So they follow them until the XDP program has counted the last of them as done.

use gateway_common::limits::FLOWS;

/// Time after which a flow takes the direct way although not all frames that were handed back are known to be done: one may
/// have been lost, and is never counted.
const PATIENCE_NS: u64 = 20_000_000;

/// Frames that a worker has handed back, and when the flows in them may take the direct way.
pub(super) struct Order {
    /// Frames handed back so far.
    handed_back: u64,
    /// [`gateway_common::Lane::returned`] when `handed_back` was 0, as far as is known.
    base: u64,
    flows: Vec<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Number of the last frame that was handed back; 0 when the flow takes the direct way.
    last: u64,
    /// Since when it has waited for that frame; 0 while it has no direct way.
    waiting_since_ns: u64,
    /// When the XDP program was last asked to find the way anew.
    asked_ns: u64,
}

impl Order {
    /// Nothing has been handed back, and the counter stands at `returned`.
    pub(super) fn new(returned: u64) -> Self {
        Self { handed_back: 0, base: returned, flows: vec![State::default(); FLOWS as usize] }
    }

    /// Notes that a frame is handed back; `slot` is that of its flow, if it has one.
    #[inline]
    pub(super) fn hand_back(&mut self, slot: Option<u32>) {
        self.handed_back += 1;
        if let Some(state) = slot.and_then(|slot| self.flows.get_mut(slot as usize)) {
            state.last = self.handed_back;
        }
    }

    /// Whether the next packet of the flow in `slot`, whose direct way is known, may take it. The counter stands at `returned`.
    #[inline]
    pub(super) fn may_go_directly(&mut self, slot: u32, returned: impl FnOnce() -> u64, now_ns: u64) -> bool {
        let Some(state) = self.flows.get_mut(slot as usize) else { return false };
        if state.last == 0 {
            return true;
        }
        let done = returned().wrapping_sub(self.base);
        if state.waiting_since_ns == 0 {
            state.waiting_since_ns = now_ns;
        }
        if done < state.last && now_ns.saturating_sub(state.waiting_since_ns) < PATIENCE_NS {
            return false;
        }
        (state.last, state.waiting_since_ns) = (0, 0);
        true
    }

    /// Whether to ask for the way of the flow in `slot` now: not more often than every `interval_ns`.
    #[inline]
    pub(super) fn may_ask(&mut self, slot: u32, interval_ns: u64, now_ns: u64) -> bool {
        let Some(state) = self.flows.get_mut(slot as usize) else { return false };
        let may_ask = now_ns.saturating_sub(state.asked_ns) >= interval_ns;
        if may_ask {
            state.asked_ns = now_ns;
        }
        may_ask
    }

    /// Gives up frames that were never counted. To be called when none has been handed back for long, with the counter.
    pub(super) fn settle(&mut self, returned: u64) {
        self.base = returned.wrapping_sub(self.handed_back);
    }

    /// Frames handed back so far.
    pub(super) fn handed_back(&self) -> u64 {
        self.handed_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_follows_its_packets_until_they_are_done() {
        let mut order = Order::new(100);
        assert!(order.may_go_directly(7, || 100, 1), "a flow that never was handed back");
        order.hand_back(Some(7));
        order.hand_back(Some(8));
        order.hand_back(None);
        assert!(!order.may_go_directly(7, || 100, 10));
        assert!(order.may_go_directly(7, || 101, 11));
        assert!(order.may_go_directly(7, || 101, 12), "it stays direct");
        assert!(!order.may_go_directly(8, || 101, 12));
        order.hand_back(Some(8));
        assert!(!order.may_go_directly(8, || 103, 13), "the last of them counts");
        assert!(order.may_go_directly(8, || 104, 14));
    }

    #[test]
    fn a_lost_frame_delays_a_flow_but_not_for_ever() {
        let mut order = Order::new(0);
        order.hand_back(Some(1));
        let first = 1_000_000_000;
        assert!(!order.may_go_directly(1, || 0, first));
        order.hand_back(Some(1));
        assert!(!order.may_go_directly(1, || 1, first + PATIENCE_NS - 1), "more traffic does not prolong it");
        assert!(order.may_go_directly(1, || 1, first + PATIENCE_NS));

        order.settle(1);
        order.hand_back(Some(2));
        assert!(order.may_go_directly(2, || 2, first), "what was lost is forgotten");
    }

    #[test]
    fn questions_are_rare() {
        let mut order = Order::new(0);
        assert!(order.may_ask(3, 100, 1000));
        assert!(!order.may_ask(3, 100, 1099));
        assert!(order.may_ask(4, 100, 1099));
        assert!(order.may_ask(3, 100, 1100));
    }
}

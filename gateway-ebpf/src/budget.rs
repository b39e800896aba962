//! The shared bandwidth budget.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::Budget;
use gateway_common::budget::charge;

use crate::atomic;
use crate::maps::BUDGET;

/// Attempts to move the virtual clock before a packet is let through uncharged: losing every one of them takes as many
/// other CPUs that were charged meanwhile.
const ATTEMPTS: u32 = 8;

/// Charges an inner packet of `bytes` to the budget of the gateway; false if it must be dropped.
#[inline(always)]
pub(crate) fn admit(bytes: u32) -> bool {
    let Some(budget) = BUDGET.get_ptr_mut(0) else { return true };
    // SAFETY: `budget` points into a map value; the fields that change are accessed with atomic instructions only.
    unsafe {
        let byte_time = (*budget).byte_time;
        if byte_time == 0 {
            return true;
        }
        let cost_ns = Budget::cost_ns(byte_time, bytes);
        let now = bpf_ktime_get_ns();
        let clock = &raw mut (*budget).arrival_ns;
        for _ in 0..ATTEMPTS {
            let before = atomic::load(clock);
            let Some(after) = charge(before, now, (*budget).burst_ns, cost_ns) else {
                atomic::fetch_add(&raw mut (*budget).dropped_bytes, u64::from(bytes));
                return false;
            };
            if atomic::compare_exchange(clock, before, after) {
                break;
            }
        }
        atomic::fetch_add(&raw mut (*budget).passed_bytes, u64::from(bytes));
        true
    }
}

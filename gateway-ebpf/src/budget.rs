//! The shared bandwidth budget.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::budget::Meter;

use crate::atomic::MapWord;
use crate::maps::BUDGET;

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
        let meter = Meter {
            arrival_ns: MapWord::new(&raw mut (*budget).arrival_ns),
            passed_bytes: MapWord::new(&raw mut (*budget).passed_bytes),
            dropped_bytes: MapWord::new(&raw mut (*budget).dropped_bytes),
        };
        meter.admit(byte_time, (*budget).burst_ns, bpf_ktime_get_ns(), bytes)
    }
}

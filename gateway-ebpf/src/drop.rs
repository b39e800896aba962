//! Counting of drops.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use gateway_common::DropReason;

use crate::atomic::fetch_add;
use crate::capture;
use crate::maps::{DROPS, STRAY_DROPS};

/// Counts a drop for `tunnel` (0: none known) and returns the verdict.
#[inline(always)]
pub(crate) fn drop(tunnel: u32, reason: DropReason) -> u32 {
    if tunnel == 0 {
        if let Some(counter) = STRAY_DROPS.get_ptr_mut(reason as u32) {
            // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
            unsafe { *counter += 1 };
        }
    } else if let Some(counter) = DROPS.get_ptr_mut(tunnel * DropReason::COUNT + reason as u32) {
        // SAFETY: points to a value of a map.
        unsafe { fetch_add(counter, 1) };
    }
    capture::note_drop(tunnel, reason);
    XDP_DROP
}

//! Ways noted for the workers.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::limits::FLOWS as ENTRIES;
use gateway_common::{Flow, FlowKey};

use crate::atomic;
use crate::maps::{CONTROL, FLOWS};
use crate::route::Way;

/// The epoch of what is found from now on. To be asked for before the first look-up: when the agent changes something
/// meanwhile, what is noted is void at once.
#[inline(always)]
pub(crate) fn epoch() -> u64 {
    match CONTROL.get_ptr(0) {
        // SAFETY: the pointer leads into the map.
        Some(control) => unsafe { atomic::load(&raw const (*control).epoch) },
        None => 0,
    }
}

/// Notes that packets of `key` go `way`, unless another flow's way that is still good has the place.
#[inline(always)]
pub(crate) fn note(key: FlowKey, epoch: u64, way: &Way) {
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    change(&key, |entry| {
        if entry.key != key && entry.epoch == epoch && now.wrapping_sub(entry.resolved_ns) < Flow::LIFETIME_NS
        {
            return;
        }
        entry.epoch = epoch;
        entry.resolved_ns = now;
        entry.key = key;
        entry.ifindex = way.ifindex;
        entry.mtu = way.mtu;
        entry.ethernet[..6].copy_from_slice(&way.ethernet.destination);
        entry.ethernet[6..].copy_from_slice(&way.ethernet.source);
    });
}

/// Takes back what was noted for `key`, if anything.
#[inline(always)]
pub(crate) fn forget(key: FlowKey) {
    change(&key, |entry| {
        if entry.key == key {
            entry.resolved_ns = 0;
            // No packet fits, however short a time ago the machine was started.
            entry.mtu = 0;
        }
    });
}

/// Calls `write` on the entry for `key` while its version is odd. Does nothing if another CPU is at it: what that one
/// finds is as good.
#[inline(always)]
fn change(key: &FlowKey, write: impl FnOnce(&mut Flow)) {
    let Some(entry) = FLOWS.get_ptr_mut(key.slot(ENTRIES)) else { return };
    // SAFETY: `entry` points into the map. Only the program that made the version odd writes the other fields.
    unsafe {
        let version = &raw mut (*entry).version;
        let before = atomic::load(version);
        if before & 1 != 0 || !atomic::compare_exchange(version, before, before.wrapping_add(1)) {
            return;
        }
        write(&mut *entry);
        atomic::fetch_add(version, 1);
    }
}

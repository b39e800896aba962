//! Ways that were found a moment ago, for the next packets and for the workers.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use gateway_common::limits::FLOWS as ENTRIES;
use gateway_common::{Flow, FlowKey, Ip};

use crate::atomic;
use crate::maps::{CONTROL, FLOWS, KEY};
use crate::route::Way;

/// `key`, of a packet of version `I`, at a place where the stack has room for it.
#[inline(always)]
pub(crate) fn keep<I: Ip>(key: &FlowKey) -> Option<&FlowKey> {
    if !I::IS_V6 {
        return Some(key);
    }
    let kept = KEY.get_ptr_mut(0)?;
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    unsafe {
        *kept = *key;
        Some(&*kept)
    }
}

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

/// The way noted for `key` under `epoch` less than [`Flow::FRESH_NS`] ago, if IP packets of `len` bytes fit.
#[inline(always)]
pub(crate) fn find(key: &FlowKey, epoch: u64, len: u32) -> Option<Way> {
    let entry = FLOWS.get_ptr(key.slot(ENTRIES))?;
    // SAFETY: `entry` points into the map. What is read while another CPU writes is thrown away: the version tells. Volatile
    // reads stay in order, as loads do on x86-64.
    unsafe {
        let version = atomic::load(&raw const (*entry).version);
        let age = bpf_ktime_get_coarse_ns().saturating_sub(atomic::load(&raw const (*entry).resolved_ns));
        let mtu = (&raw const (*entry).mtu).read_volatile();
        if version & 1 != 0
            || atomic::load(&raw const (*entry).epoch) != epoch
            || age >= Flow::FRESH_NS
            || len > mtu
            || (&raw const (*entry).key.tunnel).read_volatile() != key.tunnel
            || (&raw const (*entry).key.ingress_ifindex).read_volatile() != key.ingress_ifindex
            || (&raw const (*entry).key.class).read_volatile() != key.class
            || (&raw const (*entry).key.source).read_volatile() != key.source
            || (&raw const (*entry).key.destination).read_volatile() != key.destination
            || key.is_v6() && !has_front(&raw const (*entry).key, key)
        {
            return None;
        }
        let macs = (&raw const (*entry).ethernet).cast::<[u8; 6]>();
        let way = Way {
            ifindex: (&raw const (*entry).ifindex).read_volatile(),
            mtu,
            destination: macs.read_volatile(),
            source: macs.add(1).read_volatile(),
        };
        if atomic::load(&raw const (*entry).version) == version { Some(way) } else { None }
    }
}

/// Whether what only IPv6 addresses have is equal.
///
/// # Safety
/// `noted` must point into map `FLOWS`.
#[inline(always)]
unsafe fn has_front(noted: *const FlowKey, key: &FlowKey) -> bool {
    let mut difference = 0;
    for word in 0..3 {
        // SAFETY: as the caller vouches.
        unsafe {
            difference |= (&raw const (*noted).source_front[word]).read_volatile() ^ key.source_front[word];
            difference |=
                (&raw const (*noted).destination_front[word]).read_volatile() ^ key.destination_front[word];
        }
    }
    difference == 0
}

/// Whether an entry that this program may write is that of `key`.
#[inline(always)]
fn is_of(entry: &Flow, key: &FlowKey) -> bool {
    let noted = &entry.key;
    noted.tunnel == key.tunnel
        && noted.ingress_ifindex == key.ingress_ifindex
        && noted.class == key.class
        && noted.source == key.source
        && noted.destination == key.destination
        // SAFETY: the reference is valid.
        && (!key.is_v6() || unsafe { has_front(noted, key) })
}

/// Notes that packets of `key` go `way`, unless another flow's way that is still good has the place.
#[inline(always)]
pub(crate) fn note(key: &FlowKey, epoch: u64, way: &Way) {
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    change(key, |entry| {
        if !is_of(entry, key)
            && entry.epoch == epoch
            && now.saturating_sub(entry.resolved_ns) < Flow::LIFETIME_NS
        {
            return;
        }
        entry.epoch = epoch;
        entry.resolved_ns = now;
        entry.key = *key;
        entry.ifindex = way.ifindex;
        entry.mtu = way.mtu;
        entry.ethernet[..6].copy_from_slice(&way.destination);
        entry.ethernet[6..].copy_from_slice(&way.source);
    });
}

/// Takes back what was noted for `key`, if anything.
#[inline(always)]
pub(crate) fn forget(key: &FlowKey) {
    change(key, |entry| {
        if is_of(entry, key) {
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

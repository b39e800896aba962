//! Ways that the XDP program noted for opened packets.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use gateway_common::{Control, Flow, FlowKey};

use super::maps::Maps;
use super::plain;

/// Where packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Interface to send to.
    pub(super) ifindex: u32,
    /// Largest IP packet that may go this way, in bytes.
    pub(super) mtu: u32,
    /// MAC addresses: destination, source.
    pub(super) ethernet: [u8; 12],
    /// Old enough to be found anew.
    pub(super) is_stale: bool,
}

/// The number under which ways must have been noted to hold now.
#[inline]
pub(super) fn epoch(maps: &Maps) -> u64 {
    maps.control.at(0).map_or(0, |control| control.word(offset_of!(Control, epoch)).load(Ordering::Acquire))
}

/// The way of the packets of `key`, noted in slot `slot` of map `FLOWS`, if it holds at `now_ns`.
#[inline]
pub(super) fn find(maps: &Maps, slot: u32, key: &FlowKey, epoch: u64, now_ns: u64) -> Option<Way> {
    let entry = maps.flows.at(slot)?;
    let words: [&AtomicU64; size_of::<Flow>() / 8] = std::array::from_fn(|index| entry.word(8 * index));
    let flow = read(&words)?;
    let age = now_ns.saturating_sub(flow.resolved_ns);
    if flow.key != *key || flow.epoch != epoch || age > Flow::LIFETIME_NS {
        return None;
    }
    Some(Way {
        ifindex: flow.ifindex,
        mtu: flow.mtu,
        ethernet: flow.ethernet,
        is_stale: age > Flow::REFRESH_NS,
    })
}

/// An entry as it stood at one moment; `None` while it is being written.
#[inline]
fn read(words: &[&AtomicU64; size_of::<Flow>() / 8]) -> Option<Flow> {
    const VERSION: usize = offset_of!(Flow, version) / 8;
    let version = words[VERSION].load(Ordering::Acquire);
    let bytes = words.map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    fence(Ordering::Acquire);
    if !version.is_multiple_of(2) || words[VERSION].load(Ordering::Relaxed) != version {
        return None;
    }
    plain::read(bytes.as_flattened())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const KEY: FlowKey = FlowKey {
        tunnel: 1,
        ingress_ifindex: 3,
        class: 17,
        source: u32::from_ne_bytes([10, 2, 0, 1]),
        destination: u32::from_ne_bytes([10, 1, 0, 1]),
        source_front: [0; 3],
        destination_front: [0; 3],
    };

    fn flow() -> Flow {
        Flow {
            version: 4,
            epoch: 7,
            resolved_ns: 1_000_000_000,
            key: KEY,
            ifindex: 3,
            mtu: 1500,
            ethernet: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            reserved: [0; 5],
        }
    }

    #[test]
    fn a_way_holds_for_its_flow_its_epoch_and_its_time() {
        let maps = Maps::anonymous();
        let way = |key: &FlowKey, epoch, age| find(&maps, 5, key, epoch, 1_000_000_000 + age);
        assert_eq!(way(&KEY, 7, 0), None);
        maps.flows.at(5).unwrap().store(&flow());
        let young = way(&KEY, 7, 0).unwrap();
        assert_eq!(
            (young.ifindex, young.mtu, young.ethernet, young.is_stale),
            (3, 1500, flow().ethernet, false)
        );
        assert!(!way(&KEY, 7, Flow::REFRESH_NS).unwrap().is_stale);
        assert!(way(&KEY, 7, Flow::REFRESH_NS + 1).unwrap().is_stale);
        assert!(way(&KEY, 7, Flow::LIFETIME_NS).is_some());
        assert_eq!(way(&KEY, 7, Flow::LIFETIME_NS + 1), None, "too old");
        assert_eq!(way(&KEY, 8, 0), None, "another epoch");
        assert_eq!(way(&FlowKey { tunnel: 2, ..KEY }, 7, 0), None, "another tunnel");
        let destination = u32::from_ne_bytes([10, 1, 0, 2]);
        assert_eq!(way(&FlowKey { destination, ..KEY }, 7, 0), None, "another destination");
        assert_eq!(way(&FlowKey { source_front: [0, 0, 1], ..KEY }, 7, 0), None, "another source");
        maps.flows.at(5).unwrap().store(&Flow { version: 5, ..flow() });
        assert_eq!(way(&KEY, 7, 0), None, "being written");
        assert_eq!(find(&maps, u32::MAX, &KEY, 7, 0), None, "out of range");
    }

    #[test]
    fn an_entry_is_never_read_half_written() {
        let maps = Maps::anonymous();
        let is_enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let entry = maps.flows.at(0).unwrap();
                let version = entry.word(offset_of!(Flow, version));
                let mut round = 0;
                while !is_enough.load(Ordering::Relaxed) {
                    round += 1;
                    version.store(2 * round - 1, Ordering::SeqCst);
                    let byte = round as u8;
                    let ethernet = [byte; 12];
                    let next = Flow { version: 2 * round - 1, ifindex: u32::from(byte), ethernet, ..flow() };
                    entry.store(&next);
                    version.store(2 * round, Ordering::SeqCst);
                    // A reader on the same CPU gets its turn while the entry is whole.
                    if u64::is_multiple_of(round, 64) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut read = 0;
            while read < 20_000 {
                if let Some(way) = find(&maps, 0, &KEY, 7, 1_000_000_000) {
                    assert_eq!(u32::from(way.ethernet[11]), way.ifindex);
                    read += 1;
                }
            }
            is_enough.store(true, Ordering::Relaxed);
        });
    }
}

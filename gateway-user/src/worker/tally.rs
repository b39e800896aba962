//! Counting of forwarded packets, by the run: most packets of a batch belong to one SA.

use super::maps::Maps;

/// Packets of one SA that are not counted in the maps yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sa: u32,
    tunnel: u32,
    packets: u64,
    bytes: u64,
}

impl Tally {
    /// Counts an inner packet of `len` bytes that came through the SA in slot `sa`.
    #[inline]
    pub(super) fn count(&mut self, maps: &Maps, sa: u32, tunnel: u32, len: u32) {
        if (sa, tunnel) != (self.sa, self.tunnel) {
            self.settle(maps);
            (self.sa, self.tunnel) = (sa, tunnel);
        }
        self.packets += 1;
        self.bytes += u64::from(len);
    }

    /// Packets and bytes of the SA in slot `sa` that the maps do not know.
    #[inline]
    pub(super) fn pending(&self, sa: u32) -> (u64, u64) {
        if sa == self.sa { (self.packets, self.bytes) } else { (0, 0) }
    }

    /// Brings the maps up to date.
    pub(super) fn settle(&mut self, maps: &Maps) {
        if self.packets > 0 {
            if let Some(sa) = maps.sas.at(self.sa) {
                sa.count(self.packets, self.bytes);
            }
            maps.count_inbound(self.tunnel, self.packets, self.bytes);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}

//! Telling a worker that hangs from one that has nothing to do.

use gateway_common::Lane;

/// Looks without any progress after which a worker counts as hanging.
const PATIENCE: u32 = 4;

/// What was seen of a worker's lanes. It counts looks, not time: an agent that was stopped for a while itself must not
/// blame the worker.
#[derive(Debug, Default)]
pub(super) struct HangWatch {
    before: Vec<(u64, u64)>,
    idle_looks: u32,
}

impl HangWatch {
    /// Looks at all lanes of the worker, as they are now. The number of frames that wait, if it hangs.
    pub(super) fn look(&mut self, lanes: &[Lane]) -> Option<u64> {
        let now: Vec<_> = lanes.iter().map(|lane| (lane.consumed, lane.progress_ns)).collect();
        let waiting = lanes.iter().map(|lane| lane.produced.wrapping_sub(lane.consumed).cast_signed());
        // The sides count without each other: who was read later may seem to be ahead.
        let waiting: u64 = waiting.map(|frames| frames.max(0).cast_unsigned()).sum();
        if waiting == 0 || now != self.before {
            self.before = now;
            self.idle_looks = 0;
            return None;
        }
        self.idle_looks += 1;
        (self.idle_looks >= PATIENCE).then_some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(produced: u64, consumed: u64, progress_ns: u64) -> Lane {
        Lane { produced, consumed, progress_ns, ..Lane::default() }
    }

    #[test]
    fn only_frames_that_wait_make_a_hang() {
        let mut watch = HangWatch::default();
        for _ in 0..3 * PATIENCE {
            assert_eq!(watch.look(&[lane(5, 5, 1), lane(0, 0, 0)]), None, "idle");
        }
        let hanging = [lane(5, 5, 1), lane(9, 2, 1)];
        for _ in 0..PATIENCE {
            assert_eq!(watch.look(&hanging), None);
        }
        assert_eq!(watch.look(&hanging), Some(7));
    }

    #[test]
    fn any_progress_starts_anew() {
        let mut watch = HangWatch::default();
        for look in 0..5 * u64::from(PATIENCE) {
            assert_eq!(
                watch.look(&[lane(9, 2, 1), lane(100, look / 2, 1)]),
                None,
                "it works on the other lane"
            );
            assert_eq!(watch.look(&[lane(9, 2, look), lane(100, look / 2, 1)]), None);
        }
    }

    #[test]
    fn a_lane_read_while_it_moved_is_no_hang() {
        let mut watch = HangWatch::default();
        for _ in 0..3 * PATIENCE {
            assert_eq!(watch.look(&[lane(4, 5, 1)]), None);
        }
    }
}

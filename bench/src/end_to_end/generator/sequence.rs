//! Loss, reordering and duplicates of one flow, by the numbers of its packets.

/// Numbers behind the highest one that are remembered one by one.
const WINDOW: u64 = 1 << 15;

/// What has arrived of a flow.
#[derive(Debug)]
pub(super) struct Sequence {
    seen: Vec<u64>,
    next: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
}

impl Sequence {
    pub(super) fn new() -> Self {
        Self { seen: vec![0; WINDOW as usize / 64], next: 0, received: 0, duplicated: 0, reordered: 0 }
    }

    /// Notes the packet `number`; tells whether it is new. One older than the window is taken for new.
    pub(super) fn record(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number - self.next >= WINDOW {
                self.seen.fill(0);
            } else {
                (self.next..number).for_each(|missing| self.unmark(missing));
            }
            self.next = number + 1;
        } else if self.next - number <= WINDOW && self.is_marked(number) {
            self.duplicated += 1;
            return false;
        } else {
            self.reordered += 1;
        }
        self.mark(number);
        self.received += 1;
        true
    }

    /// Packets that arrived, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Packets that arrived once more.
    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Packets that arrived behind one with a higher number.
    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }

    fn unmark(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.seen[word] &= !bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

fn place(number: u64) -> (usize, u64) {
    let slot = number % WINDOW;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(numbers: &[u64]) -> (u64, u64, u64) {
        let mut sequence = Sequence::new();
        for &number in numbers {
            sequence.record(number);
        }
        (sequence.received(), sequence.duplicated(), sequence.reordered())
    }

    #[test]
    fn packets_in_order_are_received() {
        let numbers: Vec<u64> = (0..3 * WINDOW).collect();
        assert_eq!(counts(&numbers), (3 * WINDOW, 0, 0));
    }

    #[test]
    fn late_packets_are_reordered_and_repeated_ones_are_duplicates() {
        assert_eq!(counts(&[0, 2, 1, 3]), (4, 0, 1));
        assert_eq!(counts(&[0, 1, 1, 2, 0]), (3, 2, 0));
        assert_eq!(counts(&[5, 4, 4]), (2, 1, 1));
    }

    #[test]
    fn a_gap_wider_than_the_window_leaves_no_marks_of_the_round_before() {
        assert_eq!(counts(&[0, 1, 2, WINDOW + 10, 11 + WINDOW - 8]), (5, 0, 1));
        let mut numbers: Vec<u64> = (0..WINDOW).collect();
        numbers.extend([2 * WINDOW + 5, WINDOW + 6, WINDOW + 6]);
        assert_eq!(counts(&numbers), (WINDOW + 2, 1, 1));
    }

    #[test]
    fn marks_of_the_round_before_do_not_make_a_lost_packet_a_duplicate() {
        let mut numbers: Vec<u64> = (0..WINDOW).collect();
        // 3 + WINDOW was skipped and comes late.
        numbers.extend([WINDOW, WINDOW + 1, WINDOW + 2, WINDOW + 4, WINDOW + 3]);
        assert_eq!(counts(&numbers), (WINDOW + 5, 0, 1));
    }
}

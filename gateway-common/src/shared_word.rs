//! 64-bit words in maps that several CPUs change at the same time, some in XDP programs and some in workers.

/// Access to one such word. The XDP programs have no atomic types, so each side brings its own way.
pub trait SharedWord: Copy {
    /// The word as it is now.
    fn load(self) -> u64;

    /// Replaces `expected` by `new`; true if the word was `expected`.
    fn compare_exchange(self, expected: u64, new: u64) -> bool;

    /// Adds `value`; returns the word before.
    fn fetch_add(self, value: u64) -> u64;
}

#[cfg(target_has_atomic = "64")]
mod user_space {
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering::{AcqRel, Acquire};

    use super::SharedWord;

    impl SharedWord for &AtomicU64 {
        #[inline(always)]
        fn load(self) -> u64 {
            AtomicU64::load(self, Acquire)
        }

        #[inline(always)]
        fn compare_exchange(self, expected: u64, new: u64) -> bool {
            AtomicU64::compare_exchange(self, expected, new, AcqRel, Acquire).is_ok()
        }

        #[inline(always)]
        fn fetch_add(self, value: u64) -> u64 {
            AtomicU64::fetch_add(self, value, AcqRel)
        }
    }
}

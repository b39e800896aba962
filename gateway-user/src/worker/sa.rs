//! Entries of map `SAS` as a worker uses them.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::limits::AES_ROUND_KEY_WORDS;
use gateway_common::replay::{self, slot_index};
use gateway_common::{Aead, Sa};
use zeroize::Zeroizing;

use super::mapped::Entry;

impl Entry<'_, Sa> {
    /// SPI, network order; zero while the entry holds no SA.
    #[inline]
    pub(super) fn spi(self) -> [u8; 4] {
        self.half(offset_of!(Sa, spi)).load(Ordering::Acquire).to_ne_bytes()
    }

    /// Salt.
    #[inline]
    pub(super) fn salt(self) -> [u8; 4] {
        self.half(offset_of!(Sa, salt)).load(Ordering::Relaxed).to_ne_bytes()
    }

    /// Algorithm; `None` if the number has no meaning.
    pub(super) fn aead(self) -> Option<Aead> {
        let number = self.half(offset_of!(Sa, aead)).load(Ordering::Relaxed);
        [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm]
            .into_iter()
            .find(|aead| *aead as u32 == number)
    }

    /// The first words of [`Sa::key`], to tell keys apart. Secret.
    #[inline]
    pub(super) fn key_mark(self) -> [u64; 2] {
        [0, 8].map(|offset| self.word(offset_of!(Sa, key) + offset).load(Ordering::Relaxed))
    }

    /// All words of [`Sa::key`].
    pub(super) fn key_words(self) -> Zeroizing<[u32; AES_ROUND_KEY_WORDS]> {
        let mut words = Zeroizing::new([0; AES_ROUND_KEY_WORDS]);
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.half(offset_of!(Sa, key) + 4 * index).load(Ordering::Relaxed);
        }
        words
    }

    /// Marks an authenticated packet as seen; false if another one with its number was faster or the window moved past it.
    #[inline]
    pub(super) fn accept(self, sequence: u64) -> bool {
        let window = self.half(offset_of!(Sa, replay_window)).load(Ordering::Relaxed);
        let slot = self.word(offset_of!(Sa, replay) + 8 * slot_index(sequence));
        replay::accept(self.word(offset_of!(Sa, sequence)), slot, window, sequence)
    }

    /// Whether the anti-replay window has moved past `sequence`.
    #[cold]
    pub(super) fn is_late(self, sequence: u64) -> bool {
        let window = self.half(offset_of!(Sa, replay_window)).load(Ordering::Relaxed);
        replay::is_left_of_window(
            self.word(offset_of!(Sa, sequence)).load(Ordering::Acquire),
            window,
            sequence,
        )
    }

    /// Counts packets that passed, of so many bytes together.
    #[inline]
    pub(super) fn count(self, packets: u64, bytes: u64) {
        self.word(offset_of!(Sa, packets)).fetch_add(packets, Ordering::Relaxed);
        self.word(offset_of!(Sa, bytes)).fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the SA is due to be rekeyed after so many more packets and bytes, and nobody has said so yet.
    #[inline]
    pub(super) fn is_soft_lifetime_due(self, packets: u64, bytes: u64) -> bool {
        let load = |offset| self.word(offset).load(Ordering::Relaxed);
        Sa::reaches_soft_lifetime(
            load(offset_of!(Sa, soft_bytes)),
            load(offset_of!(Sa, soft_packets)),
            load(offset_of!(Sa, bytes)).saturating_add(bytes),
            load(offset_of!(Sa, packets)).saturating_add(packets),
        ) && load(offset_of!(Sa, soft_raised)) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::super::mapped::Mapped;
    use super::*;

    fn entry(sas: &Mapped<Sa>) -> Entry<'_, Sa> {
        let mut sa = Sa::zeroed();
        (sa.spi, sa.salt, sa.aead) = ([0, 0, 1, 2], [9, 8, 7, 6], Aead::Aes256Gcm as u32);
        (sa.replay_window, sa.soft_bytes, sa.soft_packets) = (4096, 10_000, 100);
        let entry = sas.at(1).unwrap();
        entry.store(&sa);
        entry
    }

    #[test]
    fn fields_are_read_where_they_are() {
        let sas = Mapped::anonymous(2);
        let entry = entry(&sas);
        assert_eq!(
            (entry.spi(), entry.salt(), entry.aead()),
            ([0, 0, 1, 2], [9, 8, 7, 6], Some(Aead::Aes256Gcm))
        );
        entry.half(offset_of!(Sa, aead)).store(3, Ordering::Relaxed);
        assert_eq!(entry.aead(), None);
    }

    #[test]
    fn of_several_threads_one_accepts_a_sequence_number() {
        const NUMBERS: u64 = 20_000;
        let sas = Mapped::anonymous(2);
        let entry = entry(&sas);
        let accepted: Vec<AtomicU64> = (0..=NUMBERS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (accepted, sas) = (&accepted, &sas);
                scope.spawn(move || {
                    let entry = sas.at(1).unwrap();
                    for position in 0..NUMBERS {
                        // Each thread has its own order within a part of the window, and every number in it.
                        let sequence = ((position & !63) | ((position ^ (thread * 21)) & 63)) + 1;
                        if sequence <= NUMBERS && entry.accept(sequence) {
                            accepted[sequence as usize].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(accepted.iter().all(|count| count.load(Ordering::Relaxed) <= 1));
        let total: u64 = accepted.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        // A thread that was held up may find its numbers left of the window, but another had them then.
        assert!(total > NUMBERS / 2, "{total}");
        let highest = entry.word(offset_of!(Sa, sequence)).load(Ordering::Relaxed);
        assert!(accepted[highest as usize].load(Ordering::Relaxed) == 1 && highest > NUMBERS - 64);
    }

    #[test]
    fn the_soft_lifetime_is_due_once() {
        let sas = Mapped::anonymous(2);
        let entry = entry(&sas);
        assert!(!entry.is_soft_lifetime_due(99, 9_999));
        assert!(entry.is_soft_lifetime_due(100, 0) && entry.is_soft_lifetime_due(0, 10_000));
        entry.count(60, 6_000);
        assert!(entry.is_soft_lifetime_due(40, 0) && !entry.is_soft_lifetime_due(39, 3_999));
        entry.word(offset_of!(Sa, soft_raised)).store(1, Ordering::Relaxed);
        assert!(!entry.is_soft_lifetime_due(40, 0), "the agent knows");
    }
}

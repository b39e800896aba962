//! Keys of SAs in the form that they are used in.

use std::mem::{MaybeUninit, needs_drop};
use std::sync::atomic::{Ordering, fence};

use gateway_common::{Aead, Handoff, Sa};
use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::mapped::{Entry, Mapped};
use crate::datapath::contract_key;

/// Expanded keys by slot of map `SAS`. A key is wiped when its SA is gone, or another one has its slot.
pub(super) struct Keys {
    slots: Vec<Option<Box<Expanded>>>,
}

struct Expanded {
    spi: [u8; 4],
    salt: [u8; 4],
    mark: [u64; 2],
    key: WipedKey,
}

impl Keys {
    /// No keys yet, for `slots` slots.
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: (0..slots).map(|_| None).collect() }
    }

    /// The SA and the key for a frame, if its SA still exists.
    #[inline]
    pub(super) fn find<'map>(
        &mut self,
        sas: &'map Mapped<Sa>,
        handoff: &Handoff,
    ) -> Option<(Entry<'map, Sa>, &LessSafeKey)> {
        let sa = sas.at(handoff.job.sa)?;
        if !is_named(sa, handoff) {
            return None;
        }
        let slot = self.slots.get_mut(handoff.job.sa as usize)?;
        if !slot.as_ref().is_some_and(|expanded| expanded.is_of(sa)) {
            // The old key is wiped before the new one is there.
            *slot = None;
            let expanded = expand(sa)?;
            // An SA loses its SPI before its key is wiped: with the SPI still there, what was copied was the whole key.
            fence(Ordering::Acquire);
            if !is_named(sa, handoff) {
                return None;
            }
            *slot = Some(expanded);
        }
        slot.as_ref().map(|expanded| (sa, expanded.key.get()))
    }

    /// Wipes the keys of SAs that are gone.
    pub(super) fn forget_removed(&mut self, sas: &Mapped<Sa>) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(expanded) = slot
                && !sas.at(index as u32).is_some_and(|sa| expanded.is_of(sa))
            {
                *slot = None;
            }
        }
    }

    /// Number of keys held.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}

/// Whether the entry holds the SA that the frame was handed over for: another one may have its slot by now.
#[inline]
fn is_named(sa: Entry<'_, Sa>, handoff: &Handoff) -> bool {
    handoff.spi != [0; 4] && sa.spi() == handoff.spi && sa.salt() == handoff.job.nonce[..4]
}

impl Expanded {
    #[inline]
    fn is_of(&self, sa: Entry<'_, Sa>) -> bool {
        self.spi == sa.spi() && self.salt == sa.salt() && self.mark == sa.key_mark()
    }
}

impl Drop for Expanded {
    fn drop(&mut self) {
        self.salt.zeroize();
        self.mark.zeroize();
    }
}

fn expand(sa: Entry<'_, Sa>) -> Option<Box<Expanded>> {
    let expanded = expand_on_this_stack(sa);
    overwrite_stack();
    expanded
}

#[inline(never)]
fn expand_on_this_stack(sa: Entry<'_, Sa>) -> Option<Box<Expanded>> {
    let aead = sa.aead()?;
    let algorithm: &'static Algorithm = match aead {
        Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        Aead::Aes128Gcm => &AES_128_GCM,
        Aead::Aes256Gcm => &AES_256_GCM,
    };
    let key: Zeroizing<[u8; 32]> = contract_key(aead, &sa.key_words());
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key[..aead.key_len()]).ok()?);
    Some(Box::new(Expanded { spi: sa.spi(), salt: sa.salt(), mark: sa.key_mark(), key: WipedKey::new(key) }))
}

/// Overwrites the part of the stack where expanding a key left copies: `ring` moves keys about and wipes none.
#[inline(never)]
fn overwrite_stack() {
    let mut room = [0_u8; 16 * 1024];
    room.zeroize();
}

/// A key whose bytes are overwritten when it is dropped.
struct WipedKey(MaybeUninit<LessSafeKey>);

impl WipedKey {
    fn new(key: LessSafeKey) -> Self {
        // Else overwriting it would lose what it owns.
        const { assert!(!needs_drop::<LessSafeKey>()) };
        Self(MaybeUninit::new(key))
    }

    #[inline]
    fn get(&self) -> &LessSafeKey {
        // SAFETY: initialised by `new`, overwritten by nothing but `drop`.
        unsafe { self.0.assume_init_ref() }
    }
}

impl Drop for WipedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use gateway_common::{Job, ProgramSlot};

    use super::super::aead::{self, Failure};
    use super::*;
    use crate::datapath::expand_key;

    const ALL: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];

    /// Installs an SA with the key that starts with `first`.
    fn install(sas: &Mapped<Sa>, index: u32, spi: u8, aead: Aead, first: u8) -> Vec<u8> {
        let key: Vec<u8> = (0..aead.key_len()).map(|byte| first ^ (byte as u8).wrapping_mul(73)).collect();
        let mut sa = Sa::zeroed();
        sa.key = *expand_key(aead, &key).unwrap();
        (sa.spi, sa.salt, sa.aead) = ([0, 0, 1, spi], [spi, 2, 3, 4], aead as u32);
        sas.at(index).unwrap().store(&sa);
        key
    }

    fn handoff(index: u32, spi: u8) -> Handoff {
        let job = Job {
            sa: index,
            offset: 50,
            length: 300,
            aad_len: 12,
            aad: std::array::from_fn(|byte| byte as u8),
            nonce: std::array::from_fn(|byte| if byte == 0 { spi } else { byte as u8 + 1 }),
            next: ProgramSlot::EncapDone as u32,
            ..Job::default()
        };
        Handoff { spi: [0, 0, 1, spi], reserved: 0, job }
    }

    fn frame() -> Vec<u8> {
        (0..366_u32).map(|byte| (byte * 7) as u8).collect()
    }

    /// What `ring` makes of the frame with the key as negotiated.
    fn reference(aead: Aead, key: &[u8], job: &Job) -> Vec<u8> {
        let algorithm = match aead {
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
        let nonce = ring::aead::Nonce::assume_unique_for_key(job.nonce);
        let mut text = frame()[50..350].to_vec();
        key.seal_in_place_append_tag(nonce, ring::aead::Aad::from(&job.aad[..12]), &mut text).unwrap();
        [&frame()[..50], &text].concat()
    }

    #[test]
    fn the_key_in_the_map_is_the_one_negotiated() {
        let sas = Mapped::anonymous(4);
        let mut keys = Keys::new(4);
        for (index, aead) in (1..).zip(ALL) {
            let key = install(&sas, index, index as u8, aead, 0x11);
            let handoff = handoff(index, index as u8);
            let (_, expanded) = keys.find(&sas, &handoff).unwrap();
            let mut sealed = frame();
            assert_eq!(aead::seal(&mut sealed, &handoff.job, expanded), Ok(366));
            assert_eq!(sealed, reference(aead, &key, &handoff.job), "{aead:?}");

            let mut forged = sealed.clone();
            forged[200] ^= 1;
            assert_eq!(aead::open(&mut forged, &handoff.job, expanded), Err(Failure::Forged));
            assert_eq!(aead::open(&mut sealed, &handoff.job, expanded), Ok(()));
            assert_eq!(sealed[..350], frame()[..350]);
        }
    }

    #[test]
    fn work_that_does_not_fit_the_frame_is_refused() {
        let sas = Mapped::anonymous(2);
        install(&sas, 1, 1, Aead::Aes256Gcm, 0);
        let mut keys = Keys::new(2);
        let whole = handoff(1, 1);
        let (_, key) = keys.find(&sas, &whole).unwrap();
        for job in [
            Job { offset: u32::MAX, ..whole.job },
            Job { length: u32::MAX, ..whole.job },
            Job { offset: u32::MAX, length: u32::MAX, ..whole.job },
            Job { length: 301, ..whole.job },
            Job { offset: 366, length: 0, ..whole.job },
            Job { aad_len: 13, ..whole.job },
            Job { aad_len: u32::MAX, ..whole.job },
        ] {
            assert_eq!(aead::seal(&mut frame(), &job, key), Err(Failure::Unfit), "{job:?}");
            assert_eq!(aead::open(&mut frame(), &job, key), Err(Failure::Unfit), "{job:?}");
        }
        assert_eq!(aead::seal(&mut frame()[..365], &whole.job, key), Err(Failure::Unfit));
        assert_eq!(aead::seal(&mut [], &whole.job, key), Err(Failure::Unfit));
    }

    #[test]
    fn a_frame_whose_sa_is_gone_finds_no_key() {
        let sas = Mapped::anonymous(3);
        let mut keys = Keys::new(3);
        install(&sas, 1, 1, Aead::Aes128Gcm, 0);
        assert!(keys.find(&sas, &handoff(1, 1)).is_some());
        assert!(keys.find(&sas, &handoff(1, 2)).is_none(), "another SPI");
        let mut other_salt = handoff(1, 1);
        other_salt.job.nonce[1] ^= 1;
        assert!(keys.find(&sas, &other_salt).is_none(), "another salt");
        assert!(keys.find(&sas, &handoff(2, 1)).is_none(), "an empty slot");
        assert!(keys.find(&sas, &handoff(2, 0)).is_none());
        assert!(keys.find(&sas, &Handoff { spi: [0; 4], ..handoff(2, 0) }).is_none(), "no SPI");
        assert!(keys.find(&sas, &handoff(9, 1)).is_none(), "out of range");
        sas.at(1).unwrap().store(&Sa::zeroed());
        assert!(keys.find(&sas, &handoff(1, 1)).is_none());
    }

    #[test]
    fn keys_follow_the_slots() {
        let sas = Mapped::anonymous(3);
        let mut keys = Keys::new(3);
        install(&sas, 1, 1, Aead::Aes256Gcm, 0);
        install(&sas, 2, 2, Aead::Aes256Gcm, 0);
        assert!(keys.find(&sas, &handoff(1, 1)).is_some() && keys.find(&sas, &handoff(2, 2)).is_some());
        keys.forget_removed(&sas);
        assert_eq!(keys.count(), 2);
        sas.at(1).unwrap().store(&Sa::zeroed());
        keys.forget_removed(&sas);
        assert_eq!(keys.count(), 1);

        // The slot goes to an SA of the same SPI and salt: only the key tells them apart.
        let key = install(&sas, 2, 2, Aead::Aes256Gcm, 0x55);
        let handoff = handoff(2, 2);
        let (_, expanded) = keys.find(&sas, &handoff).unwrap();
        let mut sealed = frame();
        aead::seal(&mut sealed, &handoff.job, expanded).unwrap();
        assert_eq!(sealed, reference(Aead::Aes256Gcm, &key, &handoff.job));
        assert_eq!(keys.count(), 1);
    }

    #[test]
    fn a_dropped_key_is_overwritten() {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).unwrap());
        let mut wiped = std::mem::ManuallyDrop::new(WipedKey::new(key));
        let bytes: *const u8 = std::ptr::from_ref(&wiped.0).cast();
        // SAFETY: the value is not used afterwards, and what its destructor leaves behind is initialised: zeros.
        let is_zero = unsafe {
            std::mem::ManuallyDrop::drop(&mut wiped);
            (0..size_of::<WipedKey>()).all(|index| bytes.add(index).read_volatile() == 0)
        };
        assert!(is_zero);
    }
}

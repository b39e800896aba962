//! Which slots of map `SAS` are free, and how many each tunnel may take.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};

use super::object::Limits;

/// The slots of all SAs.
///
/// Every tunnel has room for so many SAs of its own that a rekey never fails for want of a slot, whatever the other tunnels do. What a
/// tunnel needs beyond that comes from a reserve that all share.
#[derive(Debug)]
pub(super) struct Slots {
    free: Vec<u32>,
    /// How many slots each tunnel has.
    taken: HashMap<u32, u32>,
    /// How many a tunnel may have before it takes from the reserve.
    own: u32,
    reserve: u32,
    /// How many of the reserve are taken.
    borrowed: u32,
}

impl Slots {
    /// All slots are free.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            free: (1..limits.sa_entries()).rev().collect(),
            taken: HashMap::new(),
            own: limits.own_sas(),
            reserve: limits.shared_sas(),
            borrowed: 0,
        }
    }

    /// Takes a slot for `tunnel`.
    ///
    /// # Errors
    /// The tunnel has all of its own, and the reserve is used up.
    pub(super) fn take(&mut self, tunnel: u32) -> Result<u32> {
        let taken = self.taken.get(&tunnel).copied().unwrap_or(0);
        let is_own = taken < self.own;
        ensure!(
            is_own || self.borrowed < self.reserve,
            "no slot is free for another SA: tunnel {tunnel} has {taken}, and the {} that all tunnels share are in use",
            self.reserve
        );
        let slot = self.free.pop().context("no slot is free for another SA")?;
        self.taken.insert(tunnel, taken + 1);
        self.borrowed += u32::from(!is_own);
        Ok(slot)
    }

    /// Gives back a slot that `tunnel` took.
    pub(super) fn give_back(&mut self, tunnel: u32, slot: u32) {
        let taken = self.taken.get(&tunnel).copied().unwrap_or(0);
        if taken > self.own {
            self.borrowed -= 1;
        }
        if taken > 1 {
            self.taken.insert(tunnel, taken - 1);
        } else {
            self.taken.remove(&tunnel);
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tunnels: 200, cpu_sas: 0, slots: 0 };

    #[test]
    fn a_tunnel_that_takes_all_it_can_leaves_every_other_what_is_its_own() {
        let mut slots = Slots::new(LIMITS);
        let mut greedy = Vec::new();
        let error = loop {
            match slots.take(1) {
                Ok(slot) => greedy.push(slot),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(greedy.len(), 4 + 100);
        assert!(
            error.contains("tunnel 1 has 104") && error.contains("100 that all tunnels share"),
            "{error}"
        );
        for tunnel in 2..=LIMITS.tunnels {
            for _ in 0..4 {
                slots.take(tunnel).unwrap();
            }
            assert!(slots.take(tunnel).is_err());
        }
        slots.give_back(1, greedy.pop().unwrap());
        slots.take(7).expect("what was given back is for whoever needs it");
        assert!(slots.take(1).is_err());
        slots.give_back(7, 1);
        slots.take(1).unwrap();
    }

    #[test]
    fn slots_differ_and_all_of_them_come_back() {
        let mut slots = Slots::new(LIMITS);
        for _ in 0..3 {
            let taken: Vec<u32> = (0..800).map(|number| slots.take(1 + number % 200).unwrap()).collect();
            let mut sorted = taken.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), taken.len());
            assert!(sorted.iter().all(|slot| (1..LIMITS.sa_entries()).contains(slot)));
            for (number, slot) in (0..800).zip(taken) {
                slots.give_back(1 + number % 200, slot);
            }
            assert!(slots.taken.is_empty() && slots.borrowed == 0);
        }
    }

    #[test]
    fn few_tunnels_have_as_much_to_share_as_is_their_own() {
        let entries = |tunnels, cpu_sas| Limits { tunnels, cpu_sas, slots: 0 }.sa_entries() - 1;
        assert_eq!(entries(1, 0), 8);
        assert_eq!(entries(10, 0), 80);
        assert_eq!(entries(100, 0), 464);
        assert_eq!(entries(10_000, 0), 45_000);
        assert_eq!(entries(10, 4), 400);
    }
}

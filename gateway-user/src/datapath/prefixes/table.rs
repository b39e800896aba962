//! Which prefixes lead into which tunnel, in the XDP programs and in the kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::ErrorKind;

use anyhow::{Result, anyhow};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, MapError};
use gateway_common::{Control, Route, RouteKind};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::object::{Plain, duplicate};
use super::super::tunnel::TunnelId;
use super::PrefixChange;
use super::routes::{Action, Exit, KernelRoutes};

/// The prefixes of all tunnels.
///
/// A prefix of a tunnel is closed, known to the XDP programs, and routed to the tunnel interface, in this order; it is given up in
/// the order that lets nothing out in the clear. Changes of many tunnels go step by step together, so that each step is a few
/// requests to the kernel.
pub(super) struct PrefixTable {
    routes4: LpmTrie<MapData, [u8; 4], Plain<Route>>,
    routes6: LpmTrie<MapData, [u8; 16], Plain<Route>>,
    control: Array<MapData, Plain<Control>>,
    kernel: KernelRoutes,
    local: BTreeSet<IpNet>,
    /// Every prefix that may lead into the tunnel.
    of_tunnels: BTreeMap<TunnelId, Vec<IpNet>>,
    /// Prefixes whose every step was carried out, with their tunnels: each that [`KernelRoutes`] routes has a route of ours.
    routed: HashMap<IpNet, TunnelId>,
}

impl PrefixTable {
    /// Opens the maps of `ebpf`, and the routing tables in the network namespace of the calling thread. No prefix is known.
    ///
    /// # Errors
    /// A map is missing, or the kernel refused a socket.
    pub(super) fn new(ebpf: &Ebpf, exit: Exit) -> Result<Self> {
        Ok(Self {
            routes4: duplicate(ebpf, "ROUTES4")?.try_into()?,
            routes6: duplicate(ebpf, "ROUTES6")?.try_into()?,
            control: duplicate(ebpf, "CONTROL")?.try_into()?,
            kernel: KernelRoutes::open(exit)?,
            local: BTreeSet::new(),
            of_tunnels: BTreeMap::new(),
            routed: HashMap::new(),
        })
    }

    /// Makes the VNet's own prefixes known. What comes out of a tunnel for a part of the VNet that has no route must not take
    /// the default route, so they are closed as well.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub(super) fn add_local(&mut self, prefixes: &[IpNet]) -> Result<()> {
        self.kernel.apply(Action::Close, prefixes).into_iter().collect::<Result<()>>()?;
        for prefix in prefixes {
            self.enter(*prefix, Route { kind: RouteKind::LOCAL, tunnel: 0 })?;
            self.local.insert(*prefix);
        }
        Ok(())
    }

    /// Carries out `changes`, of which no two may concern the same tunnel or prefix. The outcomes are in their order. An error
    /// is of its tunnel alone; the same change may be asked for again, and does what is still to be done.
    pub(super) fn change(&mut self, changes: &[PrefixChange]) -> Vec<Result<()>> {
        let mut outcomes: Vec<Result<()>> = changes.iter().map(|_| Ok(())).collect();
        self.give_up(changes, &mut outcomes);
        self.take(changes, &mut outcomes);
        // Before anybody is told that the change is made: what was noted before it is void.
        if let Err(error) = self.forget_ways() {
            let error = format!("{error:#}");
            outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| {
                *outcome = Err(anyhow!("cannot make void the noted ways: {error}"));
            });
        }
        outcomes
    }

    /// Opens those of the `closed` prefixes that no tunnel has now, nor the VNet.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub(super) fn open_unwanted(&mut self, closed: Vec<IpNet>) -> Result<()> {
        let wanted: HashSet<&IpNet> = self.of_tunnels.values().flatten().chain(&self.local).collect();
        let unwanted: Vec<_> = closed.into_iter().filter(|prefix| !wanted.contains(prefix)).collect();
        self.kernel.apply(Action::Open, &unwanted).into_iter().collect()
    }

    /// Takes away from each tunnel what it is not to have any more. A prefix that could not be given up stays recorded.
    fn give_up(&mut self, changes: &[PrefixChange], outcomes: &mut [Result<()>]) {
        let mut gone = Steps::default();
        for (number, change) in changes.iter().enumerate() {
            let before = self.of_tunnels.get(&change.id).map_or(&[][..], Vec::as_slice);
            let kept: HashSet<&IpNet> = change.prefixes.iter().flatten().collect();
            gone.extend(number, before.iter().filter(|prefix| !kept.contains(prefix)).copied());
        }
        let mut routed = gone.split_off(|prefix| self.routed.contains_key(prefix));
        routed.keep_done(outcomes, |prefixes| self.kernel.apply(Action::Remove, prefixes));
        for prefix in &routed.prefixes {
            self.routed.remove(prefix);
        }
        gone.append(routed);
        gone.keep_done(outcomes, |prefixes| prefixes.iter().map(|prefix| self.leave(*prefix)).collect());
        gone.keep_done(outcomes, |prefixes| self.kernel.apply(Action::Open, prefixes));
        let gone: HashSet<IpNet> = gone.prefixes.into_iter().collect();
        for change in changes {
            let Some(prefixes) = self.of_tunnels.get_mut(&change.id) else { continue };
            prefixes.retain(|prefix| !gone.contains(prefix));
            if prefixes.is_empty() && change.prefixes.is_none() {
                self.of_tunnels.remove(&change.id);
            }
        }
    }

    /// Gives each tunnel what it is to have, unless it could not give up something.
    fn take(&mut self, changes: &[PrefixChange], outcomes: &mut [Result<()>]) {
        let mut new = Steps::default();
        for (number, change) in changes.iter().enumerate() {
            let Some(prefixes) = change.prefixes.as_ref().filter(|_| outcomes[number].is_ok()) else {
                continue;
            };
            // Recorded before they come, so that a failure half-way leaves nothing that a later call would miss.
            self.of_tunnels.insert(change.id, prefixes.clone());
            let is_there = |prefix: &&IpNet| self.routed.get(prefix) == Some(&change.id);
            new.extend(number, prefixes.iter().filter(|prefix| !is_there(prefix)).copied());
        }
        new.keep_done(outcomes, |prefixes| self.kernel.apply(Action::Close, prefixes));
        let tunnels: Vec<TunnelId> = new.changes.iter().map(|number| changes[*number].id).collect();
        new.keep_done(outcomes, |prefixes| {
            let entries = prefixes.iter().zip(&tunnels);
            entries
                .map(|(prefix, id)| self.enter(*prefix, Route { kind: RouteKind::REMOTE, tunnel: id.0 }))
                .collect()
        });
        new.keep_done(outcomes, |prefixes| self.kernel.apply(Action::Add, prefixes));
        for (prefix, number) in new.prefixes.iter().zip(&new.changes) {
            self.routed.insert(*prefix, changes[*number].id);
        }
    }

    /// Tells the XDP programs of a prefix.
    fn enter(&mut self, prefix: IpNet, route: Route) -> Result<()> {
        match prefix {
            IpNet::V4(prefix) => Ok(self.routes4.insert(&key4(prefix), Plain(route), 0)?),
            IpNet::V6(prefix) => Ok(self.routes6.insert(&key6(prefix), Plain(route), 0)?),
        }
    }

    /// The XDP programs forget a prefix; one that they do not know is no error.
    fn leave(&mut self, prefix: IpNet) -> Result<()> {
        let removed = match prefix {
            IpNet::V4(prefix) => self.routes4.remove(&key4(prefix)),
            IpNet::V6(prefix) => self.routes6.remove(&key6(prefix)),
        };
        match removed {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Makes void what the XDP programs and the workers noted about the ways of packets.
    fn forget_ways(&mut self) -> Result<()> {
        let Plain(control) = self.control.get(&0, 0)?;
        Ok(self.control.set(0, Plain(Control { epoch: control.epoch.wrapping_add(1), ..control }), 0)?)
    }
}

/// Prefixes that take the same steps, each with the number of the change that it belongs to.
#[derive(Default)]
struct Steps {
    prefixes: Vec<IpNet>,
    changes: Vec<usize>,
}

impl Steps {
    fn extend(&mut self, number: usize, prefixes: impl Iterator<Item = IpNet>) {
        self.prefixes.extend(prefixes);
        self.changes.resize(self.prefixes.len(), number);
    }

    fn append(&mut self, other: Self) {
        self.prefixes.extend(other.prefixes);
        self.changes.extend(other.changes);
    }

    /// Takes out the prefixes that `is_meant`.
    fn split_off(&mut self, is_meant: impl Fn(&IpNet) -> bool) -> Self {
        let (mut meant, mut others) = (Self::default(), Self::default());
        for (prefix, number) in self.prefixes.drain(..).zip(self.changes.drain(..)) {
            let part = if is_meant(&prefix) { &mut meant } else { &mut others };
            part.extend(number, std::iter::once(prefix));
        }
        *self = others;
        meant
    }

    /// Takes one step; what fails takes no further one, and its change has the first error.
    fn keep_done(&mut self, outcomes: &mut [Result<()>], step: impl FnOnce(&[IpNet]) -> Vec<Result<()>>) {
        if self.prefixes.is_empty() {
            return;
        }
        let done = step(&self.prefixes);
        let mut kept = Self::default();
        for ((prefix, number), outcome) in self.prefixes.drain(..).zip(self.changes.drain(..)).zip(done) {
            match outcome {
                Ok(()) => kept.extend(number, std::iter::once(prefix)),
                Err(error) if outcomes[number].is_ok() => outcomes[number] = Err(error),
                Err(_) => {}
            }
        }
        *self = kept;
    }
}

fn key4(prefix: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
}

fn key6(prefix: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(u32::from(prefix.prefix_len()), prefix.network().octets())
}

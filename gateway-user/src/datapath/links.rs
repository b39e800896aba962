//! What is known of the gateway's interfaces, and what may become of them.

use gateway_common::PortRole;

use super::netdev::Interface;
use super::served::Served;

/// A change of an interface that the datapath has followed, or could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// No interface has the name any more.
    Gone {
        /// Its name.
        interface: String,
    },
    /// An interface has the name again, and carries the programs.
    Returned {
        /// Its name.
        interface: String,
        /// Its index now.
        index: u32,
    },
    /// Its MAC address is another.
    MacChanged {
        /// Its name.
        interface: String,
        /// The address now.
        mac: [u8; 6],
    },
    /// Its MTU is another.
    MtuChanged {
        /// Its name.
        interface: String,
        /// The MTU now.
        mtu: u32,
        /// MTU of the tunnels now, if it follows this interface.
        tunnel_mtu: Option<u32>,
    },
    /// All interfaces went to generic mode, because one that returned cannot do native XDP.
    WentGeneric {
        /// Why.
        reason: String,
    },
    /// A change could not be followed; it is tried again.
    Failed {
        /// Its name.
        interface: String,
        /// Why.
        reason: String,
    },
}

/// An interface of the gateway and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Its name.
    pub interface: String,
    /// Whether it faces the peers.
    pub is_wan: bool,
    /// Whether it faces the VNet.
    pub is_lan: bool,
    /// Its index; `None` while it is missing.
    pub index: Option<u32>,
    /// Largest IP packet, in bytes, as last seen.
    pub mtu: u32,
    /// Why it carries nothing.
    pub problem: Option<String>,
}

/// An interface that the programs are attached to, or were.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) served: Served,
    /// Whether the programs are attached.
    pub(super) is_attached: bool,
    /// Whether workers serve it, where there are any.
    pub(super) has_workers: bool,
    /// Why the programs are not attached.
    pub(super) problem: Option<String>,
}

/// Whether there is an interface of the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// As before.
    #[default]
    Same,
    /// There is none any more.
    Gone,
    /// There is one to attach the programs to.
    New,
    /// There is another one: the one before is gone.
    Replaced,
}

/// How an interface differs from what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) presence: Presence,
    pub(super) mac: bool,
    pub(super) mtu: bool,
    /// It is up, and workers can serve it from now on.
    pub(super) is_ready: bool,
}

impl Link {
    /// One whose programs are attached.
    pub(super) fn new(served: Served) -> Self {
        Self { served, is_attached: true, has_workers: true, problem: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.served.interface.name
    }

    pub(super) fn has_role(&self, role: u32) -> bool {
        self.served.role & role != 0
    }

    /// What differs, given the interface that has the name now.
    pub(super) fn compare(&self, found: Option<&Interface>) -> Difference {
        let known = &self.served.interface;
        let Some(found) = found else {
            let presence = if self.is_attached { Presence::Gone } else { Presence::Same };
            return Difference { presence, ..Difference::default() };
        };
        let is_other = found.index != known.index;
        Difference {
            presence: match (self.is_attached, is_other) {
                (true, false) => Presence::Same,
                (true, true) => Presence::Replaced,
                (false, _) => Presence::New,
            },
            mac: found.mac != known.mac,
            mtu: found.mtu != known.mtu,
            is_ready: found.is_up && (!self.has_workers || is_other),
        }
    }

    /// Takes what was found for what is known. Lanes beyond those that there were at the start have no place in the maps.
    pub(super) fn renew(&mut self, found: Interface) {
        self.served.lanes.count = self.served.lanes.count.min(found.queues.receive.max(1));
        self.served.interface = found;
    }

    pub(super) fn stats(&self) -> LinkStats {
        let Interface { name, index, mtu, .. } = &self.served.interface;
        LinkStats {
            interface: name.clone(),
            is_wan: self.has_role(PortRole::WAN),
            is_lan: self.has_role(PortRole::LAN),
            index: self.is_attached.then_some(*index),
            mtu: *mtu,
            problem: self.problem.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workers::{LaneRange, Queues};
    use super::*;

    fn interface(index: u32) -> Interface {
        Interface {
            name: "wan0".to_owned(),
            index,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            alias: None,
            queues: Queues { receive: 4, transmit: 4 },
            is_up: true,
            is_ethernet: true,
            kind: "ETHER".to_owned(),
        }
    }

    fn link() -> Link {
        Link::new(Served {
            interface: interface(7),
            role: PortRole::WAN,
            lanes: LaneRange { first: 1, count: 4 },
        })
    }

    #[test]
    fn an_interface_that_goes_and_comes_is_told_from_one_that_changes() {
        let mut link = link();
        assert_eq!(link.compare(Some(&interface(7))), Difference::default());
        let down = Interface { is_up: false, ..interface(7) };
        assert_eq!(link.compare(Some(&down)), Difference::default(), "its workers stay");
        let other_mac = Interface { mac: [2, 0, 0, 0, 0, 2], ..interface(7) };
        assert_eq!(link.compare(Some(&other_mac)), Difference { mac: true, ..Difference::default() });
        let replaced = link.compare(Some(&interface(8)));
        assert!(replaced.presence == Presence::Replaced && replaced.is_ready);
        assert_eq!(link.compare(None), Difference { presence: Presence::Gone, ..Difference::default() });

        (link.is_attached, link.has_workers) = (false, false);
        assert_eq!(link.compare(None), Difference::default(), "it is told once");
        let renamed_back = link.compare(Some(&down));
        assert!(renamed_back.presence == Presence::New && !renamed_back.is_ready);
        assert_eq!(link.stats().index, None);
    }

    #[test]
    fn lanes_are_never_more_than_at_the_start() {
        let mut link = link();
        for (queues, lanes) in [(8, 4), (2, 2), (0, 1)] {
            link.renew(Interface { queues: Queues { receive: queues, transmit: 1 }, ..interface(8) });
            assert_eq!(link.served.lanes, LaneRange { first: 1, count: lanes });
        }
    }
}

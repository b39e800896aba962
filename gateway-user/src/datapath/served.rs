//! The interfaces that XDP programs are attached to.

use gateway_common::{Port, PortRole};

use super::netdev::Interface;
use super::workers::{LaneRange, Shared};
use crate::worker::WorkerInterface;

/// An interface, what it is used for, and the lanes to the workers.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) interface: Interface,
    /// A bit set of [`PortRole`].
    pub(super) role: u32,
    pub(super) lanes: LaneRange,
}

impl Served {
    /// What the XDP programs are told, with its lanes or without.
    pub(super) fn port(&self, with_lanes: bool) -> Port {
        let lanes = if with_lanes { self.lanes } else { LaneRange::default() };
        let Interface { mac, .. } = self.interface;
        Port { roles: self.role, mac, reserved: [0; 2], first_lane: lanes.first, lanes: lanes.count }
    }

    /// What the workers are told.
    pub(super) fn shared(&self) -> Shared {
        let Interface { name, index, mtu, .. } = &self.interface;
        let interface = WorkerInterface {
            name: name.clone(),
            index: *index,
            mtu: *mtu,
            is_vgw0_peer: self.role & PortRole::TUNNEL != 0,
            lanes: Vec::new(),
        };
        Shared { interface, lanes: self.lanes }
    }
}

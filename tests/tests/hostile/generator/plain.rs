//! Packets that are not sealed: from hosts of the VNet, and such that pretend to be.

use rand::RngExt as _;

use super::{Generator, ethernet};
use crate::hostile::network::Interface;

impl Generator {
    /// A packet from the VNet to a remote one.
    pub(super) fn for_tunnel(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("for a tunnel");
        let tunnel = if self.random.random() {
            self.random.random_range(1..4)
        } else {
            self.random.random_range(1..10)
        };
        let (source, destination) = (self.local_host(), self.remote_host(tunnel));
        let packet = self.packet(source, destination);
        let interface = match self.random.random_range(0..20) {
            0..10 => Interface::Lan,
            10..13 => Interface::Arm,
            13..18 => Interface::VgwPeer,
            18 => Interface::Wan,
            _ => Interface::Other,
        };
        (interface, ethernet(interface, 0x0800, &packet))
    }

    /// A packet to the VNet that did not come out of a tunnel, some with addresses that only a tunnel may bring.
    pub(super) fn in_the_clear(&mut self) -> (Interface, Vec<u8>) {
        self.trail.push("in the clear");
        let source = match self.random.random_range(0..3) {
            0 => self.local_host(),
            1 => {
                let tunnel = self.random.random_range(1..10);
                self.remote_host(tunnel)
            }
            _ => self.odd_address(),
        };
        let destination = if self.random.random() { self.local_host() } else { self.odd_address() };
        let packet = self.packet(source, destination);
        let interface = self.one_of(&[Interface::Lan, Interface::Wan, Interface::Arm, Interface::VgwPeer]);
        (interface, ethernet(interface, 0x0800, &packet))
    }
}

//! What happens to packets between the two ends.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::sim::{ADDRESSES, Packet};

/// Loss, duplication and delay of IKE datagrams. Packets overtake each other when delays differ.
#[derive(Clone)]
pub(crate) struct Conditions {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) latency: Range<Duration>,
}

impl Conditions {
    pub(crate) const PERFECT: Self =
        Self { loss: 0.0, duplication: 0.0, latency: Duration::from_millis(10)..Duration::from_millis(11) };
    /// No loss, but packets overtake each other.
    pub(crate) const REORDERING: Self =
        Self { loss: 0.0, duplication: 0.2, latency: Duration::from_millis(1)..Duration::from_millis(200) };
    pub(crate) const BAD: Self =
        Self { loss: 0.3, duplication: 0.3, latency: Duration::from_millis(1)..Duration::from_millis(800) };
    pub(crate) const CUT: Self = Self { loss: 1.0, ..Self::PERFECT };

    pub(super) fn copies(&self, rng: &mut StdRng) -> u32 {
        if rng.random_bool(self.loss) { 0 } else { 1 + u32::from(rng.random_bool(self.duplication)) }
    }
}

/// Where end 0 appears when it is behind a [`Nat`].
pub(crate) const NAT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// Address and port translation in front of end 0.
#[derive(Default)]
pub(crate) struct Nat {
    /// Public port by private address and port.
    mappings: BTreeMap<SocketAddr, u16>,
    last_port: u16,
}

impl Nat {
    /// Forgets all mappings; the next packets get new ones.
    pub(crate) fn forget(&mut self) {
        self.mappings.clear();
    }

    pub(super) fn outgoing(&mut self, packet: &mut Packet) {
        if packet.source.ip() == ADDRESSES[0] {
            let last_port = &mut self.last_port;
            let port = self.mappings.entry(packet.source).or_insert_with(|| {
                *last_port += 1;
                20000 + *last_port
            });
            packet.source = SocketAddr::new(NAT_ADDRESS, *port);
        }
    }

    /// Returns whether the packet gets through.
    pub(super) fn incoming(&self, packet: &mut Packet) -> bool {
        if packet.destination.ip() != NAT_ADDRESS {
            return packet.destination.ip() != ADDRESSES[0];
        }
        let mapping = self.mappings.iter().find(|(_, port)| **port == packet.destination.port());
        let Some((private, _)) = mapping else { return false };
        packet.destination = *private;
        true
    }
}

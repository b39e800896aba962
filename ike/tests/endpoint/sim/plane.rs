//! A model of the data plane: what is installed, and what must never happen there.

use std::collections::{BTreeMap, BTreeSet};

use ike::{EspSa, Event};

/// Most inbound SAs per peer that are promised, and for each resource.
const MAX_INBOUND: usize = 4;

#[derive(Default)]
pub(crate) struct Plane {
    pub(crate) inbound: BTreeMap<u32, EspSa>,
    /// The SA that carries the traffic that has none of its own.
    pub(crate) outbound: Option<EspSa>,
    /// The SAs that carry the traffic of single resources.
    pub(crate) of_resources: BTreeMap<u32, EspSa>,
    /// Outbound SAs that were replaced and not removed yet.
    replaced: BTreeSet<u32>,
    /// Key and salt of every outbound SA there ever was: using one again would repeat sequence numbers.
    used: BTreeSet<Vec<u8>>,
    /// Outbound SAs installed so far.
    pub(crate) installed: usize,
    pub(crate) moves: usize,
}

impl Plane {
    /// Whether a packet of this outbound SA of the other end is understood here.
    pub(crate) fn receives(&self, sa: &EspSa) -> bool {
        self.inbound.get(&sa.spi).is_some_and(|own| {
            own.key == sa.key && own.salt == sa.salt && own.aead == sa.aead && own.esn == sa.esn
        })
    }

    /// The SAs that carry traffic.
    pub(crate) fn carrying(&self) -> impl Iterator<Item = &EspSa> {
        self.outbound.iter().chain(self.of_resources.values())
    }

    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::InstallInbound { sa, .. } => {
                assert_eq!(sa.key.len(), sa.aead.key_len());
                let alike = self.inbound.values().filter(|other| other.resource == sa.resource).count();
                assert!(alike < MAX_INBOUND, "too many inbound SAs");
                assert!(self.inbound.insert(sa.spi, sa).is_none(), "inbound SPI used twice");
            }
            Event::RemoveInbound { spi, .. } => {
                assert!(self.inbound.remove(&spi).is_some(), "removed an inbound SA that is not there");
            }
            Event::InstallOutbound { sa, .. } => {
                assert!(
                    self.used.insert([sa.key.as_slice(), sa.salt.as_slice()].concat()),
                    "outbound key used twice"
                );
                self.installed += 1;
                let old = match sa.resource {
                    Some(resource) => self.of_resources.insert(resource, sa),
                    None => self.outbound.replace(sa),
                };
                self.replaced.extend(old.map(|old| old.spi));
            }
            Event::RemoveOutbound { spi, .. } => {
                if !self.replaced.remove(&spi) {
                    let of_resource = self.of_resources.extract_if(.., |_, sa| sa.spi == spi).count();
                    let everything = self.outbound.take_if(|sa| sa.spi == spi).is_some();
                    let removed = of_resource + usize::from(everything);
                    assert_eq!(removed, 1, "removed an outbound SA that is not there");
                }
            }
            Event::OutboundMoved { spi, remote, .. } => {
                let mut carrying = self.outbound.iter_mut().chain(self.of_resources.values_mut());
                let sa = carrying.find(|sa| sa.spi == spi).expect("an SA that moves is installed");
                sa.remote = remote;
                self.moves += 1;
            }
            Event::StateChanged { .. } | Event::IkeKeys { .. } => unreachable!("no matter of the data plane"),
        }
    }
}

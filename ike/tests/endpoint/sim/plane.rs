//! A model of the data plane: what is installed, and what must never happen there.

use std::collections::{BTreeMap, BTreeSet};

use ike::{EspSa, Event};

/// Most inbound SAs per peer that are promised.
const MAX_INBOUND: usize = 4;

#[derive(Default)]
pub(crate) struct Plane {
    pub(crate) inbound: BTreeMap<u32, EspSa>,
    /// The SA that carries traffic.
    pub(crate) outbound: Option<EspSa>,
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

    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::InstallInbound { sa, .. } => {
                assert_eq!(sa.key.len(), sa.aead.key_len());
                assert!(self.inbound.insert(sa.spi, sa).is_none(), "inbound SPI used twice");
                assert!(self.inbound.len() <= MAX_INBOUND, "too many inbound SAs");
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
                if let Some(old) = self.outbound.replace(sa) {
                    self.replaced.insert(old.spi);
                }
            }
            Event::RemoveOutbound { spi, .. } => {
                if !self.replaced.remove(&spi) {
                    let active = self.outbound.take();
                    assert_eq!(
                        active.map(|sa| sa.spi),
                        Some(spi),
                        "removed an outbound SA that is not there"
                    );
                }
            }
            Event::OutboundMoved { spi, remote, .. } => {
                let sa = self.outbound.as_mut().expect("an SA that moves is installed");
                assert_eq!(sa.spi, spi);
                sa.remote = remote;
                self.moves += 1;
            }
            Event::StateChanged { .. } | Event::IkeKeys { .. } => unreachable!("no matter of the data plane"),
        }
    }
}

//! All peers, by number, by address and by what is due next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{PeerConfig, PeerId};
use crate::endpoint::peer::Peer;
use crate::sa::context::Path;

/// All peers. Whoever may have changed the timers of a peer calls [`Self::refresh`] before [`Self::next_timeout`] counts
/// again.
#[derive(Default)]
pub(super) struct Peers {
    by_id: BTreeMap<PeerId, Peer>,
    /// By canonical remote address.
    by_remote: BTreeMap<IpAddr, BTreeSet<PeerId>>,
    due: BTreeSet<(Instant, PeerId)>,
    /// The time under which a peer stands in `due`.
    times: BTreeMap<PeerId, Instant>,
    /// Peers that may have changed since the last refresh.
    touched: BTreeSet<PeerId>,
}

impl Peers {
    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        let peer = self.by_id.get_mut(&id)?;
        self.touched.insert(id);
        Some(peer)
    }

    /// Adds a peer, or gives one another configuration.
    pub(super) fn set(&mut self, id: PeerId, config: PeerConfig) -> &mut Peer {
        let config = Arc::new(config);
        if let Some(old) = self.by_id.get(&id).map(|peer| peer.config.remote) {
            self.forget_address(id, old);
        }
        self.by_remote.entry(config.remote.to_canonical()).or_default().insert(id);
        self.touched.insert(id);
        let peer = self.by_id.entry(id).or_insert_with(|| Peer::new(id, config.clone()));
        peer.config = config;
        peer
    }

    pub(super) fn remove(&mut self, id: PeerId) {
        if let Some(peer) = self.by_id.remove(&id) {
            self.forget_address(id, peer.config.remote);
            self.touched.insert(id);
        }
    }

    /// The peer whose configured addresses these are, if it is to be answered when it asks for an IKE SA.
    pub(super) fn at(&self, path: Path) -> Option<PeerId> {
        self.find(path, Peer::answers)
    }

    /// The peer whose configured addresses these are.
    pub(super) fn known_at(&self, path: Path) -> Option<PeerId> {
        self.find(path, |_| true)
    }

    /// A peer with this configured remote address.
    pub(super) fn known_from(&self, remote: IpAddr) -> Option<PeerId> {
        self.by_remote.get(&remote.to_canonical())?.first().copied()
    }

    /// The peers with something to do at `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<PeerId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes note of the timers of those peers that may have changed.
    pub(super) fn refresh(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let next = self.by_id.get(&id).and_then(Peer::next_timeout);
            if let Some(before) = self.times.remove(&id) {
                self.due.remove(&(before, id));
            }
            if let Some(at) = next {
                self.times.insert(id, at);
                self.due.insert((at, id));
            }
        }
    }

    fn find(&self, path: Path, is_meant: impl Fn(&Peer) -> bool) -> Option<PeerId> {
        let (local, remote) = (path.local.ip().to_canonical(), path.remote.ip().to_canonical());
        if remote.is_unspecified() {
            return None;
        }
        let fits = |id: &&PeerId| {
            self.by_id.get(id).is_some_and(|peer| {
                let ours = peer.config.local;
                is_meant(peer) && (ours.is_unspecified() || ours.to_canonical() == local)
            })
        };
        self.by_remote.get(&remote)?.iter().find(fits).copied()
    }

    fn forget_address(&mut self, id: PeerId, remote: IpAddr) {
        let remote = remote.to_canonical();
        if let Some(ids) = self.by_remote.get_mut(&remote) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_remote.remove(&remote);
            }
        }
    }
}

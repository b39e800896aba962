//! Which SA a datagram is for, and what strangers get.

use std::net::SocketAddr;
use std::time::Instant;

use tracing::debug;

use crate::config::PeerId;
use crate::endpoint::Endpoint;
use crate::sa::context::{NAT_KEEPALIVE, NAT_PORT, NON_ESP_MARKER, Path};
use crate::sa::{IkeSa, InitAnswer, answer_init};
use crate::wire::{ExchangeType, Header};

impl Endpoint {
    pub(super) fn demultiplex(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let message = if path.local.port() == NAT_PORT {
            if datagram == NAT_KEEPALIVE {
                return;
            }
            let Some(message) = datagram.strip_prefix(&NON_ESP_MARKER) else { return };
            message
        } else {
            datagram
        };
        let Ok((header, _)) = Header::parse(message) else { return };
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            self.handle_init_request(now, path, &header, message);
            return;
        }
        let our_spi = if header.from_initiator { header.spi_r } else { header.spi_i };
        if self.sas.get(&our_spi).is_some_and(|sa| sa.has_spis(&header)) {
            self.step(now, our_spi, |sa, ctx| sa.handle(ctx, path, message, &header));
        }
    }

    fn handle_init_request(&mut self, now: Instant, path: Path, header: &Header, message: &[u8]) {
        if header.spi_r != 0 || header.spi_i == 0 || header.message_id != 0 || !header.from_initiator {
            return;
        }
        let asked_before = |sa: &&IkeSa| sa.was_asked_for_by(header.spi_i, path.remote);
        if let Some(spi) = self.sas.values().find(asked_before).map(IkeSa::local_spi) {
            self.step(now, spi, |sa, ctx| sa.handle(ctx, path, message, header));
            return;
        }
        let Some(id) = self.peer_at(path) else { return };
        if self.too_many_half_open(path.remote) {
            debug!(peer = %id, "too many half-open IKE SAs");
            return;
        }
        let Some(config) = self.peers.get(&id).map(|peer| peer.config.clone()) else { return };
        let mut ctx = self.context(now, true);
        let answer = answer_init(&mut ctx, id, config, path, message);
        let notices = std::mem::take(&mut ctx.notices);
        match answer {
            InitAnswer::Ignore => {}
            InitAnswer::Refuse(response) => ctx.transmit(path, &[response]),
            InitAnswer::Accept(sa) => {
                self.sas.insert(sa.local_spi(), *sa);
            }
        }
        for notice in notices {
            self.carry_out(now, id, 0, notice);
        }
    }

    /// The peer whose configured address the message comes from.
    fn peer_at(&self, path: Path) -> Option<PeerId> {
        let (local, remote) = (path.local.ip().to_canonical(), path.remote.ip().to_canonical());
        let is_from = |config: &crate::config::PeerConfig| {
            let here = config.local.is_unspecified() || config.local.to_canonical() == local;
            here && !remote.is_unspecified() && config.remote.to_canonical() == remote
        };
        let found = self.peers.iter().find(|(_, peer)| !peer.blocked && is_from(&peer.config));
        found.map(|(id, _)| *id)
    }

    fn too_many_half_open(&self, remote: SocketAddr) -> bool {
        let half_open = self.sas.values().filter(|sa| sa.is_half_open());
        let (mut all, mut same_source) = (0, 0);
        for sa in half_open {
            all += 1;
            same_source += usize::from(sa.source() == remote.ip());
        }
        all >= self.config.max_half_open || same_source >= self.config.max_half_open_per_source
    }
}

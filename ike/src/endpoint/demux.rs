//! Which SA a datagram is for, and what strangers get.

use std::net::SocketAddr;
use std::time::Instant;

use tracing::debug;

use crate::endpoint::Endpoint;
use crate::endpoint::strangers::is_protected;
use crate::endpoint::work::{Input, Job};
use crate::sa::Summary;
use crate::sa::context::{NAT_KEEPALIVE, NAT_PORT, NON_ESP_MARKER, Path};
use crate::wire::{ExchangeType, Header};

/// Most IKE SAs with one peer beyond which it gets no further one by asking. An honest peer has two or three; one that
/// asks over and over leaves behind those that wait for the answer to their delete.
const MAX_SAS_OF_PEER: usize = 64;

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
        let Ok((header, _)) = Header::parse(message) else {
            if let Some(header) = Header::of_newer_version(message) {
                self.handle_newer_version(now, path, &header, message);
            }
            return;
        };
        if header.exchange == ExchangeType::IKE_SA_INIT && !header.response {
            self.handle_init_request(now, path, &header, message);
            return;
        }
        let our_spi = if header.from_initiator { header.spi_r } else { header.spi_i };
        if self.sas.get(our_spi).is_none() {
            return self.handle_unknown_spi(now, path, &header, message);
        }
        if header.exchange != ExchangeType::IKE_SA_INIT && !is_protected(message) {
            return self.handle_unprotected(now, our_spi, path, message);
        }
        self.give(now, our_spi, Input::Datagram { from: path, header, datagram: message.to_vec() });
    }

    fn handle_init_request(&mut self, now: Instant, path: Path, header: &Header, message: &[u8]) {
        if header.spi_r != 0 || header.spi_i == 0 || header.message_id != 0 || !header.from_initiator {
            return;
        }
        // Sent back to us, our own request would lead to a connection with ourselves, who know the pre-shared key.
        if self.sas.summary(header.spi_i).is_some_and(|summary| summary.initiator) {
            debug!(remote = %path.remote, "our own IKE_SA_INIT request has come back");
            return;
        }
        if let Some(spi) = self.sas.asked_by(header.spi_i, path.remote) {
            // While the first one is being answered, nothing more needs to be done about it.
            if self.sas.get(spi).is_some_and(|slot| !slot.is_new()) {
                let (header, datagram) = (*header, message.to_vec());
                self.give(now, spi, Input::Datagram { from: path, header, datagram });
            }
            return;
        }
        let Some(id) = self.peers.at(path) else { return };
        if self.sas.count_of_peer(id) >= MAX_SAS_OF_PEER {
            debug!(peer = %id, "too many IKE SAs with this peer");
            return;
        }
        let Some(config) = self.peers.get(id).map(|peer| peer.config.clone()) else { return };
        if !self.is_affordable(now, path, header, message) {
            return;
        }
        if self.too_many_half_open(path.remote) {
            debug!(peer = %id, "too many half-open IKE SAs");
            return;
        }
        let job = Job::Answer { peer: id, config, path, datagram: message.to_vec() };
        self.start(now, id, Summary::answering(header.spi_i, path), job);
    }

    fn too_many_half_open(&self, remote: SocketAddr) -> bool {
        let (all, same_source) = self.sas.half_open(remote.ip());
        all >= self.config.max_half_open || same_source >= self.config.max_half_open_per_source
    }
}

//! NAT detection (RFC 7296 §2.23).

use crate::crypto::nat_detection_hash;
use crate::sa::context::{Context, NAT_PORT, Path};
use crate::wire::{Header, Notify, NotifyType, Payload};

/// What stands between the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nat {
    /// We are behind a NAT.
    pub(crate) local: bool,
    /// The peer is behind a NAT.
    pub(crate) remote: bool,
    /// ESP goes in UDP.
    pub(crate) encapsulation: bool,
}

impl Nat {
    pub(crate) fn detected(self) -> bool {
        self.local || self.remote
    }

    /// Compares the peer's hashes with the addresses of its message. Without hashes the peer cannot traverse a NAT.
    pub(crate) fn detect(header: &Header, payloads: &[Payload], path: Path, force: bool) -> Self {
        let hashes = |kind| notifications(payloads, kind).map(|notify| notify.data.as_slice());
        let source = nat_detection_hash(header.spi_i, header.spi_r, path.remote);
        let destination = nat_detection_hash(header.spi_i, header.spi_r, path.local);
        let mut sources = hashes(NotifyType::NAT_DETECTION_SOURCE_IP).peekable();
        let mut destinations = hashes(NotifyType::NAT_DETECTION_DESTINATION_IP).peekable();
        if sources.peek().is_none() || destinations.peek().is_none() {
            return Self::default();
        }
        let remote = sources.all(|hash| hash != source);
        let local = destinations.all(|hash| hash != destination);
        Self { local, remote, encapsulation: local || remote || force }
    }

    /// Where the original initiator goes on after IKE_SA_INIT.
    pub(crate) fn move_path(self, path: &mut Path) {
        if self.encapsulation {
            path.local.set_port(NAT_PORT);
            path.remote.set_port(NAT_PORT);
        }
    }
}

/// The notifications for a message from `path.local` to `path.remote`. With `force` the source hash is random, so the
/// peer finds us behind a NAT.
pub(crate) fn nat_payloads(
    ctx: &mut Context<'_>,
    spi_i: u64,
    spi_r: u64,
    path: Path,
    force: bool,
) -> [Payload; 2] {
    let mut source = nat_detection_hash(spi_i, spi_r, path.local);
    if force {
        ctx.rng.fill(&mut source);
    }
    let destination = nat_detection_hash(spi_i, spi_r, path.remote);
    [
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source)),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination)),
    ]
}

fn notifications(payloads: &[Payload], kind: NotifyType) -> impl Iterator<Item = &Notify> {
    payloads.iter().filter_map(move |payload| match payload {
        Payload::Notify(notify) if notify.kind == kind => Some(notify),
        _ => None,
    })
}

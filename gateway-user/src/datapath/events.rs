//! Events of the datapath, and the log lines of its programs.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use gateway_common::ip::from_words;
use gateway_common::{Event, EventKind};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tunnel::TunnelId;

/// What the datapath reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathEvent {
    /// What happened.
    pub kind: EventKind,
    /// Tunnel concerned, if known.
    pub tunnel: Option<TunnelId>,
    /// SPI concerned, host order.
    pub spi: Option<u32>,
    /// Source of the packet that caused it.
    pub source: Option<IpAddr>,
}

/// The stream of events.
pub struct DatapathEvents {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl DatapathEvents {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map("EVENTS").context("the object has no map EVENTS")?;
        Ok(Self { ring: readable(RingBuf::try_from(map)?)? })
    }

    /// Waits for the next event. Safe to cancel.
    ///
    /// # Errors
    /// The ring cannot be polled.
    pub async fn next(&mut self) -> Result<DatapathEvent> {
        loop {
            let mut guard = self.ring.readable_mut().await.context("cannot poll the event ring")?;
            let mut found = None;
            while let Some(item) = guard.get_inner_mut().next() {
                found = decode(&item);
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(event) => return Ok(event),
                None => guard.clear_ready(),
            }
        }
    }
}

/// Sends the programs' log lines to the `log` facade, from where they reach the agent's log, until the runtime ends.
pub(super) fn forward_log(ebpf: &mut Ebpf) -> Result<()> {
    let mut logger = readable(EbpfLogger::init(ebpf).context("cannot read the log of the XDP programs")?)?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}

fn readable<T: OwnedRing>(inner: T) -> Result<AsyncFd<T>> {
    // SAFETY: implementors of the sealed trait keep one open descriptor for as long as they live.
    unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
        .context("cannot poll a ring of the datapath")
}

/// Rings that own their descriptor.
trait OwnedRing: AsRawFd {}
impl OwnedRing for RingBuf<MapData> {}
impl<L> OwnedRing for EbpfLogger<L> {}

fn decode(record: &[u8]) -> Option<DatapathEvent> {
    if record.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: the length was checked, every bit pattern is an `Event`, and the read does not assume alignment.
    let event = unsafe { record.as_ptr().cast::<Event>().read_unaligned() };
    Some(DatapathEvent {
        kind: EventKind::from_number(event.kind)?,
        tunnel: (event.tunnel != 0).then_some(TunnelId(event.tunnel)),
        spi: (event.spi != [0; 4]).then(|| u32::from_be_bytes(event.spi)),
        source: (event.source != [0; 2]).then(|| Ipv6Addr::from(from_words(event.source)).to_canonical()),
    })
}

//! Tells when interfaces or their addresses may have changed (rtnetlink(7), multicast groups).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Pause between a message and the look, in which others come that belong to the same change.
const SETTLE: Duration = Duration::from_millis(100);
/// Pause between looks without any message: one may have been lost, and what was refused is tried again.
const INTERVAL: Duration = Duration::from_secs(10);
/// Addresses remembered as removed; beyond that every one counts as removed.
const MOST_REMOVED: usize = 256;

/// What came to pass between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkNews {
    removed: BTreeSet<IpAddr>,
    is_incomplete: bool,
}

impl LinkNews {
    /// Whether `address` was removed from an interface, be it for a moment, or may have been.
    pub fn may_have_removed(&self, address: IpAddr) -> bool {
        self.is_incomplete || self.removed.contains(&address)
    }

    fn add_removed(&mut self, address: IpAddr) {
        if self.removed.len() < MOST_REMOVED {
            self.removed.insert(address);
        } else {
            self.is_incomplete = true;
        }
    }
}

/// Watches interfaces and addresses of this network namespace.
#[derive(Debug)]
pub struct LinkWatch {
    seen: Arc<Seen>,
    look_at: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    news: Mutex<LinkNews>,
    arrived: Notify,
}

impl LinkWatch {
    /// Begins to watch, on the current tokio runtime.
    ///
    /// # Errors
    /// The kernel refused the socket.
    pub fn open() -> Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut messages) =
            new_multicast_connection(&groups).context("cannot watch the network interfaces")?;
        tokio::spawn(connection);
        let seen = Arc::new(Seen::default());
        let noted = Arc::downgrade(&seen);
        tokio::spawn(async move {
            // The connection ends with its handle.
            let _handle = handle;
            while let Some((message, _)) = messages.next().await {
                let Some(seen) = noted.upgrade() else { return };
                seen.note(&message.payload);
            }
        });
        Ok(Self { seen, look_at: Instant::now() + INTERVAL })
    }

    /// Waits until it is time to look. Nothing is lost when the call is given up.
    pub async fn next(&mut self) -> LinkNews {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.look_at) => {
                    self.look_at = Instant::now() + INTERVAL;
                    let mut news = self.seen.news.lock().unwrap_or_else(PoisonError::into_inner);
                    return std::mem::take(&mut *news);
                }
                () = self.seen.arrived.notified() => {
                    self.look_at = self.look_at.min(Instant::now() + SETTLE);
                }
            }
        }
    }
}

impl Seen {
    fn note(&self, payload: &NetlinkPayload<RouteNetlinkMessage>) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                addresses(message).for_each(|address| news.add_removed(address));
            }
            NetlinkPayload::Overrun(_) => news.is_incomplete = true,
            _ => {}
        }
        drop(news);
        self.arrived.notify_one();
    }
}

fn addresses(message: &AddressMessage) -> impl Iterator<Item = IpAddr> + '_ {
    message.attributes.iter().filter_map(|attribute| match attribute {
        AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_message_brings_a_look_about_even_when_a_call_is_given_up() {
        let seen = Arc::new(Seen::default());
        let mut watch =
            LinkWatch { seen: Arc::clone(&seen), look_at: Instant::now() + Duration::from_hours(1) };
        assert_eq!(watch.next().now_or_never(), None, "nothing happened");
        let mut message = AddressMessage::default();
        message.attributes.push(AddressAttribute::Local([192, 0, 2, 1].into()));
        seen.note(&NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)));
        assert_eq!(watch.next().now_or_never(), None, "it waits for more");
        let news = watch.next().await;
        assert!(
            news.may_have_removed([192, 0, 2, 1].into()) && !news.may_have_removed([192, 0, 2, 2].into())
        );
        let mut news = seen.news.lock().unwrap();
        assert_eq!(std::mem::take(&mut *news), LinkNews::default(), "it is told once");
    }

    #[test]
    fn what_was_not_noted_counts_as_removed() {
        let mut news = LinkNews::default();
        for number in 0..=MOST_REMOVED as u32 {
            assert!(!news.may_have_removed([192, 0, 2, 1].into()));
            news.add_removed(IpAddr::V4(number.into()));
        }
        assert!(news.may_have_removed([192, 0, 2, 1].into()));
    }
}

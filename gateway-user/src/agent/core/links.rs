//! What the core does when interfaces or their addresses change.

use std::time::Instant;

use super::super::dataplane::Dataplane;
use super::super::events::{EventNumber, Severity};
use super::Core;
use crate::api::types::InterfaceStatus;
use crate::datapath::{LinkEvent, LinkNews, LinkStats, WanAddresses};

impl<D: Dataplane> Core<D> {
    /// The addresses that peers find the gateway at.
    pub(in crate::agent) fn wan_addresses(&self) -> WanAddresses {
        self.settings.wan_addresses
    }

    /// It is time to look at the interfaces. `addresses` are those that the gateway has from now on; IKE can be spoken from
    /// them already.
    pub(in crate::agent) async fn handle_links(
        &mut self,
        now: Instant,
        news: &LinkNews,
        addresses: WanAddresses,
    ) {
        for event in self.dataplane.follow_links(news).await {
            self.note_link(event);
        }
        if addresses != self.settings.wan_addresses {
            self.move_to(now, addresses).await;
        }
    }

    /// Goes on at other addresses: connections whose own address changed are made anew from there.
    async fn move_to(&mut self, now: Instant, addresses: WanAddresses) {
        let before = self.settings.wan_addresses;
        let interface = self.settings.wan_interface.clone();
        if let Err(error) = self.dataplane.set_wan_addresses(addresses).await {
            let message = format!(
                "the gateway's address stays {before}, though {interface} has {addresses}: {error:#}"
            );
            return self.events.add(EventNumber::DatapathRefused, None, message);
        }
        self.settings.wan_addresses = addresses;
        let message = format!("WAN address of {interface} is {addresses} now, it was {before}");
        self.events.add(EventNumber::WanMoved, None, message);
        let sites: Vec<String> = self.connections.keys().cloned().collect();
        for site in sites {
            self.configure(now, &site);
        }
    }

    fn note_link(&mut self, event: LinkEvent) {
        let (severity, number, message) = match event {
            LinkEvent::Gone { interface } => (
                Severity::Warning,
                EventNumber::InterfaceGone,
                format!("interface {interface} is gone; its traffic waits for it to come back"),
            ),
            LinkEvent::Returned { interface, index } => (
                Severity::Information,
                EventNumber::InterfaceReturned,
                format!("interface {interface} is there again, with index {index}"),
            ),
            LinkEvent::MacChanged { interface, mac } => (
                Severity::Information,
                EventNumber::InterfaceChanged,
                format!("MAC address of interface {interface} is {} now", mac_text(mac)),
            ),
            LinkEvent::MtuChanged { interface, mtu, tunnel_mtu: None } => (
                Severity::Information,
                EventNumber::InterfaceChanged,
                format!("MTU of interface {interface} is {mtu} now"),
            ),
            LinkEvent::MtuChanged { interface, mtu, tunnel_mtu: Some(tunnel_mtu) } => (
                Severity::Information,
                EventNumber::InterfaceChanged,
                format!("MTU of interface {interface} is {mtu} now, that of the tunnels {tunnel_mtu}"),
            ),
            LinkEvent::WentGeneric { reason } => (
                Severity::Warning,
                EventNumber::XdpMode,
                format!("XDP runs in generic mode on all interfaces from now on: {reason}"),
            ),
            LinkEvent::Failed { interface, reason } => (
                Severity::Warning,
                EventNumber::InterfaceUnusable,
                format!("interface {interface} is there again, but carries nothing: {reason}"),
            ),
        };
        self.events.add_as(severity, number, None, message);
    }
}

impl From<LinkStats> for InterfaceStatus {
    fn from(stats: LinkStats) -> Self {
        let LinkStats { interface, is_wan, is_lan, index, mtu, problem } = stats;
        Self { name: interface, wan: is_wan, lan: is_lan, index, mtu, problem }
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

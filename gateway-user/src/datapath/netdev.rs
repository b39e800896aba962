//! Interfaces, addresses and routes, over rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::ethtool;
use super::ipv6;
use super::workers::Queues;

/// Routing protocol number that marks our routes (from the range for user daemons, see `ip-route(8)`).
pub(super) const ROUTE_PROTOCOL: u8 = 202;

/// What the gateway needs to know of an interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
    pub(super) alias: Option<String>,
    pub(super) queues: Queues,
}

/// A connection to the kernel's routing tables in this network namespace.
#[derive(Clone, Debug)]
pub(super) struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens the connection and runs it on the current tokio runtime.
    pub(super) fn open() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The interface called `name`, or `None`.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Interface>> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        let message = match links.try_next().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot look up interface {name}")),
        };
        let mut interface = Interface {
            name: name.to_owned(),
            index: message.header.index,
            mac: [0; 6],
            mtu: 0,
            alias: None,
            queues: Queues { receive: 1, transmit: 1 },
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Address(mac) => {
                    if let Ok(mac) = mac.as_slice().try_into() {
                        interface.mac = mac;
                    }
                }
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::IfAlias(alias) => interface.alias = Some(alias),
                // So many exist, if perhaps not all of them are in use.
                LinkAttribute::NumRxQueues(receive) => interface.queues.receive = receive,
                LinkAttribute::NumTxQueues(transmit) => interface.queues.transmit = transmit,
                _ => {}
            }
        }
        if let Some(queues) = ethtool::queues(name) {
            interface.queues = queues;
        }
        Ok(Some(interface))
    }

    /// The interface called `name`.
    pub(super) async fn interface(&self, name: &str) -> Result<Interface> {
        match self.find(name).await? {
            Some(interface) => Ok(interface),
            None => bail!("there is no interface {name} in this network namespace"),
        }
    }

    /// Addresses of an interface, in the kernel's order (the primary address first).
    pub(super) async fn addresses(&self, interface: &Interface) -> Result<Vec<IpAddr>> {
        let mut messages = self.handle.address().get().set_link_index_filter(interface.index).execute();
        let mut addresses = Vec::new();
        while let Some(message) = messages.try_next().await.context("cannot list addresses")? {
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            // Of an IPv6 address without a peer the kernel tells this attribute alone.
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
                _ => None,
            });
            addresses.extend(local.or(address));
        }
        Ok(addresses)
    }

    /// Makes a veth pair with so many receive and transmit queues at each end.
    pub(super) async fn add_veth(&self, name: &str, peer: &str, queues: u32) -> Result<()> {
        let counts = || [LinkAttribute::NumTxQueues(queues), LinkAttribute::NumRxQueues(queues)];
        let far = LinkUnspec::new_with_name(peer);
        let far = counts().into_iter().fold(far, LinkMessageBuilder::append_extra_attribute).build();
        let near = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
        let near = counts().into_iter().fold(near, LinkMessageBuilder::append_extra_attribute);
        let added = self.handle.link().add(near.build()).execute().await;
        added.with_context(|| format!("cannot make veth pair {name}"))
    }

    /// Sets an interface up with `mtu` and `alias`, without ARP and multicast.
    pub(super) async fn set_up(&self, interface: &Interface, mtu: u32, alias: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(interface.index)
            .mtu(mtu)
            .alias(alias)
            .arp(false)
            .multicast(false)
            .up()
            .build();
        let set = self.handle.link().set(message).execute().await;
        set.with_context(|| format!("cannot set up {}", interface.name))
    }

    /// Gives an interface an address of its own that no other host is told of.
    pub(super) async fn add_host_address(&self, interface: &Interface, address: IpAddr) -> Result<()> {
        let length = IpNet::from(address).max_prefix_len();
        let mut request = self.handle.address().add(interface.index, address, length);
        request.message_mut().header.scope = AddressScope::Host;
        let added = request.execute().await;
        added.with_context(|| format!("cannot give {} the address {address}", interface.name))
    }

    /// Deletes an interface.
    pub(super) async fn delete(&self, interface: &Interface) -> Result<()> {
        let deleted = self.handle.link().del(interface.index).execute().await;
        deleted.with_context(|| format!("cannot delete interface {}", interface.name))
    }

    /// Prefixes that are closed now, by this agent or an earlier one.
    pub(super) async fn closed(&self) -> Result<Vec<IpNet>> {
        let mut prefixes = Vec::new();
        self.add_closed(RouteMessageBuilder::<Ipv4Addr>::new().build(), &mut prefixes).await?;
        if ipv6::is_there() {
            self.add_closed(RouteMessageBuilder::<Ipv6Addr>::new().build(), &mut prefixes).await?;
        }
        Ok(prefixes)
    }

    async fn add_closed(&self, family: RouteMessage, prefixes: &mut Vec<IpNet>) -> Result<()> {
        let mut messages = self.handle.route().get(family).execute();
        while let Some(message) = messages.try_next().await.context("cannot list routes")? {
            if message.header.kind != RouteType::Unreachable
                || message.header.protocol != RouteProtocol::Other(ROUTE_PROTOCOL)
            {
                continue;
            }
            for attribute in &message.attributes {
                let address = match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => IpAddr::V4(*address),
                    RouteAttribute::Destination(RouteAddress::Inet6(address)) => IpAddr::V6(*address),
                    _ => continue,
                };
                prefixes.push(IpNet::new(address, message.header.destination_prefix_length)?);
            }
        }
        Ok(())
    }
}

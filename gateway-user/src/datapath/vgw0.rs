//! The tunnel interface: a veth pair whose one end, `vgw0`, belongs to the kernel's routing, and whose other end runs XDP.

use anyhow::{Context as _, Result, bail};

use super::ethtool::{Offload, switch_off};
use super::ipv6;
use super::netdev::{Interface, Netlink};
use super::sysctl;
use super::wan_addresses::WanAddresses;

/// The end that the kernel routes to.
pub(super) const NAME: &str = "vgw0";
/// The end where XDP takes what the kernel routed.
pub(super) const PEER: &str = "vgw0-xdp";

/// Both ends of the tunnel interface.
#[derive(Clone, Debug)]
pub(super) struct TunnelInterface {
    pub(super) stack: Interface,
    pub(super) xdp: Interface,
}

impl TunnelInterface {
    /// Makes the pair for `vnet`, replacing one that an agent for the same VNet left behind.
    ///
    /// `addresses` are this host's outer addresses. `vgw0` bears that of IPv4 too, because the reverse-path check refuses sealed packets,
    /// which enter the stack there, on an interface without any address. `queues` is the number of receive queues, and of
    /// transmit queues, of each end. `with_ipv6` lets the kernel route IPv6 packets there, too; it checks no reverse path for
    /// those, and forwards packets with this host's own source address without being told.
    pub(super) async fn create(
        netlink: &Netlink,
        vnet: &str,
        mtu: u32,
        addresses: WanAddresses,
        queues: u32,
        with_ipv6: bool,
    ) -> Result<Self> {
        let alias = format!("vnet-gateway {vnet}");
        if let Some(existing) = netlink.find(NAME).await? {
            match &existing.alias {
                Some(owner) if *owner == alias => netlink.delete(&existing).await?,
                Some(owner) => {
                    bail!("interface {NAME} exists in this network namespace and belongs to {owner:?}")
                }
                // An agent that was killed between two steps of making the pair.
                None if netlink.find(PEER).await?.is_some() => netlink.delete(&existing).await?,
                None => {
                    bail!("interface {NAME} exists in this network namespace and was not made by a gateway")
                }
            }
        }
        netlink.add_veth(NAME, PEER, queues).await?;
        let pair = Self { stack: netlink.interface(NAME).await?, xdp: netlink.interface(PEER).await? };
        if let Err(error) = pair.configure(netlink, mtu, &alias, addresses, with_ipv6).await {
            // The first failure is the one to report.
            let _ = netlink.delete(&pair.stack).await;
            return Err(error);
        }
        Ok(pair)
    }

    /// Deletes both ends.
    pub(super) async fn remove(&self, netlink: &Netlink) -> Result<()> {
        match netlink.find(NAME).await? {
            Some(existing) if existing.index == self.stack.index => netlink.delete(&existing).await,
            _ => Ok(()),
        }
    }

    async fn configure(
        &self,
        netlink: &Netlink,
        mtu: u32,
        alias: &str,
        addresses: WanAddresses,
        with_ipv6: bool,
    ) -> Result<()> {
        // Before the ends are up, so that the kernel has nothing to say there.
        ipv6::switch_off(PEER)?;
        if with_ipv6 {
            ipv6::switch_on(NAME)?;
        } else {
            ipv6::switch_off(NAME)?;
        }
        for end in [&self.stack, &self.xdp] {
            netlink.set_up(end, mtu, alias).await?;
        }
        set_kernel_options()?;
        match addresses.v4 {
            Some(address) => netlink.add_host_address(&self.stack, address.into()).await,
            None => Ok(()),
        }
    }
}

fn set_kernel_options() -> Result<()> {
    // XDP seals what it sees: checksums must be final, and packets no larger than the route's MTU.
    for offload in [Offload::TcpSegmentation, Offload::GenericSegmentation, Offload::TxChecksum] {
        for end in [NAME, PEER] {
            switch_off(end, offload)?;
        }
    }
    if sysctl::set("net/ipv4/ip_forward", "1").context("cannot switch on IPv4 forwarding")? {
        tracing::info!("switched on IPv4 forwarding (net.ipv4.ip_forward)");
    }
    // Sealed packets whose next hop needs ARP enter the stack here with this host's own source address.
    sysctl::set(&format!("net/ipv4/conf/{NAME}/accept_local"), "1")?;
    // For the same packets a strict reverse-path check would ask for a route to ourselves through vgw0.
    sysctl::set(&format!("net/ipv4/conf/{NAME}/rp_filter"), "2")?;
    sysctl::set(&format!("net/ipv4/conf/{NAME}/send_redirects"), "0")?;
    Ok(())
}

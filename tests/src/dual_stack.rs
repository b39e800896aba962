//! The IPv6 half of a laboratory whose hosts and gateways have addresses of both families.

use crate::{Agent, GatewayOptions, Lab, LocalSite, NetCfg, NetNs, Site, VNet};
use anyhow::Result;
use std::net::{IpAddr, Ipv6Addr};

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The option of `ping`, `ip` and `traceroute`.
    pub fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }
}

impl Site {
    /// IPv6 address space of the VNet, for instance `fd00:1::/48`.
    pub fn prefix_v6(&self) -> String {
        format!("fd00:{}::/48", self.number())
    }

    /// Address of the host.
    pub fn host_address_of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.host_address().into(),
            Family::V6 => self.inner_v6(0x10).into(),
        }
    }

    /// Address of the gateway inside the VNet.
    pub fn lan_address_of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.lan_address().into(),
            Family::V6 => self.inner_v6(1).into(),
        }
    }

    /// Public address of the gateway.
    pub fn wan_address_of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.wan_address().into(),
            Family::V6 => self.outer_v6(2).into(),
        }
    }

    /// Gives the site IPv6 addresses and routes, without advertisements and duplicate address detection. The ports get link-local
    /// addresses, too: routers look for neighbours from those.
    pub(crate) fn add_ipv6(&self, inet: &NetNs) -> Result<()> {
        let port = self.inet_port();
        for (namespace, device, address) in [
            (&self.host, Self::HOST_PORT, self.inner_v6(0x10)),
            (&self.gateway, Self::LAN, self.inner_v6(1)),
            (&self.gateway, Self::WAN, self.outer_v6(2)),
            (inet, &*port, self.outer_v6(1)),
        ] {
            for (name, value) in [
                ("accept_ra", "0"),
                ("accept_dad", "0"),
                ("router_solicitations", "0"),
                ("disable_ipv6", "0"),
            ] {
                namespace.sysctl(&format!("net/ipv6/conf/{device}/{name}"), value)?;
            }
            // The unreachable routes of a gateway are the loopback's.
            namespace.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;
            namespace.ip(&format!("address add {address}/64 dev {device} nodad"))?;
        }
        // The ports that a gateway makes for itself.
        self.gateway.sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
        self.host.ip(&format!("-6 route add default via {}", self.inner_v6(1)))?;
        self.gateway.ip(&format!("-6 route add default via {}", self.outer_v6(1)))?;
        inet.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    fn inner_v6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, self.number().into(), 0, 1, 0, 0, 0, last)
    }

    fn outer_v6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.number().into(), 0, 0, 0, 0, last)
    }
}

impl Lab {
    /// As [`Lab::netcfg`], with address spaces of both families and with gateways that find each other over `outer`.
    pub fn dual_stack_netcfg(&self, outer: Family) -> NetCfg {
        let NetCfg { local_sites, vnets } = self.netcfg();
        let local_site = |(site, mut local): (&Site, LocalSite)| {
            local.prefixes.push(site.prefix_v6());
            local.gateway_address = site.wan_address_of(outer).to_string();
            local
        };
        let vnet = |(site, mut vnet): (&Site, VNet)| {
            vnet.prefixes.push(site.prefix_v6());
            vnet.subnets.push(("Hosts6".to_owned(), format!("fd00:{}:0:1::/64", site.number())));
            vnet
        };
        NetCfg {
            local_sites: self.sites().iter().zip(local_sites).map(local_site).collect(),
            vnets: self.sites().iter().zip(vnets).map(vnet).collect(),
        }
    }

    /// As [`Lab::establish`], with address spaces of both families and with gateways that find each other over `outer`.
    pub fn establish_over(&self, outer: Family, options: &GatewayOptions) -> Result<Vec<Agent>> {
        self.establish_with(&self.dual_stack_netcfg(outer), options)
    }
}

//! Address translation between a gateway and the internet.

use crate::{NetNs, run};
use anyhow::Result;
use std::net::Ipv4Addr;

/// Outer ports of the first mapping and of each further one: ranges of this size.
const PORTS: u16 = 1000;

/// A router that hides one gateway behind its own public address and maps every UDP port to another one.
#[derive(Debug)]
pub struct Nat {
    namespace: NetNs,
    next_hop: Ipv4Addr,
}

impl Nat {
    /// Port towards the gateway.
    pub(crate) const INSIDE: &'static str = "inside0";
    /// Port towards the internet.
    pub(crate) const OUTSIDE: &'static str = "outside0";

    /// Makes the namespace, which has no ports yet.
    pub(crate) fn create(name: &str, next_hop: Ipv4Addr) -> Result<Self> {
        let namespace = NetNs::create(name)?;
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        Ok(Self { namespace, next_hop })
    }

    /// The namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Starts to translate, to outer ports from 20000 on.
    pub(crate) fn start(&self) -> Result<()> {
        self.translate_from(20_000)
    }

    /// Forgets every mapping; from now on the same inner ports are mapped to ports from `first` on.
    pub fn change_mapping(&self, first: u16) -> Result<()> {
        self.translate_from(first)?;
        // Masquerading forgets the mappings of a device that goes down.
        self.namespace.ip(&format!("link set {} down", Self::OUTSIDE))?;
        self.namespace.ip(&format!("link set {} up", Self::OUTSIDE))?;
        self.route()
    }

    pub(crate) fn keep(&mut self) {
        self.namespace.keep();
    }

    fn translate_from(&self, first: u16) -> Result<()> {
        let last = first + PORTS - 1;
        let outside = Self::OUTSIDE;
        let rules = format!(
            "table ip nat {{}}\ndelete table ip nat\ntable ip nat {{\n chain postrouting {{\n  type nat hook postrouting \
             priority 100;\n  oifname \"{outside}\" meta l4proto udp masquerade to :{first}-{last}\n  oifname \"{outside}\" \
             masquerade\n }}\n}}\n"
        );
        self.namespace.nft(&rules)?;
        self.route()
    }

    fn route(&self) -> Result<()> {
        let hop = self.next_hop.to_string();
        let arguments = ["route", "replace", "default", "via", &hop, "dev", Self::OUTSIDE];
        run(self.namespace.command("ip")?.args(arguments)).map(drop)
    }
}

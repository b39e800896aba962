//! The outer addresses of a gateway.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of this gateway that peers send ESP to: at most one of each family, and one at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WanAddresses {
    /// Where IPv4 peers find the gateway.
    pub v4: Option<Ipv4Addr>,
    /// Where IPv6 peers find the gateway.
    pub v6: Option<Ipv6Addr>,
}

impl WanAddresses {
    /// The address for a peer at `peer`: that of the same family.
    pub fn towards(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// Takes `address` in place of the one of its family.
    pub fn set(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4 = Some(address),
            IpAddr::V6(address) => self.v6 = Some(address),
        }
    }

    /// Those that there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl From<IpAddr> for WanAddresses {
    fn from(address: IpAddr) -> Self {
        let mut addresses = Self::default();
        addresses.set(address);
        addresses
    }
}

impl fmt::Display for WanAddresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.v4, self.v6) {
            (Some(v4), Some(v6)) => write!(formatter, "{v4} and {v6}"),
            (Some(v4), None) => v4.fmt(formatter),
            (None, Some(v6)) => v6.fmt(formatter),
            (None, None) => formatter.write_str("none"),
        }
    }
}

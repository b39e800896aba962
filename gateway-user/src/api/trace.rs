//! Bodies of the question what would become of a packet.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use gateway_common::wire::{PROTO_ICMP, PROTO_ICMPV6};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/vnets/{vnet}/trace`: an IP packet without IPv4 options that is no fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number, or that of the first extension header; if left out, the ICMP of the packet's IP version.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Destination port.
    #[serde(default)]
    pub port: Option<u16>,
    /// Where it comes from: `lan`, `wan`, `host` or `tunnel:SITE`. If left out, from the tunnel to the site that the source belongs
    /// to, else from the LAN.
    #[serde(default)]
    pub from: Option<TraceFrom>,
    /// Length in bytes, with the IP header.
    #[serde(default = "default_size")]
    pub size: u16,
    /// Time to live as it arrives.
    #[serde(default = "default_ttl")]
    pub ttl: u8,
    /// Whether it must not be fragmented; no IPv6 packet may be.
    #[serde(default)]
    pub dont_fragment: bool,
    /// Source and destination of the packet that it quotes, if it is an ICMP error.
    #[serde(default)]
    pub quotes: Option<[IpAddr; 2]>,
}

impl TraceRequest {
    /// Size if left out, in bytes.
    pub const SIZE: u16 = 84;
    /// Time to live if left out.
    pub const TTL: u8 = 64;

    /// Protocol number, said or not.
    pub fn protocol(&self) -> u8 {
        self.protocol.unwrap_or_else(|| self.icmp())
    }

    /// Protocol number of the ICMP of the packet's IP version.
    pub fn icmp(&self) -> u8 {
        if self.source.is_ipv4() { PROTO_ICMP } else { PROTO_ICMPV6 }
    }
}

/// Where a packet comes from. In JSON a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TraceFrom {
    /// A host of the VNet: the first LAN interface.
    Lan,
    /// The WAN interface, in the clear.
    Wan,
    /// The gateway's own machine.
    Host,
    /// The tunnel to a site.
    Tunnel(String),
}

/// Answer to a [`TraceRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// Where the packet was taken to come from.
    pub from: TraceFrom,
    /// The rules in the order in which they were applied; the last one that did not pass decided.
    pub steps: Vec<TraceStep>,
    /// What would become of it.
    pub verdict: TraceVerdict,
    /// Name of the connection concerned; null when there is none.
    pub connection: Option<String>,
    /// The SA that it would be sent with; null if it did not come to that.
    pub sa: Option<TraceSa>,
    /// What the kernel's forwarding table said of the outer packet, or of the packet that came from a tunnel; null if it was not asked.
    pub next_hop: Option<TraceHop>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// What was looked at, or the reason of the drop.
    pub rule: String,
    /// Whether the packet went on to the next rule.
    pub passed: bool,
    /// What was found, for a human.
    pub detail: String,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceVerdict {
    /// `forward`, `drop`, or `kernel`: left to the kernel's own routing as it came.
    pub action: TraceAction,
    /// Reason of the drop, under the name that drops are counted by; null unless it is dropped.
    pub reason: Option<String>,
    /// Interface that it leaves through, `vgw0` where the kernel carries it on; null unless it is forwarded.
    pub interface: Option<String>,
}

/// See [`TraceVerdict::action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceAction {
    /// It goes on.
    Forward,
    /// It is dropped.
    Drop,
    /// The kernel gets it as it came.
    Kernel,
}

/// State of an outbound SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSa {
    /// SPI, eight hexadecimal digits.
    pub spi: String,
    /// Its algorithm, such as `chacha20poly1305-esn`.
    pub algorithm: String,
    /// Number that the next packet gets.
    pub next_sequence: u64,
    /// Bytes of inner IP packets that it has carried.
    pub bytes: u64,
    /// Bytes until its hard lifetime has passed; null without one.
    pub bytes_left: Option<u64>,
    /// Seconds until it is rekeyed because of its age; null while that is not known.
    pub rekey_in_seconds: Option<u64>,
    /// Outer address of this gateway.
    pub local: IpAddr,
    /// Outer address of the peer.
    pub remote: IpAddr,
}

/// What the kernel's forwarding table said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// In a few words.
    pub result: String,
    /// Interface that it leaves through; null if none.
    pub interface: Option<String>,
    /// Address of the neighbour that it goes to; null if there is none.
    pub address: Option<IpAddr>,
    /// Hardware address of that neighbour; null while it is not known.
    pub mac: Option<String>,
}

const fn default_size() -> u16 {
    TraceRequest::SIZE
}

const fn default_ttl() -> u8 {
    TraceRequest::TTL
}

impl FromStr for TraceFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "host" => Ok(Self::Host),
            _ => match text.strip_prefix("tunnel:") {
                Some(site) if !site.is_empty() => Ok(Self::Tunnel(site.to_owned())),
                _ => Err(format!("{text:?} is no origin: expected lan, wan, host or tunnel:CONNECTION")),
            },
        }
    }
}

impl TryFrom<String> for TraceFrom {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TraceFrom> for String {
    fn from(from: TraceFrom) -> Self {
        from.to_string()
    }
}

impl fmt::Display for TraceFrom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lan => formatter.write_str("lan"),
            Self::Wan => formatter.write_str("wan"),
            Self::Host => formatter.write_str("host"),
            Self::Tunnel(site) => write!(formatter, "tunnel:{site}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let request: TraceRequest =
            serde_json::from_str(r#"{"source": "10.1.0.1", "destination": "fd00::1"}"#).unwrap();
        assert_eq!((request.protocol(), request.size, request.ttl), (1, 84, 64));
        assert!(request.from.is_none() && request.port.is_none() && request.destination.is_ipv6());
        let over_v6 = TraceRequest { source: request.destination, ..request };
        assert_eq!(over_v6.protocol(), 58);
        assert!(serde_json::from_str::<TraceRequest>(r#"{"source": "10.1.0.1"}"#).is_err());
    }

    #[test]
    fn origins_are_texts() {
        for text in ["lan", "wan", "host", "tunnel:VNet2"] {
            let from: TraceFrom = text.parse().unwrap();
            assert_eq!(from.to_string(), text);
            assert_eq!(serde_json::to_string(&from).unwrap(), format!("{text:?}"));
        }
        for wrong in ["", "tunnel:", "lan0"] {
            assert!(wrong.parse::<TraceFrom>().unwrap_err().contains("expected lan, wan, host"), "{wrong}");
        }
    }
}

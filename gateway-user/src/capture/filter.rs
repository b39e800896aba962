//! Which packets of a capture are wanted.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::headers::Headers;

/// A packet must match one entry of each list that is not empty. The headers that count are those of the packet as it is written: of a
/// sealed packet those of the gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Source or destination addresses.
    pub hosts: Vec<IpAddr>,
    /// Prefixes of source or destination addresses.
    pub nets: Vec<IpNet>,
    /// Source or destination ports.
    pub ports: Vec<u16>,
    /// Protocol numbers.
    pub protocols: Vec<u8>,
}

impl Filter {
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an Ethernet frame, perhaps cut off behind, is wanted. What is not IP matches only a filter that is empty.
    pub fn matches(&self, frame: &[u8]) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(headers) = Headers::of_frame(frame) else { return false };
        let ends = [headers.source, headers.destination];
        let is_any = |address: &IpAddr| ends.contains(address);
        let has_any = |net: &IpNet| ends.iter().any(|end| net.contains(end));
        let is_port = |port: &u16| headers.ports.is_some_and(|ports| ports.contains(port));
        let by_address = self.hosts.is_empty() && self.nets.is_empty()
            || self.hosts.iter().any(is_any)
            || self.nets.iter().any(has_any);
        by_address
            && (self.ports.is_empty() || self.ports.iter().any(is_port))
            && (self.protocols.is_empty() || self.protocols.contains(&headers.protocol))
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::{frame, udp};
    use super::*;

    fn filter(json: serde_json::Value) -> Filter {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn one_entry_of_each_list_must_match() {
        let packet = frame(&[], &udp(0));
        let cases = [
            (serde_json::json!({}), true),
            (serde_json::json!({"hosts": ["10.1.0.9"]}), true),
            (serde_json::json!({"hosts": ["10.9.9.9", "10.2.0.9"]}), true),
            (serde_json::json!({"hosts": ["10.9.9.9"]}), false),
            (serde_json::json!({"hosts": ["10.9.9.9"], "nets": ["10.2.0.0/16"]}), true),
            (serde_json::json!({"nets": ["fd00::/8"]}), false),
            (serde_json::json!({"ports": [53], "protocols": [17]}), true),
            (serde_json::json!({"ports": [7, 80]}), true),
            (serde_json::json!({"ports": [80]}), false),
            (serde_json::json!({"ports": [53], "protocols": [6]}), false),
            (serde_json::json!({"hosts": ["10.1.0.9"], "ports": [80]}), false),
        ];
        for (json, expected) in cases {
            assert_eq!(filter(json.clone()).matches(&packet), expected, "{json}");
        }
        let fragment = frame(&[], &udp(0x2001));
        assert!(!filter(serde_json::json!({"ports": [53]})).matches(&fragment));
        assert!(filter(serde_json::json!({"protocols": [17]})).matches(&fragment));
    }

    #[test]
    fn what_is_not_ip_matches_an_empty_filter_only() {
        let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert!(Filter::default().matches(&arp));
        assert!(!filter(serde_json::json!({"protocols": [0]})).matches(&arp));
        assert!(serde_json::from_value::<Filter>(serde_json::json!({"host": []})).is_err(), "unknown names");
    }
}

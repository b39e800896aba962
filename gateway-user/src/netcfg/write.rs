//! The canonical text of a configuration.

use std::fmt::Display;

use ipnet::IpNet;

use crate::model::{
    DnsServer, Gateway, LocalNetworkSite, NetworkConfiguration, Placement, VirtualNetworkSite,
};

use super::NAMESPACES;

/// The canonical text: two spaces per level, elements in the order Label, AddressSpace, Subnets, DnsServersRef,
/// Gateway, defaults written out.
///
/// For a configuration that keeps the rules, [`super::parse`] of the text gives an equal configuration. Comments and
/// layout of the file it may have come from are lost.
pub fn write(configuration: &NetworkConfiguration) -> String {
    let mut xml = Xml { text: String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"), depth: 0 };
    xml.element("NetworkConfiguration", &[("xmlns", NAMESPACES[0])], |xml| {
        xml.element("VirtualNetworkConfiguration", &[], |xml| {
            if !configuration.dns_servers.is_empty() {
                xml.element("Dns", &[], |xml| {
                    xml.list("DnsServers", &configuration.dns_servers, Xml::dns_server);
                });
            }
            xml.list("LocalNetworkSites", &configuration.local_network_sites, Xml::site);
            xml.list("VirtualNetworkSites", &configuration.virtual_networks, Xml::network);
        });
    });
    xml.text
}

struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    fn dns_server(&mut self, server: &DnsServer) {
        self.empty("DnsServer", &[("name", &server.name), ("IPAddress", &server.address.to_string())]);
    }

    fn site(&mut self, site: &LocalNetworkSite) {
        self.element("LocalNetworkSite", &[("name", &site.name)], |xml| {
            xml.list("AddressSpace", &site.address_space, |xml, prefix| xml.prefix(*prefix));
            if let Some(address) = &site.gateway_address {
                xml.leaf("VPNGatewayAddress", address);
            }
        });
    }

    fn network(&mut self, network: &VirtualNetworkSite) {
        let placement = match &network.placement {
            Placement::Location(location) => ("Location", location.as_str()),
            Placement::AffinityGroup(group) => ("AffinityGroup", group.as_str()),
        };
        self.element("VirtualNetworkSite", &[("name", &network.name), placement], |xml| {
            if let Some(label) = &network.label {
                xml.leaf("Label", label);
            }
            xml.list("AddressSpace", &network.address_space, |xml, prefix| xml.prefix(*prefix));
            xml.list("Subnets", &network.subnets, |xml, subnet| {
                xml.element("Subnet", &[("name", &subnet.name)], |xml| xml.prefix(subnet.prefix));
            });
            xml.list("DnsServersRef", &network.dns_servers, |xml, name| {
                xml.empty("DnsServerRef", &[("name", name)]);
            });
            if let Some(gateway) = &network.gateway {
                xml.gateway(gateway);
            }
        });
    }

    fn gateway(&mut self, gateway: &Gateway) {
        self.element("Gateway", &[("profile", gateway.profile.as_str())], |xml| {
            xml.list("VPNClientAddressPool", &gateway.client_address_pool, |xml, prefix| xml.prefix(*prefix));
            xml.list("ConnectionsToLocalNetwork", &gateway.connections, |xml, connection| {
                xml.element("LocalNetworkSiteRef", &[("name", &connection.site)], |xml| {
                    xml.empty("Connection", &[("type", connection.kind.as_str())]);
                });
            });
        });
    }

    fn prefix(&mut self, prefix: IpNet) {
        self.leaf("AddressPrefix", prefix);
    }

    /// An element around `items`; empty lists are left out, as all are optional in the schema or never empty.
    fn list<T>(&mut self, name: &str, items: &[T], item: impl Fn(&mut Self, &T)) {
        if !items.is_empty() {
            self.element(name, &[], |xml| items.iter().for_each(|each| item(xml, each)));
        }
    }

    fn element(&mut self, name: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Self)) {
        self.tag(name, attributes, ">\n");
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.indent();
        self.close(name);
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, " />\n");
    }

    fn leaf(&mut self, name: &str, value: impl Display) {
        self.tag(name, &[], ">");
        escape(&mut self.text, &value.to_string());
        self.close(name);
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        self.text.push_str(end);
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }
}

/// Appends `value` so that it reads back unchanged as text and as an attribute: markup by name, white space that
/// trimming or normalising would touch by number.
fn escape(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, c) in value.char_indices() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            ' ' if at == 0 || at == last => out.push_str("&#32;"),
            _ => out.push(c),
        }
    }
}

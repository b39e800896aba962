//! Writer of network configuration files.

use std::fmt::Write as _;

/// A network configuration, as small as the tests need it.
#[derive(Clone, Debug, Default)]
pub struct NetCfg {
    /// Local network sites: the far ends of connections.
    pub local_sites: Vec<LocalSite>,
    /// Virtual networks.
    pub vnets: Vec<VNet>,
}

/// A local network site.
#[derive(Clone, Debug)]
pub struct LocalSite {
    /// Name, as connections refer to it.
    pub name: String,
    /// Address space: IPv4 prefixes.
    pub prefixes: Vec<String>,
    /// Public address of the site's gateway; may be a placeholder.
    pub gateway_address: String,
}

/// A virtual network with a gateway.
#[derive(Clone, Debug)]
pub struct VNet {
    /// Name.
    pub name: String,
    /// Address space: IPv4 prefixes.
    pub prefixes: Vec<String>,
    /// Subnets as name and prefix; one must be named `GatewaySubnet`.
    pub subnets: Vec<(String, String)>,
    /// Names of the local network sites that the gateway connects to.
    pub connections: Vec<String>,
}

impl NetCfg {
    /// The configuration as XML.
    pub fn to_xml(&self) -> String {
        let mut xml = String::from(concat!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n",
            "<NetworkConfiguration xmlns=\"http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration\">\n",
            "  <VirtualNetworkConfiguration>\n",
            "    <LocalNetworkSites>\n",
        ));
        for site in &self.local_sites {
            write(&mut xml, format_args!("      <LocalNetworkSite name=\"{}\">\n", site.name));
            address_space(&mut xml, &site.prefixes);
            let address = &site.gateway_address;
            write(&mut xml, format_args!("        <VPNGatewayAddress>{address}</VPNGatewayAddress>\n"));
            xml.push_str("      </LocalNetworkSite>\n");
        }
        xml.push_str("    </LocalNetworkSites>\n    <VirtualNetworkSites>\n");
        for vnet in &self.vnets {
            virtual_network(&mut xml, vnet);
        }
        xml.push_str(
            "    </VirtualNetworkSites>\n  </VirtualNetworkConfiguration>\n</NetworkConfiguration>\n",
        );
        xml
    }
}

fn virtual_network(xml: &mut String, vnet: &VNet) {
    write(xml, format_args!("      <VirtualNetworkSite name=\"{}\" Location=\"Lab\">\n", vnet.name));
    address_space(xml, &vnet.prefixes);
    xml.push_str("        <Subnets>\n");
    for (name, prefix) in &vnet.subnets {
        let element = "<AddressPrefix>";
        write(
            xml,
            format_args!("          <Subnet name=\"{name}\">{element}{prefix}</AddressPrefix></Subnet>\n"),
        );
    }
    xml.push_str("        </Subnets>\n        <Gateway>\n          <ConnectionsToLocalNetwork>\n");
    for site in &vnet.connections {
        let connection = "<Connection type=\"IPsec\" />";
        write(
            xml,
            format_args!(
                "            <LocalNetworkSiteRef name=\"{site}\">{connection}</LocalNetworkSiteRef>\n"
            ),
        );
    }
    xml.push_str("          </ConnectionsToLocalNetwork>\n        </Gateway>\n      </VirtualNetworkSite>\n");
}

fn address_space(xml: &mut String, prefixes: &[String]) {
    xml.push_str("        <AddressSpace>\n");
    for prefix in prefixes {
        write(xml, format_args!("          <AddressPrefix>{prefix}</AddressPrefix>\n"));
    }
    xml.push_str("        </AddressSpace>\n");
}

fn write(xml: &mut String, text: std::fmt::Arguments<'_>) {
    xml.write_fmt(text).expect("writing to a string cannot fail");
}

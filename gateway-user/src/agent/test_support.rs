//! Configurations that several tests use.

use std::net::Ipv4Addr;
use std::path::Path;

use super::settings::{Options, Peering, Settings};

/// Settings of the gateway at 192.0.2.1, the `n`th VNet's at 192.0.2.n.
pub(super) fn settings(vnet: &str) -> Settings {
    let number = vnet.trim_start_matches("VNet").parse().expect("test VNets are numbered");
    Settings {
        vnet: vnet.to_owned(),
        wan_interface: "wan0".to_owned(),
        wan_address: Ipv4Addr::new(192, 0, 2, number),
        lan_interfaces: vec!["lan0".to_owned()],
        bandwidth: None,
        max_connections: 3,
        peering: peering(),
    }
}

/// Options of an agent that can start nowhere, because its interfaces are the loopback interface.
pub(super) fn options(directory: &Path) -> Options {
    Options {
        vnet: "VNet1".to_owned(),
        netcfg: None,
        wan: "lo".to_owned(),
        lan: vec!["lo".to_owned()],
        bandwidth: None,
        run_dir: directory.join("run"),
        state_dir: directory.join("state"),
        pin_root: directory.join("pins"),
        max_connections: 3,
        peering: peering(),
    }
}

fn peering() -> Peering {
    Peering {
        child_lifetime: None,
        dpd_interval: None,
        ike_proposals: Vec::new(),
        esp_proposals: Vec::new(),
        force_udp_encapsulation: false,
    }
}

/// A configuration with VNet1 (10.1.0.0/16) connected to VNet2, VNet3, … (10.2.0.0/16, …) with these gateway addresses, and
/// VNet2 connected back to VNet1 at 192.0.2.1.
pub(super) fn netcfg_xml(gateway_addresses: &[&str]) -> String {
    let mut sites = site("VNet1", "10.1.0.0/16", "192.0.2.1");
    let mut references = String::new();
    for (index, address) in gateway_addresses.iter().enumerate() {
        let number = index + 2;
        sites += &site(&format!("VNet{number}"), &format!("10.{number}.0.0/16"), address);
        references.extend(["<LocalNetworkSiteRef name=\"", &format!("VNet{number}"), "\"/>"]);
    }
    format!(
        r#"<NetworkConfiguration xmlns="http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration">
<VirtualNetworkConfiguration>
<LocalNetworkSites>{sites}</LocalNetworkSites>
<VirtualNetworkSites>{}{}</VirtualNetworkSites>
</VirtualNetworkConfiguration></NetworkConfiguration>"#,
        vnet("VNet1", "10.1", &references),
        vnet("VNet2", "10.2", r#"<LocalNetworkSiteRef name="VNet1"/>"#),
    )
}

fn site(name: &str, prefix: &str, address: &str) -> String {
    format!(
        r#"<LocalNetworkSite name="{name}"><AddressSpace><AddressPrefix>{prefix}</AddressPrefix></AddressSpace>
<VPNGatewayAddress>{address}</VPNGatewayAddress></LocalNetworkSite>"#
    )
}

fn vnet(name: &str, start: &str, references: &str) -> String {
    format!(
        r#"<VirtualNetworkSite name="{name}" Location="here">
<AddressSpace><AddressPrefix>{start}.0.0/16</AddressPrefix></AddressSpace>
<Subnets>
<Subnet name="Front"><AddressPrefix>{start}.0.0/24</AddressPrefix></Subnet>
<Subnet name="GatewaySubnet"><AddressPrefix>{start}.255.0/27</AddressPrefix></Subnet>
</Subnets>
<Gateway><ConnectionsToLocalNetwork>{references}</ConnectionsToLocalNetwork></Gateway>
</VirtualNetworkSite>"#
    )
}

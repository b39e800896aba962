//! Rules between values: names, references, ranges, connections.

#[path = "netcfg/mod.rs"]
mod fixtures;

use std::fmt::Write as _;

use gateway_user::netcfg::{self, ErrorKind, Limits};

use fixtures::{GOOD, assert_change, assert_errors, changed, report};

const VNET2_SITE: &str = r#"<LocalNetworkSite name="VNet2">"#;
const BRANCH: &str = r#"<LocalNetworkSite name="Branch.Office_7">"#;
const VNET1: &str = r#"<VirtualNetworkSite name="VNet1""#;

#[test]
fn duplicate_names() {
    assert_change(
        "<Dns>",
        "</DnsServers>",
        "<DnsServer name=\"dns1\" IPAddress=\"10.1.0.5\" /></DnsServers>",
        ErrorKind::DuplicateName,
        "bad.xml:8: Dns/DnsServers/DnsServer[dns1]/@name: a second DnsServer named \"dns1\" (first on line 6)",
    );
    assert_change(
        VNET1,
        "Frontend",
        "GatewaySubnet",
        ErrorKind::DuplicateName,
        "bad.xml:41: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet[GatewaySubnet]/@name: \
         a second Subnet named \"GatewaySubnet\" (first on line 38)",
    );
    assert_errors(
        &GOOD.replace("</LocalNetworkSites>", "<LocalNetworkSite name=\"Branch.Office_7\"><AddressSpace>\
             <AddressPrefix>192.168.9.0/24</AddressPrefix></AddressSpace></LocalNetworkSite></LocalNetworkSites>"),
        &[ErrorKind::DuplicateName],
        "bad.xml:30: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/@name: \
         a second LocalNetworkSite named \"Branch.Office_7\" (first on line 23)",
    );
    assert_errors(
        &GOOD.replace("</VirtualNetworkSites>", "<VirtualNetworkSite name=\"VNet2\" Location=\"L\"><AddressSpace>\
             <AddressPrefix>10.2.0.0/16</AddressPrefix></AddressSpace></VirtualNetworkSite></VirtualNetworkSites>"),
        &[ErrorKind::DuplicateName],
        "bad.xml:80: VirtualNetworkSites/VirtualNetworkSite[VNet2]/@name: \
         a second VirtualNetworkSite named \"VNet2\" (first on line 63)",
    );
}

#[test]
fn unresolved_references() {
    assert_change(
        "<DnsServersRef>",
        "dns1",
        "dns3",
        ErrorKind::UnresolvedReference,
        "bad.xml:46: VirtualNetworkSites/VirtualNetworkSite[VNet1]/DnsServersRef/DnsServerRef[dns3]/@name: \
         no DnsServer is named \"dns3\"",
    );
    assert_change(
        "<ConnectionsToLocalNetwork>",
        "VNet2",
        "vnet2",
        ErrorKind::UnresolvedReference,
        "bad.xml:54: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
         LocalNetworkSiteRef[vnet2]/@name: no LocalNetworkSite is named \"vnet2\"; \"VNet2\" differs in case",
    );
}

#[test]
fn repeated_references() {
    assert_change(
        "<DnsServersRef>",
        "dns2",
        "dns1",
        ErrorKind::RepeatedReference,
        "bad.xml:47: VirtualNetworkSites/VirtualNetworkSite[VNet1]/DnsServersRef/DnsServerRef[dns1]/@name: \
         a second reference to \"dns1\" (first on line 46)",
    );
}

#[test]
fn subnets_outside_their_network() {
    assert_change(
        VNET1,
        "10.1.0.0/24",
        "10.2.0.0/24",
        ErrorKind::SubnetOutsideNetwork,
        "bad.xml:39: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet[Frontend]/AddressPrefix: \
         10.2.0.0/24 is not inside one prefix of the address space of VirtualNetworkSite \"VNet1\" (10.1.0.0/16)",
    );
}

#[test]
fn subnets_that_overlap() {
    assert_change(
        VNET1,
        "10.1.0.0/24",
        "10.1.255.0/24",
        ErrorKind::Overlap,
        "bad.xml:42: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet[GatewaySubnet]/AddressPrefix: \
         10.1.255.0/27 of Subnet \"GatewaySubnet\" (line 42) overlaps 10.1.255.0/24 of Subnet \"Frontend\" (line 39)",
    );
}

#[test]
fn address_spaces_that_overlap_themselves() {
    assert_change(
        BRANCH,
        "192.168.0.0/24",
        "192.168.0.0/16",
        ErrorKind::Overlap,
        "bad.xml:26: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/AddressSpace/AddressPrefix: \
         192.168.1.0/24 of LocalNetworkSite \"Branch.Office_7\" (line 26) overlaps \
         192.168.0.0/16 of LocalNetworkSite \"Branch.Office_7\" (line 25)",
    );
    // The same range twice in a network and in the site that stands for it.
    let twice = GOOD.replace(
        "<AddressPrefix>10.2.0.0/16</AddressPrefix>",
        "<AddressPrefix>10.2.0.0/16</AddressPrefix><AddressPrefix>10.2.0.0/16</AddressPrefix>",
    );
    assert_errors(
        &twice,
        &[ErrorKind::Overlap, ErrorKind::Overlap],
        "bad.xml:19: LocalNetworkSites/LocalNetworkSite[VNet2]/AddressSpace/AddressPrefix: \
         10.2.0.0/16 of LocalNetworkSite \"VNet2\" (line 19) overlaps \
         10.2.0.0/16 of LocalNetworkSite \"VNet2\" (line 19)\n\
         bad.xml:65: VirtualNetworkSites/VirtualNetworkSite[VNet2]/AddressSpace/AddressPrefix: \
         10.2.0.0/16 of VirtualNetworkSite \"VNet2\" (line 65) overlaps \
         10.2.0.0/16 of VirtualNetworkSite \"VNet2\" (line 65)",
    );
    assert_change(
        VNET1,
        "<AddressPrefix>172.16.201.0/24</AddressPrefix>",
        "<AddressPrefix>172.16.201.0/24</AddressPrefix><AddressPrefix>172.16.0.0/16</AddressPrefix>",
        ErrorKind::Overlap,
        "bad.xml:51: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/VPNClientAddressPool/AddressPrefix: \
         172.16.201.0/24 of VPNClientAddressPool of VirtualNetworkSite \"VNet1\" (line 51) overlaps \
         172.16.0.0/16 of VPNClientAddressPool of VirtualNetworkSite \"VNet1\" (line 51)",
    );
}

#[test]
fn ranges_that_meet_on_a_gateway() {
    // Network and site.
    assert_change(
        BRANCH,
        "192.168.0.0/24",
        "10.1.7.0/24",
        ErrorKind::Overlap,
        "bad.xml:35: VirtualNetworkSites/VirtualNetworkSite[VNet1]/AddressSpace/AddressPrefix: \
         10.1.0.0/16 of VirtualNetworkSite \"VNet1\" (line 35) overlaps \
         10.1.7.0/24 of LocalNetworkSite \"Branch.Office_7\" (line 25) on the gateway of VirtualNetworkSite \"VNet1\"",
    );
    // Site and site.
    assert_change(
        BRANCH,
        "192.168.0.0/24",
        "10.2.128.0/17",
        ErrorKind::Overlap,
        "bad.xml:25: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/AddressSpace/AddressPrefix: \
         10.2.128.0/17 of LocalNetworkSite \"Branch.Office_7\" (line 25) overlaps \
         10.2.0.0/16 of LocalNetworkSite \"VNet2\" (line 19) on the gateway of VirtualNetworkSite \"VNet1\"",
    );
    // Pool and network.
    assert_change(
        VNET1,
        "172.16.201.0/24",
        "10.1.201.0/24",
        ErrorKind::Overlap,
        "bad.xml:51: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/VPNClientAddressPool/AddressPrefix: \
         10.1.201.0/24 of VPNClientAddressPool of VirtualNetworkSite \"VNet1\" (line 51) overlaps \
         10.1.0.0/16 of VirtualNetworkSite \"VNet1\" (line 35) on the gateway of VirtualNetworkSite \"VNet1\"",
    );
    // Pool and site.
    assert_change(
        VNET1,
        "172.16.201.0/24",
        "192.168.1.0/25",
        ErrorKind::Overlap,
        "bad.xml:51: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/VPNClientAddressPool/AddressPrefix: \
         192.168.1.0/25 of VPNClientAddressPool of VirtualNetworkSite \"VNet1\" (line 51) overlaps \
         192.168.1.0/24 of LocalNetworkSite \"Branch.Office_7\" (line 26) on the gateway of VirtualNetworkSite \"VNet1\"",
    );
}

#[test]
fn a_range_inside_a_nested_pair_is_compared_with_the_other_owner() {
    // 10.1.7.0/25 and 10.1.7.0/24 have one owner and lie in the network.
    let text = changed(BRANCH, "192.168.0.0/24", "10.1.7.0/24").replace("192.168.1.0/24", "10.1.7.0/25");
    let display = report(text).to_string();
    for expected in [
        "10.1.7.0/25 of LocalNetworkSite \"Branch.Office_7\" (line 26) overlaps 10.1.7.0/24",
        "overlaps 10.1.7.0/24 of LocalNetworkSite \"Branch.Office_7\" (line 25) on the gateway",
        "overlaps 10.1.7.0/25 of LocalNetworkSite \"Branch.Office_7\" (line 26) on the gateway",
    ] {
        assert!(display.contains(expected), "{expected}\n---\n{display}");
    }
    assert_eq!(display.lines().count(), 3);
}

#[test]
fn a_site_that_stands_for_a_network_has_its_address_space() {
    assert_change(
        VNET2_SITE,
        "10.2.0.0/16",
        "10.2.0.0/17",
        ErrorKind::SiteDiffersFromNetwork,
        "bad.xml:17: LocalNetworkSites/LocalNetworkSite[VNet2]/@name: stands for VirtualNetworkSite \"VNet2\" (line 63) \
         and must have its address space 10.2.0.0/16; has 10.2.0.0/17",
    );
    let mut many = String::new();
    for third in 0..12 {
        write!(many, "<AddressPrefix>10.2.{third}.0/24</AddressPrefix>").unwrap();
    }
    assert_change(
        VNET2_SITE,
        "<AddressPrefix>10.2.0.0/16</AddressPrefix>",
        &many,
        ErrorKind::SiteDiffersFromNetwork,
        "bad.xml:17: LocalNetworkSites/LocalNetworkSite[VNet2]/@name: stands for VirtualNetworkSite \"VNet2\" (line 63) \
         and must have its address space 10.2.0.0/16; has 10.2.0.0/24, 10.2.1.0/24, 10.2.2.0/24, 10.2.3.0/24, \
         10.2.4.0/24, 10.2.5.0/24, 10.2.6.0/24, 10.2.7.0/24 and 4 more",
    );
}

#[test]
fn a_gateway_needs_a_gateway_subnet() {
    assert_change(
        VNET1,
        "GatewaySubnet",
        "Gateways",
        ErrorKind::MissingGatewaySubnet,
        "bad.xml:49: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway: \
         a gateway needs a Subnet named exactly \"GatewaySubnet\"",
    );
    assert_change(
        VNET1,
        "GatewaySubnet",
        "gatewaysubnet",
        ErrorKind::MissingGatewaySubnet,
        "bad.xml:49: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway: \
         a gateway needs a Subnet named exactly \"GatewaySubnet\"; \"gatewaysubnet\" differs in case",
    );
}

#[test]
fn too_many_connections() {
    let with = |count: usize| {
        let (mut sites, mut references) = (String::new(), String::new());
        for number in 0..count {
            write!(
                sites,
                "<LocalNetworkSite name=\"S{number}\"><AddressSpace><AddressPrefix>10.100.{number}.0/24</AddressPrefix>\
                 </AddressSpace></LocalNetworkSite>"
            )
            .unwrap();
            write!(references, "<LocalNetworkSiteRef name=\"S{number}\" />").unwrap();
        }
        let text = GOOD.replace("</LocalNetworkSites>", &(sites + "</LocalNetworkSites>"));
        text.replacen("</ConnectionsToLocalNetwork>", &(references + "</ConnectionsToLocalNetwork>"), 1)
    };
    // Two are in the file.
    assert!(netcfg::parse("", with(8).as_bytes(), &Limits::default()).is_ok());
    let path = "VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway";
    let display = format!("bad.xml:49: {path}: 11 connections; at most 10");
    assert_errors(&with(9), &[ErrorKind::TooManyConnections], &display);
    assert!(netcfg::parse("", with(28).as_bytes(), &Limits { max_connections: 30 }).is_ok());
    let report = netcfg::parse("f", with(0).as_bytes(), &Limits { max_connections: 1 }).unwrap_err();
    assert_eq!(report.to_string(), format!("f:49: {path}: 2 connections; at most 1"));
}

#[test]
fn redundant_connections() {
    let path = "VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork";
    assert_change(
        "<ConnectionsToLocalNetwork>",
        "Branch.Office_7",
        "VNet2",
        ErrorKind::RedundantConnection,
        &format!(
            "bad.xml:57: {path}/LocalNetworkSiteRef[VNet2]/@name: a second connection to \"VNet2\" (line 54)"
        ),
    );
    let text = GOOD.replace("192.168.1.0/24", "10.3.0.0/16").replace(
        "</LocalNetworkSites>",
        "<LocalNetworkSite name=\"Copy\"><AddressSpace><AddressPrefix>10.3.0.0/16</AddressPrefix>\
         <AddressPrefix>192.168.0.0/24</AddressPrefix></AddressSpace></LocalNetworkSite></LocalNetworkSites>",
    );
    assert_errors(
        &text.replacen(
            "</ConnectionsToLocalNetwork>",
            "<LocalNetworkSiteRef name=\"Copy\" /></ConnectionsToLocalNetwork>",
            1,
        ),
        &[ErrorKind::RedundantConnection],
        &format!(
            "bad.xml:60: {path}/LocalNetworkSiteRef[Copy]/@name: \"Copy\" has the same address space as \
             \"Branch.Office_7\" (line 57); a second connection to it is redundant"
        ),
    );
}

#[test]
fn gateway_addresses_of_two_connections() {
    assert_change(
        VNET2_SITE,
        "0.0.0.0",
        "2001:db8::1",
        ErrorKind::SharedGatewayAddress,
        "bad.xml:28: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/VPNGatewayAddress: 2001:db8::1 is the gateway \
         address of LocalNetworkSite \"VNet2\" too; connections of one gateway (VirtualNetworkSite \"VNet1\") need \
         different ones",
    );
}

#[test]
fn gateway_names_of_two_connections() {
    let named = changed(VNET2_SITE, "0.0.0.0", "GW.example");
    assert!(netcfg::parse("", named.as_bytes(), &Limits::default()).is_ok());
    let report = report(named.replace("2001:db8::1<", "gw.Example<"));
    assert_eq!(
        report.to_string(),
        "bad.xml:28: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/VPNGatewayAddress: gw.example is the gateway \
         address of LocalNetworkSite \"VNet2\" too; connections of one gateway (VirtualNetworkSite \"VNet1\") need \
         different ones"
    );
}

#[test]
fn ipv6_prefixes_follow_the_same_rules() {
    let site_prefix = "LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/AddressSpace/AddressPrefix";
    let replaced = |prefixes: &str| {
        let elements = prefixes.replace(' ', "</AddressPrefix><AddressPrefix>");
        GOOD.replace(">192.168.0.0/24<", &format!(">{elements}<"))
    };
    let both = replaced("192.168.0.0/24 fd00:7::/48 fd00:8::/64");
    assert!(netcfg::parse("", both.as_bytes(), &Limits::default()).is_ok());
    for (prefixes, kind, display) in [
        (
            "fd00:7::/48 fd00:7:0:1::/64",
            ErrorKind::Overlap,
            format!(
                "bad.xml:25: {site_prefix}: fd00:7:0:1::/64 of LocalNetworkSite \"Branch.Office_7\" (line 25) overlaps \
                 fd00:7::/48 of LocalNetworkSite \"Branch.Office_7\" (line 25)"
            ),
        ),
        (
            "2001:db8::/64",
            ErrorKind::GatewayAddressInSite,
            "bad.xml:28: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/VPNGatewayAddress: 2001:db8::1 lies inside \
             2001:db8::/64 (line 25), which is reached through it"
                .to_owned(),
        ),
    ] {
        let report = report(replaced(prefixes));
        assert_eq!((report.errors[0].kind, report.to_string()), (kind, display));
    }
}

#[test]
fn a_gateway_address_behind_its_own_tunnel() {
    assert_change(
        VNET2_SITE,
        "0.0.0.0",
        "10.2.3.4",
        ErrorKind::GatewayAddressInSite,
        "bad.xml:21: LocalNetworkSites/LocalNetworkSite[VNet2]/VPNGatewayAddress: 10.2.3.4 lies inside 10.2.0.0/16 \
         (line 19), which is reached through it",
    );
}

#[test]
fn a_network_connected_to_itself() {
    assert_change(
        "<ConnectionsToLocalNetwork>",
        "VNet2",
        "VNet1",
        ErrorKind::SelfConnection,
        "bad.xml:54: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
         LocalNetworkSiteRef[VNet1]/@name: \"VNet1\" cannot connect to the site that stands for itself",
    );
}

#[test]
fn a_range_that_cannot_be_read_causes_no_other_errors() {
    // Two sites without a readable range do not have the same address space, nor another one than their network.
    let sites = changed(VNET2_SITE, "10.2.0.0/16", "ten")
        .replace("192.168.0.0/24", "a")
        .replace("192.168.1.0/24", "b");
    // Subnets are not outside a network whose range is unknown.
    let network = changed(VNET1, "<AddressPrefix>10.1.0.0/16", "<AddressPrefix>ten");
    for (text, lines) in [(sites, &[19, 25, 26][..]), (network, &[35])] {
        let found: Vec<_> = report(text).errors.into_iter().map(|error| (error.line, error.kind)).collect();
        let expected: Vec<_> = lines.iter().map(|line| (*line, ErrorKind::InvalidPrefix)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn all_errors_are_reported_at_once_in_line_order() {
    let text = GOOD
        .replace("name=\"dns2\"", "name=\"dns2\" port=\"53\"")
        .replace("192.168.0.0/24", "192.168.0.9/24")
        .replace("192.168.1.0/24", "192.168.1.0")
        .replace("type=\"IPsec\"", "type=\"Dedicated\"")
        .replace("profile=\"default\"", "profile=\"fast\"")
        .replace("10.2.255.0/27", "10.3.255.0/27");
    let found: Vec<_> = report(text).errors.into_iter().map(|error| (error.line, error.kind)).collect();
    assert_eq!(
        found,
        [
            (7, ErrorKind::UnknownAttribute),
            (25, ErrorKind::HostBits),
            (26, ErrorKind::InvalidPrefix),
            (47, ErrorKind::UnknownAttribute),
            (55, ErrorKind::ConnectionType),
            (58, ErrorKind::ConnectionType),
            (69, ErrorKind::SubnetOutsideNetwork),
            (72, ErrorKind::Profile),
            (75, ErrorKind::ConnectionType),
        ]
    );
}

#[test]
fn peers_lie_outside_of_everything_their_gateway_connects() {
    // Inside another site of the same gateway.
    assert_change(
        VNET2_SITE,
        "0.0.0.0",
        "192.168.1.7",
        ErrorKind::GatewayAddressInSite,
        "bad.xml:21: LocalNetworkSites/LocalNetworkSite[VNet2]/VPNGatewayAddress: 192.168.1.7 of LocalNetworkSite \
         \"VNet2\" lies inside 192.168.1.0/24 of LocalNetworkSite \"Branch.Office_7\" (line 26); the gateway of \
         VirtualNetworkSite \"VNet1\" reaches peers outside of its network and sites only",
    );
    // Inside the gateway's own network.
    assert_change(
        BRANCH,
        "2001:db8::1",
        "10.1.0.9",
        ErrorKind::GatewayAddressInSite,
        "bad.xml:28: LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/VPNGatewayAddress: 10.1.0.9 of \
         LocalNetworkSite \"Branch.Office_7\" lies inside 10.1.0.0/16 of VirtualNetworkSite \"VNet1\" (line 35); the \
         gateway of VirtualNetworkSite \"VNet1\" reaches peers outside of its network and sites only",
    );
    // VNet2's gateway does not connect to the branch: there its prefixes are addresses like any other.
    let elsewhere = changed("<LocalNetworkSite name=\"VNet1\">", "203.0.113.1", "192.168.1.7");
    assert!(netcfg::parse("good.xml", elsewhere.as_bytes(), &Limits::default()).is_ok());
}

//! Single values that break a rule: names, texts, addresses, prefixes, profiles, connection types.

#[path = "netcfg/mod.rs"]
mod fixtures;

use gateway_user::netcfg::{self, ErrorKind, Limits};

use fixtures::{GOOD, assert_change, changed, report};

const VNET1_SITE: &str = r#"<LocalNetworkSite name="VNet1">"#;
const BRANCH: &str = r#"<LocalNetworkSite name="Branch.Office_7">"#;
const VNET1: &str = r#"<VirtualNetworkSite name="VNet1""#;
const VNET2: &str = r#"<VirtualNetworkSite name="VNet2""#;

#[test]
fn names() {
    for (name, shown) in [
        ("", ""),
        ("../../etc", "../../etc"),
        ("..", ".."),
        (".", "."),
        ("a..b", "a..b"),
        (".hidden", ".hidden"),
        ("-flag", "-flag"),
        ("a/b", "a/b"),
        ("a\\b", "a\\\\b"),
        ("a b", "a b"),
        ("a&#10;b", "a\\nb"),
        ("a&#x9b;b", "a\\u{9b}b"),
        ("caf\u{e9}", "caf\u{e9}"),
        ("&quot;", "\\\""),
        (&"n".repeat(64), &"n".repeat(64)),
        (&"n".repeat(81), &("n".repeat(80) + "...")),
    ] {
        let display = format!(
            "bad.xml:38: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Subnets/Subnet[{shown}]/@name: \
             \"{shown}\" is not a name; a name has 1 to 63 letters, digits, \"-\", \"_\" or \".\", \
             begins with a letter or digit and has no \"..\""
        );
        assert_change(VNET1, "Frontend", name, ErrorKind::InvalidName, &display);
    }
    for name in ["n", "7", "a.b-c_d", &"n".repeat(63)] {
        let text = changed(VNET1, "Frontend", name);
        assert!(netcfg::parse("", text.as_bytes(), &Limits::default()).is_ok(), "{name}");
    }
}

#[test]
fn names_of_every_sort() {
    let text = GOOD
        .replace("dns1", "dns/1")
        .replace("Branch.Office_7", "Branch/7")
        .replace("\"VNet2\"", "\"VNet/2\"");
    let paths: Vec<_> = report(text).errors.into_iter().map(|error| error.path).collect();
    assert_eq!(
        paths,
        [
            "Dns/DnsServers/DnsServer[dns/1]/@name",
            "LocalNetworkSites/LocalNetworkSite[VNet/2]/@name",
            "LocalNetworkSites/LocalNetworkSite[Branch/7]/@name",
            "VirtualNetworkSites/VirtualNetworkSite[VNet1]/DnsServersRef/DnsServerRef[dns/1]/@name",
            "VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
             LocalNetworkSiteRef[VNet/2]/@name",
            "VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
             LocalNetworkSiteRef[Branch/7]/@name",
            "VirtualNetworkSites/VirtualNetworkSite[VNet/2]/@name",
        ]
    );
}

#[test]
fn texts() {
    assert_change(
        VNET1,
        "First",
        "First\nline",
        ErrorKind::InvalidText,
        "bad.xml:33: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Label: \
         \"First\\nline & foremost <network>\" is not a label; it has 0 to 256 characters and no control characters",
    );
    assert_change(
        VNET1,
        "West Europe",
        "",
        ErrorKind::InvalidText,
        "bad.xml:32: VirtualNetworkSites/VirtualNetworkSite[VNet1]/@Location: \
         \"\" is not a location or affinity group; it has 1 to 128 characters and no control characters",
    );
    assert_change(
        VNET2,
        "Group 2",
        "Group&#x9b;2J",
        ErrorKind::InvalidText,
        "bad.xml:63: VirtualNetworkSites/VirtualNetworkSite[VNet2]/@AffinityGroup: \
         \"Group\\u{9b}2J\" is not a location or affinity group; it has 1 to 128 characters and no control characters",
    );
    let location = "&amp;".repeat(128);
    let text = changed(VNET1, "West Europe", &location);
    assert!(netcfg::parse("", text.as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn gateway_addresses() {
    let path = "LocalNetworkSites/LocalNetworkSite[VNet1]/VPNGatewayAddress";
    let neither = "neither an IPv4 or IPv6 address nor a host name; a host name has labels of 1 to 63 letters, digits and \
                   \"-\" joined by \".\", none begins or ends with \"-\", the last is no number, and all has at most 253 \
                   characters (RFC 1123)";
    for text in [
        "gateway_1.example",
        "gateway.example.",
        "-gateway.example",
        "203.0.113.1/32",
        "203.0.113.01",
        "fe80::1%wan0",
    ] {
        let display = format!("bad.xml:15: {path}: \"{text}\" is {neither}");
        assert_change(VNET1_SITE, "203.0.113.1", text, ErrorKind::InvalidAddress, &display);
    }
    for (address, problem) in [
        ("224.0.0.5", "\"224.0.0.5\" is a multicast address; expected a unicast address"),
        (
            "255.255.255.255",
            "\"255.255.255.255\" is a reserved or broadcast address; expected a unicast address",
        ),
        ("0.0.0.1", "\"0.0.0.1\" is an address of \"this network\"; expected a unicast address"),
        ("ff02::1", "\"ff02::1\" is a multicast address; expected a unicast address"),
        (
            "fe80::1",
            "\"fe80::1\" is a link-local address, which means nothing without an interface; expected a unicast address",
        ),
        (
            "::ffff:1.2.3.4",
            "\"::ffff:1.2.3.4\" is an IPv4-mapped address, to be written as IPv4; expected a unicast address",
        ),
    ] {
        let display = format!("bad.xml:15: {path}: {problem}");
        assert_change(VNET1_SITE, "203.0.113.1", address, ErrorKind::InvalidAddress, &display);
    }
    for address in ["", "0.0.0.0", "::", "127.0.0.1", "2001:db8::2", "198.51.100.7", "gw", "GW-1.example"] {
        let text = changed(VNET1_SITE, "203.0.113.1", address);
        assert!(netcfg::parse("", text.as_bytes(), &Limits::default()).is_ok(), "{address}");
    }
}

#[test]
fn dns_server_addresses() {
    for (address, problem) in [
        ("0.0.0.0", "\"0.0.0.0\" is an address of \"this network\"; expected a unicast address"),
        ("::", "\"::\" is the unspecified address; expected a unicast address"),
        ("dns.example", "\"dns.example\" is not an IPv4 or IPv6 address"),
    ] {
        let display = format!("bad.xml:6: Dns/DnsServers/DnsServer[dns1]/@IPAddress: {problem}");
        assert_change("<Dns>", "10.1.0.4", address, ErrorKind::InvalidAddress, &display);
    }
}

#[test]
fn prefixes() {
    let path = "LocalNetworkSites/LocalNetworkSite[Branch.Office_7]/AddressSpace/AddressPrefix";
    let not_a_prefix =
        "is not an IPv4 or IPv6 prefix; expected an address and a length as in 10.1.0.0/16 or fd00:1::/48";
    let no_network = "which no network can have";
    for (prefix, kind, problem) in [
        ("", ErrorKind::InvalidPrefix, format!("\"\" {not_a_prefix}")),
        ("192.168.0.0", ErrorKind::InvalidPrefix, format!("\"192.168.0.0\" {not_a_prefix}")),
        ("192.168.0/24", ErrorKind::InvalidPrefix, format!("\"192.168.0/24\" {not_a_prefix}")),
        ("192.168.0.0/33", ErrorKind::InvalidPrefix, format!("\"192.168.0.0/33\" {not_a_prefix}")),
        ("192.168.0.0/+24", ErrorKind::InvalidPrefix, format!("\"192.168.0.0/+24\" {not_a_prefix}")),
        ("192.168.0.0/024", ErrorKind::InvalidPrefix, format!("\"192.168.0.0/024\" {not_a_prefix}")),
        ("192.168.0.0/", ErrorKind::InvalidPrefix, format!("\"192.168.0.0/\" {not_a_prefix}")),
        ("2001:db8::", ErrorKind::InvalidPrefix, format!("\"2001:db8::\" {not_a_prefix}")),
        ("2001:db8::/129", ErrorKind::InvalidPrefix, format!("\"2001:db8::/129\" {not_a_prefix}")),
        ("fe80::%1/64", ErrorKind::InvalidPrefix, format!("\"fe80::%1/64\" {not_a_prefix}")),
        (
            "192.168.0.1/24",
            ErrorKind::HostBits,
            "192.168.0.1/24 has bits set beyond its length; the network is 192.168.0.0/24".to_owned(),
        ),
        ("192.168.0.0/30", ErrorKind::PrefixLength, "192.168.0.0/30 is not between /8 and /29".to_owned()),
        ("64.0.0.0/7", ErrorKind::PrefixLength, "64.0.0.0/7 is not between /8 and /29".to_owned()),
        (
            "2001:db8:1::1/64",
            ErrorKind::HostBits,
            "2001:db8:1::1/64 has bits set beyond its length; the network is 2001:db8:1::/64".to_owned(),
        ),
        (
            "2001:db8:1::/127",
            ErrorKind::PrefixLength,
            "2001:db8:1::/127 is not between /16 and /126".to_owned(),
        ),
        ("2002::/15", ErrorKind::PrefixLength, "2002::/15 is not between /16 and /126".to_owned()),
        (
            "::ffff:10.0.0.0/104",
            ErrorKind::UnusableRange,
            format!("::ffff:10.0.0.0/104 overlaps the reserved range ::/8, {no_network}"),
        ),
        (
            "fe80:0:0:1::/64",
            ErrorKind::UnusableRange,
            format!("fe80:0:0:1::/64 overlaps the link-local range fe80::/10, {no_network}"),
        ),
        (
            "ff02::/16",
            ErrorKind::UnusableRange,
            format!("ff02::/16 overlaps the multicast range ff00::/8, {no_network}"),
        ),
        (
            "0.0.0.0/8",
            ErrorKind::UnusableRange,
            format!("0.0.0.0/8 overlaps the \"this network\" range 0.0.0.0/8, {no_network}"),
        ),
        (
            "127.1.0.0/16",
            ErrorKind::UnusableRange,
            format!("127.1.0.0/16 overlaps the loopback range 127.0.0.0/8, {no_network}"),
        ),
        (
            "169.254.0.0/16",
            ErrorKind::UnusableRange,
            format!("169.254.0.0/16 overlaps the link-local range 169.254.0.0/16, {no_network}"),
        ),
        (
            "169.0.0.0/8",
            ErrorKind::UnusableRange,
            format!("169.0.0.0/8 overlaps the link-local range 169.254.0.0/16, {no_network}"),
        ),
        (
            "239.1.2.0/24",
            ErrorKind::UnusableRange,
            format!("239.1.2.0/24 overlaps the multicast range 224.0.0.0/4, {no_network}"),
        ),
        (
            "255.255.255.0/24",
            ErrorKind::UnusableRange,
            format!("255.255.255.0/24 overlaps the reserved range 240.0.0.0/4, {no_network}"),
        ),
    ] {
        assert_change(BRANCH, "192.168.0.0/24", prefix, kind, &format!("bad.xml:25: {path}: {problem}"));
    }
    for prefix in
        ["64.0.0.0/8", "192.168.0.0/29", "198.51.100.0/24", "2001:DB8:8000::/33", "fd00::/16", "fd00::/126"]
    {
        let text = changed(BRANCH, "192.168.0.0/24", prefix);
        assert!(netcfg::parse("", text.as_bytes(), &Limits::default()).is_ok(), "{prefix}");
    }
}

#[test]
fn profiles() {
    assert_change(
        VNET1,
        "azure",
        "Azure",
        ErrorKind::Profile,
        "bad.xml:49: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/@profile: \
         \"Azure\" is not a profile; expected default or azure",
    );
}

#[test]
fn connection_types() {
    for (kind, problem) in [("Dedicated", "is not supported"), ("ipsec", "is not a connection type")] {
        let display = format!(
            "bad.xml:55: VirtualNetworkSites/VirtualNetworkSite[VNet1]/Gateway/ConnectionsToLocalNetwork/\
             LocalNetworkSiteRef[VNet2]/Connection/@type: \"{kind}\" {problem}; expected IPsec"
        );
        assert_change(VNET1, "IPsec", kind, ErrorKind::ConnectionType, &display);
    }
}

#[test]
fn placement() {
    let path = "VirtualNetworkSites/VirtualNetworkSite[VNet1]";
    assert_change(
        VNET1,
        " Location=\"West Europe\"",
        "",
        ErrorKind::Placement,
        &format!(
            "bad.xml:32: {path}: attribute Location or AffinityGroup is missing; exactly one is required"
        ),
    );
    assert_change(
        VNET1,
        "Location",
        "AffinityGroup=\"Group 1\" Location",
        ErrorKind::Placement,
        &format!(
            "bad.xml:32: {path}: has both attributes Location and AffinityGroup; exactly one is required"
        ),
    );
}

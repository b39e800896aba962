//! Good network configuration files: what they mean, how they are written back, what an agent finds in them.

use gateway_user::model::{
    ConnectionKind, ConnectionRef, ConnectionState, DnsServer, Gateway, GatewayAddress, GatewayState,
    LocalNetworkSite, LookupError, NetworkConfiguration, Placement, Profile, ResolvedConnection, SharedKey,
    SharedKeyError, Subnet, VirtualNetworkSite,
};
use gateway_user::netcfg::{self, Limits};

const TWO_NETWORKS: &str = include_str!("netcfg/two-networks.xml");
const ANY_ORDER: &str = include_str!("netcfg/any-order.xml");

fn parse(text: &str) -> NetworkConfiguration {
    netcfg::parse("good.xml", text.as_bytes(), &Limits::default()).unwrap_or_else(|report| panic!("{report}"))
}

fn connection(site: &str) -> ConnectionRef {
    ConnectionRef { site: site.to_owned(), kind: ConnectionKind::Ipsec }
}

fn subnet(name: &str, prefix: &str) -> Subnet {
    Subnet { name: name.to_owned(), prefix: prefix.parse().unwrap() }
}

fn site(name: &str, space: &[&str], address: &str) -> LocalNetworkSite {
    LocalNetworkSite {
        name: name.to_owned(),
        address_space: space.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        gateway_address: Some(address.parse().unwrap()),
    }
}

fn two_networks() -> NetworkConfiguration {
    NetworkConfiguration {
        dns_servers: vec![
            DnsServer { name: "dns1".to_owned(), address: "10.1.0.4".parse().unwrap() },
            DnsServer { name: "dns2".to_owned(), address: "2001:db8::53".parse().unwrap() },
        ],
        local_network_sites: vec![
            site("VNet1", &["10.1.0.0/16"], "203.0.113.1"),
            site("VNet2", &["10.2.0.0/16"], "0.0.0.0"),
            site("Branch.Office_7", &["192.168.0.0/24", "192.168.1.0/24"], "2001:db8::1"),
        ],
        virtual_networks: vec![
            VirtualNetworkSite {
                name: "VNet1".to_owned(),
                placement: Placement::Location("West Europe".to_owned()),
                label: Some("First & foremost <network>".to_owned()),
                address_space: vec!["10.1.0.0/16".parse().unwrap()],
                subnets: vec![subnet("Frontend", "10.1.0.0/24"), subnet("GatewaySubnet", "10.1.255.0/27")],
                dns_servers: vec!["dns1".to_owned(), "dns2".to_owned()],
                gateway: Some(Gateway {
                    profile: Profile::Azure,
                    client_address_pool: vec!["172.16.201.0/24".parse().unwrap()],
                    connections: vec![connection("VNet2"), connection("Branch.Office_7")],
                }),
            },
            VirtualNetworkSite {
                name: "VNet2".to_owned(),
                placement: Placement::AffinityGroup("Group 2".to_owned()),
                label: None,
                address_space: vec!["10.2.0.0/16".parse().unwrap()],
                subnets: vec![subnet("GatewaySubnet", "10.2.255.0/27")],
                dns_servers: Vec::new(),
                gateway: Some(Gateway { connections: vec![connection("VNet1")], ..Gateway::default() }),
            },
        ],
    }
}

#[test]
fn the_full_example_means_what_it_says() {
    assert_eq!(parse(TWO_NETWORKS), two_networks());
}

#[test]
fn order_layout_prefix_and_namespace_scheme_do_not_matter() {
    assert_eq!(parse(ANY_ORDER), two_networks());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    let windows = format!("\u{feff}{}", TWO_NETWORKS.replace('\n', "\r\n"));
    assert_eq!(parse(&windows), two_networks());
}

#[test]
fn writing_is_canonical() {
    // The example is canonical but for the namespaces it declares and does not use.
    let (start, end) = (TWO_NETWORKS.find(" xmlns:xsd").unwrap(), TWO_NETWORKS.find(" xmlns=").unwrap());
    let canonical = format!("{}{}", &TWO_NETWORKS[..start], &TWO_NETWORKS[end..]);
    assert_eq!(netcfg::write(&two_networks()), canonical);
    assert_eq!(netcfg::write(&parse(ANY_ORDER)), canonical);
}

#[test]
fn the_empty_configuration_is_good() {
    let empty = NetworkConfiguration::default();
    assert_eq!(parse(&netcfg::write(&empty)), empty);
}

#[test]
fn a_configuration_without_a_file_is_checked_too() {
    let mut configuration = two_networks();
    assert_eq!(netcfg::validate(&configuration, &Limits::default()), Ok(()));
    configuration.virtual_networks[0].name = "../VNet1".to_owned();
    let report = netcfg::validate(&configuration, &Limits::default()).unwrap_err();
    assert!(
        report
            .to_string()
            .starts_with("configuration:32: VirtualNetworkSites/VirtualNetworkSite[../VNet1]/@name: ")
    );
}

#[test]
fn networks_and_sites_that_meet_on_no_gateway_may_overlap() {
    let text = TWO_NETWORKS
        .replace(r#"<LocalNetworkSiteRef name="Branch.Office_7">"#, r#"<LocalNetworkSiteRef name="Other">"#);
    let other = r#"
      <LocalNetworkSite name="Other"><AddressSpace><AddressPrefix>192.168.0.0/16</AddressPrefix></AddressSpace></LocalNetworkSite>
    </LocalNetworkSites>"#;
    let configuration = parse(&text.replace("</LocalNetworkSites>", other));
    assert_eq!(configuration.local_network_sites.len(), 4);
}

#[test]
fn connections_are_resolved() {
    let configuration = two_networks();
    assert_eq!(
        configuration.connections("VNet1").unwrap(),
        [
            ResolvedConnection {
                site: "VNet2".to_owned(),
                kind: ConnectionKind::Ipsec,
                remote_prefixes: vec!["10.2.0.0/16".parse().unwrap()],
                gateway_address: None,
                virtual_network: true,
            },
            ResolvedConnection {
                site: "Branch.Office_7".to_owned(),
                kind: ConnectionKind::Ipsec,
                remote_prefixes: vec!["192.168.0.0/24".parse().unwrap(), "192.168.1.0/24".parse().unwrap()],
                gateway_address: Some("2001:db8::1".parse().unwrap()),
                virtual_network: false,
            },
        ]
    );
    assert_eq!(
        configuration.connections("vnet1"),
        Err(LookupError::NoSuchVirtualNetwork("vnet1".to_owned()))
    );
    let mut broken = configuration;
    broken.local_network_sites.pop();
    assert_eq!(broken.connections("VNet1"), Err(LookupError::NoSuchSite("Branch.Office_7".to_owned())));
    broken.virtual_networks[1].gateway = None;
    assert_eq!(broken.connections("VNet2"), Ok(Vec::new()));
}

#[test]
fn only_the_unspecified_address_is_a_placeholder() {
    for placeholder in ["0.0.0.0", "::"] {
        let address: GatewayAddress = placeholder.parse().unwrap();
        assert!(address.is_placeholder(), "{placeholder}");
    }
    for address in ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "127.0.0.1", "gw2.example"] {
        let parsed: GatewayAddress = address.parse().unwrap();
        assert!(!parsed.is_placeholder(), "{address}");
    }
    let mut branch = site("Branch", &["192.168.0.0/24"], "203.0.113.9");
    assert_eq!(branch.peer_address(), Some("203.0.113.9".parse().unwrap()));
    branch.gateway_address = None;
    assert_eq!(branch.peer_address(), None);
}

#[test]
fn the_model_survives_json() {
    let configuration = two_networks();
    let json = serde_json::to_string(&configuration).unwrap();
    assert!(json.contains(r#""location":"West Europe""#), "{json}");
    assert!(json.contains(r#"{"site":"VNet2","kind":"IPsec"}"#), "{json}");
    assert_eq!(serde_json::from_str::<NetworkConfiguration>(&json).unwrap(), configuration);
}

#[test]
fn states_have_one_name_everywhere() {
    for state in [ConnectionState::NotConnected, ConnectionState::Connecting, ConnectionState::Connected] {
        assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
    }
    for state in [
        GatewayState::NotProvisioned,
        GatewayState::Provisioning,
        GatewayState::Provisioned,
        GatewayState::Deprovisioning,
    ] {
        assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
    }
}

#[test]
fn shared_keys_are_printable_ascii_of_1_to_128_characters() {
    for good in ["x", "abcDEF123", " with space ~", &"k".repeat(128)] {
        assert_eq!(SharedKey::new(good).unwrap().expose(), good);
    }
    for (bad, error) in [
        ("", SharedKeyError::Length),
        (&*"k".repeat(129), SharedKeyError::Length),
        ("tab\tkey", SharedKeyError::Character),
        ("schl\u{fc}ssel", SharedKeyError::Character),
        ("del\u{7f}", SharedKeyError::Character),
    ] {
        assert_eq!(SharedKey::new(bad).unwrap_err(), error);
    }
    assert_eq!(SharedKeyError::Length.to_string(), "a shared key has 1 to 128 characters");
}

#[test]
fn a_shared_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", SharedKey::new("hunter2").unwrap()), "SharedKey(..)");
}

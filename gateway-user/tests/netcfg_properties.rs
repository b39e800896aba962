//! Properties of reading and writing: a round trip changes nothing, no input panics.

use gateway_user::model::{
    ConnectionKind, ConnectionRef, DnsServer, GATEWAY_SUBNET, Gateway, GatewayAddress, LocalNetworkSite,
    NetworkConfiguration, Placement, Profile, Subnet, VirtualNetworkSite,
};
use gateway_user::netcfg::{self, Limits};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("netcfg/two-networks.xml");

/// Characters that writing and reading treat specially come up often.
fn text(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        3 => prop::sample::select(vec!['&', '<', '>', '"', '\'', ' ', ';', ']', '\u{85}', '\u{2028}', '\u{fffd}']),
        2 => prop::char::range(' ', '~'),
        1 => any::<char>(),
    ];
    let permitted = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    vec(character.prop_filter("not permitted in a label", permitted), length).prop_map(String::from_iter)
}

fn name_start() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]([A-Za-z0-9_-][.]?){0,20}"
}

/// Everything random about one virtual network; its number keeps names and ranges apart.
#[derive(Clone, Debug)]
struct Seed {
    name: String,
    placement: Placement,
    label: Option<String>,
    prefixes: u8,
    subnets: u8,
    profile: Profile,
    pool: bool,
    gateway: bool,
    address: Option<GatewayAddress>,
    /// Length of an IPv6 prefix in the address space; 0 for none.
    v6: u8,
    dns: Vec<bool>,
    connections: Vec<bool>,
}

fn seed() -> impl Strategy<Value = Seed> {
    let placement = prop_oneof![
        text(1..128).prop_map(Placement::Location),
        text(1..128).prop_map(Placement::AffinityGroup),
    ];
    let ip = |address: std::net::IpAddr| GatewayAddress::Ip(address);
    let address = prop_oneof![
        Just("0.0.0.0".parse().unwrap()),
        any::<[u8; 3]>().prop_map(move |[a, b, c]| ip(std::net::Ipv4Addr::new(198, a, b, c).into())),
        any::<u64>().prop_map(move |low| {
            ip(std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low)).into())
        }),
        "[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?[.][A-Za-z]{1,9}".prop_map(|name| name.parse().unwrap()),
    ];
    (
        (name_start(), placement, option::of(text(1..256))),
        (1_u8..4, 0_u8..4, prop_oneof![Just(Profile::Default), Just(Profile::Azure)]),
        (any::<bool>(), any::<bool>(), option::of(address)),
        (vec(any::<bool>(), 3), vec(any::<bool>(), 6), prop_oneof![Just(0_u8), 48_u8..=126]),
    )
        .prop_map(
            |(
                (name, placement, label),
                (prefixes, subnets, profile),
                (pool, gateway, address),
                (dns, connections, v6),
            )| {
                Seed {
                    name,
                    placement,
                    label,
                    prefixes,
                    subnets,
                    profile,
                    pool,
                    gateway,
                    address,
                    v6,
                    dns,
                    connections,
                }
            },
        )
}

fn net(octets: [u8; 4], length: u8) -> IpNet {
    IpNet::new(octets.into(), length).unwrap()
}

/// A prefix that no other network has.
fn net_v6(network: usize, length: u8) -> IpNet {
    IpNet::new(std::net::Ipv6Addr::new(0xfd00, network as u16, 0, 0, 0, 0, 0, 0).into(), length).unwrap()
}

fn chosen<'a, T>(items: &'a [T], choice: &'a [bool]) -> impl Iterator<Item = (usize, &'a T)> {
    items.iter().enumerate().zip(choice).filter(|(_, chosen)| **chosen).map(|(item, _)| item)
}

fn configuration() -> impl Strategy<Value = NetworkConfiguration> {
    (vec(seed(), 0..5), vec(any::<[u8; 2]>(), 0..3)).prop_map(|(seeds, dns)| {
        let names: Vec<_> = seeds.iter().enumerate().map(|(n, seed)| format!("{n}{}", seed.name)).collect();
        let spaces: Vec<Vec<_>> = seeds
            .iter()
            .enumerate()
            .map(|(n, seed)| {
                let v4 = (0..seed.prefixes).map(|p| net([10, n as u8, p * 64, 0], 18));
                v4.chain((seed.v6 > 0).then(|| net_v6(n, seed.v6))).collect()
            })
            .collect();
        let dns_servers: Vec<_> = dns
            .iter()
            .enumerate()
            .map(|(n, [a, b])| DnsServer {
                name: format!("dns{n}"),
                address: std::net::Ipv4Addr::new(192, 0, *a, *b).into(),
            })
            .collect();
        let local_network_sites = seeds.iter().enumerate().map(|(n, seed)| LocalNetworkSite {
            name: names[n].clone(),
            address_space: spaces[n].clone(),
            gateway_address: seed.address.clone(),
        });
        let virtual_networks = seeds.iter().enumerate().map(|(n, seed)| {
            let mut subnets: Vec<_> = (0..seed.subnets)
                .map(|s| Subnet { name: format!("subnet-{s}"), prefix: net([10, n as u8, s, 0], 24) })
                .collect();
            if seed.v6 > 0 {
                subnets.push(Subnet { name: "subnet-v6".to_owned(), prefix: net_v6(n, 126) });
            }
            subnets.push(Subnet { name: GATEWAY_SUBNET.to_owned(), prefix: net([10, n as u8, 63, 248], 29) });
            VirtualNetworkSite {
                name: names[n].clone(),
                placement: seed.placement.clone(),
                label: seed.label.clone(),
                address_space: spaces[n].clone(),
                subnets,
                dns_servers: chosen(&dns_servers, &seed.dns).map(|(_, server)| server.name.clone()).collect(),
                gateway: seed.gateway.then(|| Gateway {
                    profile: seed.profile,
                    client_address_pool: if seed.pool {
                        vec![net([172, 16, n as u8, 0], 24)]
                    } else {
                        Vec::new()
                    },
                    connections: chosen(&names, &seed.connections)
                        .filter(|(other, _)| *other != n)
                        .map(|(_, name)| ConnectionRef { site: name.clone(), kind: ConnectionKind::Ipsec })
                        .collect(),
                }),
            }
        });
        NetworkConfiguration {
            local_network_sites: local_network_sites.collect(),
            virtual_networks: virtual_networks.collect(),
            dns_servers,
        }
    })
}

/// The example with some bytes replaced, removed or repeated: mostly XML, mostly wrong.
fn damaged_example() -> impl Strategy<Value = Vec<u8>> {
    let edit = (0..EXAMPLE.len(), 0_usize..40, vec(any::<u8>(), 0..8));
    vec(edit, 1..6).prop_map(|edits| {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        for (at, length, new) in edits {
            let at = at.min(bytes.len());
            bytes.splice(at..(at + length).min(bytes.len()), new);
        }
        bytes
    })
}

/// The example with small insertions, many of which leave it a good file.
fn nudged_example() -> impl Strategy<Value = String> {
    let insertion =
        prop::sample::select(vec![" ", "\n", "1", "a", "<!-- -->", "&#65;", "<![CDATA[ b ]]>", "&lt;"]);
    vec((0..EXAMPLE.len(), insertion), 1..3).prop_map(|insertions| {
        let mut text = EXAMPLE.to_owned();
        for (at, new) in insertions {
            text.insert_str(at, new);
        }
        text
    })
}

/// Pieces of XML in any order.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "<NetworkConfiguration xmlns='http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration'>",
        "<VirtualNetworkConfiguration>",
        "<a ",
        "<a xmlns:b='c' b:d='e'>",
        "</a>",
        "<",
        ">",
        "/>",
        "&",
        "&amp;",
        "&#",
        "&#x110000;",
        "&#60;",
        ";",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<!DOCTYPE",
        "<?xml version='1.0'?>",
        "<?",
        "?>",
        "'",
        "\"",
        "=",
        " ",
        "\r\n",
        "\u{feff}",
        "\u{e9}",
        "x",
    ]);
    vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn a_round_trip_changes_nothing(configuration in configuration()) {
        let text = netcfg::write(&configuration);
        let read = netcfg::parse("written", text.as_bytes(), &Limits::default());
        match read {
            Ok(read) => {
                prop_assert_eq!(&read, &configuration);
                prop_assert_eq!(netcfg::write(&read), text);
            }
            Err(report) => prop_assert!(false, "{}\n{}", report, text),
        }
    }

    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = netcfg::parse("fuzz", &bytes, &Limits::default());
    }

    #[test]
    fn scraps_of_xml_never_panic(text in scraps()) {
        let _ = netcfg::parse("fuzz", text.as_bytes(), &Limits::default());
    }

    #[test]
    fn damage_never_panics_and_errors_have_lines(bytes in damaged_example()) {
        if let Err(report) = netcfg::parse("fuzz", &bytes, &Limits::default()) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            prop_assert!(!report.errors.is_empty());
            prop_assert!(report.errors.iter().all(|error| (1..=lines).contains(&error.line)), "{}", report);
            prop_assert!(report.errors.is_sorted_by_key(|error| error.line));
        }
    }

    #[test]
    fn whatever_is_accepted_survives_a_round_trip(text in nudged_example()) {
        if let Ok(read) = netcfg::parse("fuzz", text.as_bytes(), &Limits::default()) {
            prop_assert_eq!(netcfg::validate(&read, &Limits::default()), Ok(()));
            prop_assert_eq!(netcfg::parse("again", netcfg::write(&read).as_bytes(), &Limits::default()), Ok(read));
        }
    }
}

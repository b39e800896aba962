//! Answers of the agent for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::table::{Table, bytes, or_dash, seconds};
use super::{engine, parameters};
use crate::agent::Bandwidth;
use crate::api::types::{
    ApplyReport, BandwidthDirection, BudgetCounts, ConnectionState, ConnectionStatus, EventRecord, Gateway,
    LocalNetwork, Status, Vnet,
};

/// The gateway, then a line per connection, then what does not fit into a line.
pub(super) fn status(status: &Status) -> String {
    let budget = &status.budget;
    let mut text = format!(
        "VNet {}: {}, WAN address {}, engine {}, XDP {}\n",
        status.vnet,
        status.state,
        wan(status.wan_address, status.wan_address_v6),
        engine::summary(&status.engine),
        status.xdp_mode
    );
    text.push_str(&engine::details(&status.engine));
    let rate = bandwidth(budget.rate_bits, budget.direction);
    line(
        &mut text,
        format_args!("Budget: {rate}; in {}; out {}", counts(&budget.inbound), counts(&budget.outbound)),
    );
    line(&mut text, format_args!("Drops:  {}", drops(&status.drops)));
    if let Some(directory) = &status.key_log {
        line(&mut text, format_args!("WARNING: the keys of all SAs are being written to {directory}"));
    }
    if status.connections.is_empty() {
        text.push_str("\nNo connections.\n");
        return text;
    }
    text.push('\n');
    text.push_str(&connections(&status.connections));
    for connection in &status.connections {
        text.push('\n');
        text.push_str(&details(connection));
    }
    text
}

/// A line per connection.
pub(super) fn connections(connections: &[ConnectionStatus]) -> String {
    let mut table =
        Table::new(["CONNECTION", "STATE", "PEER", "IN", "OUT", "MTU", "SA AGE", "REKEY IN", "REKEYS"]);
    for connection in connections {
        table.row([
            connection.name.clone(),
            connection.state.to_string(),
            or_dash(connection.peer),
            bytes(connection.bytes_in),
            bytes(connection.bytes_out),
            or_dash(connection.mtu),
            or_dash(connection.established_seconds.map(seconds)),
            or_dash(connection.rekey_in_seconds.map(seconds)),
            connection.rekeys.to_string(),
        ]);
    }
    table.render()
}

/// Everything about one connection.
pub(super) fn connection(connection: &ConnectionStatus) -> String {
    let mut text = connections(std::slice::from_ref(connection));
    text.push('\n');
    text.push_str(&details(connection));
    text.push('\n');
    text.push_str(&parameters::table(&connection.parameters));
    text
}

/// The gateway's outer addresses.
fn wan(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> String {
    let v4 = v4.map(|address| address.to_string());
    let v6 = v6.map(|address| address.to_string());
    list(&v4.into_iter().chain(v6).collect::<Vec<_>>())
}

/// What keeps a connection down, if something does.
pub(super) fn trouble(connection: &ConnectionStatus) -> Option<String> {
    let error = connection.last_error.as_ref()?;
    let ConnectionStatus { name, state, .. } = connection;
    (*state == ConnectionState::NotConnected).then(|| format!("note: connection {name} is {state}: {error}"))
}

fn details(connection: &ConnectionStatus) -> String {
    let mut text = format!("{} (site {})\n", connection.name, connection.site);
    if let Some(name) = &connection.peer_name {
        let address = connection.peer.map_or_else(|| "not found".to_owned(), |peer| peer.to_string());
        line(&mut text, format_args!("  Peer     {name} ({address})"));
    }
    text.push_str(&ike_sa(connection));
    line(&mut text, format_args!("  ESP      {}", or_dash(connection.esp_algorithm.as_ref())));
    let (inbound, outbound) =
        (or_dash(connection.inbound_spi.as_ref()), or_dash(connection.outbound_spi.as_ref()));
    line(&mut text, format_args!("  SPIs     in {inbound}, out {outbound}"));
    if let (Some(local), Some(remote)) = (&connection.local_selectors, &connection.remote_selectors) {
        let (local, remote) = (local.join(", "), remote.join(", "));
        line(&mut text, format_args!("  Selectors {local} === {remote}"));
    }
    text.push_str(&queue_sas(connection));
    let (packets_in, packets_out) = (connection.packets_in, connection.packets_out);
    line(&mut text, format_args!("  Packets  in {packets_in}, out {packets_out}"));
    let (marked_in, marked_out) = (connection.marked_in, connection.marked_out);
    if marked_in + marked_out > 0 {
        line(&mut text, format_args!("  Marked   in {marked_in}, out {marked_out}"));
    }
    line(&mut text, format_args!("  Drops    {}", drops(&connection.drops)));
    if let Some(error) = &connection.last_error {
        line(&mut text, format_args!("  Error    {error}"));
    }
    text
}

fn queue_sas(connection: &ConnectionStatus) -> String {
    let mut text = String::new();
    let wanted = connection.parameters.child_sas.value;
    if wanted > 1 && connection.queue_sas_agreed == Some(false) {
        line(&mut text, format_args!("  Queues   the peer wants no Child SAs for single queues"));
    } else if wanted > 1 {
        line(
            &mut text,
            format_args!(
                "  Queues   {} of {wanted} with a Child SA of their own",
                connection.queue_sas.len()
            ),
        );
    }
    for sa in &connection.queue_sas {
        line(
            &mut text,
            format_args!(
                "  Queue {:<2} SPIs in {}, out {}; packets in {}, out {}; rekeyed {} times",
                sa.queue, sa.inbound_spi, sa.outbound_spi, sa.packets_in, sa.packets_out, sa.rekeys
            ),
        );
    }
    text
}

fn ike_sa(connection: &ConnectionStatus) -> String {
    let mut text = format!("  IKE      {}", or_dash(connection.ike_proposal.as_ref()));
    if let (Some(age), Some(rekey_in), Some(rekeys)) =
        (connection.ike_established_seconds, connection.ike_rekey_in_seconds, connection.ike_rekeys)
    {
        let (age, rekey_in) = (seconds(age), seconds(rekey_in));
        write!(text, ", age {age}, rekeyed {rekeys} times, next in {rekey_in}").expect("writing to a string");
    }
    text.push('\n');
    if let Some(spis) = &connection.ike_spis {
        let nat = if connection.nat_detected == Some(true) { "NAT" } else { "no NAT" };
        let fragments = if connection.ike_fragmentation == Some(true) { "fragments" } else { "no fragments" };
        line(&mut text, format_args!("  IKE SPIs {}; {nat}, {fragments}", spis.join(", ")));
    }
    if let (Some(peer), Some(how)) = (&connection.peer_identity, &connection.authentication) {
        line(&mut text, format_args!("  Peer     {peer}, by {how}"));
    }
    text
}

pub(super) fn gateway(gateway: &Gateway) -> String {
    let key_log = gateway
        .key_log
        .as_ref()
        .map_or_else(|| "off".to_owned(), |to| format!("ALL KEYS are being written to {to}"));
    let rows = [
        ("VNet", gateway.vnet.clone()),
        ("State", gateway.state.to_string()),
        ("Address space", gateway.address_space.join(", ")),
        ("WAN", format!("{} ({})", gateway.wan_interface, wan(gateway.wan_address, gateway.wan_address_v6))),
        ("LAN", gateway.lan_interfaces.join(", ")),
        ("Engine", gateway.engine.to_string()),
        ("Profile", gateway.profile.to_string()),
        ("Budget", bandwidth(gateway.bandwidth_bits, gateway.bandwidth_direction)),
        ("Key log", key_log),
        ("Connections", format!("{} of at most {}", gateway.connections, gateway.max_connections)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        line(&mut text, format_args!("{name:14} {value}"));
    }
    text
}

pub(super) fn vnets(vnets: &[Vnet]) -> String {
    let mut table = Table::new(["VNET", "STATE", "GATEWAY", "ADDRESS SPACE", "CONNECTED SITES"]);
    for vnet in vnets {
        table.row([
            vnet.name.clone(),
            vnet.state.to_string(),
            or_dash(vnet.gateway_state),
            vnet.address_space.join(", "),
            list(&vnet.sites),
        ]);
    }
    table.render()
}

pub(super) fn local_networks(sites: &[LocalNetwork]) -> String {
    let mut table = Table::new(["LOCAL NETWORK", "GATEWAY ADDRESS", "ADDRESS SPACE"]);
    for site in sites {
        let address =
            site.gateway_address.as_ref().map_or_else(|| "placeholder".to_owned(), ToString::to_string);
        table.row([site.name.clone(), address, site.address_space.join(", ")]);
    }
    table.render()
}

pub(super) fn events(events: &[EventRecord]) -> String {
    let mut table = Table::new(["TIME", "NUMBER", "SITE", "MESSAGE"]);
    for event in events {
        table.row([
            event.time.clone(),
            event.number.to_string(),
            or_dash(event.site.as_ref()),
            event.message.clone(),
        ]);
    }
    table.render()
}

pub(super) fn applied(report: &ApplyReport) -> String {
    let mut text = String::new();
    for (what, sites) in [
        ("Added", &report.added),
        ("Changed", &report.changed),
        ("Removed", &report.removed),
        ("Unchanged", &report.unchanged),
    ] {
        line(&mut text, format_args!("{what:9}  {}", list(sites)));
    }
    text
}

fn bandwidth(bits: Option<u64>, direction: BandwidthDirection) -> String {
    match (bits.and_then(Bandwidth::from_bits), direction) {
        (None, _) => "no limit".to_owned(),
        (Some(rate), BandwidthDirection::Shared) => rate.to_string(),
        (Some(rate), BandwidthDirection::Separate) => format!("{rate} in each direction"),
    }
}

fn counts(counts: &BudgetCounts) -> String {
    let BudgetCounts { passed_bytes, marked_bytes, dropped_bytes, .. } = *counts;
    format!(
        "passed {}, marked {}, dropped {}",
        bytes(passed_bytes),
        bytes(marked_bytes),
        bytes(dropped_bytes)
    )
}

fn drops(drops: &BTreeMap<String, u64>) -> String {
    if drops.is_empty() {
        return "none".to_owned();
    }
    drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{
        BudgetStatus, EngineStatus, GatewayState, InForce, ParametersInForce, QueueSa, Source,
    };

    fn connected() -> ConnectionStatus {
        ConnectionStatus {
            name: "VNet1-VNet2".to_owned(),
            site: "VNet2".to_owned(),
            state: ConnectionState::Connected,
            peer: Some("203.0.113.2".parse().unwrap()),
            peer_name: None,
            last_error: None,
            ike_proposal: Some("aes256gcm16-prfsha384-x25519".to_owned()),
            ike_spis: Some(["00000000000000a1".to_owned(), "00000000000000b2".to_owned()]),
            ike_established_seconds: Some(3700),
            ike_rekey_in_seconds: Some(25_000),
            ike_rekeys: Some(1),
            ike_fragmentation: Some(true),
            peer_identity: Some("gw2.example".to_owned()),
            authentication: Some("certificate".to_owned()),
            nat_detected: Some(false),
            local_selectors: Some(vec!["0.0.0.0/0".to_owned()]),
            remote_selectors: Some(vec!["0.0.0.0/0".to_owned()]),
            esp_algorithm: Some("chacha20poly1305-esn".to_owned()),
            inbound_spi: Some("c0ffee01".to_owned()),
            outbound_spi: Some("c0ffee02".to_owned()),
            bytes_in: 1536,
            bytes_out: 10,
            packets_in: 3,
            packets_out: 1,
            marked_in: 1,
            marked_out: 0,
            established_seconds: Some(61),
            rekey_in_seconds: Some(3000),
            rekeys: 2,
            queue_sas_agreed: Some(true),
            queue_sas: vec![queue_sa()],
            mtu: Some(1438),
            drops: BTreeMap::from([("replayed".to_owned(), 4)]),
            parameters: parameters(),
        }
    }

    fn queue_sa() -> QueueSa {
        QueueSa {
            queue: 0,
            esp_algorithm: "chacha20poly1305-esn".to_owned(),
            inbound_spi: "c0ffee03".to_owned(),
            outbound_spi: "c0ffee04".to_owned(),
            bytes_in: 100,
            bytes_out: 0,
            packets_in: 1,
            packets_out: 0,
            established_seconds: 60,
            rekey_in_seconds: 3001,
            rekeys: 5,
        }
    }

    fn parameters() -> ParametersInForce {
        let proposals = |text: &str, source| InForce { value: vec![text.to_owned()], source };
        ParametersInForce {
            mode: InForce { value: "default".to_owned(), source: Source::Profile },
            auth: InForce { value: "psk".to_owned(), source: Source::Profile },
            local_id: InForce { value: "203.0.113.1".to_owned(), source: Source::Profile },
            remote_id: InForce { value: "gw2.example".to_owned(), source: Source::Connection },
            ike_proposals: proposals("aes256gcm16-prfsha384-x25519", Source::Option),
            esp_proposals: proposals("chacha20poly1305-esn-noesn", Source::Connection),
            traffic_selectors: InForce { value: "any".to_owned(), source: Source::Profile },
            ike_lifetime: InForce { value: 28_800, source: Source::Profile },
            child_lifetime: InForce { value: 3600, source: Source::Profile },
            dpd: InForce { value: 45, source: Source::Profile },
            child_sas: InForce { value: 4, source: Source::Option },
            replay_window: InForce { value: 1024, source: Source::Connection },
            dscp: InForce { value: "set:46".to_owned(), source: Source::Connection },
            df: InForce { value: "set".to_owned(), source: Source::Profile },
            weight: InForce { value: 3, source: Source::Connection },
            guarantee: InForce { value: "20mbit".to_owned(), source: Source::Connection },
            ceiling: InForce { value: "none".to_owned(), source: Source::Profile },
        }
    }

    #[test]
    fn parameters_are_shown_with_their_origin() {
        let text = connection(&connected());
        let (_, table) = text.split_once("\n\nPARAMETER").expect("a table of its own");
        let expected = "          VALUE                         FROM
mode               default                       profile
authentication     psk                           profile
local identity     203.0.113.1                   profile
remote identity    gw2.example                   connection
IKE proposals      aes256gcm16-prfsha384-x25519  option
ESP proposals      chacha20poly1305-esn-noesn    connection
traffic selectors  any                           profile
IKE lifetime       8h                            profile
Child lifetime     1h                            profile
DPD                45s                           profile
Child SAs          4                             option
replay window      1024                          connection
outer DSCP         set:46                        connection
outer DF           set                           profile
weight             3                             connection
guarantee          20mbit                        connection
ceiling            none                          profile
";
        assert_eq!(table, expected);
    }

    #[test]
    fn only_what_keeps_a_connection_down_is_trouble() {
        let error = Some("no shared key is set".to_owned());
        assert_eq!(trouble(&connected()), None);
        let up = ConnectionStatus { last_error: error.clone(), ..connected() };
        assert_eq!(trouble(&up), None);
        let waits = ConnectionStatus { state: ConnectionState::NotConnected, ..connected() };
        assert_eq!(trouble(&waits), None);
        let down = ConnectionStatus { last_error: error, ..waits };
        let expected = "note: connection VNet1-VNet2 is NotConnected: no shared key is set";
        assert_eq!(trouble(&down).as_deref(), Some(expected));
    }

    #[test]
    fn status_reads_well() {
        let status = Status {
            vnet: "VNet1".to_owned(),
            clock_ns: 77,
            state: GatewayState::Provisioned,
            engine: EngineStatus::default(),
            xdp_mode: "native".to_owned(),
            wan_address: Some("203.0.113.1".parse().unwrap()),
            wan_address_v6: None,
            budget: BudgetStatus {
                rate_bits: Some(100_000_000),
                direction: BandwidthDirection::Separate,
                inbound: BudgetCounts { passed_bytes: 2048, marked_bytes: 1024, ..BudgetCounts::default() },
                ..BudgetStatus::default()
            },
            key_log: Some("/root/keys".to_owned()),
            ike_sas: 1,
            connections: vec![connected()],
            drops: BTreeMap::new(),
        };
        let expected = "\
VNet VNet1: Provisioned, WAN address 203.0.113.1, engine kernel, XDP native
Budget: 100mbit in each direction; in passed 2.0 KiB, marked 1.0 KiB, dropped 0 B; out passed 0 B, marked 0 B, dropped 0 B
Drops:  none
WARNING: the keys of all SAs are being written to /root/keys

CONNECTION   STATE      PEER         IN       OUT   MTU   SA AGE  REKEY IN  REKEYS
VNet1-VNet2  Connected  203.0.113.2  1.5 KiB  10 B  1438  1m 1s   50m       2

VNet1-VNet2 (site VNet2)
  IKE      aes256gcm16-prfsha384-x25519, age 1h 1m 40s, rekeyed 1 times, next in 6h 56m 40s
  IKE SPIs 00000000000000a1, 00000000000000b2; no NAT, fragments
  Peer     gw2.example, by certificate
  ESP      chacha20poly1305-esn
  SPIs     in c0ffee01, out c0ffee02
  Selectors 0.0.0.0/0 === 0.0.0.0/0
  Queues   1 of 4 with a Child SA of their own
  Queue 0  SPIs in c0ffee03, out c0ffee04; packets in 1, out 0; rekeyed 5 times
  Packets  in 3, out 1
  Marked   in 1, out 0
  Drops    replayed 4
";
        assert_eq!(super::status(&status), expected);
    }

    #[test]
    fn what_a_dead_connection_lacks_is_shown_as_dashes_and_its_error() {
        let dead = ConnectionStatus {
            state: ConnectionState::NotConnected,
            peer: None,
            last_error: Some("no shared key is set".to_owned()),
            ike_proposal: None,
            ike_spis: None,
            ike_established_seconds: None,
            ike_rekey_in_seconds: None,
            ike_rekeys: None,
            ike_fragmentation: None,
            peer_identity: None,
            authentication: None,
            nat_detected: None,
            local_selectors: None,
            remote_selectors: None,
            esp_algorithm: None,
            inbound_spi: None,
            outbound_spi: None,
            established_seconds: None,
            rekey_in_seconds: None,
            queue_sas_agreed: None,
            queue_sas: Vec::new(),
            mtu: None,
            drops: BTreeMap::new(),
            ..connected()
        };
        let text = connection(&dead);
        assert!(text.contains("NotConnected  -     1.5 KiB  10 B  -    -       -         2"), "{text}");
        assert!(text.contains("Error    no shared key is set"), "{text}");
    }
}

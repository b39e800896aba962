//! What goes over the API: JSON bodies, shared by server and clients.
//!
//! Field names are part of the interface; a field is added, never renamed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

pub use super::command::Rekey;
pub use crate::model::{
    BandwidthDirection, ConnectionState, Engine, EngineChoice, GatewayAddress, GatewayState,
    ParametersDocument, Profile, VirtualNetworkState, WorkerState,
};
use crate::store::KeyText;
pub use crate::worker::CopyMode;

/// State and counters of a gateway and of all its connections. `GET /v1/vnets/{vnet}/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the VNet.
    pub vnet: String,
    /// When everything here was counted, in ns of the machine's monotonic clock: for rates between two answers.
    pub clock_ns: u64,
    /// State of the gateway.
    pub state: GatewayState,
    /// What seals and opens packets.
    pub engine: EngineStatus,
    /// How the programs are attached: `native` or `generic`.
    pub xdp_mode: String,
    /// Outer IPv4 address of the gateway; null without one.
    pub wan_address: Option<Ipv4Addr>,
    /// Outer IPv6 address of the gateway; null without one.
    pub wan_address_v6: Option<Ipv6Addr>,
    /// The shared bandwidth budget.
    pub budget: BudgetStatus,
    /// IKE SAs in any state, half-open ones included.
    pub ike_sas: u64,
    /// Directory that all keys are written to, for decrypting captures; null while they are not written.
    pub key_log: Option<String>,
    /// The connections in order of their sites' names.
    pub connections: Vec<ConnectionStatus>,
    /// Packets dropped by reason: those of all connections and those that belong to none.
    pub drops: BTreeMap<String, u64>,
}

/// What seals and opens packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// What was asked for: `auto`, `kernel` or `xsk`.
    pub wanted: EngineChoice,
    /// What runs: `xsk` while at least one worker does, else `kernel`.
    pub running: Engine,
    /// Why that is not what was asked for, or not all workers run; null while all is well.
    pub reason: Option<String>,
    /// The workers by number, none with engine `kernel`.
    pub workers: Vec<WorkerStatus>,
}

/// A worker of engine `xsk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number, counted from 0.
    pub number: u32,
    /// Process ID; null while there is no process.
    pub pid: Option<u32>,
    /// CPU that it is bound to; null when it is not.
    pub cpu: Option<u32>,
    /// `starting`, `running` or `failed`. One that failed is started again after a pause.
    pub state: WorkerState,
    /// Processor time that its process has taken, in ns; null while there is none.
    pub cpu_time_ns: Option<u64>,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it ended last; null if it never did.
    pub last_error: Option<String>,
    /// The receive queues that it serves.
    pub lanes: Vec<LaneStatus>,
}

/// A receive queue that a worker serves. Counters are in frames, since the agent's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// Name of the interface.
    pub interface: String,
    /// Number of the receive queue.
    pub queue: u32,
    /// `zero-copy`, `exchange` or `copy`; null while no worker has told.
    pub mode: Option<CopyMode>,
    /// Frames that found the worker's ring full and were sealed or opened by engine `kernel`.
    pub full: u64,
    /// Frames that found the worker without progress and were sealed or opened by engine `kernel`.
    pub stalled: u64,
    /// Frames handed to the worker.
    pub handed_over: u64,
    /// Frames that left in place of one that arrived.
    pub exchanged: u64,
}

/// Use of the shared bandwidth budget, in bytes of inner IP packets. Nothing is counted while there is neither a limit nor a ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStatus {
    /// Rate in bit/s; null when there is no limit.
    pub rate_bits: Option<u64>,
    /// Whether the rate is for both directions together (`shared`) or for each (`separate`).
    pub direction: BandwidthDirection,
    /// Bytes that passed, in both directions.
    pub passed_bytes: u64,
    /// Bytes that were dropped, in both directions.
    pub dropped_bytes: u64,
    /// What became of packets on their way into tunnels.
    pub outbound: BudgetCounts,
    /// What became of packets out of tunnels.
    pub inbound: BudgetCounts,
}

/// What the budget decided in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetCounts {
    /// Packets that passed, marked ones included.
    pub passed_packets: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets that were marked "congestion experienced".
    pub marked_packets: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// Packets that were dropped.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

/// Bandwidth of a gateway. `PUT /v1/vnets/{vnet}/bandwidth`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandwidthDocument {
    /// A rate such as `100mbit`; `none` for no limit; `default` for what the agent's options say.
    pub rate: String,
    /// Whether the rate is for both directions together (`shared`) or for each (`separate`); null leaves that as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<BandwidthDirection>,
}

/// State and counters of a connection. `GET /v1/vnets/{vnet}/connections/{site}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Name of the connection: the VNet's and the site's, joined by `-`.
    pub name: String,
    /// Name of the local network site at the far end.
    pub site: String,
    /// State of the connection.
    pub state: ConnectionState,
    /// Outer address of the peer gateway; null while it is a placeholder, or a name that was not resolved yet.
    pub peer: Option<IpAddr>,
    /// Host name that the peer's address is looked up under; null where the network configuration has an address.
    pub peer_name: Option<String>,
    /// What went wrong last, or what is missing; null while all is well.
    pub last_error: Option<String>,
    /// Algorithms of the IKE SA, such as `aes256gcm16-prfsha384-x25519`; null without one.
    pub ike_proposal: Option<String>,
    /// SPIs of the IKE SA, the initiator's first, sixteen hexadecimal digits each; null without one.
    pub ike_spis: Option<[String; 2]>,
    /// Age of the IKE SA in seconds; null without one.
    pub ike_established_seconds: Option<u64>,
    /// Seconds until the IKE SA is rekeyed because of its age; null without one.
    pub ike_rekey_in_seconds: Option<u64>,
    /// How often the IKE SA was rekeyed; null without one.
    pub ike_rekeys: Option<u64>,
    /// Whether long IKE messages are sent in fragments; null without an IKE SA.
    pub ike_fragmentation: Option<bool>,
    /// The identity that the peer has proved; null without an IKE SA.
    pub peer_identity: Option<String>,
    /// How both ends proved their identities; null without an IKE SA.
    pub authentication: Option<String>,
    /// Whether there is a NAT between the gateways; null without an IKE SA.
    pub nat_detected: Option<bool>,
    /// Algorithm of the Child SA, such as `chacha20poly1305-esn`; null without one.
    pub esp_algorithm: Option<String>,
    /// SPI of the SA that receives, eight hexadecimal digits; null without one.
    pub inbound_spi: Option<String>,
    /// SPI of the SA that sends, eight hexadecimal digits; null without one.
    pub outbound_spi: Option<String>,
    /// Addresses here that the Child SA is for; null without one.
    pub local_selectors: Option<Vec<String>>,
    /// Addresses at the far end that the Child SA is for; null without one.
    pub remote_selectors: Option<Vec<String>>,
    /// Bytes of inner IP packets received.
    pub bytes_in: u64,
    /// Bytes of inner IP packets sent.
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Packets received that the shared budget marked "congestion experienced".
    pub marked_in: u64,
    /// Packets sent that the shared budget marked "congestion experienced".
    pub marked_out: u64,
    /// Age of the Child SA in seconds; null without one.
    pub established_seconds: Option<u64>,
    /// Seconds until the Child SA is rekeyed because of its age; null without one.
    pub rekey_in_seconds: Option<u64>,
    /// How often the Child SA was rekeyed.
    pub rekeys: u64,
    /// Whether both ends want Child SAs for single receive queues (RFC 9611); null without an IKE SA.
    pub queue_sas_agreed: Option<bool>,
    /// The Child SAs for single receive queues, beside the one for everything else.
    pub queue_sas: Vec<QueueSa>,
    /// Largest inner IP packet in bytes; null while the tunnel has none.
    pub mtu: Option<u32>,
    /// Packets dropped by reason.
    pub drops: BTreeMap<String, u64>,
    /// How the connection is made.
    pub parameters: ParametersInForce,
}

/// A Child SA for single receive queues of this gateway (RFC 9611).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSa {
    /// It carries what arrives at every queue whose number leaves this rest when divided by the agent's `--child-sas`.
    pub queue: u32,
    /// Algorithm, such as `chacha20poly1305-esn`.
    pub esp_algorithm: String,
    /// SPI of the SA that receives, eight hexadecimal digits.
    pub inbound_spi: String,
    /// SPI of the SA that sends, eight hexadecimal digits.
    pub outbound_spi: String,
    /// Bytes of inner IP packets received with the present SA.
    pub bytes_in: u64,
    /// Bytes of inner IP packets sent with the present SA.
    pub bytes_out: u64,
    /// Packets received with the present SA.
    pub packets_in: u64,
    /// Packets sent with the present SA.
    pub packets_out: u64,
    /// Age in seconds.
    pub established_seconds: u64,
    /// Seconds until it is rekeyed because of its age.
    pub rekey_in_seconds: u64,
    /// How often it was rekeyed.
    pub rekeys: u64,
}

/// The parameters of a connection that are in force, each with where it comes from. They are changed by `PATCH` and `PUT
/// /v1/vnets/{vnet}/connections/{site}/parameters` with a [`ParametersDocument`]: `PATCH` leaves those that are not named as
/// they are, `PUT` takes them back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParametersInForce {
    /// Which end begins.
    pub mode: InForce<String>,
    /// How the ends prove who they are: `psk` or `certificate`.
    pub auth: InForce<String>,
    /// Who this end says it is.
    pub local_id: InForce<String>,
    /// Who the peer must be; `any` when the key alone decides.
    pub remote_id: InForce<String>,
    /// IKE proposals, best first.
    pub ike_proposals: InForce<Vec<String>>,
    /// ESP proposals, best first.
    pub esp_proposals: InForce<Vec<String>>,
    /// `any`, or `prefixes` for those of the VNet and of the site only.
    pub traffic_selectors: InForce<String>,
    /// Age in seconds at which an IKE SA is rekeyed.
    pub ike_lifetime: InForce<u64>,
    /// Age in seconds at which a Child SA is rekeyed.
    pub child_lifetime: InForce<u64>,
    /// Idle time in seconds after which the peer's liveness is checked.
    pub dpd: InForce<u64>,
    /// Child SAs for single receive queues; 1 stands for none.
    pub child_sas: InForce<u16>,
    /// Anti-replay window in packets.
    pub replay_window: InForce<u16>,
    /// DSCP of outer headers: `copy` for that of the inner ones, or `set:N`.
    pub dscp: InForce<String>,
    /// "Don't fragment" bit of outer IPv4 headers: `copy`, `set` or `clear`.
    pub df: InForce<String>,
    /// Its part in what busy tunnels share of the gateway's bandwidth.
    pub weight: InForce<u16>,
    /// Bandwidth that its tunnel always gets, or `none`.
    pub guarantee: InForce<String>,
    /// Bandwidth that its tunnel never exceeds, or `none`.
    pub ceiling: InForce<String>,
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
}

impl<T> InForce<T> {
    /// The same origin with another form of the value.
    pub fn show<U>(&self, form: impl Fn(&T) -> U) -> InForce<U> {
        InForce { value: form(&self.value), source: self.source }
    }
}

/// Where a parameter comes from, highest rank first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It was set for the connection.
    Connection,
    /// It is an option of the agent.
    Option,
    /// It is what the gateway's profile says.
    Profile,
}

/// What a gateway is made of. `GET /v1/vnets/{vnet}/gateway`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Name of the VNet.
    pub vnet: String,
    /// State of the gateway.
    pub state: GatewayState,
    /// Engine that seals and opens packets.
    pub engine: Engine,
    /// Interface towards the peers.
    pub wan_interface: String,
    /// Outer IPv4 address of the gateway; null without one.
    pub wan_address: Option<Ipv4Addr>,
    /// Outer IPv6 address of the gateway; null without one.
    pub wan_address_v6: Option<Ipv6Addr>,
    /// Interfaces towards the VNet.
    pub lan_interfaces: Vec<String>,
    /// Address space of the VNet, prefixes in CIDR form.
    pub address_space: Vec<String>,
    /// Profile of its proposals and lifetimes.
    pub profile: Profile,
    /// Shared bandwidth budget in bit/s; null when there is no limit.
    pub bandwidth_bits: Option<u64>,
    /// Whether that is for both directions together (`shared`) or for each (`separate`).
    pub bandwidth_direction: BandwidthDirection,
    /// Directory that all keys are written to, for decrypting captures; null while they are not written.
    pub key_log: Option<String>,
    /// Connections configured.
    pub connections: u32,
    /// Most connections that this gateway takes.
    pub max_connections: u32,
}

/// A VNet of the stored network configuration. `GET /v1/vnets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnet {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: VirtualNetworkState,
    /// Its address space, prefixes in CIDR form.
    pub address_space: Vec<String>,
    /// Sites that its gateway connects to; empty without a gateway.
    pub sites: Vec<String>,
    /// State of its gateway if this agent runs it, else null.
    pub gateway_state: Option<GatewayState>,
}

/// A local network site of the stored network configuration. `GET /v1/local-networks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNetwork {
    /// Its name.
    pub name: String,
    /// Its address space, prefixes in CIDR form.
    pub address_space: Vec<String>,
    /// Outer address of its gateway, or the host name that it is looked up under; null while it is a placeholder.
    pub gateway_address: Option<GatewayAddress>,
}

/// Body of `PUT /v1/local-networks/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalNetworkChange {
    /// New outer address of its gateway, or its host name.
    pub gateway_address: GatewayAddress,
}

/// Body of `GET` and `PUT /v1/vnets/{vnet}/connections/{site}/key`, and answer of `POST …/key/reset`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDocument {
    /// The shared key.
    pub key: KeyText,
}

/// Body of `POST /v1/vnets/{vnet}/connections/{site}/rekey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RekeyDocument {
    /// `child` or `ike`.
    pub sa: Rekey,
}

/// What the replacement of the network configuration did to the connections of the gateway. `PUT /v1/netcfg`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    /// Sites newly connected to.
    pub added: Vec<String>,
    /// Sites whose prefixes or gateway address changed.
    pub changed: Vec<String>,
    /// Sites no longer connected to.
    pub removed: Vec<String>,
    /// Sites whose connections were not touched.
    pub unchanged: Vec<String>,
}

/// A state change or a change of the configuration. `GET /v1/vnets/{vnet}/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Counts up by one for every event since the agent's start.
    pub sequence: u64,
    /// When it happened: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Number of the kind of event; see the table in `agent::events`.
    pub number: u16,
    /// The site concerned; null for an event of the gateway.
    pub site: Option<String>,
    /// What happened, for a human.
    pub message: String,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, one sentence.
    pub error: String,
    /// Every single complaint, when there is more than one thing to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

//! End-to-end tests: gateways, hosts and the internet between them in network namespaces.
//!
//! Run them with `cargo xtask test lab`; each file of `lab/` is one behaviour.

#[path = "lab/bandwidth.rs"]
mod bandwidth;
#[path = "lab/budget.rs"]
mod budget;
#[path = "lab/capture.rs"]
mod capture;
#[path = "lab/certificates.rs"]
mod certificates;
#[path = "lab/connect.rs"]
mod connect;
#[path = "lab/connection_limit.rs"]
mod connection_limit;
#[path = "lab/df.rs"]
mod df;
#[path = "lab/encapsulation.rs"]
mod encapsulation;
#[path = "lab/engine_death.rs"]
mod engine_death;
#[path = "lab/engine_full.rs"]
mod engine_full;
#[path = "lab/engine_hostile.rs"]
mod engine_hostile;
#[path = "lab/engine_idle.rs"]
mod engine_idle;
#[path = "lab/engine_interfaces.rs"]
mod engine_interfaces;
#[path = "lab/engine_lifetime.rs"]
mod engine_lifetime;
#[path = "lab/engine_privileges.rs"]
mod engine_privileges;
#[path = "lab/engine_start.rs"]
mod engine_start;
#[path = "lab/floods.rs"]
mod floods;
#[path = "lab/fragments.rs"]
mod fragments;
#[path = "lab/gateway_traffic.rs"]
mod gateway_traffic;
#[path = "lab/generic_mode.rs"]
mod generic_mode;
#[path = "lab/harness.rs"]
mod harness;
#[path = "lab/icmp_relay.rs"]
mod icmp_relay;
#[path = "lab/ipv6.rs"]
mod ipv6;
#[path = "lab/ipv6_routes.rs"]
mod ipv6_routes;
#[path = "lab/key_log.rs"]
mod key_log;
#[path = "lab/log.rs"]
mod log;
#[path = "lab/mss.rs"]
mod mss;
#[path = "lab/multi_queue.rs"]
mod multi_queue;
#[path = "lab/names.rs"]
mod names;
#[path = "lab/neighbours.rs"]
mod neighbours;
#[path = "lab/on_demand.rs"]
mod on_demand;
#[path = "lab/overlap.rs"]
mod overlap;
#[path = "lab/packet_policy.rs"]
mod packet_policy;
#[path = "lab/packet_size.rs"]
mod packet_size;
#[path = "lab/placeholder.rs"]
mod placeholder;
#[path = "lab/port_entropy.rs"]
mod port_entropy;
#[path = "lab/queue_sas.rs"]
mod queue_sas;
#[path = "lab/refused_prefix.rs"]
mod refused_prefix;
#[path = "lab/rekey.rs"]
mod rekey;
#[path = "lab/rekey_load.rs"]
mod rekey_load;
#[path = "lab/restart.rs"]
mod restart;
#[path = "lab/scale.rs"]
mod scale;
#[path = "lab/second_agent.rs"]
mod second_agent;
#[path = "lab/status.rs"]
mod status;
#[path = "lab/support.rs"]
mod support;
#[path = "lab/top.rs"]
mod top;
#[path = "lab/trace.rs"]
mod trace;
#[path = "lab/traceroute.rs"]
mod traceroute;
#[path = "lab/traffic.rs"]
mod traffic;
#[path = "lab/wrong_key.rs"]
mod wrong_key;

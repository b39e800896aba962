//! Rates, from what was counted at two times.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

use crate::api::types::{
    BudgetCounts, BudgetStatus, ConnectionState, ConnectionStatus, Engine, GatewayState, LaneStatus, Status,
    WorkerState, WorkerStatus,
};
use crate::model::BandwidthDirection;

/// What connections are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SortKey {
    Name,
    State,
    /// Bits received, most first.
    In,
    /// Bits sent, most first.
    Out,
    /// Bits in both directions, most first.
    Rate,
    /// Dropped packets, most first.
    Drops,
}

/// A gateway between two times. In JSON the form of `vgw top --output json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Frame {
    pub(super) vnet: String,
    pub(super) state: GatewayState,
    /// Time between the two.
    pub(super) seconds: f64,
    pub(super) budget: BudgetUse,
    pub(super) engine: EngineUse,
    pub(super) connections: Vec<ConnectionRates>,
    /// Packets per second by reason, of all connections and of none.
    pub(super) drops_per_second: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct BudgetUse {
    /// Null when there is no limit.
    pub(super) rate_bits: Option<u64>,
    /// What the limit is for.
    pub(super) direction: BandwidthDirection,
    pub(super) passed_bits_per_second: f64,
    /// Part of what passed.
    pub(super) marked_bits_per_second: f64,
    pub(super) dropped_bits_per_second: f64,
    /// Of the busier direction when each has its own limit; null when there is none.
    pub(super) used_percent: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct EngineUse {
    pub(super) running: Engine,
    pub(super) workers: Vec<WorkerUse>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WorkerUse {
    pub(super) number: u32,
    pub(super) state: WorkerState,
    pub(super) cpu: Option<u32>,
    /// Processor time that it took, in percent of one CPU; null while it is not known.
    pub(super) load_percent: Option<f64>,
    pub(super) frames_per_second: f64,
    /// Frames that found it busy or hanging and went through engine `kernel`.
    pub(super) left_to_kernel_per_second: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ConnectionRates {
    pub(super) name: String,
    pub(super) site: String,
    pub(super) state: ConnectionState,
    pub(super) bits_in_per_second: f64,
    pub(super) bits_out_per_second: f64,
    pub(super) packets_in_per_second: f64,
    pub(super) packets_out_per_second: f64,
    /// By reason.
    pub(super) drops_per_second: BTreeMap<String, f64>,
    pub(super) inbound_spi: Option<String>,
    pub(super) outbound_spi: Option<String>,
    /// Child SAs, those of single receive queues included.
    pub(super) sas: usize,
    pub(super) sa_age_seconds: Option<u64>,
    pub(super) rekey_in_seconds: Option<u64>,
}

impl ConnectionRates {
    /// Dropped packets per second for any reason.
    pub(super) fn drops(&self) -> f64 {
        // The sum of nothing would be minus zero.
        self.drops_per_second.values().fold(0.0, |sum, rate| sum + rate)
    }

    fn bits(&self) -> f64 {
        self.bits_in_per_second + self.bits_out_per_second
    }
}

impl Frame {
    /// What happened between two answers of one agent; `None` if the clock says that they are not.
    pub(super) fn between(before: &Status, now: &Status, sort: SortKey) -> Option<Self> {
        let elapsed_ns = now.clock_ns.checked_sub(before.clock_ns).filter(|elapsed| *elapsed > 0)?;
        let rate = Rate { seconds: float(elapsed_ns) / 1e9 };
        let mut frame = Self {
            vnet: now.vnet.clone(),
            state: now.state,
            seconds: rate.seconds,
            budget: rate.budget(&before.budget, &now.budget),
            engine: EngineUse {
                running: now.engine.running,
                workers: now.engine.workers.iter().map(|worker| rate.worker(before, worker)).collect(),
            },
            connections: now
                .connections
                .iter()
                .map(|connection| rate.connection(before, connection))
                .collect(),
            drops_per_second: rate.by_reason(Some(&before.drops), &now.drops),
        };
        frame.sort(sort);
        Some(frame)
    }

    /// Sorts the connections; those that are alike by their names.
    pub(super) fn sort(&mut self, key: SortKey) {
        let connections = &mut self.connections;
        connections.sort_by(|one, other| one.name.cmp(&other.name));
        // Numbers that are not negative have the order of their bits.
        let most_first = |value: f64| Reverse(value.to_bits());
        match key {
            SortKey::Name => {}
            SortKey::State => connections.sort_by_key(|connection| connection.state.to_string()),
            SortKey::In => connections.sort_by_key(|connection| most_first(connection.bits_in_per_second)),
            SortKey::Out => connections.sort_by_key(|connection| most_first(connection.bits_out_per_second)),
            SortKey::Rate => connections.sort_by_key(|connection| most_first(connection.bits())),
            SortKey::Drops => connections.sort_by_key(|connection| most_first(connection.drops())),
        }
    }
}

/// As a number for people.
#[expect(clippy::cast_precision_loss, reason = "nobody reads more than a few digits")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

struct Rate {
    seconds: f64,
}

impl Rate {
    /// Per second. What counts from the beginning again has counted what it says.
    fn of(&self, before: u64, now: u64) -> f64 {
        float(now.checked_sub(before).unwrap_or(now)) / self.seconds
    }

    fn budget(&self, before: &BudgetStatus, now: &BudgetStatus) -> BudgetUse {
        let bits = |field: fn(&BudgetCounts) -> u64| {
            [(before.outbound, now.outbound), (before.inbound, now.inbound)]
                .map(|(before, now)| 8.0 * self.of(field(&before), field(&now)))
        };
        let [outbound, inbound] = bits(|counts| counts.passed_bytes);
        let limited = match now.direction {
            BandwidthDirection::Shared => outbound + inbound,
            BandwidthDirection::Separate => outbound.max(inbound),
        };
        BudgetUse {
            rate_bits: now.rate_bits,
            direction: now.direction,
            passed_bits_per_second: outbound + inbound,
            marked_bits_per_second: bits(|counts| counts.marked_bytes).iter().sum(),
            dropped_bits_per_second: bits(|counts| counts.dropped_bytes).iter().sum(),
            used_percent: now.rate_bits.map(|rate| limited / float(rate) * 100.0),
        }
    }

    fn by_reason(
        &self,
        before: Option<&BTreeMap<String, u64>>,
        now: &BTreeMap<String, u64>,
    ) -> BTreeMap<String, f64> {
        let rates = now.iter().map(|(reason, count)| {
            let before = before.and_then(|before| before.get(reason)).copied().unwrap_or(0);
            (reason.clone(), self.of(before, *count))
        });
        rates.filter(|(_, rate)| *rate > 0.0).collect()
    }

    fn connection(&self, before: &Status, now: &ConnectionStatus) -> ConnectionRates {
        let before = before.connections.iter().find(|before| before.name == now.name);
        // One that is new has passed nothing before.
        let rate = |field: fn(&ConnectionStatus) -> u64| self.of(before.map_or(0, field), field(now));
        ConnectionRates {
            name: now.name.clone(),
            site: now.site.clone(),
            state: now.state,
            bits_in_per_second: 8.0 * rate(|connection| connection.bytes_in),
            bits_out_per_second: 8.0 * rate(|connection| connection.bytes_out),
            packets_in_per_second: rate(|connection| connection.packets_in),
            packets_out_per_second: rate(|connection| connection.packets_out),
            drops_per_second: self.by_reason(before.map(|before| &before.drops), &now.drops),
            inbound_spi: now.inbound_spi.clone(),
            outbound_spi: now.outbound_spi.clone(),
            sas: usize::from(now.inbound_spi.is_some()) + now.queue_sas.len(),
            sa_age_seconds: now.established_seconds,
            rekey_in_seconds: now.rekey_in_seconds,
        }
    }

    fn worker(&self, before: &Status, now: &WorkerStatus) -> WorkerUse {
        let before = before.engine.workers.iter().find(|before| before.number == now.number);
        let sum = |worker: &WorkerStatus, field: fn(&LaneStatus) -> u64| worker.lanes.iter().map(field).sum();
        let rate = |field: fn(&LaneStatus) -> u64| {
            self.of(before.map_or(0, |before| sum(before, field)), sum(now, field))
        };
        let same = before.filter(|before| before.pid == now.pid).and_then(|before| before.cpu_time_ns);
        let load = same.zip(now.cpu_time_ns).map(|(before, now)| self.of(before, now) / 1e7);
        WorkerUse {
            number: now.number,
            state: now.state,
            cpu: now.cpu,
            load_percent: load,
            frames_per_second: rate(|lane| lane.handed_over),
            left_to_kernel_per_second: rate(|lane| lane.full + lane.stalled),
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are such that nothing is rounded")]
pub(super) mod tests {
    use super::*;

    /// Answers of an agent with these connections: name, bytes in and out, and drops.
    pub(in crate::cli::top) fn status(clock_ns: u64, connections: &[(&str, u64, u64, u64)]) -> Status {
        let in_force = |value: serde_json::Value| serde_json::json!({ "value": value, "source": "profile" });
        let connections: Vec<_> = connections
            .iter()
            .map(|(name, bytes_in, bytes_out, drops)| {
                serde_json::json!({
                    "name": name, "site": name, "state": "Connected", "ike_rekeys": 0,
                    "inbound_spi": "00000001", "outbound_spi": "00000002", "established_seconds": 61,
                    "rekey_in_seconds": 3000, "bytes_in": bytes_in, "bytes_out": bytes_out,
                    "packets_in": bytes_in / 100, "packets_out": bytes_out / 100, "rekeys": 0, "queue_sas": [],
                    "marked_in": 0, "marked_out": 0,
                    "drops": { "replayed": drops, "malformed": 7 },
                    "parameters": {
                        "mode": in_force("default".into()), "auth": in_force("psk".into()),
                        "local_id": in_force("a".into()), "remote_id": in_force("any".into()),
                        "ike_proposals": in_force(serde_json::json!([])),
                        "esp_proposals": in_force(serde_json::json!([])),
                        "traffic_selectors": in_force("any".into()), "ike_lifetime": in_force(1.into()),
                        "child_lifetime": in_force(1.into()), "dpd": in_force(1.into()),
                        "child_sas": in_force(1.into()), "replay_window": in_force(64.into()),
                        "dscp": in_force("copy".into()), "weight": in_force(1.into()),
                        "guarantee": in_force("none".into()), "ceiling": in_force("none".into()),
                        "df": in_force("copy".into()),
                    },
                })
            })
            .collect();
        let counts = |seconds: u64, passed: u64, marked: u64, dropped: u64| {
            serde_json::json!({
                "passed_packets": 0, "passed_bytes": seconds * passed, "marked_packets": 0,
                "marked_bytes": seconds * marked, "dropped_packets": 0, "dropped_bytes": seconds * dropped,
            })
        };
        let seconds = clock_ns / 1_000_000_000;
        serde_json::from_value(serde_json::json!({
            "vnet": "VNet1", "state": "Provisioned", "clock_ns": clock_ns, "xdp_mode": "native",
            "wan_address": "192.0.2.1", "ike_sas": 1, "connections": connections,
            "engine": {
                "wanted": "auto", "running": "xsk",
                "workers": [{
                    "number": 0, "pid": 5, "cpu": 1, "state": "running", "restarts": 0,
                    "cpu_time_ns": seconds * 250_000_000,
                    "lanes": [
                        { "interface": "a", "queue": 0, "full": seconds, "stalled": 0, "handed_over": seconds * 50, "exchanged": 0 },
                        { "interface": "b", "queue": 0, "full": 0, "stalled": seconds, "handed_over": seconds * 30, "exchanged": 0 },
                    ],
                }],
            },
            "budget": {
                "rate_bits": 8_000_000, "direction": "shared",
                "passed_bytes": seconds * 500_000, "dropped_bytes": seconds * 10,
                "outbound": counts(seconds, 200_000, 1000, 10), "inbound": counts(seconds, 300_000, 250, 0),
            },
            "drops": { "replayed": seconds * 3, "unknown_spi": 4 },
        }))
        .unwrap()
    }

    #[test]
    fn rates_are_differences_over_the_agents_time() {
        let before = status(10_000_000_000, &[("a", 1000, 0, 5)]);
        let now = status(12_000_000_000, &[("a", 6000, 400, 9), ("b", 800, 0, 0)]);
        let frame = Frame::between(&before, &now, SortKey::Name).unwrap();
        assert_eq!(frame.seconds, 2.0);
        let a = &frame.connections[0];
        assert_eq!((a.bits_in_per_second, a.bits_out_per_second), (20_000.0, 1600.0));
        assert_eq!((a.packets_in_per_second, a.packets_out_per_second), (25.0, 2.0));
        assert_eq!(
            a.drops_per_second,
            BTreeMap::from([("replayed".to_owned(), 2.0)]),
            "malformed stands still"
        );
        assert_eq!(frame.connections[1].bits_in_per_second, 3200.0, "a new one");
        let budget = &frame.budget;
        assert_eq!((budget.passed_bits_per_second, budget.used_percent), (4_000_000.0, Some(50.0)));
        assert_eq!((budget.marked_bits_per_second, budget.dropped_bits_per_second), (10_000.0, 80.0));
        assert_eq!(frame.drops_per_second, BTreeMap::from([("replayed".to_owned(), 3.0)]));
        let worker = &frame.engine.workers[0];
        assert_eq!((worker.load_percent, worker.frames_per_second), (Some(25.0), 80.0));
        assert_eq!(worker.left_to_kernel_per_second, 2.0);
    }

    #[test]
    fn where_each_direction_has_its_own_limit_the_busier_one_tells_the_use() {
        let (before, mut now) = (status(1_000_000_000, &[]), status(2_000_000_000, &[]));
        now.budget.direction = BandwidthDirection::Separate;
        let budget = Frame::between(&before, &now, SortKey::Name).unwrap().budget;
        assert_eq!((budget.passed_bits_per_second, budget.used_percent), (4_000_000.0, Some(30.0)));
    }

    #[test]
    fn an_agent_that_was_started_again_has_no_rates_yet() {
        let (early, late) = (status(1_000_000_000, &[]), status(5_000_000_000, &[]));
        assert!(Frame::between(&late, &early, SortKey::Name).is_none());
        assert!(Frame::between(&early, &early, SortKey::Name).is_none());
        // A connection that was removed and made again counts anew.
        let now = status(6_000_000_000, &[("a", 500, 0, 0)]);
        let before = status(5_000_000_000, &[("a", 9000, 0, 0)]);
        let frame = Frame::between(&before, &now, SortKey::Name).unwrap();
        assert_eq!(frame.connections[0].bits_in_per_second, 4000.0);
    }

    #[test]
    fn connections_are_sorted_as_asked() {
        let before = status(1_000_000_000, &[("a", 0, 0, 0), ("b", 0, 0, 0), ("c", 0, 0, 0)]);
        let now = status(2_000_000_000, &[("c", 100, 100, 0), ("b", 300, 0, 9), ("a", 0, 800, 0)]);
        let mut frame = Frame::between(&before, &now, SortKey::Name).unwrap();
        for (key, expected) in [
            (SortKey::Name, "abc"),
            (SortKey::State, "abc"),
            (SortKey::In, "bca"),
            (SortKey::Out, "acb"),
            (SortKey::Rate, "abc"),
            (SortKey::Drops, "bac"),
        ] {
            frame.sort(key);
            let names: String = frame.connections.iter().map(|connection| &*connection.name).collect();
            assert_eq!(names, expected, "{key:?}");
        }
    }
}

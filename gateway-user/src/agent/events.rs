//! The event log: what changed recently, bounded in memory.
//!
//! States of connections (200 to 202) are kept by themselves. When thousands of peers fail at once, older states are forgotten, but
//! nothing else is. Each connection's latest state is in the status.
//!
//! | number | event |
//! |---|---|
//! | 100 | gateway is `NotProvisioned` |
//! | 101 | gateway is `Provisioning` |
//! | 102 | gateway is `Provisioned` |
//! | 103 | gateway is `Deprovisioning` |
//! | 110 | network configuration replaced |
//! | 120 | certificate files were read again |
//! | 121 | certificate files cannot be used |
//! | 130 | keys of all SAs are written for decrypting captures |
//! | 140 | the gateway's bandwidth changed |
//! | 141 | guarantees exceed the gateway's bandwidth, and none is in force |
//! | 200 | connection is `NotConnected` |
//! | 201 | connection is `Connecting` |
//! | 202 | connection is `Connected` |
//! | 210 | shared key changed |
//! | 211 | new connection uses a shared key stored earlier |
//! | 212 | connection's parameters changed |
//! | 213 | connection cannot be made, because something is missing |
//! | 214 | address of a peer with a name was found, or is another one now |
//! | 215 | name of a peer cannot be resolved, or leads to no address that can be used |
//! | 220 | datapath refused a change |
//! | 230 | workers seal and open packets (engine `xsk`) |
//! | 231 | no worker could be started; the gateway runs with engine `kernel` |
//! | 232 | a worker ended; its packets take engine `kernel` |
//! | 233 | a worker works again |

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::api::types::EventRecord;
use crate::model::{ConnectionState, GatewayState};

/// How many events of the gateway are kept, and how many of its connections; the oldest go first. Those of connections are kept by
/// themselves, so that an outage of thousands of peers hides nothing that the gateway or its operator did.
pub const CAPACITY: usize = 1000;

/// Kinds of events; the numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventNumber {
    /// The gateway's state changed.
    Gateway(GatewayState),
    /// The network configuration was replaced.
    NetcfgApplied,
    /// Certificates, private key and authorities were read again.
    CertificatesRead,
    /// The certificate files cannot be used; those before stay in force.
    CertificatesRefused,
    /// The keys of all SAs are written for decrypting captures.
    KeysWritten,
    /// The bandwidth that all tunnels share changed.
    BandwidthChanged,
    /// The guarantees of all connections exceed the bandwidth, and none is in force.
    GuaranteesExceed,
    /// A connection's state changed.
    Connection(ConnectionState),
    /// A shared key was set or reset.
    KeyChanged,
    /// A new connection bears the name of an earlier one and uses its shared key.
    KeyReused,
    /// Parameters of a connection were changed.
    ParametersChanged,
    /// Something is missing without which a connection cannot be made.
    ConnectionIncomplete,
    /// The name of a peer leads to an address.
    NameFound,
    /// The name of a peer leads to none.
    NameNotFound,
    /// The datapath refused a change.
    DatapathRefused,
    /// Engine `xsk` runs.
    WorkersRun,
    /// Engine `xsk` was wanted and does not run.
    EngineFellBack,
    /// A worker ended.
    WorkerEnded,
    /// A worker works again.
    WorkerRuns,
}

impl EventNumber {
    /// The number in the table above.
    pub const fn number(self) -> u16 {
        match self {
            Self::Gateway(GatewayState::NotProvisioned) => 100,
            Self::Gateway(GatewayState::Provisioning) => 101,
            Self::Gateway(GatewayState::Provisioned) => 102,
            Self::Gateway(GatewayState::Deprovisioning) => 103,
            Self::NetcfgApplied => 110,
            Self::CertificatesRead => 120,
            Self::CertificatesRefused => 121,
            Self::KeysWritten => 130,
            Self::BandwidthChanged => 140,
            Self::GuaranteesExceed => 141,
            Self::Connection(ConnectionState::NotConnected) => 200,
            Self::Connection(ConnectionState::Connecting) => 201,
            Self::Connection(ConnectionState::Connected) => 202,
            Self::KeyChanged => 210,
            Self::KeyReused => 211,
            Self::ParametersChanged => 212,
            Self::ConnectionIncomplete => 213,
            Self::NameFound => 214,
            Self::NameNotFound => 215,
            Self::DatapathRefused => 220,
            Self::WorkersRun => 230,
            Self::EngineFellBack => 231,
            Self::WorkerEnded => 232,
            Self::WorkerRuns => 233,
        }
    }
}

/// How an event is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Ordinary life.
    Information,
    /// Traffic stopped that should flow.
    Warning,
}

/// Recent events, oldest first. Every event is also logged.
#[derive(Debug, Default)]
pub struct EventLog {
    /// States of connections.
    states: VecDeque<EventRecord>,
    /// Everything else.
    others: VecDeque<EventRecord>,
    last_sequence: u64,
}

impl EventLog {
    /// Adds an event that happens now; `site` is the connection's, or `None` for an event of the gateway. It is logged as
    /// information, or as a warning if the datapath refused something or lost a worker.
    pub fn add(&mut self, number: EventNumber, site: Option<&str>, message: String) {
        let severity = match number {
            EventNumber::DatapathRefused | EventNumber::EngineFellBack | EventNumber::WorkerEnded => {
                Severity::Warning
            }
            _ => Severity::Information,
        };
        self.add_as(severity, number, site, message);
    }

    /// Adds an event, as [`EventLog::add`] does, and logs it with this severity.
    pub fn add_as(&mut self, severity: Severity, number: EventNumber, site: Option<&str>, message: String) {
        let records = match number {
            EventNumber::Connection(_) => &mut self.states,
            _ => &mut self.others,
        };
        let number = number.number();
        match severity {
            Severity::Information => tracing::info!(number, site, "{message}"),
            Severity::Warning => tracing::warn!(number, site, "{message}"),
        }
        if records.len() == CAPACITY {
            records.pop_front();
        }
        self.last_sequence += 1;
        records.push_back(EventRecord {
            sequence: self.last_sequence,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            number,
            site: site.map(str::to_owned),
            message,
        });
    }

    /// Adds a change of the gateway's state.
    pub fn add_gateway(&mut self, vnet: &str, state: GatewayState) {
        self.add(EventNumber::Gateway(state), None, format!("gateway of VNet {vnet} is {state}"));
    }

    /// The events kept, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &EventRecord> {
        let (mut states, mut others) = (self.states.iter().peekable(), self.others.iter().peekable());
        std::iter::from_fn(move || {
            let next_state = states.peek().map_or(u64::MAX, |record| record.sequence);
            let next_other = others.peek().map_or(u64::MAX, |record| record.sequence);
            if next_state < next_other { states.next() } else { others.next() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_numbers_go_on() {
        let mut log = EventLog::default();
        for index in 0..CAPACITY + 5 {
            log.add(EventNumber::Gateway(GatewayState::Provisioned), None, format!("event {index}"));
        }
        let records: Vec<_> = log.records().collect();
        assert_eq!(records.len(), CAPACITY);
        assert_eq!((records[0].sequence, records[0].message.as_str()), (6, "event 5"));
        assert_eq!(records[CAPACITY - 1].sequence, CAPACITY as u64 + 5);
        assert_eq!(records[0].number, 102);
        assert!(records[0].time.ends_with('Z'), "{}", records[0].time);
    }

    #[test]
    fn an_outage_of_all_peers_hides_nothing_else() {
        let mut log = EventLog::default();
        log.add_gateway("VNet1", GatewayState::Provisioned);
        for index in 0..10_000 {
            let lost = EventNumber::Connection(ConnectionState::NotConnected);
            log.add(lost, Some(&format!("S{index}")), "lost".to_owned());
            if index == 9_998 {
                log.add(EventNumber::KeyChanged, Some("S1"), "key".to_owned());
            }
        }
        let records: Vec<_> = log.records().collect();
        assert_eq!(records.len(), CAPACITY + 2);
        assert!(records.is_sorted_by_key(|record| record.sequence));
        assert_eq!((records[0].number, records[CAPACITY].number), (102, 210));
        assert_eq!(records[CAPACITY + 1].site.as_deref(), Some("S9999"));
    }
}

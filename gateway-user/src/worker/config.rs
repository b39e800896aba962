//! What the agent tells a worker process on its standard input, and what the worker answers on its standard output: one line of
//! JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One worker process. It works until its standard input is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Number of the worker, counted from 0.
    pub number: u32,
    /// CPU to run on; `None` leaves that to the scheduler.
    pub cpu: Option<u32>,
    /// Folder of the BPF file system where the gateway's maps are pinned.
    pub pin_directory: PathBuf,
    /// Every interface that XDP programs are attached to and workers serve, that of `vgw0`'s far end included.
    pub interfaces: Vec<WorkerInterface>,
    /// MAC address of `vgw0`.
    pub vgw0_mac: [u8; 6],
    /// MAC address of the far end of `vgw0`.
    pub vgw0_peer_mac: [u8; 6],
    /// Entries of the receive ring of each lane, a power of two: so many frames may be on their way to the worker at once.
    pub ring_size: u32,
    /// Whether to try sockets without copies first. To be left off where the programs run in generic mode.
    pub zero_copy: bool,
    /// Whether frames go by slots where the socket would copy them ([`gateway_common::Slot`]). To be left off where the programs
    /// run in generic mode, in which several CPUs may serve one receive queue.
    pub exchange: bool,
    /// Never sleep.
    pub busy_poll: bool,
    /// Frames that the kernel sends per call, at most.
    pub tx_budget: u32,
}

impl WorkerConfig {
    /// Usual value of [`WorkerConfig::ring_size`].
    pub const RING_SIZE: u32 = 4096;
    /// Usual value of [`WorkerConfig::tx_budget`].
    pub const TX_BUDGET: u32 = 256;
}

/// An interface of the gateway, with the part of it that one worker serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerInterface {
    /// Name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// Largest IP packet of the interface, in bytes.
    pub mtu: u32,
    /// Whether this is the far end of `vgw0`; exactly one interface is.
    pub is_vgw0_peer: bool,
    /// Receive queues that this worker serves, at least one. It sends on the first.
    pub lanes: Vec<LaneConfig>,
}

/// A receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneConfig {
    /// Number of the receive queue, and of the transmit queue.
    pub queue: u32,
    /// Index into maps `LANES` and `XSKS`: `Port::first_lane` plus the queue.
    pub lane: u32,
}

/// A worker's answer when it is at work: its sockets are in map `XSKS`, its lanes are open, its privileges are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Every lane of [`WorkerConfig::interfaces`], in the same order.
    pub lanes: Vec<LaneReport>,
}

/// How a lane runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneReport {
    /// Name of the interface.
    pub interface: String,
    /// Number of the queue.
    pub queue: u32,
    /// Index into map `LANES`.
    pub lane: u32,
    /// What the driver can do.
    pub mode: CopyMode,
}

/// Whether the driver works on the socket's memory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyMode {
    /// Frames lie in the worker's memory from the start.
    ZeroCopy,
    /// The XDP program copies each frame to the worker and, in its place, one that the worker has finished.
    Exchange,
    /// The kernel copies each frame.
    Copy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_line_and_reads_back() {
        let config = WorkerConfig {
            number: 1,
            cpu: Some(3),
            pin_directory: "/sys/fs/bpf/vgw/VNet1".into(),
            interfaces: vec![WorkerInterface {
                name: "eth0".to_owned(),
                index: 7,
                mtu: 1500,
                is_vgw0_peer: false,
                lanes: vec![LaneConfig { queue: 1, lane: 2 }, LaneConfig { queue: 3, lane: 4 }],
            }],
            vgw0_mac: [2, 0, 0, 0, 1, 0],
            vgw0_peer_mac: [2, 0, 0, 0, 1, 1],
            ring_size: WorkerConfig::RING_SIZE,
            zero_copy: true,
            exchange: true,
            busy_poll: false,
            tx_budget: WorkerConfig::TX_BUDGET,
        };
        let line = serde_json::to_string(&config).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<WorkerConfig>(&line).unwrap(), config);
        serde_json::from_str::<WorkerConfig>(&line.replace("busy_poll", "busypoll"))
            .expect_err("a misspelt name");
    }

    #[test]
    fn copy_modes_have_the_names_of_the_status() {
        let report = LaneReport { interface: "eth0".to_owned(), queue: 0, lane: 1, mode: CopyMode::ZeroCopy };
        assert!(serde_json::to_string(&report).unwrap().contains(r#""mode":"zero-copy""#));
    }
}

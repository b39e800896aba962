//! Who serves which receive queue.

use gateway_common::limits::LANES;

use super::cpu_list::CpuList;
use crate::datapath::engine::EngineConfig;

/// Queues of an interface that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Queues {
    pub(in crate::datapath) receive: u32,
    pub(in crate::datapath) transmit: u32,
}

/// Lanes of the receive queues of one interface, from queue 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::datapath) struct LaneRange {
    /// Lane of queue 0; 0 without any.
    pub(in crate::datapath) first: u32,
    pub(in crate::datapath) count: u32,
}

/// How many workers there are, and where they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Plan {
    /// The CPU of each worker.
    cpus: Vec<u32>,
}

/// Why the options for workers cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Each worker needs queues of its own on every interface.
    #[error("{workers} workers are too many: interface {interface} has {queues} queue(s) only")]
    TooManyWorkers {
        /// Workers asked for.
        workers: u32,
        /// Interface with the fewest queues.
        interface: String,
        /// Its queues.
        queues: u32,
    },
    /// A CPU that does not exist, or not for this process.
    #[error("workers cannot run on CPU {cpu}: this process may use CPUs {allowed}")]
    Cpu {
        /// The CPU asked for.
        cpu: u32,
        /// Those that may be used.
        allowed: CpuList,
    },
}

impl Plan {
    /// Plans for `interfaces`, never none, those that packets arrive at except `vgw0`, whose queues follow the plan.
    ///
    /// # Errors
    /// The options ask for what is not there.
    pub(in crate::datapath) fn new(
        config: &EngineConfig,
        allowed: &CpuList,
        interfaces: &[(&str, Queues)],
    ) -> Result<Self, PlanError> {
        // `vgw0` counts, too.
        let most = most_lanes(interfaces.len() + 1);
        let narrow = interfaces.iter().map(|(name, queues)| (queues.receive.min(queues.transmit), *name));
        let (queues, interface) = narrow.min().unwrap_or((1, "-"));
        let queues = queues.clamp(1, most);
        let workers = config.workers.unwrap_or_else(|| queues.min(allowed.cpus().len() as u32)).max(1);
        if workers > queues {
            return Err(PlanError::TooManyWorkers { workers, interface: interface.to_owned(), queues });
        }
        let wanted = config.worker_cpus.as_ref().unwrap_or(allowed);
        if let Some(cpu) = wanted.cpus().iter().find(|cpu| !allowed.cpus().contains(cpu)) {
            return Err(PlanError::Cpu { cpu: *cpu, allowed: allowed.clone() });
        }
        Ok(Self { cpus: wanted.cpus().iter().copied().cycle().take(workers as usize).collect() })
    }

    /// Number of workers.
    pub(in crate::datapath) fn workers(&self) -> u32 {
        self.cpus.len() as u32
    }

    /// CPU of a worker.
    pub(super) fn cpu(&self, worker: u32) -> Option<u32> {
        self.cpus.get(worker as usize).copied()
    }

    /// The queues of `lanes` that a worker serves, with their lanes.
    pub(super) fn share(&self, worker: u32, lanes: LaneRange) -> impl Iterator<Item = (u32, u32)> {
        (worker..lanes.count).step_by(self.cpus.len().max(1)).map(move |queue| (queue, lanes.first + queue))
    }
}

/// Lanes for interfaces with so many receive queues. Lane 0 is never used; queues for which none is left have none.
pub(in crate::datapath) fn assign(receive_queues: &[u32]) -> Vec<LaneRange> {
    let most = most_lanes(receive_queues.len());
    let mut next = 1;
    let range = |queues: &u32| {
        let range = LaneRange { first: next, count: (*queues).clamp(1, most) };
        next += range.count;
        range
    };
    receive_queues.iter().map(range).collect()
}

fn most_lanes(interfaces: usize) -> u32 {
    (LANES - 1) / interfaces.max(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(receive: u32, transmit: u32) -> Queues {
        Queues { receive, transmit }
    }

    fn plan(config: &EngineConfig, interfaces: &[(&str, Queues)]) -> Result<Plan, PlanError> {
        Plan::new(config, &"3,2,1,0".parse().unwrap(), interfaces)
    }

    fn wanted(workers: u32) -> EngineConfig {
        EngineConfig { workers: Some(workers), ..EngineConfig::default() }
    }

    #[test]
    fn workers_follow_the_queues_and_the_cpus() {
        let workers = |interfaces: &[_]| plan(&EngineConfig::default(), interfaces).unwrap().workers();
        assert_eq!(workers(&[("wan0", queues(1, 1)), ("lan0", queues(8, 8))]), 1);
        assert_eq!(workers(&[("wan0", queues(8, 2)), ("lan0", queues(8, 8))]), 2, "a worker sends, too");
        assert_eq!(workers(&[("wan0", queues(8, 8)), ("lan0", queues(8, 8))]), 4, "there are four CPUs");
        assert_eq!(plan(&wanted(8), &[("wan0", queues(8, 8))]).unwrap().workers(), 8);
        let error = plan(&wanted(3), &[("wan0", queues(8, 8)), ("lan0", queues(2, 2))]).unwrap_err();
        assert_eq!(error.to_string(), "3 workers are too many: interface lan0 has 2 queue(s) only");
    }

    #[test]
    fn workers_take_their_cpus_in_turn() {
        let cpus = |config: &EngineConfig| {
            let plan = plan(config, &[("wan0", queues(8, 8))]).unwrap();
            (0..plan.workers()).map(|worker| plan.cpu(worker).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(cpus(&EngineConfig::default()), [3, 2, 1, 0]);
        assert_eq!(cpus(&wanted(6)), [3, 2, 1, 0, 3, 2]);
        let on = |list: &str| EngineConfig { worker_cpus: Some(list.parse().unwrap()), ..wanted(3) };
        assert_eq!(cpus(&on("1-2")), [1, 2, 1]);
        let error = plan(&on("2,7"), &[("wan0", queues(8, 8))]).unwrap_err().to_string();
        assert_eq!(error, "workers cannot run on CPU 7: this process may use CPUs 3,2,1,0");
    }

    #[test]
    fn every_queue_has_one_lane_and_one_worker() {
        let ranges = assign(&[3, 1, 8]);
        assert_eq!(ranges, [(1, 3), (4, 1), (5, 8)].map(|(first, count)| LaneRange { first, count }));
        let plan = plan(&wanted(3), &[("wan0", queues(8, 8))]).unwrap();
        let mut served: Vec<_> = (0..3).flat_map(|worker| plan.share(worker, ranges[2])).collect();
        assert_eq!(plan.share(1, ranges[2]).collect::<Vec<_>>(), [(1, 6), (4, 9), (7, 12)]);
        served.sort_unstable();
        assert_eq!(served, (0..8).map(|queue| (queue, queue + 5)).collect::<Vec<_>>());
    }

    #[test]
    fn the_lanes_suffice_for_any_number_of_queues() {
        let many = [1000; 5];
        let last = assign(&many).last().map(|range| range.first + range.count).unwrap();
        assert!(last <= LANES, "{last}");
        let interfaces = many.map(|count| ("eth0", queues(count, count)));
        let plan = Plan::new(&wanted(170), &"0".parse().unwrap(), &interfaces).unwrap();
        assert!(plan.share(169, assign(&[1000; 6])[5]).count() == 1, "no worker is without a lane");
        assert!(Plan::new(&wanted(171), &"0".parse().unwrap(), &interfaces).is_err());
    }
}

//! One XDP program at a time, run by the kernel on a frame given by the test (`BPF_PROG_TEST_RUN`).

use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun as _, TestRunOptions};
use aya::util::nr_cpus;
use gateway_common::{Aead, DropReason, Job, Sa};
use gateway_user::datapath::{Limits, Object, Plain, expand_key, ghash_tables};

/// Slot of map `SAS` that [`Programs::set_key`] fills.
pub(crate) const SA: u32 = 3;
/// Tunnel that drops are counted for.
pub(crate) const TUNNEL: u32 = 2;

/// The programs, loaded into the kernel with maps of their own.
pub(crate) struct Programs {
    object: Object,
}

/// What a program did to a frame.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// An `XDP_…` verdict.
    pub(crate) verdict: u32,
    /// The frame afterwards.
    pub(crate) frame: Vec<u8>,
}

impl Programs {
    /// Loads every program.
    pub(crate) fn load() -> Self {
        Self {
            object: Object::load(Limits { tunnels: 4, cpu_sas: 0, slots: 0 })
                .expect("the kernel accepts the programs"),
        }
    }

    /// Fills [`SA`].
    pub(crate) fn set_key(&mut self, aead: Aead, key: &[u8]) {
        let mut sa = Sa::zeroed();
        sa.key = *expand_key(aead, key).expect("the key has the right length");
        sa.aead = aead as u32;
        sa.tunnel = TUNNEL;
        self.array("SAS").set(SA, Plain(sa), 0).expect("the map takes the SA");
        if let Some(tables) = ghash_tables(aead, key).expect("the key has the right length") {
            self.array("GHASH").set(SA, Plain(*tables), 0).expect("the map takes the tables");
        }
    }

    /// Sets the job of the next run, on every CPU.
    pub(crate) fn set_job(&mut self, job: Job) {
        let values = vec![Plain(job); nr_cpus().expect("the kernel tells its number of CPUs")];
        let map = self.object.ebpf.map_mut("JOB").expect("the object has map JOB");
        PerCpuArray::try_from(map)
            .expect("JOB is a per-CPU array")
            .set(0, PerCpuValues::try_from(values).expect("one value per CPU"), 0)
            .expect("the map takes the job");
    }

    /// Runs `program` once on `frame`.
    pub(crate) fn run(&mut self, program: &str, frame: &[u8]) -> Outcome {
        let mut out = vec![0; frame.len() + 64];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let program = self.object.program(program).expect("the object has the program");
        let result = program.test_run(options).expect("the kernel runs the program");
        out.truncate(result.data_size_out as usize);
        Outcome { verdict: result.return_value, frame: out }
    }

    /// Drops counted for [`TUNNEL`].
    pub(crate) fn drops(&mut self, reason: DropReason) -> u64 {
        let map = self.object.ebpf.map("DROPS").expect("the object has map DROPS");
        let drops: Array<_, u64> = Array::try_from(map).expect("DROPS is an array");
        let index = TUNNEL * DropReason::COUNT + reason as u32;
        drops.get(&index, 0).expect("the tunnel has counters")
    }

    fn array<T: gateway_common::Pod>(&mut self, name: &str) -> Array<&mut aya::maps::MapData, Plain<T>> {
        let map = self.object.ebpf.map_mut(name).expect("the object has the map");
        Array::try_from(map).expect("the map is an array")
    }
}

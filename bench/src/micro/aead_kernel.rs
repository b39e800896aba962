//! The AEAD alone, in the kernel: the programs of engine `kernel` that seal and open, without what stands around them.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun as _, TestRunOptions};
use aya::util::nr_cpus;
use gateway_common::wire::ESP_ICV_LEN;
use gateway_common::{Aead, Job, Pod, ProgramSlot, Sa};
use gateway_user::datapath::{Limits, Object, Plain, expand_key, ghash_tables};
use xdp_harness::frames::pattern;

use super::aead::AeadCost;
use super::statistics::median;
use crate::bpf::programs;

/// Where the payload begins in a tunnel-mode ESP frame: Ethernet, IPv4 and ESP header, IV.
const OFFSET: usize = 14 + 20 + 8 + 8;
/// Slot of map `SAS`.
const SLOT: u32 = 1;
/// Runs between two looks of the kernel at the clock.
const REPEAT: u32 = 50;
/// Verdict of a program that refuses a packet.
const XDP_DROP: u32 = 1;
/// Verdict of a program that did its work and found no successor.
const XDP_PASS: u32 = 2;

/// The loaded programs.
pub(super) struct KernelAead {
    object: Object,
}

impl KernelAead {
    /// Loads the programs.
    ///
    /// # Errors
    /// The kernel refuses them (root is needed).
    pub(super) fn load() -> Result<Self> {
        Ok(Self { object: Object::load(Limits { tunnels: 1, cpu_sas: 0, slots: 0 })? })
    }

    /// Seals and opens payloads of `length` bytes, in about `runs` runs.
    ///
    /// A packet opens only once, but runs must repeat to be timed. So a round seals, opens what was sealed by tail call, and goes
    /// on to open it again: that is refused and leaves the payload as it was before the round. The cost to open is that of a
    /// round without that of sealing and of refusing, each measured alone in turn with it.
    ///
    /// # Errors
    /// The kernel refuses a run.
    pub(super) fn measure(&mut self, aead: Aead, length: usize, runs: usize) -> Result<AeadCost> {
        self.set_key(aead)?;
        let frame = pattern(OFFSET + length + ESP_ICV_LEN);
        let (seal, open) = (program(aead, "seal"), program(aead, "open"));
        let (mut seals, mut opens) = (Vec::new(), Vec::new());
        for _ in 0..runs.div_ceil(REPEAT as usize) {
            self.set_job(length, ProgramSlot::Empty as u32)?;
            let (sealing, _) = self.run(&seal, &frame, XDP_PASS)?;
            let (refusing, _) = self.run(&open, &frame, XDP_DROP)?;
            self.set_job(length, ProgramSlot::opening(aead as u32))?;
            let (round, left) = self.run(&seal, &frame, XDP_DROP)?;
            ensure!(
                left[..OFFSET + length] == frame[..OFFSET + length],
                "{open} did not open what was sealed"
            );
            seals.push(sealing);
            opens.push(round - sealing - refusing);
        }
        Ok(AeadCost { seal_ns: median(&mut seals), open_ns: median(&mut opens) })
    }

    fn set_key(&mut self, aead: Aead) -> Result<()> {
        let key = vec![7; aead.key_len()];
        let mut sa = Sa::zeroed();
        sa.key = *expand_key(aead, &key)?;
        sa.aead = aead as u32;
        self.array("SAS")?.set(SLOT, Plain(sa), 0)?;
        if let Some(tables) = ghash_tables(aead, &key)? {
            self.array("GHASH")?.set(SLOT, Plain(*tables), 0)?;
        }
        Ok(())
    }

    fn set_job(&mut self, length: usize, next: u32) -> Result<()> {
        let job = Job {
            sa: SLOT,
            offset: OFFSET as u32,
            length: length as u32,
            aad_len: 12,
            next,
            ..Job::default()
        };
        let jobs = vec![Plain(job); nr_cpus().map_err(|(what, error)| error_of(what, &error))?];
        let map = self.object.ebpf.map_mut("JOB").context("no map JOB")?;
        Ok(PerCpuArray::try_from(map)?.set(0, PerCpuValues::try_from(jobs)?, 0)?)
    }

    /// Runs `program` on `frame` [`REPEAT`] times; it must end with `verdict`. Mean time of a run in ns, and what became of
    /// the frame.
    fn run(&mut self, program: &str, frame: &[u8], verdict: u32) -> Result<(f64, Vec<u8>)> {
        let mut left = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut left),
            repeat: REPEAT,
            ..TestRunOptions::default()
        };
        let result = self.object.program(program)?.test_run(options)?;
        let actual = result.return_value;
        ensure!(actual == verdict, "{program} ended with verdict {actual} instead of {verdict}");
        Ok((result.duration.as_nanos() as f64, left))
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, Plain<T>>> {
        let map = self.object.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Ok(Array::try_from(map)?)
    }
}

fn program(aead: Aead, what: &str) -> String {
    let algorithm = match aead {
        Aead::ChaCha20Poly1305 => "chacha20_poly1305",
        Aead::Aes128Gcm => "aes128_gcm",
        Aead::Aes256Gcm => "aes256_gcm",
    };
    format!("{what}_{algorithm}")
}

fn error_of(what: &str, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("{what}: {error}")
}

/// What the kernel measures for one run of a program that does nothing, median of `runs` in ns: all test runs contain it.
///
/// # Errors
/// The kernel refuses (root is needed).
pub(super) fn empty_run_ns(runs: usize) -> Result<f64> {
    let program = programs::drop()?;
    let frame = pattern(64);
    let times: Result<Vec<f64>> = (0..runs).map(|_| program.run(&frame)).collect();
    Ok(median(&mut times?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_seals_opens_and_is_refused_to_open_again() -> Result<()> {
        if testbed::skip_unless_capable("a_round_seals_opens_and_is_refused_to_open_again") {
            return Ok(());
        }
        let mut programs = KernelAead::load()?;
        for aead in [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm] {
            // Verdicts and payloads are checked inside.
            programs.measure(aead, 100, 1)?;
        }
        Ok(())
    }
}

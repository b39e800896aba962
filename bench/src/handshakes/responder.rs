//! The process that is measured.

use anyhow::Result;
use testbed::Process;

use crate::usage::{bpf_map_kib, cpu_seconds, resident_kib};

/// A responder that is ready for initiators. Dropping it ends it.
pub(super) struct Responder {
    process: Process,
    established: Box<dyn Fn() -> Result<usize>>,
}

/// What it has used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_kib: u32,
    pub(super) bpf_map_kib: u32,
}

impl Responder {
    /// Takes over a process that has come up. `established` asks it how many tunnels are up.
    pub(super) fn new(process: Process, established: impl Fn() -> Result<usize> + 'static) -> Self {
        Self { process, established: Box::new(established) }
    }

    /// How many tunnels it says are up.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn established(&self) -> Result<usize> {
        (self.established)()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn usage(&self) -> Result<Usage> {
        let id = self.process.id();
        Ok(Usage {
            cpu_seconds: cpu_seconds(id)?,
            resident_kib: resident_kib(id)?,
            bpf_map_kib: bpf_map_kib(id)?,
        })
    }
}

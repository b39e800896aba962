//! What a process has used, as the kernel tells.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Processor time of a process so far, all its threads, in seconds.
///
/// # Errors
/// The process is gone.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The command's name stands in parentheses and may contain anything; user and system time are the 12th and 13th field behind.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat")?.parse()?) };
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its tick")?;
    Ok((ticks(11)? + ticks(12)?) / f64::from(u32::try_from(per_second)?))
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// The process is gone.
pub(crate) fn resident_kib(process: u32) -> Result<u32> {
    status_kib(process, "VmRSS:")
}

/// Memory of a process in KiB that is neither a file nor a BPF map.
///
/// # Errors
/// The process is gone.
pub(crate) fn own_kib(process: u32) -> Result<u32> {
    status_kib(process, "RssAnon:")
}

fn status_kib(process: u32, field: &str) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
    Ok(kib.context("no resident memory")?.trim().parse()?)
}

/// Memory of the BPF maps that a process holds, in KiB, each map counted once.
///
/// # Errors
/// The process is gone.
pub(crate) fn bpf_map_kib(process: u32) -> Result<u32> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // A descriptor may be closed while the list is read.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(u32::try_from(maps.values().sum::<u64>() / 1024)?)
}

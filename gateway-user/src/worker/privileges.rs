//! What a worker gives up before the first packet: everything but its sockets and its memory.

use std::collections::BTreeMap;
use std::ffi::CStr;

use anyhow::{Context as _, Result};
use caps::CapSet;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Name of the process in listings.
const NAME: &CStr = c"vgw-worker";
/// Nice value. A worker that waits for a CPU behind other programs loses its packets to the kernel engine, and those that wait in
/// its rings become too old for the peer's anti-replay window.
const NICE: i32 = -10;

/// Gives this process a name of its own, and precedence over ordinary programs if it may have that (CAP_SYS_NICE).
pub(super) fn stand_out() -> Result<()> {
    prctl::set_name(NAME).context("cannot set the name of the process")?;
    // Short sleeps end when they are to end.
    prctl::set_timerslack(1).context("cannot make sleep exact")?;
    // SAFETY: no pointer is passed. It works without, so a refusal is no failure.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    Ok(())
}

/// Runs this process on one CPU only.
pub(super) fn pin_to(cpu: u32) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu as usize)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Keeps what this process knows out of core dumps and from other processes of the user.
pub(super) fn hide_memory() -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core dumps")?;
    prctl::set_dumpable(false).context("cannot forbid dumps")
}

/// Drops every capability, and allows no more than the system calls of a worker at work. For good.
pub(super) fn drop_all() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Bounding, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted]
    {
        caps::clear(None, set).with_context(|| format!("cannot drop the {set:?} capabilities"))?;
    }
    prctl::set_no_new_privs().context("cannot forbid new privileges")?;
    seccompiler::apply_filter_all_threads(&filter()?).context("cannot restrict system calls")
}

/// Whatever is not listed kills the process.
fn filter() -> Result<BpfProgram> {
    let allowed = [
        // Sending, waiting, counters of sockets.
        libc::SYS_sendto,
        libc::SYS_recvfrom,
        libc::SYS_ppoll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        libc::SYS_restart_syscall,
        libc::SYS_getsockopt,
        // Where the clock is no memory of the kernel's.
        libc::SYS_clock_gettime,
        // The agent's end of the pipe, the answer, a last line on standard error.
        libc::SYS_read,
        libc::SYS_write,
        // Memory.
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_futex,
        // The end.
        libc::SYS_sched_yield,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
    ];
    let rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    let architecture =
        std::env::consts::ARCH.try_into().context("no system call filter for this processor")?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    filter.try_into().context("cannot make the system call filter")
}

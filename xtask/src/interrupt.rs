//! Ctrl-C and friends: clean up, then end.

use anyhow::{Result, anyhow};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, killpg, sigaction};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use testbed::{Scope, remove_scope, sweep_stale};

/// Process group of the child that is running, 0 if there is none.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// Laboratory that must be removed.
static LAB: Mutex<Option<Scope>> = Mutex::new(None);

/// Write end of the pipe that carries the signal's number to the thread that cleans up.
static SIGNALLED: OnceLock<OwnedFd> = OnceLock::new();

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes over SIGINT, SIGTERM and SIGHUP. Handlers, not a signal mask: children would inherit the mask and be deaf to the
/// SIGTERM that ends them.
pub(crate) fn install() -> Result<()> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    SIGNALLED.set(write).map_err(|_| anyhow!("signals are taken over already"))?;
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler makes one async-signal-safe system call on a descriptor that is never closed.
        unsafe { sigaction(signal, &action) }?;
    }
    std::thread::spawn(move || {
        let mut signal = [0];
        if File::from(read).read_exact(&mut signal).is_ok() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("\ninterrupted: cleaning up");
            clean_up();
            std::process::exit(128 + i32::from(signal[0]));
        }
    });
    Ok(())
}

/// Has an interruption remove `scope`.
pub(crate) fn remove_on_interrupt(scope: &Scope) {
    *LAB.lock().expect("no holder panics") = Some(scope.clone());
}

/// Starts `command` as the leader of a process group that an interruption ends. One at a time.
pub(crate) fn spawn_group(command: &mut Command) -> io::Result<Child> {
    let child = command.process_group(0).spawn()?;
    GROUP.store(child.id().cast_signed(), Ordering::SeqCst);
    Ok(child)
}

/// The child of [`spawn_group`] has been waited for.
pub(crate) fn group_ended() {
    GROUP.store(0, Ordering::SeqCst);
}

/// If an interruption is under way, lets its clean-up end the process; else returns at once.
pub(crate) fn yield_to_cleanup() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    if let Some(pipe) = SIGNALLED.get() {
        // There is nobody to tell about a failure; the first signal has found its reader.
        let _ = nix::unistd::write(pipe, &[signal.cast_unsigned() as u8]);
    }
}

fn clean_up() {
    let group = GROUP.swap(0, Ordering::SeqCst);
    if group != 0 {
        // It may have ended by itself in between.
        let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
    }
    let lab = LAB.lock().expect("no holder panics").clone();
    // The interrupted command may still be making things; the second look finds what the first could not.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(200));
        let removed = lab.as_ref().map_or_else(sweep_stale, remove_scope);
        if let Err(error) = removed {
            eprintln!("clean-up: {error:#}");
        }
    }
}

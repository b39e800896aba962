//! Ctrl-C and friends: clean up, then end.

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use testbed::{Scope, remove_scope, sweep_stale};

/// Process group of the child that is running, 0 if there is none.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// Laboratory that must be removed.
static LAB: Mutex<Option<Scope>> = Mutex::new(None);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes over SIGINT, SIGTERM and SIGHUP. Must be called before any other thread is started: threads inherit the mask.
pub(crate) fn install() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().expect("the signal set is valid");
    std::thread::spawn(move || {
        let signal = signals.wait().expect("the signal set is valid");
        INTERRUPTED.store(true, Ordering::SeqCst);
        eprintln!("\ninterrupted ({signal}): cleaning up");
        clean_up();
        std::process::exit(128 + signal as i32);
    });
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

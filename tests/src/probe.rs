//! What this machine allows.

use crate::try_run;
use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

/// The oldest kernel with everything the datapath uses.
const OLDEST_KERNEL: (u32, u32) = (5, 18);

/// What this machine lacks to run a gateway, found by trying.
#[derive(Clone, Debug)]
pub struct Probe {
    missing: Vec<String>,
}

impl Probe {
    /// Tries everything once per process.
    pub fn cached() -> &'static Self {
        static PROBE: OnceLock<Probe> = OnceLock::new();
        PROBE.get_or_init(Self::run)
    }

    /// One sentence for each thing that is missing: what it is and how to get it. Empty on a capable machine.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    fn run() -> Self {
        if !nix::unistd::geteuid().is_root() {
            // Nothing else can be tried without the privilege.
            return Self {
                missing: vec![
                    "Root is missing: network namespaces and XDP need it; run the command as root."
                        .to_owned(),
                ],
            };
        }
        let checks = [kernel_version(), type_information(), bpf_file_system(), namespaces_and_xdp()];
        Self {
            missing: checks
                .into_iter()
                .filter_map(|check| check.err().map(|error| format!("{error:#}")))
                .collect(),
        }
    }
}

fn kernel_version() -> Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let found =
        parse_release(&release).with_context(|| format!("The kernel release {release} cannot be read."))?;
    let (major, minor) = OLDEST_KERNEL;
    ensure!(
        found >= OLDEST_KERNEL,
        "The kernel is too old: this one is {}, {major}.{minor} or newer is needed; boot a newer one.",
        release.trim()
    );
    Ok(())
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn type_information() -> Result<()> {
    ensure!(
        Path::new("/sys/kernel/btf/vmlinux").exists(),
        "BPF type information is missing (/sys/kernel/btf/vmlinux): boot a kernel built with CONFIG_DEBUG_INFO_BTF."
    );
    Ok(())
}

fn bpf_file_system() -> Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems")?;
    ensure!(
        known.split_whitespace().any(|word| word == "bpf"),
        "The BPF file system is missing: boot a kernel built with CONFIG_BPF_SYSCALL."
    );
    Ok(())
}

/// Attaches a program that passes everything to a virtual Ethernet port in an anonymous namespace, which vanishes with
/// the thread.
fn namespaces_and_xdp() -> Result<()> {
    let attempt = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .context("Network namespaces are not allowed here (in a container: run it privileged).")?;
        try_run("ip link add name probe0 type veth peer name probe1").context(
            "Virtual Ethernet is missing: boot a kernel built with CONFIG_VETH, with iproute2 installed.",
        )?;
        let program = load_pass_program().context(
            "BPF is not allowed or missing: it needs CONFIG_BPF_SYSCALL, and in a container CAP_BPF.",
        )?;
        attach_natively(&program, "probe0").context(
            "Native XDP on virtual Ethernet is missing: boot a kernel built with CONFIG_NET and XDP support.",
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(attempt).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Leading fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Leading fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

fn load_pass_program() -> Result<OwnedFd> {
    // r0 = XDP_PASS; exit
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        ..ProgLoad::default()
    };
    // SAFETY: the pointers in `attributes` are to `instructions` and to a static string; both outlive the call.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }
}

fn attach_natively(program: &OwnedFd, device: &str) -> Result<()> {
    let attributes = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: nix::net::if_::if_nametoindex(device)?,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    // SAFETY: `attributes` holds no pointers.
    unsafe { bpf(BPF_LINK_CREATE, &attributes) }.map(drop)
}

/// # Safety
/// `attributes` must be the fields of `union bpf_attr` that `command` reads, and pointers among them must be valid.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`; the caller vouches for the pointers inside.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let descriptor = Errno::result(result)?;
    // SAFETY: the two commands used here return a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(parse_release("6.18.2-amd64\n"), Some((6, 18)));
        assert_eq!(parse_release("6.1.0-18-amd64"), Some((6, 1)));
        assert!(parse_release("5.4.0").unwrap() < OLDEST_KERNEL);
        assert_eq!(parse_release("unknown"), None);
    }
}

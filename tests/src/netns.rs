//! A named network namespace.

use crate::command::{run, try_run};
use crate::process;
use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where iproute2 keeps the handles of named namespaces.
pub(crate) const NETNS_ROOT: &str = "/run/netns";

/// A named network namespace; dropping it ends the processes inside and deletes it.
///
/// Only the network is separate: processes started with [`NetNs::command`] see the machine's own mounts, so that every
/// agent pins its maps in the one BPF file system (`ip netns exec` would hide it behind a fresh `/sys`).
#[derive(Debug)]
pub struct NetNs {
    name: String,
    delete_on_drop: bool,
}

impl NetNs {
    /// Makes the namespace `name` with its loopback up and IPv6 off, so that nothing but the test's traffic is on a wire.
    pub fn create(name: &str) -> Result<Self> {
        try_run(&format!("ip netns add {name}"))?;
        let namespace = Self { name: name.to_owned(), delete_on_drop: true };
        namespace.ip("link set lo up")?;
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(namespace)
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// File that stands for the namespace, for `nsenter --net=…`.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_ROOT).join(&self.name)
    }

    /// Runs `ip <arguments>` in the namespace (words separated by spaces) and returns what it printed.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run(Command::new("ip").arg("-n").arg(&self.name).args(arguments.split_whitespace()))
    }

    /// Connects a port of this namespace to a port of `far`, each given by its name and address, both in one /24. Each port
    /// has `queues` receive and as many transmit queues.
    pub(crate) fn cable(
        &self,
        (port, address): (&str, Ipv4Addr),
        far: &Self,
        (far_port, far_address): (&str, Ipv4Addr),
        queues: u32,
    ) -> Result<()> {
        let (name, far_name) = (&self.name, &far.name);
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        try_run(&format!(
            "ip link add name {port} netns {name} {queues} type veth peer name {far_port} netns {far_name} {queues}"
        ))?;
        for (namespace, port, address) in [(self, port, address), (far, far_port, far_address)] {
            namespace.ip(&format!("address add {address}/24 dev {port}"))?;
            namespace.ip(&format!("link set {port} up"))?;
        }
        Ok(())
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let handle = self.handle()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes only the system call setns, which is async-signal-safe, on a
        // file that the closure owns.
        unsafe {
            command.pre_exec(move || setns(&handle, CloneFlags::CLONE_NEWNET).map_err(Into::into));
        }
        Ok(command)
    }

    /// Runs `work` on a thread inside the namespace and returns its result. A socket that `work` opens stays in the
    /// namespace and may be used from any thread afterwards.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = self.handle()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&handle, CloneFlags::CLONE_NEWNET)
                    .map(|()| work())
                    .context("cannot enter the namespace")
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Writes `value` to the network sysctl `key`, whose components are separated by slashes.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("cannot set {} in {}", path.display(), self.name))
    }

    /// Carries out `rules`, in the language of nftables, in the namespace.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let mut command = self.command("nft")?;
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut nft = command.spawn().context("cannot start nft")?;
        nft.stdin.take().context("standard input is piped")?.write_all(rules.as_bytes())?;
        let output = nft.wait_with_output()?;
        ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Leaves the namespace in place when the handle is dropped.
    pub fn keep(&mut self) {
        self.delete_on_drop = false;
    }

    fn handle(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("no namespace {}", self.name))
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if self.delete_on_drop
            && let Err(error) = delete(&self.name)
        {
            eprintln!("warning: namespace {} is left behind: {error:#}", self.name);
        }
    }
}

/// Ends every process in the namespace `name`, then deletes the namespace. A namespace that is gone is no error: an
/// interruption's clean-up may run beside the regular one.
pub(crate) fn delete(name: &str) -> Result<()> {
    let path = Path::new(NETNS_ROOT).join(name);
    if let Ok(processes) = process::inside_namespace(&path) {
        process::end_all(&processes);
    }
    match try_run(&format!("ip netns delete {name}")) {
        Err(error) if path.exists() => Err(error),
        _ => Ok(()),
    }
}

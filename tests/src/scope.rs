//! Common name of everything one laboratory makes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Common prefix of every scope; nothing else on the machine may carry it.
pub(crate) const PREFIX: &str = "vgw-";

/// Where directories of a scope live: root-only and gone after a reboot, like the namespaces.
pub(crate) const RUN_ROOT: &str = "/run";

/// Where the agents of a scope pin their maps.
pub(crate) const BPF_ROOT: &str = "/sys/fs/bpf";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Name that prefixes the namespaces, the directory and the pin root of one laboratory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// A scope of this process: `vgw-<pid>-<n>`. A later run recognises it as stale once the process is gone.
    pub fn unique() -> Self {
        Self(format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A scope that outlives the process that makes it: `vgw-<name>`. `name` must not start with a digit.
    pub fn named(name: &str) -> Self {
        assert!(
            name.starts_with(|c: char| c.is_ascii_alphabetic()),
            "a name that starts with a digit reads as a process id"
        );
        Self(format!("{PREFIX}{name}"))
    }

    /// The bare name, for instance `vgw-lab`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Name of the namespace that plays `role`, for instance `vgw-lab-host1`.
    pub fn namespace(&self, role: &str) -> String {
        format!("{}-{role}", self.0)
    }

    /// Directory for sockets, state, configuration and logs.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(RUN_ROOT).join(&self.0)
    }

    /// Root of the maps that the agents of this scope pin.
    pub fn pin_root(&self) -> PathBuf {
        PathBuf::from(BPF_ROOT).join(&self.0)
    }
}

/// Process id that `name` (a namespace, directory or pin root) belongs to, when it is one of [`Scope::unique`].
pub(crate) fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_read_back_from_every_derived_name() {
        let scope = Scope::unique();
        let me = std::process::id();
        assert_eq!(owner(scope.name()), Some(me));
        assert_eq!(owner(&scope.namespace("gw1")), Some(me));
        assert_ne!(scope, Scope::unique());
    }

    #[test]
    fn a_named_scope_has_no_owner() {
        assert_eq!(owner(&Scope::named("lab").namespace("gw1")), None);
        assert_eq!(owner("eth0"), None);
    }
}

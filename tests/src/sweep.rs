//! Removal of what labs left behind.

use crate::netns::{self, NETNS_ROOT};
use crate::process::is_running;
use crate::scope::{BPF_ROOT, PREFIX, RUN_ROOT, Scope, owner};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

/// Removes everything that carries the name of `scope`: processes, namespaces, pinned maps, the directory. Returns the
/// names of what was there.
pub fn remove_scope(scope: &Scope) -> Result<Vec<String>> {
    let belongs = |name: &str| {
        name == scope.name() || name.strip_prefix(scope.name()).is_some_and(|rest| rest.starts_with('-'))
    };
    remove(belongs)
}

/// Removes what labs of processes that no longer run left behind. Returns the names of what was there.
pub fn sweep_stale() -> Result<Vec<String>> {
    remove(|name| owner(name).is_some_and(|id| !is_running(id)))
}

/// Namespaces, pin roots and directories of any lab on this machine, as paths.
pub fn leftovers() -> Vec<String> {
    let roots = [NETNS_ROOT, BPF_ROOT, RUN_ROOT];
    roots
        .iter()
        .flat_map(|root| entries(root, |_| true).into_iter().map(move |name| format!("{root}/{name}")))
        .collect()
}

fn remove(belongs: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut removed = BTreeSet::new();
    // Namespaces first: agents that still run inside withdraw their maps themselves.
    for name in entries(NETNS_ROOT, &belongs) {
        netns::delete(&name)?;
        removed.insert(name);
    }
    for root in [BPF_ROOT, RUN_ROOT] {
        for name in entries(root, &belongs) {
            remove_tree(&Path::new(root).join(&name))?;
            removed.insert(name);
        }
    }
    Ok(removed.into_iter().collect())
}

/// Removes a directory and what is in it. One that is gone is no error: an interruption's clean-up may run beside the
/// regular one.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn entries(root: &str, belongs: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(listing) = std::fs::read_dir(root) else { return Vec::new() };
    let names = listing.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(PREFIX) && belongs(name)).collect()
}

//! Finding the peers' programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Result;
use testbed::{NetNs, output_of};

use crate::end_to_end::NotInstalled;

/// Names the directory with the programs that `cargo xtask setup --bench` has built.
pub(super) const DIRECTORY: &str = "VGW_PEERS_DIR";

/// The path of `program`: among those that set-up has built, else on the path.
///
/// # Errors
/// It is nowhere.
pub(super) fn find(program: &str) -> Result<PathBuf, NotInstalled> {
    let built = env::var_os(DIRECTORY).map(|directory| Path::new(&directory).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let places = built.into_iter().chain(env::split_paths(&path));
    let mut candidates = places.map(|place| place.join(program));
    candidates
        .find(|candidate| fs::metadata(candidate).is_ok_and(|file| file.is_file()))
        .ok_or_else(|| NotInstalled(format!("{program} (cargo xtask setup --bench installs it)")))
}

/// Whether this kernel has TUN devices.
///
/// # Errors
/// It has none.
pub(super) fn require_tun() -> Result<(), NotInstalled> {
    let is_there = Path::new("/dev/net/tun").exists();
    if is_there { Ok(()) } else { Err(NotInstalled("TUN devices of the kernel".to_owned())) }
}

/// What `program` says its version is; empty if it says none.
pub(super) fn version(program: &str, argument: &str) -> String {
    let Ok(path) = find(program) else { return String::new() };
    // Some programs tell their version with an exit code that means failure, some on standard error.
    let Ok(output) = output_of(Command::new(path).arg(argument)) else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    first_version(&String::from_utf8_lossy(&text)).unwrap_or_default()
}

/// `program` in `namespace`; on `processor` alone if one is named.
///
/// # Errors
/// The namespace is gone.
pub(super) fn command(namespace: &NetNs, program: &Path, processor: Option<usize>) -> Result<Command> {
    let Some(processor) = processor else { return namespace.command(program) };
    let mut command = namespace.command("taskset")?;
    command.args([OsStr::new("--cpu-list"), OsStr::new(&processor.to_string()), program.as_os_str()]);
    Ok(command)
}

/// The first word that reads like a version.
fn first_version(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    let mut words = words.map(|word| word.trim_start_matches('v').trim_end_matches('.'));
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    words.find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_among_words() {
        let version = |text| first_version(text).unwrap_or_default();
        assert_eq!(
            version("wireguard-go v0.0.20220316\n\nUserspace WireGuard daemon for linux-amd64."),
            "0.0.20220316"
        );
        assert_eq!(version("boringtun 0.7.1\n"), "0.7.1");
        assert_eq!(version("OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)]"), "2.6.14");
        assert_eq!(version("strongSwan U5.9.8, swanctl"), "");
        assert_eq!(version("strongSwan swanctl 5.9.8"), "5.9.8");
        assert_eq!(version(""), "");
    }

    #[test]
    fn what_is_missing_is_named() {
        let NotInstalled(missing) = find("no-such-peer-anywhere").unwrap_err();
        assert!(missing.starts_with("no-such-peer-anywhere"), "{missing}");
        assert!(find("sh").unwrap().ends_with("sh"));
    }
}

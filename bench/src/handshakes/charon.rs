//! strongSwan's charon as responder for the same initiators.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use testbed::{Process, poll_until, run};

use super::network::{Network, RESPONDER};
use super::responder::Responder;

const PROGRAM: &str = "/usr/sbin/charon-systemd";
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What the results say about the settings.
pub(super) const SETTINGS: &str = "16 threads, hash tables of IKE SAs with 16384 rows in 16 segments, no limits on half-open SAs, no cookies, no \
                                   log below errors, no routes per Child SA, one connection for every initiator, ESP by kernel-libipsec";

/// Starts charon with one connection that any initiator may use.
///
/// # Errors
/// charon is missing or does not come up; the error quotes its log.
pub(super) fn start(network: &Network, psk: &str) -> Result<Responder> {
    let directory = network.directory().join("charon");
    fs::create_dir_all(&directory)?;
    let vici = format!("unix://{}/charon.vici", directory.display());
    let configuration = directory.join("strongswan.conf");
    fs::write(&configuration, settings(&vici))?;
    let connections = directory.join("swanctl.conf");
    fs::write(&connections, connection(psk))?;

    let mut command = network.responder.command(PROGRAM)?;
    command.env("STRONGSWAN_CONF", &configuration);
    let mut process = Process::spawn(command, &directory.join("charon.log"))
        .context("strongSwan is needed: `cargo xtask setup` installs it")?;
    let loaded = poll_until(START_TIMEOUT, "charon takes its configuration", || {
        if let Some(status) = process.exited()? {
            return Ok(Some(Err(status)));
        }
        let mut command = Command::new("swanctl");
        command.env("STRONGSWAN_CONF", &configuration).args(["--load-all", "--noprompt", "--uri", &vici]);
        run(command.arg("--file").arg(&connections)).map(|_| Some(Ok(())))
    });
    match loaded.with_context(|| format!("charon's log: {}", process.log()))? {
        Ok(()) => Ok(Responder::new(process, move || established(&vici))),
        Err(status) => bail!("charon ended ({status}): {}", process.log()),
    }
}

/// IKE SAs that charon counts, less those that wait for IKE_AUTH.
fn established(vici: &str) -> Result<usize> {
    let text = run(Command::new("swanctl").args(["--stats", "--uri", vici]))?;
    let numbers = text.lines().find_map(|line| {
        let (total, half_open) = line.strip_prefix("IKE_SAs: ")?.split_once(" total, ")?;
        let (total, half_open) = (total.parse::<usize>().ok()?, half_open.strip_suffix(" half-open")?);
        total.checked_sub(half_open.parse().ok()?)
    });
    numbers.with_context(|| format!("charon's statistics have no IKE SAs: {text}"))
}

/// Version of the installed strongSwan.
///
/// # Errors
/// There is none.
pub(super) fn version() -> Result<String> {
    let text = run(Command::new("swanctl").arg("--help"))?;
    let words = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(words.context("swanctl tells no version")?.to_owned())
}

fn settings(vici: &str) -> String {
    format!(
        "charon {{
    load = random nonce aesni openssl curve25519 sha1 sha2 hmac kdf drbg pem pkcs1 pkcs8 x509 pubkey constraints revocation kernel-libipsec kernel-netlink socket-default vici
    threads = 16
    ikesa_table_size = 16384
    ikesa_table_segments = 16
    dos_protection = no
    cookie_threshold = 0
    block_threshold = 0
    init_limit_half_open = 0
    init_limit_job_load = 0
    install_routes = no
    process_route = no
    plugins {{
        vici {{
            socket = {vici}
        }}
    }}
    filelog {{
        stderr {{
            default = -1
        }}
    }}
}}
charon-systemd {{
    journal {{
        default = -1
    }}
}}
swanctl {{
    load = pem pkcs1 pkcs8 x509 pubkey random openssl
    socket = {vici}
}}
"
    )
}

fn connection(psk: &str) -> String {
    format!(
        "connections {{
    bench {{
        version = 2
        local_addrs = {RESPONDER}
        remote_addrs = %any
        proposals = aes256gcm16-prfsha256-x25519
        unique = no
        mobike = no
        rekey_time = 0
        local {{
            auth = psk
            id = {RESPONDER}
        }}
        remote {{
            auth = psk
            id = %any
        }}
        children {{
            net {{
                local_ts = 0.0.0.0/0
                remote_ts = 0.0.0.0/0
                esp_proposals = aes256gcm16
                rekey_time = 0
                start_action = none
            }}
        }}
    }}
}}
secrets {{
    ike {{
        secret = \"{psk}\"
    }}
}}
"
    )
}

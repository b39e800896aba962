//! With the key log, Wireshark reads a capture; the gateway tells loudly that there is one.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed::{GatewayOptions, Process, ping, scenario, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// The payload of the pings.
const NEEDLE: &str = "7369787465656e207265616461626c65";

#[test]
fn a_capture_is_decrypted_with_the_key_log() {
    scenario("a_capture_is_decrypted_with_the_key_log", 2, |lab| {
        let keys = lab.directory().join("keys");
        let plain = GatewayOptions {
            esp_proposal: Some("aes256gcm16".to_owned()),
            ike_proposal: Some("aes256gcm16-prfsha384-x25519".to_owned()),
            ..GatewayOptions::default()
        };
        let logging = GatewayOptions { key_log: Some(keys.clone()), ..plain.clone() };
        let agents = [lab.start_agent(1, &logging)?, lab.start_agent(2, &plain)?];
        let file = lab.directory().join("capture.pcap");
        let mut command = lab.inet.command("tshark")?;
        command.args(["-q", "-F", "pcap", "-i", &lab.site(1).inet_port(), "-w"]).arg(&file);
        let log = lab.directory().join("tshark.log");
        let mut tshark = Process::spawn(command, &log)?;
        wait_until(PATIENCE, "start of the capture", || Ok(tshark.log().contains("Capture started")))?;

        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        let target = lab.site(2).host_address();
        let report = ping(&lab.site(1).host, &format!("-c 5 -i 0.2 -W 2 -p {NEEDLE} {target}"))?;
        assert_eq!(report.received, 5, "{}", report.text);
        tshark.end(Signal::SIGINT, PATIENCE)?;

        for name in ["ikev2_decryption_table", "esp_sa"] {
            let mode = std::fs::metadata(keys.join(name))?.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
        // IKE_AUTH: both identities, and the one ESP transform that was proposed: AES-GCM-16 (20).
        let auth = decode(
            &keys,
            &file,
            "isakmp.exchangetype == 35",
            &["isakmp.id.data.ipv4_addr", "isakmp.tf.id.encr"],
        )?;
        for address in [lab.site(1).wan_address(), lab.site(2).wan_address()] {
            assert!(auth.contains(&address.to_string()), "{auth}");
        }
        assert!(auth.lines().all(|line| line.ends_with("\t20")), "{auth}");
        // ESP: the inner addresses and the payload of the pings.
        let inner = decode(&keys, &file, "esp && icmp", &["ip.src", "ip.dst", "data.data"])?;
        let (one, two) = (lab.site(1).host_address(), target);
        for between in [(one, two), (two, one)] {
            let found = inner.lines().any(|line| {
                line.contains(&between.0.to_string())
                    && line.contains(&between.1.to_string())
                    && line.contains(NEEDLE)
            });
            assert!(found, "{between:?}: {inner}");
        }
        // Without the keys nothing of that can be read.
        let without = lab.directory().join("nothing");
        std::fs::create_dir(&without)?;
        assert_eq!(decode(&without, &file, "esp && icmp", &["ip.src"])?, "");

        let shown = agents[0].vgw().text(&["gateway", "show"])?;
        assert!(shown.contains("ALL KEYS are being written"), "{shown}");
        assert!(agents[0].log().contains("THE KEYS OF ALL SAs ARE WRITTEN"), "{}", agents[0].log());
        assert!(agents[1].vgw().json(&["gateway", "show"])?["key_log"].is_null());
        Ok(())
    });
}

/// The fields of the packets that `filter` selects, decrypted with the tables in `configuration`: a line per packet.
fn decode(configuration: &Path, capture: &Path, filter: &str, fields: &[&str]) -> Result<String> {
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", configuration);
    command.args(["-o", "esp.enable_encryption_decode:TRUE", "-T", "fields", "-Y", filter]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.arg("-r").arg(capture).output().context("cannot run tshark")?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

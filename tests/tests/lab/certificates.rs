//! Connections with certificates, whose files are read again while the gateway runs.

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use testbed::{Agent, CertificateFiles, GatewayOptions, scenario, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Numbers of the events of files that were read again, and of files that cannot be used.
const READ: u64 = 120;
const REFUSED: u64 = 121;

#[test]
fn certificate_files_are_read_again_on_sighup_and_broken_ones_change_nothing() {
    scenario("certificate_files_are_read_again_on_sighup_and_broken_ones_change_nothing", 2, |lab| {
        let files = issue(&lab.directory(), ["gw1.example", "gw2.example"])?;
        let start = |number: u8| {
            let certificate = Some(files[usize::from(number) - 1].clone());
            lab.start_agent(number, &GatewayOptions { certificate, ..GatewayOptions::default() })
        };
        let agents = [start(1)?, start(2)?];
        for (agent, own, other) in [(&agents[0], 1, 2), (&agents[1], 2, 1)] {
            let (vnet, site) = (lab.site(own).vnet(), lab.site(other).vnet());
            let (local, remote) = (format!("gw{own}.example"), format!("gw{other}.example"));
            let ids = ["--local-id", &local, "--remote-id", &remote];
            let configure = ["connection", "configure", &vnet, &site, "--auth", "certificate"];
            agent.vgw().text(&[&configure[..], &ids].concat())?;
        }
        lab.wait_connected(&agents)?;
        let site = lab.site(2).vnet();
        let before = agents[0].vgw().connection(&site)?;
        assert_eq!(before["peer_identity"], "gw2.example", "{before}");

        let chain = std::fs::read(&files[0].chain)?;
        std::fs::write(&files[0].chain, "damaged")?;
        hang_up(&agents[0], REFUSED)?;
        unchanged(&agents[0], &site, &before)?;
        std::fs::write(&files[0].chain, chain)?;
        hang_up(&agents[0], READ)?;
        unchanged(&agents[0], &site, &before)
    });
}

/// Has the agent read its files again, and waits for the event that tells the outcome.
fn hang_up(agent: &Agent, outcome: u64) -> Result<()> {
    kill(Pid::from_raw(agent.id().cast_signed()), Signal::SIGHUP)?;
    wait_until(PATIENCE, &format!("event {outcome}"), || {
        let events = agent.vgw().json(&["events"])?;
        Ok(events.as_array().is_some_and(|events| events.iter().any(|event| event["number"] == outcome)))
    })
}

/// The connection still has the SA of `before`.
fn unchanged(agent: &Agent, site: &str, before: &Value) -> Result<()> {
    let now = agent.vgw().connection(site)?;
    for field in ["state", "ike_spis", "last_error"] {
        ensure!(now[field] == before[field], "{field} changed: {now}");
    }
    Ok(())
}

/// An authority, and certificates of these names by it, in files.
fn issue(directory: &Path, names: [&str; 2]) -> Result<Vec<CertificateFiles>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let anchor = directory.join("authority.pem");
    std::fs::write(&anchor, authority.self_signed(&authority_key)?.pem())?;
    let issuer = Issuer::new(authority, authority_key);
    let issue = |name: &str| -> Result<CertificateFiles> {
        let own = KeyPair::generate()?;
        let [chain, key] = ["pem", "key"].map(|end| directory.join(format!("{name}.{end}")));
        std::fs::write(
            &chain,
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&own, &issuer)?.pem(),
        )?;
        std::fs::write(&key, own.serialize_pem())?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        Ok(CertificateFiles { chain, key, anchor: anchor.clone() })
    };
    names.into_iter().map(issue).collect()
}

//! Algorithms, authentication and roles in combination: each value of a column meets each value of every other column
//! in some run.

use crate::pki::{KeyKind, Root};
use crate::support::{Gateways, SITE, peering};
use anyhow::{Result, ensure};
use testbed::strongswan::Daemon;
use testbed::{GatewayOptions, Lab, scenario};

/// Who sends the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initiator {
    We,
    They,
}

use Initiator::{They, We};
use KeyKind::{Ecdsa256, Ecdsa384, Ed25519, Rsa};

/// One run: initiator, certificates instead of a shared key, IKE encryption with what belongs to it, group, ESP
/// encryption.
#[derive(Clone, Copy, Debug)]
struct Run {
    initiator: Initiator,
    certificate: Option<KeyKind>,
    ike: &'static str,
    group: &'static str,
    esp: &'static str,
}

macro_rules! runs {
    ($($name:ident: $initiator:ident $certificate:expr, $ike:literal $group:literal, $esp:literal;)*) => {
        /// Every run.
        const RUNS: &[Run] = &[$(Run {
            initiator: $initiator,
            certificate: $certificate,
            ike: $ike,
            group: $group,
            esp: $esp,
        }),*];
        $(
            #[test]
            fn $name() {
                let run = Run {
                    initiator: $initiator,
                    certificate: $certificate,
                    ike: $ike,
                    group: $group,
                    esp: $esp,
                };
                scenario(stringify!($name), 2, |lab| connects(lab, run));
            }
        )*
    };
}

runs! {
    we_initiate_with_a_key_x25519_and_aes_128: We None, "aes256gcm16-prfsha384" "x25519", "aes128gcm16";
    they_initiate_with_a_key_x25519_and_aes_256: They None, "aes256-sha256" "x25519", "aes256gcm16";
    we_initiate_with_rsa_x25519_and_chacha20: We Some(Rsa), "chacha20poly1305-prfsha256" "x25519", "chacha20poly1305";
    they_initiate_with_rsa_ecp256_and_aes_128: They Some(Rsa), "aes256-sha256" "ecp256", "aes128gcm16";
    we_initiate_with_a_key_ecp256_and_aes_256: We None, "chacha20poly1305-prfsha256" "ecp256", "aes256gcm16";
    they_initiate_with_a_key_ecp256_and_chacha20: They None, "aes256gcm16-prfsha384" "ecp256", "chacha20poly1305";
    we_initiate_with_p256_ecp384_and_aes_128: We Some(Ecdsa256), "chacha20poly1305-prfsha256" "ecp384", "aes128gcm16";
    they_initiate_with_p256_ecp384_and_aes_256: They Some(Ecdsa256), "aes256gcm16-prfsha384" "ecp384", "aes256gcm16";
    we_initiate_with_a_key_ecp384_and_chacha20: We None, "aes256-sha384" "ecp384", "chacha20poly1305";
    they_initiate_with_a_key_modp2048_and_aes_128: They None, "aes128gcm16-prfsha256" "modp2048", "aes128gcm16";
    we_initiate_with_p384_modp2048_and_aes_256: We Some(Ecdsa384), "aes128-sha256" "modp2048", "aes256gcm16";
    they_initiate_with_p384_modp2048_and_chacha20: They Some(Ecdsa384), "chacha20poly1305-prfsha512" "modp2048", "chacha20poly1305";
    we_initiate_with_a_key_modp3072_and_aes_128: We None, "aes256-sha512" "modp3072", "aes128gcm16";
    they_initiate_with_a_key_modp3072_and_aes_256: They None, "chacha20poly1305-prfsha256" "modp3072", "aes256gcm16";
    we_initiate_with_ed25519_modp3072_and_chacha20: We Some(Ed25519), "aes128gcm16-prfsha384" "modp3072", "chacha20poly1305";
    they_initiate_with_ed25519_x25519_and_aes_128: They Some(Ed25519), "aes256gcm16-prfsha512" "x25519", "aes128gcm16";
}

#[test]
fn each_value_meets_each_value_of_every_other_column() {
    let columns = |run: &Run| {
        let cipher = run.ike.split('-').next().unwrap_or_default();
        let cipher = cipher.trim_start_matches("aes256").trim_start_matches("aes128");
        [
            format!("{:?}", run.initiator),
            (if run.certificate.is_some() { "certificate" } else { "psk" }).to_owned(),
            (if cipher.is_empty() { "cbc" } else { cipher }).to_owned(),
            run.group.to_owned(),
            run.esp.to_owned(),
        ]
    };
    let rows: Vec<_> = RUNS.iter().map(columns).collect();
    for (a, b) in (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))) {
        for first in rows.iter().map(|row| &row[a]) {
            for second in rows.iter().map(|row| &row[b]) {
                let met = rows.iter().any(|row| row[a] == *first && row[b] == *second);
                assert!(met, "{first} never meets {second}");
            }
        }
    }
    for kind in [Rsa, Ecdsa256, Ecdsa384, Ed25519] {
        for initiator in [We, They] {
            let met = |run: &Run| run.certificate == Some(kind) && run.initiator == initiator;
            assert!(RUNS.iter().any(met), "{kind:?} without {initiator:?}");
        }
    }
}

fn connects(lab: &Lab, run: Run) -> Result<()> {
    let (ike, esp) = (format!("{}-{}", run.ike, run.group), format!("{}-{}", run.esp, run.group));
    let mut options = GatewayOptions {
        ike_proposal: Some(ike.clone()),
        esp_proposal: Some(esp.clone()),
        ..GatewayOptions::default()
    };
    let mut theirs = peering(lab, 2);
    (theirs.ike_proposal, theirs.esp_proposal) = (ike, esp);
    if let Some(kind) = run.certificate {
        let root = Root::new(kind)?;
        options.certificate = Some(root.issue("gw1.example", 0)?.into_files(&lab.directory())?);
        theirs.authentication = root.issue("gw2.example", 0)?.for_strongswan();
        theirs.local_id = Some("gw2.example".to_owned());
        theirs.remote_id = Some("gw1.example".to_owned());
    }
    let gateways = Gateways::start(lab, &options, &Daemon::default(), &theirs)?;
    if run.initiator == They {
        gateways.configure(&["--mode", "responder"])?;
    }
    if run.certificate.is_some() {
        let identities = ["--local-id", "gw1.example", "--remote-id", "gw2.example"];
        gateways.configure(&[&["--auth", "certificate"], &identities[..]].concat())?;
    } else {
        gateways.set_key()?;
    }
    if run.initiator == They {
        gateways.theirs.initiate(SITE)?;
    }
    let sa = gateways.wait_connected()?;
    ensure!(sa.initiator == (run.initiator == They), "{sa:#?}");
    let status = gateways.status()?;
    let algorithm = status["esp_algorithm"].as_str().unwrap_or_default();
    ensure!(algorithm.starts_with(run.esp), "another ESP algorithm: {status}");
    let negotiated = status["ike_proposal"].as_str().unwrap_or_default();
    ensure!(negotiated.ends_with(run.group), "another group: {status}");
    if let Some(kind) = run.certificate {
        // As strongSwan names the scheme of RFC 7427 that we signed with.
        let scheme = match kind {
            Rsa => "RSA_EMSA_PSS_SHA2_",
            Ecdsa256 => "ECDSA_WITH_SHA256_DER",
            Ecdsa384 => "ECDSA_WITH_SHA384_DER",
            Ed25519 => "ED25519",
        };
        let verified = format!("authentication of 'gw1.example' with {scheme}");
        ensure!(gateways.theirs.log().contains(&verified), "not in the log of strongSwan: {verified}");
    }
    gateways.exercise()
}

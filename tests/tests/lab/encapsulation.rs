//! Every ESP algorithm, and ESP in UDP.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use anyhow::Result;
use testbed::{Agent, Capture, GatewayOptions, Lab, PacketClass};

#[test]
fn chacha20_poly1305_carries_traffic() {
    with_both_engines("chacha20_poly1305_carries_traffic", 2, |lab, options| {
        carries(lab, options, "chacha20poly1305", false)
    });
}

#[test]
fn aes_128_gcm_carries_traffic() {
    with_both_engines("aes_128_gcm_carries_traffic", 2, |lab, options| {
        carries(lab, options, "aes128gcm16", false)
    });
}

#[test]
fn aes_256_gcm_carries_traffic() {
    with_both_engines("aes_256_gcm_carries_traffic", 2, |lab, options| {
        carries(lab, options, "aes256gcm16", false)
    });
}

#[test]
fn esp_in_udp_carries_traffic() {
    with_both_engines("esp_in_udp_carries_traffic", 2, |lab, options| {
        carries(lab, options, "chacha20poly1305", true)
    });
}

fn carries(
    lab: &Lab,
    options: &GatewayOptions,
    algorithm: &str,
    force_udp_encapsulation: bool,
) -> Result<Vec<Agent>> {
    let options = GatewayOptions {
        esp_proposal: Some(algorithm.to_owned()),
        force_udp_encapsulation,
        ..options.clone()
    };
    let agents = lab.establish(&options)?;
    let negotiated = agents[0].vgw().connection("VNet2")?["esp_algorithm"].clone();
    assert!(negotiated.as_str().is_some_and(|name| name.starts_with(algorithm)), "negotiated {negotiated}");

    let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
    exercise(lab, 1, 2)?;
    exercise(lab, 2, 1)?;
    let wire = capture.stop();
    let (esp, in_udp) = (wire.count(PacketClass::Esp), wire.count(PacketClass::EspInUdp));
    assert_eq!(
        (esp == 0, in_udp == 0),
        (force_udp_encapsulation, !force_udp_encapsulation),
        "{esp} {in_udp}"
    );
    assert_eq!(wire.count(PacketClass::Plaintext), 0, "{:#?}", wire.described);
    no_wrong_drops(&agents)?;
    Ok(agents)
}

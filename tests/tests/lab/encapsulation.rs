//! Every ESP algorithm, and ESP in UDP.

use crate::support::{exercise, no_wrong_drops};
use anyhow::Result;
use testbed::{Capture, GatewayOptions, Lab, PacketClass, scenario};

#[test]
fn chacha20_poly1305_carries_traffic() {
    scenario("chacha20_poly1305_carries_traffic", 2, |lab| carries(lab, "chacha20poly1305", false));
}

#[test]
fn aes_128_gcm_carries_traffic() {
    scenario("aes_128_gcm_carries_traffic", 2, |lab| carries(lab, "aes128gcm16", false));
}

#[test]
fn aes_256_gcm_carries_traffic() {
    scenario("aes_256_gcm_carries_traffic", 2, |lab| carries(lab, "aes256gcm16", false));
}

#[test]
fn esp_in_udp_carries_traffic() {
    scenario("esp_in_udp_carries_traffic", 2, |lab| carries(lab, "chacha20poly1305", true));
}

fn carries(lab: &Lab, algorithm: &str, force_udp_encapsulation: bool) -> Result<()> {
    let options = GatewayOptions {
        esp_proposal: Some(algorithm.to_owned()),
        force_udp_encapsulation,
        ..GatewayOptions::default()
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
    for agent in &agents {
        no_wrong_drops(&agent.vgw().status()?)?;
    }
    Ok(())
}

//! What one packet costs among many tunnels, in test runs of the XDP programs (`BPF_PROG_TEST_RUN`) with engine `kernel`.
//!
//! Every packet goes to, or comes from, a prefix that is drawn anew, each with the same probability; its tunnel is the one of the
//! prefix. So with many tunnels hardly anything that belongs to one is in a cache when its packet comes: the worst case.

#![expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use gateway_common::Aead;
use gateway_user::datapath::{Limits, SaConfig};
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, esp, sa};

use super::PREFIXES_EACH;
use super::report::PacketRow;
use super::sites::{PREFIX_LENGTH, peer, prefix};
use crate::micro::median;

/// Algorithms with their names. AES-GCM has 8 KiB of tables for each SA, ChaCha20-Poly1305 none.
const AEADS: [(Aead, &str); 2] =
    [(Aead::ChaCha20Poly1305, "ChaCha20-Poly1305"), (Aead::Aes256Gcm, "AES-256-GCM")];
/// Length of inner packets: short, so that what is looked up shows.
const BYTES: usize = 64;
/// Packets whose frames are made at once, before they run.
const BATCH: usize = 500;

/// Medians over `packets` packets in each direction, for each algorithm.
///
/// # Errors
/// The kernel refuses something, or a packet was dropped.
pub(super) fn measure(tunnels: u32, packets: usize) -> Result<Vec<PacketRow>> {
    // The gateway under test moves its thread into another network namespace.
    let measured = thread::spawn(move || measure_here(tunnels, packets)).join();
    measured.map_err(|_| anyhow!("the thread that measures has panicked"))?
}

fn measure_here(tunnels: u32, packets: usize) -> Result<Vec<PacketRow>> {
    // It has two tunnels in any case.
    let limits = Limits { tunnels: tunnels.max(2), cpu_sas: 0, slots: 0 };
    let mut gateway = GatewayUnderTest::with_limits(limits)?;
    let routed = Command::new("ip").args(["route", "add", "198.18.0.0/15", "via", "192.0.2.254"]).status();
    ensure!(routed.context("cannot run ip")?.success(), "the peers cannot be routed");
    for number in 0..tunnels * PREFIXES_EACH {
        gateway.route(prefix(number), PREFIX_LENGTH, 1 + number / PREFIXES_EACH)?;
    }
    let mut rows = Vec::new();
    for (row, (aead, name)) in AEADS.into_iter().enumerate() {
        let first_spi = 0x1000 + row as u32 * 0x10_0000;
        let sas: Vec<SaConfig> = (0..tunnels).map(|number| sa_of(number, first_spi, aead)).collect();
        for (number, sa) in (1..).zip(&sas) {
            gateway.send_with(number, sa)?;
            gateway.receive_with(number, sa)?;
        }
        let mut draw = Draw { state: 1, below: tunnels * PREFIXES_EACH };
        rows.push(PacketRow {
            algorithm: name.to_owned(),
            tunnels,
            prefixes: tunnels * PREFIXES_EACH,
            encapsulate_ns: encapsulate(&gateway, &mut draw, packets)?,
            decapsulate_ns: decapsulate(&gateway, &sas, &mut draw, packets)?,
        });
        for number in 0..=tunnels {
            let drops = gateway.counters.drops(number)?;
            ensure!(drops.is_empty(), "packets were dropped: {drops:?}");
        }
    }
    Ok(rows)
}

fn sa_of(number: u32, first_spi: u32, aead: Aead) -> SaConfig {
    let mut config = sa(first_spi + number, aead);
    config.remote.set_ip(peer(number).into());
    config
}

fn encapsulate(gateway: &GatewayUnderTest, draw: &mut Draw, packets: usize) -> Result<f64> {
    let payload = pattern(BYTES - 20);
    median_of(gateway, packets, || ethernet(&Ip::new(HOST, host(draw.next())).packet(&payload)))
}

fn decapsulate(gateway: &GatewayUnderTest, sas: &[SaConfig], draw: &mut Draw, packets: usize) -> Result<f64> {
    let payload = pattern(BYTES - 20);
    let mut sent = vec![0; sas.len()];
    median_of(gateway, packets, || {
        let number = draw.next();
        let tunnel = (number / PREFIXES_EACH) as usize;
        sent[tunnel] += 1;
        let inner = Ip::new(host(number), HOST).packet(&payload);
        let mut outer = Ip::new(peer(number / PREFIXES_EACH), LOCAL);
        outer.protocol = 50;
        ethernet(&outer.packet(&esp::seal(&sas[tunnel], sent[tunnel], &inner, 0, esp::IPV4)))
    })
}

/// Each frame runs once; the kernel measures each run.
fn median_of(gateway: &GatewayUnderTest, packets: usize, mut frame: impl FnMut() -> Vec<u8>) -> Result<f64> {
    let mut times = Vec::with_capacity(packets);
    while times.len() < packets {
        let frames: Vec<_> = (0..BATCH.min(packets - times.len())).map(|_| frame()).collect();
        for frame in frames {
            times.push(gateway.time("gateway", &frame, 1)?.as_nanos() as f64);
        }
    }
    Ok(median(&mut times))
}

/// A host of a prefix.
fn host(prefix_number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(prefix(prefix_number).to_bits() + 5)
}

/// Draws numbers below a limit with the same probability, the same ones in each run: the generator of Park and Miller, "Random number
/// generators: good ones are hard to find" (1988).
struct Draw {
    state: u64,
    below: u32,
}

impl Draw {
    fn next(&mut self) -> u32 {
        const MODULUS: u64 = (1 << 31) - 1;
        self.state = self.state * 48_271 % MODULUS;
        (self.state * u64::from(self.below) / MODULUS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_drawn_about_as_often() {
        let mut draw = Draw { state: 1, below: 10 };
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[draw.next() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}

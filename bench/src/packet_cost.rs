//! Encapsulation and decapsulation of single packets, parsing to redirect.

use anyhow::{Result, ensure};
use gateway_common::Aead;
use gateway_user::datapath::Direction;
use serde::Serialize;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, PEER_HOST, REMOTE, esp, sa};

use crate::baseline;

/// Lengths of inner IP packets, in bytes.
const LENGTHS: [usize; 3] = [64, 512, 1400];

/// Cost of one packet, medians in ns.
#[derive(Debug, Serialize)]
pub(crate) struct PacketCost {
    pub(crate) aead: &'static str,
    pub(crate) bytes: usize,
    pub(crate) encapsulate_ns: u64,
    pub(crate) decapsulate_ns: u64,
    /// Sealing as many bytes with `ring` in user space, in the same run.
    pub(crate) ring_seal_ns: u64,
}

/// Measures every algorithm at every length, `packets` packets each.
pub(crate) fn measure(packets: usize) -> Result<Vec<PacketCost>> {
    let mut costs = Vec::new();
    let mut gateway = GatewayUnderTest::new()?;
    let algorithms = [
        (Aead::ChaCha20Poly1305, "ChaCha20-Poly1305"),
        (Aead::Aes128Gcm, "AES-128-GCM"),
        (Aead::Aes256Gcm, "AES-256-GCM"),
    ];
    for (number, (aead, name)) in algorithms.into_iter().enumerate() {
        for bytes in LENGTHS {
            eprintln!("{name}, {bytes} bytes …");
            let spi = 0x100 + (number * LENGTHS.len() * 2 + bytes) as u32;
            costs.push(PacketCost {
                aead: name,
                bytes,
                encapsulate_ns: encapsulate(&mut gateway, spi, aead, bytes, packets)?,
                decapsulate_ns: decapsulate(&mut gateway, spi, aead, bytes, packets)?,
                ring_seal_ns: baseline::ring_seal_ns(aead, bytes, packets),
            });
        }
    }
    ensure!(gateway.counters.drops(1)?.is_empty(), "packets were dropped: {:?}", gateway.counters.drops(1)?);
    Ok(costs)
}

/// Median time of a program that does nothing, measured in the same way: what every other figure contains.
pub(crate) fn empty_program_ns(packets: usize) -> Result<u64> {
    let mut gateway = GatewayUnderTest::new()?;
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(44)));
    median(&mut gateway, "returned", std::iter::repeat_n(frame, packets))
}

fn encapsulate(
    gateway: &mut GatewayUnderTest,
    spi: u32,
    aead: Aead,
    bytes: usize,
    packets: usize,
) -> Result<u64> {
    gateway.send_with(1, &sa(spi, aead))?;
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(bytes - 20)));
    let cost = median(gateway, "gateway", std::iter::repeat_n(frame, packets))?;
    gateway.sas.remove(Direction::Outbound, 1, spi)?;
    Ok(cost)
}

fn decapsulate(
    gateway: &mut GatewayUnderTest,
    spi: u32,
    aead: Aead,
    bytes: usize,
    packets: usize,
) -> Result<u64> {
    let sa = sa(spi, aead);
    gateway.receive_with(1, &sa)?;
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(bytes - 20));
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let frames = (1..=packets as u64)
        .map(|sequence| ethernet(&outer.packet(&esp::seal(&sa, sequence, &inner, 0, esp::IPV4))));
    let cost = median(gateway, "gateway", frames)?;
    gateway.sas.remove(Direction::Inbound, 1, spi)?;
    Ok(cost)
}

/// Each frame runs once, since the programs change it; the kernel measures each run.
fn median(
    gateway: &mut GatewayUnderTest,
    program: &str,
    frames: impl Iterator<Item = Vec<u8>>,
) -> Result<u64> {
    let mut times = Vec::new();
    for frame in frames {
        times.push(gateway.time(program, &frame, 1)?.as_nanos() as u64);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

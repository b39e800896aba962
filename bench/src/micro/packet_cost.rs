//! Encapsulation and decapsulation of single packets by the XDP programs with engine `kernel`, parsing to redirect, in test
//! runs (`BPF_PROG_TEST_RUN`): no driver, no wire.

use anyhow::{Result, ensure};
use gateway_common::Aead;
use gateway_user::datapath::Direction;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, PEER_HOST, REMOTE, esp, sa};

use super::statistics::median;

/// Time for one packet, medians in ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketCost {
    pub(super) encapsulate_ns: f64,
    pub(super) decapsulate_ns: f64,
}

/// Programs without an SA. The calling thread is in a namespace of its own from then on.
pub(super) struct PacketCosts {
    gateway: GatewayUnderTest,
    next_spi: u32,
}

impl PacketCosts {
    /// Loads the programs.
    ///
    /// # Errors
    /// The kernel refuses them (root is needed).
    pub(super) fn load() -> Result<Self> {
        Ok(Self { gateway: GatewayUnderTest::new()?, next_spi: 0x100 })
    }

    /// Inner packets of `bytes` bytes, `packets` in each direction.
    ///
    /// # Errors
    /// The kernel refuses a run, or the programs dropped a packet.
    pub(super) fn measure(&mut self, aead: Aead, bytes: usize, packets: usize) -> Result<PacketCost> {
        let spi = self.next_spi;
        self.next_spi += 1;
        let cost = PacketCost {
            encapsulate_ns: encapsulate(&mut self.gateway, spi, aead, bytes, packets)?,
            decapsulate_ns: decapsulate(&mut self.gateway, spi, aead, bytes, packets)?,
        };
        let drops = self.gateway.counters.drops(1)?;
        ensure!(drops.is_empty(), "packets were dropped: {drops:?}");
        Ok(cost)
    }
}

fn encapsulate(
    gateway: &mut GatewayUnderTest,
    spi: u32,
    aead: Aead,
    bytes: usize,
    packets: usize,
) -> Result<f64> {
    gateway.send_with(1, &sa(spi, aead))?;
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(bytes - 20)));
    let cost = median_of(gateway, std::iter::repeat_n(frame, packets))?;
    gateway.sas.remove(Direction::Outbound, 1, spi)?;
    Ok(cost)
}

fn decapsulate(
    gateway: &mut GatewayUnderTest,
    spi: u32,
    aead: Aead,
    bytes: usize,
    packets: usize,
) -> Result<f64> {
    let sa = sa(spi, aead);
    gateway.receive_with(1, &sa)?;
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(bytes - 20));
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let frames = (1..=packets as u64)
        .map(|sequence| ethernet(&outer.packet(&esp::seal(&sa, sequence, &inner, 0, esp::IPV4))));
    let cost = median_of(gateway, frames)?;
    gateway.sas.remove(Direction::Inbound, 1, spi)?;
    Ok(cost)
}

/// Each frame runs once, since the programs change it; the kernel measures each run.
fn median_of(gateway: &mut GatewayUnderTest, frames: impl Iterator<Item = Vec<u8>>) -> Result<f64> {
    let mut times = Vec::new();
    for frame in frames {
        times.push(gateway.time("gateway", &frame, 1)?.as_nanos() as f64);
    }
    Ok(median(&mut times))
}

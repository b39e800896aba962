//! What one packet costs, part by part, and how near a gateway comes to the sum of what it cannot do without: forwarding
//! alone and the AEAD alone.
//!
//! Times are processor time, so that others on the machine disturb less. [`Size::Imix`] is the mean of what was measured at
//! its three lengths.

#![expect(clippy::cast_precision_loss, reason = "times and counts are far below 2^53")]

mod aead;
mod aead_kernel;
mod af_xdp;
mod cpu_time;
mod gateways;
mod generator;
mod limit;
mod packet_cost;
mod pin;
mod redirect;
mod report;
mod scaling;
mod size;
mod statistics;
mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use gateway_common::Aead;

use af_xdp::Forwarding;
use gateways::{Gateways, Until};
use limit::Limit;
use packet_cost::PacketCosts;
use redirect::Redirect;
pub(crate) use report::Micro;
use report::{AeadRow, ForwardRow, GatewayRow, PacketRow};
pub(crate) use scaling::Curve;
use size::{Size, esp_payload};
pub(crate) use statistics::median;

/// Algorithms, with the names that are reported.
const AEADS: [(Aead, &str); 3] = [
    (Aead::ChaCha20Poly1305, "ChaCha20-Poly1305"),
    (Aead::Aes128Gcm, "AES-128-GCM"),
    (Aead::Aes256Gcm, "AES-256-GCM"),
];

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Packets for each figure that is a median over packets.
    packets: usize,
    /// Runs for each figure that is a median over runs.
    runs: usize,
    /// Packets in each run through gateways.
    burst: u32,
    /// Length of each run that is measured by the clock.
    run: Duration,
}

impl Effort {
    /// Figures to quote.
    pub(crate) const FULL: Self =
        Self { packets: 2_000, runs: 15, burst: 10_000, run: Duration::from_millis(500) };
    /// Every code path, and a look at the order of magnitude.
    pub(crate) const QUICK: Self =
        Self { packets: 300, runs: 3, burst: 2_000, run: Duration::from_millis(100) };
}

/// Something that was measured at each length of [`Size::MEASURED`].
struct ByLength<T>(BTreeMap<usize, T>);

impl<T> ByLength<T> {
    fn measure(mut measure: impl FnMut(usize) -> Result<T>) -> Result<Self> {
        let measured: Result<_> = Size::MEASURED.iter().map(|bytes| Ok((*bytes, measure(*bytes)?))).collect();
        Ok(Self(measured?))
    }

    /// Mean of `value` over the packets of `size`.
    fn at(&self, size: Size, value: impl Fn(&T) -> f64) -> f64 {
        size.mean(|bytes| value(&self.0[&bytes]))
    }
}

/// Measures everything. Needs root and `vgw`.
///
/// # Errors
/// Something is missing or failed.
pub(crate) fn run(effort: Effort) -> Result<Micro> {
    let mut packets = PacketCosts::load()?;
    let mut programs = aead_kernel::KernelAead::load()?;
    let empty_ns = aead_kernel::empty_run_ns(effort.packets)?;
    let mut report = Micro { empty_program_ns: empty_ns, ..Micro::default() };
    eprintln!("forwarding alone …");
    let redirect = ByLength::measure(|bytes| redirect::measure(bytes, effort.runs))?;
    let af_xdp = ByLength::measure(|bytes| af_xdp_forwarding(bytes, effort))?;
    report.forward = Size::ALL.into_iter().map(|size| ForwardRow::new(size, &redirect, &af_xdp)).collect();
    for (aead, name) in AEADS {
        eprintln!("{name} …");
        let ring = ByLength::measure(|bytes| Ok(aead::measure(aead, esp_payload(bytes), effort.packets)))?;
        let kernel = ByLength::measure(|bytes| programs.measure(aead, esp_payload(bytes), effort.packets))?;
        let packet = ByLength::measure(|bytes| packets.measure(aead, bytes, effort.packets))?;
        let gateways = Gateways::start("kernel", aead)?;
        let cost = ByLength::measure(|bytes| kernel_engine(&gateways, &redirect, bytes, effort))?;
        drop(gateways);
        let gateways = Gateways::start("xsk", aead)?;
        let xsk = ByLength::measure(|bytes| xsk_engine(&gateways, &redirect, bytes, effort))?;
        drop(gateways);
        for size in Size::ALL {
            report.aead.push(AeadRow::new(name, size, &ring, &kernel));
            report.packets.push(PacketRow {
                algorithm: name.into(),
                size,
                encapsulate_ns: packet.at(size, |cost| cost.encapsulate_ns),
                decapsulate_ns: packet.at(size, |cost| cost.decapsulate_ns),
            });
            let forward_ns = redirect.at(size, |redirect| redirect.forward_ns);
            let row = |direction, cost_ns, aead_ns| GatewayRow {
                engine: "kernel".into(),
                algorithm: name.into(),
                size,
                direction: Cow::Borrowed(direction),
                limit: Limit::new(forward_ns, aead_ns, cost_ns),
            };
            report.gateways.push(row(
                "encapsulate",
                cost.at(size, |cost| cost.encapsulate_ns),
                kernel.at(size, |cost| cost.seal_ns),
            ));
            report.gateways.push(row(
                "decapsulate",
                cost.at(size, |cost| cost.decapsulate_ns),
                kernel.at(size, |cost| cost.open_ns),
            ));
            // Its way of forwarding is neither of the two that are measured alone.
            let by_af_xdp = af_xdp.at(size, |forwarding| forwarding.forward_ns);
            for (direction, forward_ns) in
                [("encapsulate", forward_ns), ("encapsulate, limit of AF_XDP", by_af_xdp)]
            {
                report.gateways.push(GatewayRow {
                    engine: "xsk".into(),
                    algorithm: name.into(),
                    size,
                    direction: direction.into(),
                    limit: Limit::new(forward_ns, ring.at(size, |cost| cost.seal_ns), xsk.at(size, |ns| *ns)),
                });
            }
        }
    }
    report.scale();
    Ok(report)
}

/// Median of several runs.
fn af_xdp_forwarding(bytes: usize, effort: Effort) -> Result<Forwarding> {
    let runs: Result<Vec<_>> = (0..effort.runs.min(5)).map(|_| af_xdp::measure(bytes, effort.run)).collect();
    let mut runs = runs?;
    runs.sort_by(|one, other| one.forward_ns.total_cmp(&other.forward_ns));
    Ok(runs[runs.len() / 2])
}

/// What a gateway with engine `xsk` costs on real links, per packet in ns: received, worked on, sent, on whatever processor.
/// Median of several runs.
fn xsk_engine(
    gateways: &Gateways,
    redirect: &ByLength<Redirect>,
    bytes: usize,
    effort: Effort,
) -> Result<f64> {
    let runs: Result<Vec<f64>> = (0..effort.runs.min(5))
        .map(|_| gateways.worker_ns(bytes, effort.run).map(|cost| cost.sender_ns + cost.worker_ns))
        .collect();
    Ok(median(&mut runs?) - redirect.0[&bytes].generate_ns)
}

/// What a gateway with engine `kernel` costs on real links, per packet in ns: received, worked on, sent. Everything happens on
/// the processor of the generator, whose own part is taken off.
fn kernel_engine(
    gateways: &Gateways,
    redirect: &ByLength<Redirect>,
    bytes: usize,
    effort: Effort,
) -> Result<packet_cost::PacketCost> {
    let (mut one, mut both) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        one.push(gateways.sender_ns(Until::Wire, bytes, effort.burst)?);
        both.push(gateways.sender_ns(Until::Host, bytes, effort.burst)?);
    }
    let (one, both) = (median(&mut one), median(&mut both));
    let Redirect { generate_ns, forward_ns } = redirect.0[&bytes];
    Ok(packet_cost::PacketCost {
        encapsulate_ns: one - generate_ns,
        // Between the gateways stands a forwarder.
        decapsulate_ns: both - one - forward_ns,
    })
}

//! The results as tables.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ByLength;
use super::aead::AeadCost;
use super::af_xdp::Forwarding;
use super::limit::Limit;
use super::redirect::Redirect;
use super::scaling::{Curve, LINES};
use super::size::Size;

/// Everything that one run measured, and what was calculated from it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Micro {
    /// Time of a test run of a program that does nothing, in ns; contained in `packets`.
    pub(crate) empty_program_ns: f64,
    pub(crate) aead: Vec<AeadRow>,
    pub(crate) forward: Vec<ForwardRow>,
    pub(crate) packets: Vec<PacketRow>,
    pub(crate) gateways: Vec<GatewayRow>,
    /// A calculation, see [`super::scaling`].
    pub(crate) scaling: Vec<Curve>,
}

/// The AEAD alone, per packet in ns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AeadRow {
    pub(crate) algorithm: Cow<'static, str>,
    pub(crate) size: Size,
    pub(crate) ring_seal_ns: f64,
    pub(crate) ring_open_ns: f64,
    pub(crate) kernel_seal_ns: f64,
    pub(crate) kernel_open_ns: f64,
}

/// Forwarding alone, per packet in ns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForwardRow {
    pub(crate) size: Size,
    /// Making a packet, one link, dropping it: the generator's ceiling.
    pub(crate) generate_ns: f64,
    /// What another link with `XDP_REDIRECT` adds.
    pub(crate) xdp_redirect_ns: f64,
    /// What a thread with AF_XDP sockets needs.
    pub(crate) af_xdp_ns: f64,
    /// Frames per second that the thread forwarded.
    pub(crate) af_xdp_frames_per_second: f64,
}

/// The XDP programs in test runs with engine `kernel`, per packet in ns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PacketRow {
    pub(crate) algorithm: Cow<'static, str>,
    pub(crate) size: Size,
    pub(crate) encapsulate_ns: f64,
    pub(crate) decapsulate_ns: f64,
}

/// A gateway on links, beside its limit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewayRow {
    pub(crate) engine: Cow<'static, str>,
    pub(crate) algorithm: Cow<'static, str>,
    pub(crate) size: Size,
    pub(crate) direction: Cow<'static, str>,
    #[serde(flatten)]
    pub(crate) limit: Limit,
}

impl AeadRow {
    pub(super) fn new(
        algorithm: &'static str,
        size: Size,
        ring: &ByLength<AeadCost>,
        kernel: &ByLength<AeadCost>,
    ) -> Self {
        Self {
            algorithm: algorithm.into(),
            size,
            ring_seal_ns: ring.at(size, |cost| cost.seal_ns),
            ring_open_ns: ring.at(size, |cost| cost.open_ns),
            kernel_seal_ns: kernel.at(size, |cost| cost.seal_ns),
            kernel_open_ns: kernel.at(size, |cost| cost.open_ns),
        }
    }
}

impl ForwardRow {
    pub(super) fn new(size: Size, redirect: &ByLength<Redirect>, af_xdp: &ByLength<Forwarding>) -> Self {
        Self {
            size,
            generate_ns: redirect.at(size, |redirect| redirect.generate_ns),
            xdp_redirect_ns: redirect.at(size, |redirect| redirect.forward_ns),
            af_xdp_ns: af_xdp.at(size, |forwarding| forwarding.forward_ns),
            // A mixture takes the sum of the times of its packets.
            af_xdp_frames_per_second: 1.0 / af_xdp.at(size, |forwarding| 1.0 / forwarding.frames_per_second),
        }
    }
}

impl Micro {
    /// Fills in what is calculated: a curve for each gateway that seals.
    pub(super) fn scale(&mut self) {
        let sealing = self.gateways.iter().filter(|row| row.direction == "encapsulate");
        self.scaling = sealing
            .map(|row| Curve::new(row.engine.clone(), row.algorithm.clone(), row.size, row.limit.busy_ns))
            .collect();
    }

    fn write_aead(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "AEAD alone, ns per packet: `ring` in user space, the programs in the kernel\n")?;
        writeln!(
            formatter,
            "| algorithm | inner bytes | ring seals | ring opens | kernel seals | kernel opens |"
        )?;
        writeln!(formatter, "|---|---:|---:|---:|---:|---:|")?;
        for row in &self.aead {
            writeln!(
                formatter,
                "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
                row.algorithm,
                row.size,
                row.ring_seal_ns,
                row.ring_open_ns,
                row.kernel_seal_ns,
                row.kernel_open_ns
            )?;
        }
        Ok(())
    }

    fn write_forward(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\nForwarding alone, ns of processor time per packet\n")?;
        writeln!(formatter, "| inner bytes | generator to drop | XDP redirect | AF_XDP | AF_XDP, kpps |")?;
        writeln!(formatter, "|---:|---:|---:|---:|---:|")?;
        for row in &self.forward {
            writeln!(
                formatter,
                "| {} | {:.0} | {:.0} | {:.0} | {:.0} |",
                row.size,
                row.generate_ns,
                row.xdp_redirect_ns,
                row.af_xdp_ns,
                row.af_xdp_frames_per_second / 1e3
            )?;
        }
        Ok(())
    }

    fn write_packets(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\nXDP programs in test runs, engine kernel, ns per packet; an empty program takes {:.0} ns, contained here\n",
            self.empty_program_ns
        )?;
        writeln!(formatter, "| algorithm | inner bytes | encapsulate | decapsulate |")?;
        writeln!(formatter, "|---|---:|---:|---:|")?;
        for row in &self.packets {
            writeln!(
                formatter,
                "| {} | {} | {:.0} | {:.0} |",
                row.algorithm, row.size, row.encapsulate_ns, row.decapsulate_ns
            )?;
        }
        Ok(())
    }

    fn write_gateways(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\nGateways on links beside their limit, 1 / (forwarding alone + AEAD alone); processor time per packet, with engine xsk that of the XDP programs and of the worker together\n"
        )?;
        writeln!(
            formatter,
            "| engine | algorithm | inner bytes | | forward ns | AEAD ns | limit, kpps | busy ns | reached |"
        )?;
        writeln!(formatter, "|---|---|---:|---|---:|---:|---:|---:|---:|")?;
        for GatewayRow { engine, algorithm, size, direction, limit } in &self.gateways {
            writeln!(
                formatter,
                "| {engine} | {algorithm} | {size} | {direction} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} % |",
                limit.forward_ns,
                limit.aead_ns,
                limit.most_packets_per_second / 1e3,
                limit.busy_ns,
                limit.reached * 100.0
            )?;
        }
        Ok(())
    }

    fn write_scaling(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\nMore cores and faster lines, sealing: calculated from the cost per packet, not measured\n"
        )?;
        write!(formatter, "| engine | algorithm | inner bytes | Gbit/s per core | 16 cores |")?;
        LINES.iter().try_for_each(|line| write!(formatter, " cores for {line:.0} Gbit/s |"))?;
        writeln!(formatter, "\n|---|---|---:|---:|---:|{}", "---:|".repeat(LINES.len()))?;
        for curve in &self.scaling {
            let (Some(one), Some(most)) = (curve.points.first(), curve.points.last()) else { continue };
            write!(
                formatter,
                "| {} | {} | {} | {:.2} | {:.1} |",
                curve.engine, curve.algorithm, curve.size, one.gbit_per_second, most.gbit_per_second
            )?;
            curve.full.iter().try_for_each(|full| write!(formatter, " {} |", full.cores))?;
            writeln!(formatter)?;
        }
        Ok(())
    }
}

impl fmt::Display for Micro {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_aead(formatter)?;
        self.write_forward(formatter)?;
        self.write_packets(formatter)?;
        self.write_gateways(formatter)?;
        self.write_scaling(formatter)
    }
}

//! What many cores would do: a calculation from the cost per packet on one core, not a measurement.
//!
//! The model: every core takes an equal part of the packets (receive queues are spread over cores, and each packet is worked on
//! by one core or by one core after the other), cores share neither caches nor locks to a degree that matters, and a
//! line ends the growth. What it leaves out (shared memory bandwidth, the shared sequence number and counters of an SA, uneven
//! spreading of flows) makes real curves flatter.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::size::Size;

/// Cores of the model.
pub(super) const CORES: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
/// Lines of the model, in Gbit/s.
pub(super) const LINES: [f64; 3] = [10.0, 25.0, 100.0];
/// Bytes of an Ethernet frame on a line that are in no packet: preamble, header, check sequence, gap (IEEE 802.3).
const FRAMING: f64 = 8.0 + 14.0 + 4.0 + 12.0;
/// Bytes that ESP in tunnel mode puts around a packet, padding apart: outer IPv4 header, ESP header, IV, trailer, ICV.
const OVERHEAD: f64 = 20.0 + 8.0 + 8.0 + 2.0 + 16.0;

/// One curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) engine: Cow<'static, str>,
    pub(crate) algorithm: Cow<'static, str>,
    pub(crate) size: Size,
    /// Processor time per packet of one gateway, all cores together, in ns.
    pub(crate) packet_ns: f64,
    pub(crate) points: Vec<Point>,
    /// Cores that fill a line, per line.
    pub(crate) full: Vec<Full>,
}

/// One number of cores.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) cores: u32,
    /// Packets per second in one direction, if no line ended the growth.
    pub(crate) packets_per_second: f64,
    /// Inner packets, in Gbit/s.
    pub(crate) gbit_per_second: f64,
}

/// One line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Full {
    /// Speed of the line in Gbit/s.
    pub(crate) line_gbit: f64,
    /// Packets per second that the line takes, sealed.
    pub(crate) packets_per_second: f64,
    /// Inner packets on the full line, in Gbit/s.
    pub(crate) gbit_per_second: f64,
    /// Cores that the model needs to fill it.
    pub(crate) cores: f64,
}

impl Curve {
    /// The curve of an engine that spends `packet_ns` on a packet.
    pub(super) fn new(
        engine: Cow<'static, str>,
        algorithm: Cow<'static, str>,
        size: Size,
        packet_ns: f64,
    ) -> Self {
        let per_core = 1e9 / packet_ns;
        let gbit = |packets: f64| packets * size.mean_bytes() * 8.0 / 1e9;
        let points = CORES.map(|cores| {
            let packets_per_second = per_core * f64::from(cores);
            Point { cores, packets_per_second, gbit_per_second: gbit(packets_per_second) }
        });
        let full = LINES.map(|line_gbit| {
            let packets_per_second = line_rate(size, line_gbit);
            Full {
                line_gbit,
                packets_per_second,
                gbit_per_second: gbit(packets_per_second),
                cores: (packets_per_second / per_core).ceil(),
            }
        });
        Self { engine, algorithm, size, packet_ns, points: points.to_vec(), full: full.to_vec() }
    }
}

/// Sealed packets per second on a line of `gbit` Gbit/s.
fn line_rate(size: Size, gbit: f64) -> f64 {
    let bytes = size.mean(|bytes| padded(bytes) + OVERHEAD + FRAMING);
    gbit * 1e9 / (bytes * 8.0)
}

fn padded(bytes: usize) -> f64 {
    let trailer = gateway_common::wire::ESP_TRAILER_LEN;
    (super::size::esp_payload(bytes) - trailer) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_add_up_until_the_line_is_full() {
        let curve = Curve::new("xsk".into(), "AES-256-GCM".into(), Size::Bytes(1400), 1000.0);
        assert!((curve.points[0].packets_per_second - 1e6).abs() < 1.0);
        assert!((curve.points[0].gbit_per_second - 11.2).abs() < 1e-6);
        assert_eq!(curve.points.last().map(|point| point.cores), Some(16));
        let last = curve.points.last().unwrap();
        assert!((last.packets_per_second - 16e6).abs() < 1.0);
        // 1400 bytes become 1402 + 54 of IP with ESP, and 38 more on the wire.
        let ten = curve.full[0];
        assert!((ten.packets_per_second - 10e9 / (1494.0 * 8.0)).abs() < 1.0, "{ten:?}");
        assert!((ten.cores - 1.0).abs() < 1e-9 && (curve.full[2].cores - 9.0).abs() < 1e-9, "{curve:?}");
    }
}

//! Results of a laboratory run.

use serde_json::{Value, json};
use std::fmt;
use testbed::{CaptureReport, IperfReport, PacketClass, PingReport};

/// What a laboratory run found.
pub(super) struct Summary {
    /// One report for each direction.
    pub(super) pings: Vec<PingReport>,
    /// TCP from host 1 to host 2.
    pub(super) tcp: IperfReport,
    /// UDP from host 1 to host 2.
    pub(super) udp: IperfReport,
    /// Packets seen between the gateways.
    pub(super) wire: CaptureReport,
    /// `vgw status` of gateway 1.
    pub(super) status: Value,
    /// Its connection to VNet 2.
    pub(super) connection: Value,
}

impl Summary {
    /// Share of the pings of both directions without an answer, in percent.
    pub(super) fn ping_loss_percent(&self) -> f64 {
        let (sent, received) = self.ping_counts();
        PingReport { sent, received, text: String::new() }.loss_percent()
    }

    /// Packets that should not have been on the wire.
    pub(super) fn plaintext(&self) -> u64 {
        self.wire.count(PacketClass::Plaintext)
    }

    /// The results under the names that scripts read.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "connected": self.connection["state"] == "Connected",
            "ping_loss_percent": self.ping_loss_percent(),
            "tcp_gbps": self.tcp.gbps(),
            "udp_gbps": self.udp.gbps(),
            "wan_packets": self.wire.total(),
            "wan_plaintext_packets": self.plaintext(),
            "esp_algorithm": self.connection["esp_algorithm"],
            "engine": self.status["engine"]["running"],
        })
    }

    fn engine(&self) -> String {
        let engine = &self.status["engine"];
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let (running, mode) = (text(&engine["running"]), text(&self.status["xdp_mode"]));
        let workers = match engine["workers"].as_array().map_or(0, Vec::len) {
            0 => String::new(),
            1 => " (1 worker)".to_owned(),
            count => format!(" ({count} workers)"),
        };
        let reason = engine["reason"].as_str().map(|reason| format!("; {reason}")).unwrap_or_default();
        format!("{running}{workers}, XDP {mode}{reason}")
    }

    fn ping_counts(&self) -> (u32, u32) {
        self.pings
            .iter()
            .fold((0, 0), |(sent, received), report| (sent + report.sent, received + report.received))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let (sent, received) = self.ping_counts();
        let count = |class| self.wire.count(class);
        let rows = [
            ("tunnel", format!("VNet1 - VNet2: {}", text(&self.connection["state"]))),
            ("IKE", text(&self.connection["ike_proposal"])),
            ("ESP", text(&self.connection["esp_algorithm"])),
            ("engine", self.engine()),
            ("ping", format!("{received} of {sent} answered, {:.0} % lost", self.ping_loss_percent())),
            ("TCP", format!("{:.3} Gbit/s", self.tcp.gbps())),
            (
                "UDP",
                format!(
                    "{:.3} Gbit/s received, {:.1} % lost at full speed",
                    self.udp.gbps(),
                    self.udp.lost_percent
                ),
            ),
            (
                "wire",
                format!(
                    "{} packets: {} ESP, {} ESP in UDP, {} IKE, {} ARP, {} in the clear",
                    self.wire.total(),
                    count(PacketClass::Esp),
                    count(PacketClass::EspInUdp),
                    count(PacketClass::Ike),
                    count(PacketClass::Arp),
                    self.plaintext()
                ),
            ),
        ];
        for (name, value) in rows {
            writeln!(formatter, "  {name:<8} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_documented_names() {
        let rate = |bits_per_second| IperfReport { bits_per_second, lost_percent: 0.0 };
        let summary = Summary {
            pings: vec![PingReport { sent: 4, received: 3, text: String::new() }],
            tcp: rate(1.5e9),
            udp: rate(5e8),
            wire: CaptureReport::default(),
            status: json!({"engine": {"running": "xsk", "workers": [{}, {}]}, "xdp_mode": "native"}),
            connection: json!({"state": "Connected", "esp_algorithm": "chacha20poly1305"}),
        };
        let expected = json!({
            "connected": true, "ping_loss_percent": 25.0, "tcp_gbps": 1.5, "udp_gbps": 0.5, "wan_packets": 0,
            "wan_plaintext_packets": 0, "esp_algorithm": "chacha20poly1305", "engine": "xsk",
        });
        assert_eq!(summary.to_json(), expected);
        assert_eq!(summary.engine(), "xsk (2 workers), XDP native");
    }
}

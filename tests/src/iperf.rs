//! `iperf3` between two namespaces.

use crate::wait::poll_until;
use crate::{NetNs, Process, run};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Port of the server; well away from the ones the tests' own helpers use.
const PORT: u16 = 5201;

/// What the stream runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One TCP stream at full speed.
    Tcp,
    /// UDP datagrams of `payload` bytes at `rate` bit/s.
    Udp {
        /// Bytes of UDP payload per datagram.
        payload: u16,
        /// Offered load in bit/s of UDP payload.
        rate: u64,
    },
}

/// What `iperf3` measured at the receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IperfReport {
    /// Received payload in bit/s.
    pub bits_per_second: f64,
    /// Lost datagrams in percent; 0 for TCP.
    pub lost_percent: f64,
}

impl IperfReport {
    /// Received payload in Gbit/s.
    pub fn gbps(self) -> f64 {
        self.bits_per_second / 1e9
    }
}

/// Streams for `seconds` from `client` to `server`, which listens at `address`. `directory` takes the server's log.
pub fn iperf(
    server: &NetNs,
    address: Ipv4Addr,
    client: &NetNs,
    transport: Transport,
    seconds: u32,
    directory: &Path,
) -> Result<IperfReport> {
    let mut listen = server.command("iperf3")?;
    listen.args(["--server", "--bind", &address.to_string(), "--port", &PORT.to_string()]);
    let mut listener = Process::spawn(listen, &directory.join("iperf3-server.log"))?;
    poll_until(Duration::from_secs(5), "iperf3 server listens", || {
        if let Some(status) = listener.exited()? {
            bail!("iperf3 server ended ({status}): {}", listener.log());
        }
        Ok(server.enter(|| TcpStream::connect((address, PORT)))?.ok())
    })?;

    let mut stream = client.command("iperf3")?;
    stream.args(["--json", "--client", &address.to_string(), "--port", &PORT.to_string()]);
    stream.args(["--time", &seconds.to_string(), "--connect-timeout", "5000"]);
    if let Transport::Udp { payload, rate } = transport {
        stream.args(["--udp", "--length", &payload.to_string(), "--bitrate", &rate.to_string()]);
    }
    let text = run(&mut stream)?;
    report(&serde_json::from_str(&text)?).with_context(|| format!("iperf3 reported {text}"))
}

fn report(json: &Value) -> Result<IperfReport> {
    if let Some(error) = json.get("error") {
        bail!("iperf3: {error}");
    }
    let end = &json["end"];
    // For UDP, iperf3 3.12 reports the sender's rate and the receiver's loss in `sum`; `sum_received` may be empty.
    let lost_percent = end["sum"]["lost_percent"].as_f64().unwrap_or(0.0);
    let received = end["sum_received"]["bits_per_second"].as_f64().filter(|rate| *rate > 0.0);
    let from_loss = end["sum"]["bits_per_second"].as_f64().map(|rate| rate * (1.0 - lost_percent / 100.0));
    let bits_per_second = received.or(from_loss).context("no rate in the report")?;
    Ok(IperfReport { bits_per_second, lost_percent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tcp_is_counted_at_the_receiver() {
        let json =
            json!({"end": {"sum_sent": {"bits_per_second": 2e9}, "sum_received": {"bits_per_second": 1e9}}});
        assert_eq!(report(&json).unwrap(), IperfReport { bits_per_second: 1e9, lost_percent: 0.0 });
    }

    #[test]
    fn udp_subtracts_the_loss() {
        let json = json!({"end": {"sum": {"bits_per_second": 4e8, "lost_percent": 25.0}}});
        assert_eq!(report(&json).unwrap(), IperfReport { bits_per_second: 3e8, lost_percent: 25.0 });
        assert!(report(&json!({"error": "unable to connect"})).is_err());
    }
}

//! What several of the tests need.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use testbed::traffic::{EchoClient, StreamSink, UdpEcho, send_stream};
use testbed::{Lab, ping};

/// Drop reasons that no regular operation of two gateways of ours may count.
const NEVER: [&str; 6] =
    ["malformed", "unknown_spi", "replayed", "authentication_failed", "bad_trailer", "selector_mismatch"];

/// The number `field` of `value`.
pub(crate) fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no number {field} in {value}"))
}

/// Fails if `status`, of a gateway or of a connection, counts a drop that should not happen.
pub(crate) fn no_wrong_drops(status: &Value) -> Result<()> {
    for reason in NEVER {
        let count = status["drops"][reason].as_u64().unwrap_or(0);
        ensure!(count == 0, "{count} packets were dropped as {reason}: {status}");
    }
    Ok(())
}

/// Pings from site `from` to site `to` without a loss, then exchanges UDP datagrams and streams TCP, all with verified
/// content.
pub(crate) fn exercise(lab: &Lab, from: u8, to: u8) -> Result<()> {
    let (near, far) = (lab.site(from), lab.site(to));
    let report = ping(&near.host, &format!("-c 5 -i 0.2 -W 2 {}", far.host_address()))?;
    ensure!(report.received == 5, "{}", report.text);
    let echo = UdpEcho::start(&far.host, far.host_address())?;
    let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
    for size in [1, 100, 1000, 4000] {
        client.exchange(size, Duration::from_secs(5))?;
    }
    let sink = StreamSink::start(&far.host, far.host_address())?;
    let sent = send_stream(&near.host, sink.address(), Duration::from_secs(1))?;
    ensure!(sink.finish()? == sent && sent > 0, "{sent} bytes were sent");
    Ok(())
}

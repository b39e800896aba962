//! `ping`, with its report read back.

use crate::{NetNs, output_of};
use anyhow::{Context as _, Result};

/// What `ping` found.
#[derive(Clone, Debug, PartialEq)]
pub struct PingReport {
    /// Echo requests sent.
    pub sent: u32,
    /// Echo replies received.
    pub received: u32,
    /// Everything `ping` printed, errors included.
    pub text: String,
}

impl PingReport {
    /// Share of the echo requests without a reply, in percent.
    pub fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            100.0
        } else {
            100.0 * f64::from(self.sent - self.received) / f64::from(self.sent)
        }
    }
}

/// Runs `ping -n <arguments>` (words separated by spaces) in `namespace`. Lost packets are no error, a `ping` that sent
/// none is.
pub fn ping(namespace: &NetNs, arguments: &str) -> Result<PingReport> {
    let output = output_of(namespace.command("ping")?.arg("-n").args(arguments.split_whitespace()))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (sent, received) = parse(&text).with_context(|| format!("`ping {arguments}` said: {text}"))?;
    Ok(PingReport { sent, received, text })
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut fields = summary.split(", ");
    let sent = fields.next()?.split(' ').next()?.parse().ok()?;
    let received = fields.next()?.split(' ').next()?.parse().ok()?;
    Some((sent, received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let text = "\n--- 10.2.1.10 ping statistics ---\n4 packets transmitted, 3 received, +1 errors, 25% packet loss, time 3ms\n";
        assert_eq!(parse(text), Some((4, 3)));
        let report = PingReport { sent: 4, received: 3, text: text.to_owned() };
        assert!((report.loss_percent() - 25.0).abs() < 1e-9);
        assert_eq!(parse("ping: connect: Network is unreachable"), None);
    }
}

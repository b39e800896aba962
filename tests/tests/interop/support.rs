//! What the tests have in common: a gateway of ours at site 1 and strongSwan at site 2.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use testbed::strongswan::{Charon, Daemon, IkeSa, Peering};
use testbed::traffic::{DatagramSink, EchoClient, UdpEcho, send_datagrams};
use testbed::{Agent, GatewayOptions, Lab, ping, poll_until};

/// Pre-shared key of every connection.
pub(crate) const KEY: &str = "A1b2C3D4";

/// Name of our VNet, and of the site that strongSwan plays.
pub(crate) const VNET: &str = "VNet1";
pub(crate) const SITE: &str = "VNet2";

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Drop reasons that no traffic between two correct gateways may count.
const NEVER: [&str; 5] =
    ["malformed", "replayed", "authentication_failed", "bad_trailer", "selector_mismatch"];

/// Payload sizes of one direction's datagrams, from empty to the largest that fits into the TUN device of libipsec.
const SIZES: [usize; 24] =
    [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 64, 100, 127, 128, 200, 255, 256, 500, 700, 900, 1100, 1300, 1372];

/// The two gateways of a test.
pub(crate) struct Gateways<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) ours: Agent,
    pub(crate) theirs: Charon,
}

impl<'a> Gateways<'a> {
    /// Starts strongSwan with `peering`, then our agent. Our agent has no key yet, and strongSwan initiates nothing.
    pub(crate) fn start(
        lab: &'a Lab,
        options: &GatewayOptions,
        daemon: &Daemon,
        peering: &Peering,
    ) -> Result<Self> {
        let theirs = start_charon(lab, 2, daemon, peering)?;
        let ours = lab.start_agent(1, options)?;
        Ok(Self { lab, ours, theirs })
    }

    /// Starts both with usual settings and waits until our agent has brought the connection up.
    pub(crate) fn connect(lab: &'a Lab, options: &GatewayOptions) -> Result<Self> {
        let gateways = Self::start(lab, options, &Daemon::default(), &peering(lab, 2))?;
        gateways.set_key()?;
        gateways.wait_connected()?;
        Ok(gateways)
    }

    /// Sets the key of the connection at our end, whereupon our agent initiates unless its mode forbids.
    pub(crate) fn set_key(&self) -> Result<()> {
        self.ours.vgw().set_key(VNET, SITE, KEY)
    }

    /// Changes parameters of the connection at our end.
    pub(crate) fn configure(&self, arguments: &[&str]) -> Result<()> {
        let command = [&["connection", "configure", VNET, SITE], arguments].concat();
        self.ours.vgw().text(&command).map(drop)
    }

    /// Waits until both ends have one IKE SA and one Child SA, and agree on the SPIs of the latter.
    pub(crate) fn wait_connected(&self) -> Result<IkeSa> {
        self.wait_agreed(|| self.theirs.wait_settled(SITE, Duration::ZERO))
    }

    /// The same after rekeys of the IKE SA by both ends; see [`Charon::wait_settled_after_collision`].
    pub(crate) fn wait_connected_after_collision(&self) -> Result<IkeSa> {
        self.wait_agreed(|| self.theirs.wait_settled_after_collision(SITE, Duration::ZERO))
    }

    fn wait_agreed(&self, theirs: impl Fn() -> Result<IkeSa>) -> Result<IkeSa> {
        self.ours.wait_connected(SITE, PATIENCE)?;
        poll_until(PATIENCE, "both ends agree on one Child SA", || {
            let theirs = theirs()?;
            let ours = self.status()?;
            let child = &theirs.children[0];
            ensure!(ours["inbound_spi"] == child.outbound_spi.as_str(), "{ours} {theirs:#?}");
            ensure!(ours["outbound_spi"] == child.inbound_spi.as_str(), "{ours} {theirs:#?}");
            Ok(Some(theirs))
        })
    }

    /// Status of the connection at our end.
    pub(crate) fn status(&self) -> Result<Value> {
        self.ours.vgw().connection(SITE)
    }

    /// Waits until the last error of the connection contains every one of `parts`.
    pub(crate) fn wait_error(&self, parts: &[&str]) -> Result<()> {
        poll_until(PATIENCE, &format!("an error that says {parts:?}"), || {
            let status = self.status()?;
            let error = status["last_error"].as_str().unwrap_or_default();
            ensure!(parts.iter().all(|part| error.contains(part)), "the status is {status}");
            Ok(Some(()))
        })
    }

    /// Exchanges traffic in both directions, all content verified, and fails at the first lost packet; see [`exercise`].
    pub(crate) fn exercise(&self) -> Result<()> {
        exercise(self.lab, 2)?;
        no_wrong_drops(&self.status()?)
    }
}

/// strongSwan's connection from site `number` to our gateway, named after the site.
pub(crate) fn peering(lab: &Lab, number: u8) -> Peering {
    let (ours, theirs) = (lab.site(1), lab.site(number));
    let near = (theirs.gateway_address(), theirs.prefix());
    let far = (ours.wan_address(), ours.prefix());
    Peering::new(&theirs.vnet(), (near.0, &near.1), (far.0, &far.1), KEY)
}

/// Starts strongSwan as the gateway of site `number`.
pub(crate) fn start_charon(lab: &Lab, number: u8, daemon: &Daemon, peering: &Peering) -> Result<Charon> {
    let site = lab.site(number);
    let peerings = std::slice::from_ref(peering);
    Charon::start(lab.scope(), &site.gateway, &format!("charon{number}"), daemon, peerings)
}

/// Pings from site 1 to site `number` and back, then exchanges datagrams of many sizes in both directions. Every one
/// must be answered with its own content.
pub(crate) fn exercise(lab: &Lab, number: u8) -> Result<()> {
    for (from, to) in [(1, number), (number, 1)] {
        let (near, far) = (lab.site(from), lab.site(to));
        let report = ping(&near.host, &format!("-c 3 -i 0.2 -W 3 {}", far.host_address()))?;
        ensure!(report.received == 3, "site {from} to site {to}: {}", report.text);
        let echo = UdpEcho::start(&far.host, far.host_address())?;
        let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
        for size in SIZES {
            client.exchange(size, Duration::from_secs(5)).with_context(|| format!("{from} to {to}"))?;
        }
    }
    Ok(())
}

/// Fails if `status` counts a drop that should not happen.
pub(crate) fn no_wrong_drops(status: &Value) -> Result<()> {
    for reason in NEVER {
        let count = status["drops"][reason].as_u64().unwrap_or(0);
        ensure!(count == 0, "{count} packets were dropped as {reason}: {status}");
    }
    Ok(())
}

/// What a stream through the tunnel lost while something was done.
#[derive(Debug)]
pub(crate) struct Losses {
    /// Datagrams from our site that did not arrive.
    pub(crate) outbound: u64,
    /// Datagrams to our site that did not arrive.
    pub(crate) inbound: u64,
}

/// Sends numbered datagrams both ways, 100 a second, while `work` runs, at least for `duration`; returns what `work`
/// returned and what was lost. Duplicates and changed content are errors.
pub(crate) fn under_traffic<T>(
    lab: &Lab,
    duration: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Losses)> {
    let sinks = [1, 2].map(|number| {
        let site = lab.site(number);
        DatagramSink::start(&site.host, site.host_address())
    });
    let [near_sink, far_sink] = sinks;
    let (near_sink, far_sink) = (near_sink?, far_sink?);
    let (near, far) = (lab.site(1), lab.site(2));
    let (done, outbound, inbound) = std::thread::scope(|scope| {
        let (to_far, to_near) = (far_sink.address(), near_sink.address());
        let outbound =
            scope.spawn(move || send_datagrams(&near.host, near.host_address(), to_far, 400, 100, duration));
        let inbound =
            scope.spawn(move || send_datagrams(&far.host, far.host_address(), to_near, 400, 100, duration));
        let done = work();
        let joined = |thread: std::thread::ScopedJoinHandle<'_, Result<u64>>| {
            thread.join().expect("sending does not panic")
        };
        (done, joined(outbound), joined(inbound))
    });
    let done = done?;
    let lost =
        |sent: u64, sink: DatagramSink| {
            // Under load the packets pass a user-space daemon slowly.
            let _ = testbed::wait_until(Duration::from_secs(2), "the stream", || {
                Ok(sink.snapshot().received == sent)
            });
            let report = sink.stop();
            ensure!(report.duplicates == 0 && report.corrupt == 0, "{report:?}");
            Ok(sent - report.received)
        };
    Ok((done, Losses { outbound: lost(outbound?, far_sink)?, inbound: lost(inbound?, near_sink)? }))
}

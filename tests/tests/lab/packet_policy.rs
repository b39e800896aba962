//! What is set for the packets of a connection holds at once, for the SAs that it has.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use testbed::{Capture, Lab, Vgw, ping};

/// A DSCP that senders use (EF), as a traffic class.
const EF: u8 = 46 << 2;

#[test]
fn replay_window_and_dscp_are_set_for_a_connection() {
    with_both_engines("replay_window_and_dscp_are_set_for_a_connection", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        let vgw = agents[0].vgw();
        let spis = (
            vgw.connection("VNet2")?["inbound_spi"].clone(),
            vgw.connection("VNet2")?["outbound_spi"].clone(),
        );
        ensure!(classes(lab, 0)? == [BTreeSet::from([0]), BTreeSet::from([0])]);
        ensure!(classes(lab, EF)? == [BTreeSet::from([EF]), BTreeSet::from([EF])], "copied");

        configure(vgw, &["--dscp", "set:10", "--replay-window", "64"])?;
        let marked = BTreeSet::from([10 << 2]);
        ensure!(classes(lab, EF)? == [marked.clone(), BTreeSet::from([EF])], "this end's choice");
        for (wrong, rule) in [
            (
                ["--dscp", "set:64"],
                "dscp: \"set:64\" is not accepted: expected copy, or set:N with a DSCP from 0 to 63",
            ),
            (
                ["--replay-window", "63"],
                "replay_window: \"63\" is not accepted: expected a number from 64 to 8160",
            ),
        ] {
            let Err(error) = configure(vgw, &wrong) else { anyhow::bail!("{wrong:?} was accepted") };
            ensure!(format!("{error:#}").contains(rule), "{error:#}");
        }
        ensure!(classes(lab, EF)?[0] == marked, "what is wrong changes nothing");
        let shown = vgw.text(&["connection", "show", "VNet1", "VNet2"])?;
        let shows = |name: &str, value: &str| {
            shown
                .lines()
                .any(|line| line.starts_with(name) && line.contains(value) && line.ends_with("connection"))
        };
        ensure!(shows("replay window", "64") && shows("outer DSCP", "set:10"), "{shown}");
        exercise(lab, 1, 2)?;
        // No SA was negotiated anew for any of this.
        let now = vgw.connection("VNet2")?;
        ensure!((&now["inbound_spi"], &now["outbound_spi"]) == (&spis.0, &spis.1), "{now}");
        configure(vgw, &["--reset"])?;
        ensure!(classes(lab, EF)?[0] == BTreeSet::from([EF]));
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

fn configure(vgw: &Vgw, arguments: &[&str]) -> Result<()> {
    vgw.text(&[&["connection", "configure", "VNet1", "VNet2"], arguments].concat()).map(|_| ())
}

/// Traffic classes of the outer headers of both gateways' packets while the hosts exchange packets of the class `tos`.
fn classes(lab: &Lab, tos: u8) -> Result<[BTreeSet<u8>; 2]> {
    let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
    let report =
        ping(&lab.site(1).host, &format!("-c 5 -i 0.02 -W 2 -Q {tos} {}", lab.site(2).host_address()))?;
    ensure!(report.received == 5, "{}", report.text);
    capture.wait_for(10, std::time::Duration::from_secs(5))?;
    let wire = capture.stop();
    Ok([1, 2].map(|number| wire.esp_traffic_classes(lab.site(number).wan_address())))
}

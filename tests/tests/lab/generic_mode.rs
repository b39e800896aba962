//! Interfaces that cannot run XDP natively.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use anyhow::ensure;

#[test]
fn programs_in_generic_mode_carry_traffic() {
    with_both_engines("programs_in_generic_mode_carry_traffic", 2, |lab, options| {
        // One end of a link that takes longer frames than native XDP at the other end; none is sent.
        let site = lab.site(1);
        site.host.ip("link set eth0 mtu 9000")?;
        site.host.ip(&format!("route replace default via {} mtu 1500", site.lan_address()))?;
        let agents = lab.establish(options)?;
        for _ in 0..2 {
            exercise(lab, 1, 2)?;
            exercise(lab, 2, 1)?;
        }
        let modes =
            [agents[0].vgw().status()?, agents[1].vgw().status()?].map(|status| status["xdp_mode"].clone());
        ensure!(modes == ["generic", "native"], "{modes:?}");
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

//! ESP and IKE whose packets arrive in fragments.

use crate::support::{exercise, no_wrong_drops, with_engine};
use anyhow::ensure;
use testbed::{Family, FragmentingRouter, GatewayOptions, scenario_in, skip_unless_capable};

#[test]
fn fragmented_esp_and_ike_arrive() {
    if skip_unless_capable("fragmented_esp_and_ike_arrive") {
        return;
    }
    for (engine, force_udp_encapsulation) in [("kernel", false), ("kernel", true), ("xsk", false)] {
        for outer in Family::ALL {
            let name =
                format!("ESP in fragments (engine {engine}, outer {outer:?}, UDP {force_udp_encapsulation})");
            scenario_in(
                &name,
                |lab| lab.sites(2).dual_stack(),
                |lab| {
                    let router = FragmentingRouter::start(lab, 1, 2, outer)?;
                    let options = GatewayOptions { force_udp_encapsulation, ..with_engine(engine) };
                    let agents = lab.establish_over(outer, &options)?;
                    exercise(lab, 1, 2)?;
                    let fragmented = router.fragmented();
                    // Nothing of IKE is as long as the shortest fragment of IPv6.
                    ensure!(fragmented.ike > 0 || outer == Family::V6, "{fragmented:?}");
                    ensure!(fragmented.esp > 100, "{fragmented:?}");
                    no_wrong_drops(&agents)
                },
            );
        }
    }
}

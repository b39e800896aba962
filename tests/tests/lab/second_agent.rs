//! A VNet has one gateway.

use testbed::{GatewayOptions, scenario};

#[test]
fn a_second_agent_for_the_same_vnet_is_refused_and_the_first_goes_on() {
    scenario("a_second_agent_for_the_same_vnet_is_refused_and_the_first_goes_on", 2, |lab| {
        let options = GatewayOptions::default();
        let agents = lab.establish(&options)?;
        let refusal = lab.start_refused(1, &lab.netcfg(), &options)?;
        assert!(refusal.contains("VNet1"), "{refusal}");
        assert!(refusal.contains("already") || refusal.contains("another"), "{refusal}");
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)
    });
}

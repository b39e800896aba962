//! A path through the tunnel shows both gateways.

use crate::support::with_both_engines;
use testbed::run;

#[test]
fn traceroute_shows_both_gateways_and_nothing_between() {
    with_both_engines("traceroute_shows_both_gateways_and_nothing_between", 2, |lab, options| {
        let agents = lab.establish(options)?;
        lab.wait_reachable(1, 2)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let target = far.host_address().to_string();
        let text =
            run(near.host.command("traceroute")?.args(["-n", "-q", "1", "-w", "3", "-m", "5", &target]))?;
        // The first line is a heading; each other one is the hop's number and address.
        let hops: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        let expected = [near.lan_address().to_string(), far.lan_address().to_string(), target];
        assert_eq!(hops, expected, "{text}");
        Ok(agents)
    });
}

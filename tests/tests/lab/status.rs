//! `vgw status` for people and for programs.

use crate::support::number;
use testbed::{GatewayOptions, ping, scenario};

#[test]
fn both_forms_show_the_connection_and_its_traffic() {
    scenario("both_forms_show_the_connection_and_its_traffic", 2, |lab| {
        let agents = lab.establish(&GatewayOptions::default())?;
        let before = agents[0].vgw().connection("VNet2")?;
        let report =
            ping(&lab.site(1).host, &format!("-c 5 -i 0.1 -W 2 -s 100 {}", lab.site(2).host_address()))?;
        assert_eq!(report.received, 5, "{}", report.text);

        let status = agents[0].vgw().status()?;
        assert_eq!(status["vnet"], "VNet1", "{status}");
        assert_eq!(status["wan_address"], lab.site(1).wan_address().to_string(), "{status}");
        let after = agents[0].vgw().connection("VNet2")?;
        for (field, expected) in [("state", "Connected"), ("site", "VNet2")] {
            assert_eq!(after[field], expected, "{after}");
        }
        assert_eq!(after["peer"], lab.site(2).wan_address().to_string(), "{after}");
        assert!(after["last_error"].is_null(), "{after}");
        for direction in ["in", "out"] {
            let grown = |counter: &str| {
                let field = format!("{counter}_{direction}");
                Ok::<_, anyhow::Error>(number(&after, &field)? - number(&before, &field)?)
            };
            assert_eq!((grown("packets")?, grown("bytes")?), (5, 5 * 128), "{after}");
        }
        // What one end sends with, the other receives with.
        let far = agents[1].vgw().connection("VNet1")?;
        assert_eq!(
            (&after["inbound_spi"], &after["outbound_spi"]),
            (&far["outbound_spi"], &far["inbound_spi"])
        );

        let table = agents[0].vgw().text(&["status"])?;
        for word in ["VNet1", "VNet2", "Connected", "198.51.100.2"] {
            assert!(table.contains(word), "no {word} in {table}");
        }
        assert!(!table.contains("A1b2C3D4") && !status.to_string().contains("A1b2C3D4"), "the key is shown");
        Ok(())
    });
}

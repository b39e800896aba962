//! The limit of an SA in bytes holds whichever engine counts them.

use crate::support::{exercise, number, with_both_engines};
use anyhow::{Result, ensure};
use aya::maps::{Array, Map, MapData};
use gateway_common::Sa;
use gateway_user::datapath::Plain;
use std::path::Path;
use std::time::Duration;
use testbed::{Agent, poll_until};

#[test]
fn an_sa_that_has_passed_its_bytes_is_rekeyed() {
    with_both_engines("an_sa_that_has_passed_its_bytes_is_rekeyed", 2, |lab, options| {
        let agents = lab.establish(options)?;
        lab.wait_reachable(1, 2)?;
        for (field, from, to) in [("outbound_spi", 1, 2), ("inbound_spi", 2, 1)] {
            let before = agents[0].vgw().connection("VNet2")?;
            // While nothing is sent nothing else writes to the entry.
            let spi = u32::from_str_radix(before[field].as_str().unwrap_or_default(), 16)?;
            set_soft_bytes(&lab.scope().pin_root().join("VNet1/SAS"), spi, 200_000)?;
            exercise(lab, from, to)?;
            wait_for_rekey(&agents[0], number(&before, "rekeys")?)?;
        }
        Ok(agents)
    });
}

/// Changes the soft lifetime in bytes of the SA with this SPI.
fn set_soft_bytes(pin: &Path, spi: u32, bytes: u64) -> Result<()> {
    let mut sas: Array<_, Plain<Sa>> = Map::from_map_data(MapData::from_pin(pin)?)?.try_into()?;
    for index in 1..sas.len() {
        let Plain(mut sa) = sas.get(&index, 0)?;
        if sa.spi == spi.to_be_bytes() {
            sa.soft_bytes = bytes;
            sas.set(index, Plain(sa), 0)?;
            return Ok(());
        }
    }
    anyhow::bail!("no SA has the SPI {spi:08x}")
}

fn wait_for_rekey(agent: &Agent, before: u64) -> Result<()> {
    poll_until(Duration::from_secs(10), "the Child SA is rekeyed", || {
        let status = agent.vgw().connection("VNet2")?;
        ensure!(number(&status, "rekeys")? > before, "{status}");
        Ok(Some(()))
    })
}

//! A datapath with tunnels and SAs made by hand.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
use gateway_common::Aead;
use gateway_user::datapath::{
    BandwidthLimit, Datapath, DatapathConfig, EngineConfig, PacketPolicy, SaConfig, TunnelChange, TunnelId,
    WanAddresses,
};
use gateway_user::model::{EngineChoice, MssClamp};
use tokio::runtime::{Builder, Runtime};

use super::network;
use crate::end_to_end::{End, Topology};

/// Largest inner packet of a tunnel over links of 1500 bytes.
pub(super) const TUNNEL_MTU: u32 = 1438;

/// A running datapath.
pub(super) struct Gateway {
    runtime: Runtime,
    datapath: Datapath,
}

impl Gateway {
    /// Starts the datapath of the gateway at `end` with this many tunnels to the other end. What it sends is limited to `limit` bit/s.
    ///
    /// # Errors
    /// It does not come up.
    pub(super) fn start(topology: &Topology, end: End, tunnels: u16, limit: Option<u64>) -> Result<Self> {
        let pin_root = topology.pin_root();
        let config = DatapathConfig {
            vnet: format!("{end:?}"),
            wan: Topology::WAN.to_owned(),
            lan: vec![Topology::LAN.to_owned()],
            wan_addrs: WanAddresses { v4: Some(end.wan_address()), v6: None },
            local_prefixes: vec![end.network().parse()?],
            // Acknowledgements of TCP come in the other direction.
            limit: BandwidthLimit { rate: limit, is_separate: true },
            max_tunnels: u32::from(tunnels),
            cpu_sas: 0,
            pin_root,
            engine: EngineConfig { choice: EngineChoice::Kernel, ..EngineConfig::default() },
            mss_clamp: MssClamp::Auto,
        };
        topology.gateway(end).enter(|| Self::start_here(config, end, tunnels))?
    }

    /// Takes the datapath down.
    ///
    /// # Errors
    /// Something could not be removed.
    pub(super) fn stop(self) -> Result<()> {
        self.runtime.block_on(self.datapath.stop())
    }

    fn start_here(config: DatapathConfig, end: End, tunnels: u16) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let datapath = runtime.block_on(async {
            let mut datapath = Datapath::start(config).await?;
            let id = |tunnel| TunnelId(u32::from(tunnel) + 1);
            let set = |tunnel| Ok(TunnelChange::Set(id(tunnel), vec![network(end.other(), tunnel).parse()?]));
            datapath.change_tunnels((0..tunnels).map(set).collect::<Result<_>>()?);
            datapath.changed().await.into_iter().collect::<Result<()>>()?;
            for tunnel in 0..tunnels {
                let id = id(tunnel);
                datapath.install_inbound(id, &sa(end.other(), end, tunnel))?;
                datapath.install_outbound(id, &sa(end, end, tunnel))?;
            }
            anyhow::Ok(datapath)
        });
        Ok(Self { datapath: datapath.context("cannot start the datapath")?, runtime })
    }
}

/// The SA of a tunnel for what is sent from one end, as the gateway `at` either end knows it.
fn sa(from: End, at: End, tunnel: u16) -> SaConfig {
    let port = |address: Ipv4Addr| SocketAddrV4::new(address, 4500);
    let first = if from == End::A { 0x1_0000 } else { 0x2_0000 };
    SaConfig {
        spi: first + u32::from(tunnel),
        aead: Aead::ChaCha20Poly1305,
        key: vec![7; Aead::ChaCha20Poly1305.key_len()].into(),
        salt: [1, 2, 3, 4],
        esn: true,
        implicit_iv: false,
        local: port(at.wan_address()).into(),
        remote: port(at.other().wan_address()).into(),
        udp_encapsulation: false,
        udp_port_entropy: false,
        soft_bytes: 0,
        hard_bytes: 0,
        resource: None,
        policy: PacketPolicy::default(),
    }
}

//! Outbound SAs of single receive queues: map `CPU_SAS`.

use anyhow::{Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData};

use super::object::duplicate;

/// Which outbound SA the packets of a receive queue take, where they do not take the one of their tunnel (RFC 9611).
pub struct CpuSas {
    map: Array<MapData, u32>,
    per_tunnel: u32,
}

impl CpuSas {
    /// Opens the map of `ebpf`, which was loaded with so many entries per tunnel.
    ///
    /// # Errors
    /// The map is missing.
    pub fn new(ebpf: &Ebpf, per_tunnel: u32) -> Result<Self> {
        Ok(Self { map: duplicate(ebpf, "CPU_SAS")?.try_into()?, per_tunnel })
    }

    /// Sends the packets of every queue whose number leaves the rest `resource` with the SA in `slot`.
    ///
    /// # Errors
    /// There are not so many resources, or the kernel refused the update.
    pub fn set(&mut self, tunnel: u32, resource: u32, slot: u32) -> Result<()> {
        let most = self.per_tunnel;
        ensure!(resource < most, "resource {resource} is out of range: there are {most}");
        Ok(self.map.set(tunnel * most + resource, slot, 0)?)
    }

    /// Packets no longer take the SA in `slot`, but the one of their tunnel.
    ///
    /// # Errors
    /// The kernel refused an update.
    pub fn remove(&mut self, tunnel: u32, slot: u32) -> Result<()> {
        self.clear_if(tunnel, |present| present == slot)
    }

    /// No queue has an SA of its own any more.
    ///
    /// # Errors
    /// The kernel refused an update.
    pub fn clear(&mut self, tunnel: u32) -> Result<()> {
        self.clear_if(tunnel, |present| present != 0)
    }

    fn clear_if(&mut self, tunnel: u32, is_meant: impl Fn(u32) -> bool) -> Result<()> {
        let first = tunnel * self.per_tunnel;
        for index in first..first + self.per_tunnel {
            if is_meant(self.map.get(&index, 0)?) {
                self.map.set(index, 0, 0)?;
            }
        }
        Ok(())
    }
}

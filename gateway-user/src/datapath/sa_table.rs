//! SAs in the datapath's maps.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData};
use gateway_common::ip::mapped;
use gateway_common::limits::AES_ROUND_KEY_WORDS;
use gateway_common::{Aead, GhashTables, Sa, SaFlags, SpiKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::key_schedule::{expand_key, ghash_tables};
use super::object::{Limits, Plain, duplicate};
use super::policy::PacketPolicy;
use super::slots::Slots;
use crate::worker::mapped::Mapped;

/// A packet that found an SA before it was removed is done with it after this time.
const IN_USE: Duration = Duration::from_secs(1);

/// Sequence numbers left when a rekey is asked for, on SAs with 32-bit sequence numbers.
const SEQUENCE_MARGIN: u64 = 1 << 28;

/// One direction of a Child SA, as negotiated.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "properties that are negotiated one by one")]
pub struct SaConfig {
    /// SPI, host order.
    pub spi: u32,
    /// Algorithm.
    pub aead: Aead,
    /// Key without salt, [`Aead::key_len`] bytes.
    pub key: Zeroizing<Vec<u8>>,
    /// Salt, the first four bytes of every nonce.
    pub salt: [u8; 4],
    /// Extended sequence numbers.
    pub esn: bool,
    /// The IV is the sequence number and is not sent (RFC 8750); packets are eight bytes shorter.
    pub implicit_iv: bool,
    /// Outer address and UDP port of this gateway.
    pub local: SocketAddr,
    /// Outer address and UDP port of the peer, of the same family.
    pub remote: SocketAddr,
    /// ESP in UDP (RFC 3948).
    pub udp_encapsulation: bool,
    /// With encapsulation: the UDP source port tells inner flows apart, in place of the port of `local`.
    pub udp_port_entropy: bool,
    /// Inner bytes after which a rekey is asked for; 0 for no limit.
    pub soft_bytes: u64,
    /// Inner bytes after which the SA passes nothing any more; 0 for no limit.
    pub hard_bytes: u64,
    /// The resource whose packets an outbound SA carries; `None` for all that have none of their own.
    pub resource: Option<u32>,
    /// What is done with its packets.
    pub policy: PacketPolicy,
}

/// What an SA has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes of inner IP packets.
    pub bytes: u64,
}

impl std::fmt::Debug for SaConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "SaConfig {{ spi: {:#010x}, aead: {:?}, remote: {} }}",
            self.spi, self.aead, self.remote
        )
    }
}

/// Direction of an SA, seen from this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// The SAs that the datapath knows, and the slots they occupy.
pub struct SaTable {
    sas: Array<MapData, Plain<Sa>>,
    /// The same entries in memory, for changes of single fields.
    fields: Mapped<Sa>,
    ghash: Array<MapData, Plain<GhashTables>>,
    spis: BpfHashMap<MapData, Plain<SpiKey>, u32>,
    installed: HashMap<(Direction, u32, u32), Installed>,
    /// The SAs of each tunnel that has any.
    of_tunnels: HashMap<u32, Vec<(Direction, u32)>>,
    slots: Slots,
    /// Slots of removed SAs, the oldest in front. Their keys stay until no packet can be using them: a packet that found
    /// the SA a moment earlier would be sealed with whatever is there.
    retiring: VecDeque<Retiring>,
}

#[derive(Clone, Copy, Debug)]
struct Installed {
    slot: u32,
    spi_key: SpiKey,
}

/// A slot whose SA was removed.
#[derive(Clone, Copy, Debug)]
struct Retiring {
    until: Instant,
    tunnel: u32,
    slot: u32,
}

impl SaTable {
    /// Opens the maps of SAs of `ebpf`, which was loaded with these limits; all slots are free.
    ///
    /// # Errors
    /// A map is missing.
    pub fn new(ebpf: &Ebpf, limits: Limits) -> Result<Self> {
        let entries = duplicate(ebpf, "SAS")?;
        let Map::Array(data) = &entries else { bail!("map SAS is of an unexpected type") };
        let fields = Mapped::of(data, "SAS", true)?;
        let sas: Array<_, _> = entries.try_into()?;
        let ghash = duplicate(ebpf, "GHASH")?.try_into()?;
        let spis = duplicate(ebpf, "SPIS")?.try_into()?;
        Ok(Self {
            sas,
            fields,
            ghash,
            spis,
            installed: HashMap::new(),
            of_tunnels: HashMap::new(),
            slots: Slots::new(limits),
            retiring: VecDeque::new(),
        })
    }

    /// Writes an SA of `tunnel` into a free slot and returns the slot. An inbound SA receives from then on; an outbound one
    /// sends when the tunnel points to it.
    ///
    /// # Errors
    /// The key has the wrong length, the addresses are of different IP versions, the SPI is zero or installed already, or no slot
    /// is free; nothing has changed then.
    pub fn install(&mut self, direction: Direction, tunnel: u32, config: &SaConfig) -> Result<u32> {
        let key = (direction, tunnel, config.spi);
        ensure!(config.spi != 0, "SPI 0 is reserved");
        ensure!(
            !self.installed.contains_key(&key),
            "{direction:?} SPI {:#010x} is installed already",
            config.spi
        );
        let round_keys = expand_key(config.aead, &config.key)?;
        let tables = ghash_tables(config.aead, &config.key)?;
        ensure!(
            config.local.is_ipv6() == config.remote.is_ipv6(),
            "the outer addresses {} and {} are of different IP versions",
            config.local.ip(),
            config.remote.ip()
        );
        let entry = SecretEntry::new(tunnel, config, &round_keys);
        self.sweep();
        let slot = self.slots.take(tunnel)?;
        let spi_key = spi_key(config);
        if let Err(error) = self.write(direction, slot, spi_key, &entry, tables.as_deref()) {
            self.retire(tunnel, slot);
            return Err(error);
        }
        self.installed.insert(key, Installed { slot, spi_key });
        self.of_tunnels.entry(tunnel).or_default().push((direction, config.spi));
        Ok(slot)
    }

    /// Removes an SA: no packet finds it any more. Its keys are wiped by a [`Self::sweep`] a second later. An outbound SA must
    /// not be the one that its tunnel points to. False if there is no such SA.
    ///
    /// # Errors
    /// The kernel refused a map update; the SA is still there.
    pub fn remove(&mut self, direction: Direction, tunnel: u32, spi: u32) -> Result<bool> {
        let key = (direction, tunnel, spi);
        let Some(Installed { slot, spi_key }) = self.installed.get(&key).copied() else { return Ok(false) };
        if direction == Direction::Inbound {
            self.spis.remove(&Plain(spi_key))?;
        }
        self.installed.remove(&key);
        if let Entry::Occupied(mut entry) = self.of_tunnels.entry(tunnel) {
            entry.get_mut().retain(|sa| *sa != (direction, spi));
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        self.retire(tunnel, slot);
        Ok(true)
    }

    /// Wipes the keys of SAs that were removed more than a second ago, and frees their slots.
    pub fn sweep(&mut self) {
        let now = Instant::now();
        while let Some(Retiring { tunnel, slot, .. }) = self.retiring.pop_front_if(|next| next.until <= now) {
            match self.wipe(slot) {
                Ok(()) => self.slots.give_back(tunnel, slot),
                Err(error) => {
                    tracing::warn!("cannot wipe the keys of a removed SA: {error:#}");
                    self.retire(tunnel, slot);
                    return;
                }
            }
        }
    }

    /// Wipes every key. To be called when nothing is attached any more.
    ///
    /// # Errors
    /// The kernel refused a map update.
    pub fn wipe_all(&mut self) -> Result<()> {
        (1..self.sas.len()).try_for_each(|slot| self.wipe(slot))
    }

    /// Slot of an SA.
    pub fn find(&self, direction: Direction, tunnel: u32, spi: u32) -> Option<u32> {
        self.installed.get(&(direction, tunnel, spi)).map(|installed| installed.slot)
    }

    /// Has the SAs of `tunnel` treat packets by `policy` from now on. The anti-replay ring holds as much as the largest window
    /// needs, so that a window may change while packets flow: what was seen stays seen.
    pub fn set_policy(&mut self, tunnel: u32, policy: PacketPolicy) {
        for (direction, spi) in self.of_tunnels.get(&tunnel).into_iter().flatten() {
            let slot = self.find(*direction, tunnel, *spi);
            if let Some(entry) = slot.and_then(|slot| self.fields.at(slot)) {
                entry.half(offset_of!(Sa, replay_window)).store(policy.replay_window, Ordering::Relaxed);
                entry.half(offset_of!(Sa, outer_dscp)).store(policy.dscp.in_sa(), Ordering::Relaxed);
                entry.half(offset_of!(Sa, outer_df)).store(policy.df.in_sa(), Ordering::Relaxed);
            }
        }
    }

    /// What an SA has carried; zeros if there is no such SA.
    ///
    /// # Errors
    /// The kernel refused the look-up.
    pub fn counters(&self, direction: Direction, tunnel: u32, spi: u32) -> Result<SaCounters> {
        let Some(slot) = self.find(direction, tunnel, spi) else { return Ok(SaCounters::default()) };
        let Plain(mut entry) = self.sas.get(&slot, 0)?;
        entry.key.zeroize();
        entry.salt.zeroize();
        Ok(SaCounters { packets: entry.packets, bytes: entry.bytes })
    }

    /// SPIs of all SAs of `tunnel`.
    pub fn of_tunnel(&self, tunnel: u32) -> Vec<(Direction, u32)> {
        self.of_tunnels.get(&tunnel).cloned().unwrap_or_default()
    }

    fn retire(&mut self, tunnel: u32, slot: u32) {
        self.retiring.push_back(Retiring { until: Instant::now() + IN_USE, tunnel, slot });
    }

    fn write(
        &mut self,
        direction: Direction,
        slot: u32,
        spi_key: SpiKey,
        entry: &SecretEntry,
        tables: Option<&GhashTables>,
    ) -> Result<()> {
        if let Some(tables) = tables {
            self.ghash.set(slot, Plain::of(tables), 0)?;
        }
        self.sas.set(slot, Plain::of(&*entry.0), 0)?;
        if direction == Direction::Inbound {
            self.spis.insert(Plain(spi_key), slot, 0)?;
        }
        Ok(())
    }

    fn wipe(&mut self, slot: u32) -> Result<()> {
        if let Some(entry) = self.fields.at(slot) {
            // Before the key, so that a worker that is copying it, long after the SA was removed, sees by the SPI that what it
            // has may be half a key.
            entry.half(offset_of!(Sa, spi)).store(0, Ordering::SeqCst);
        }
        self.sas.set(slot, Plain::of(&EMPTY_SA), 0)?;
        self.ghash.set(slot, Plain::of(&EMPTY_TABLES), 0)?;
        Ok(())
    }
}

static EMPTY_SA: Sa = Sa::zeroed();
static EMPTY_TABLES: GhashTables = GhashTables::zeroed();

/// An entry of map `SAS` whose key is wiped when it is dropped.
struct SecretEntry(Box<Sa>);

impl SecretEntry {
    fn new(tunnel: u32, config: &SaConfig, round_keys: &[u32; AES_ROUND_KEY_WORDS]) -> Self {
        let mut sa = Box::new(Sa::zeroed());
        sa.key = *round_keys;
        sa.spi = config.spi.to_be_bytes();
        sa.salt = config.salt;
        sa.tunnel = tunnel;
        sa.flags = if config.esn { SaFlags::ESN } else { 0 }
            | if config.local.is_ipv6() { SaFlags::OUTER_IPV6 } else { 0 }
            | if config.udp_encapsulation { SaFlags::UDP_ENCAP } else { 0 }
            | if config.udp_port_entropy { SaFlags::UDP_PORT_ENTROPY } else { 0 }
            | if config.implicit_iv { SaFlags::IMPLICIT_IV } else { 0 };
        sa.aead = config.aead as u32;
        sa.replay_window = config.policy.replay_window;
        sa.outer_dscp = config.policy.dscp.in_sa();
        sa.outer_df = config.policy.df.in_sa();
        sa.local_addr = outer_address(config.local);
        sa.remote_addr = outer_address(config.remote);
        sa.local_port = config.local.port().to_be_bytes();
        sa.remote_port = config.remote.port().to_be_bytes();
        sa.soft_bytes = config.soft_bytes;
        sa.soft_packets = if config.esn { 0 } else { u64::from(u32::MAX) - SEQUENCE_MARGIN };
        sa.hard_bytes = config.hard_bytes;
        Self(sa)
    }
}

impl Drop for SecretEntry {
    fn drop(&mut self) {
        self.0.key.zeroize();
        self.0.salt.zeroize();
    }
}

/// An outer address as the XDP programs know it.
fn outer_address(address: SocketAddr) -> [u8; 16] {
    match address.ip() {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

fn spi_key(config: &SaConfig) -> SpiKey {
    SpiKey { spi: config.spi.to_be_bytes(), is_v6: u32::from(config.local.is_ipv6()) }
}

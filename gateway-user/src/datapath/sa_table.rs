//! SAs in the datapath's maps.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use gateway_common::limits::{AES_ROUND_KEY_WORDS, REPLAY_WINDOW_DEFAULT};
use gateway_common::{Aead, GhashTables, Sa, SaFlags, SpiKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::key_schedule::{expand_key, ghash_tables};
use super::object::{Plain, duplicate};

/// A packet that found an SA before it was removed is done with it after this time.
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// Sequence numbers left when a rekey is asked for, on SAs with 32-bit sequence numbers.
const SEQUENCE_MARGIN: u64 = 1 << 28;

/// One direction of a Child SA, as negotiated.
#[derive(Clone)]
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
    /// Outer address and UDP port of this gateway.
    pub local: SocketAddrV4,
    /// Outer address and UDP port of the peer.
    pub remote: SocketAddrV4,
    /// ESP in UDP (RFC 3948).
    pub udp_encapsulation: bool,
    /// Inner bytes after which a rekey is asked for; 0 for no limit.
    pub soft_bytes: u64,
    /// Inner bytes after which the SA passes nothing any more; 0 for no limit.
    pub hard_bytes: u64,
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
    ghash: Array<MapData, Plain<GhashTables>>,
    spis: BpfHashMap<MapData, Plain<SpiKey>, u32>,
    installed: HashMap<(Direction, u32, u32), u32>,
    /// Free slots, the one that was freed first in front, with the time from which it may be used.
    free: VecDeque<(Instant, u32)>,
}

impl SaTable {
    /// Takes the maps of SAs out of `ebpf`; all slots are free.
    ///
    /// # Errors
    /// A map is missing.
    pub fn new(ebpf: &Ebpf) -> Result<Self> {
        let sas = Array::try_from(duplicate(ebpf, "SAS")?)?;
        let ghash = Array::try_from(duplicate(ebpf, "GHASH")?)?;
        let spis = BpfHashMap::try_from(duplicate(ebpf, "SPIS")?)?;
        let now = Instant::now();
        let free = (1..sas.len()).map(|index| (now, index)).collect();
        Ok(Self { sas, ghash, spis, installed: HashMap::new(), free })
    }

    /// Writes an SA of `tunnel` into a free slot and returns the slot. An inbound SA receives from then on; an outbound one
    /// sends when the tunnel points to it.
    ///
    /// # Errors
    /// The key has the wrong length, the SPI is installed already, or no slot is free.
    pub fn install(&mut self, direction: Direction, tunnel: u32, config: &SaConfig) -> Result<u32> {
        let key = (direction, tunnel, config.spi);
        ensure!(
            !self.installed.contains_key(&key),
            "{direction:?} SPI {:#010x} is installed already",
            config.spi
        );
        let round_keys = expand_key(config.aead, &config.key)?;
        let tables = ghash_tables(config.aead, &config.key)?;
        let entry = SecretEntry::new(direction, tunnel, config, &round_keys);
        match self.free.front() {
            Some((usable, _)) if *usable <= Instant::now() => {}
            _ => anyhow::bail!("no slot is free for another SA"),
        }
        let (_, index) = self.free.pop_front().context("no slot is free for another SA")?;
        self.installed.insert(key, index);
        if let Some(tables) = tables {
            self.ghash.set(index, Plain(*tables), 0)?;
        }
        self.sas.set(index, Plain(*entry.0), 0)?;
        if direction == Direction::Inbound {
            self.spis.insert(Plain(spi_key(config)), index, 0)?;
        }
        Ok(index)
    }

    /// Removes an SA and wipes its keys. Returns its slot, or `None` if there is no such SA.
    ///
    /// # Errors
    /// The kernel refused a map update.
    pub fn remove(&mut self, direction: Direction, tunnel: u32, spi: u32) -> Result<Option<u32>> {
        let Some(index) = self.installed.remove(&(direction, tunnel, spi)) else { return Ok(None) };
        if direction == Direction::Inbound {
            let Plain(entry) = self.sas.get(&index, 0)?;
            self.spis.remove(&Plain(SpiKey { spi: entry.spi, destination: entry.local_addr }))?;
        }
        self.sas.set(index, Plain(Sa::zeroed()), 0)?;
        self.ghash.set(index, Plain(GhashTables::zeroed()), 0)?;
        self.free.push_back((Instant::now() + REUSE_AFTER, index));
        Ok(Some(index))
    }

    /// Slot of an SA.
    pub fn find(&self, direction: Direction, tunnel: u32, spi: u32) -> Option<u32> {
        self.installed.get(&(direction, tunnel, spi)).copied()
    }

    /// SPIs of all SAs of `tunnel`.
    pub fn of_tunnel(&self, tunnel: u32) -> Vec<(Direction, u32)> {
        self.installed.keys().filter(|key| key.1 == tunnel).map(|key| (key.0, key.2)).collect()
    }

    /// The entry in slot `index` as the datapath has it now, with its counters.
    ///
    /// # Errors
    /// There is no such slot.
    pub fn read(&self, index: u32) -> Result<Sa> {
        Ok(self.sas.get(&index, 0)?.0)
    }
}

/// An entry of map `SAS` whose key is wiped when it is dropped.
struct SecretEntry(Box<Sa>);

impl SecretEntry {
    fn new(
        direction: Direction,
        tunnel: u32,
        config: &SaConfig,
        round_keys: &[u32; AES_ROUND_KEY_WORDS],
    ) -> Self {
        let mut sa = Box::new(Sa::zeroed());
        sa.key = *round_keys;
        sa.spi = config.spi.to_be_bytes();
        sa.salt = config.salt;
        sa.tunnel = tunnel;
        sa.flags = if direction == Direction::Inbound { SaFlags::INBOUND } else { 0 }
            | if config.esn { SaFlags::ESN } else { 0 }
            | if config.udp_encapsulation { SaFlags::UDP_ENCAP } else { 0 };
        sa.aead = config.aead as u32;
        sa.replay_window = REPLAY_WINDOW_DEFAULT;
        sa.local_addr = config.local.ip().octets();
        sa.remote_addr = config.remote.ip().octets();
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

fn spi_key(config: &SaConfig) -> SpiKey {
    SpiKey { spi: config.spi.to_be_bytes(), destination: config.local.ip().octets() }
}

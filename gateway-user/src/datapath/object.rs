//! The compiled XDP programs.

use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use gateway_common::budget::Direction;
use gateway_common::limits::{PREFIXES, SAS_PER_TUNNEL, SHARED_SAS_MIN, TUNNELS_PER_SHARED_SA};
use gateway_common::{DropReason, EventKind, ProgramSlot};

use crate::worker::mapped::Mapped;

/// The object file with all XDP programs and maps.
static EBPF_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway.o"));

/// Sizes of the maps, fixed when the programs are loaded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tunnels that may exist at once.
    pub tunnels: u32,
    /// Receive queues that may have SAs of their own, per tunnel; 0 for none.
    pub cpu_sas: u32,
    /// Slots of all lanes together; 0 for none.
    pub slots: u32,
}

impl Limits {
    /// Entries of maps indexed by tunnel number; number 0 is "no tunnel".
    pub fn tunnel_entries(self) -> u32 {
        self.tunnels + 1
    }

    /// SAs that every tunnel has room for, whatever the others do.
    pub fn own_sas(self) -> u32 {
        SAS_PER_TUNNEL * (1 + self.cpu_sas)
    }

    /// SAs beyond these that there is room for, in whatever tunnels.
    pub fn shared_sas(self) -> u32 {
        let least = SHARED_SAS_MIN.min(self.tunnels * SAS_PER_TUNNEL);
        (self.tunnels / TUNNELS_PER_SHARED_SA).max(least) * (1 + self.cpu_sas)
    }

    /// Entries of maps indexed by SA; index 0 is never used.
    pub fn sa_entries(self) -> u32 {
        self.tunnels * self.own_sas() + self.shared_sas() + 1
    }
}

/// Lets aya read and write the types of `gateway-common`.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Plain<T: gateway_common::Pod>(pub T);

impl<T: gateway_common::Pod> Plain<T> {
    /// The same value seen as a `Plain`, without a copy: values may be secret.
    pub fn of(value: &T) -> &Self {
        // SAFETY: the type is transparent over `T`.
        unsafe { &*std::ptr::from_ref(value).cast() }
    }
}

// SAFETY: transparent over a type whose every bit pattern is valid and which has no implicit padding.
unsafe impl<T: gateway_common::Pod> aya::Pod for Plain<T> {}

/// Programs reached by tail call, with the slot that each fills.
const CHAIN: [(ProgramSlot, &str); 15] = [
    (ProgramSlot::SealChaCha20Poly1305, "seal_chacha20_poly1305"),
    (ProgramSlot::SealAes128Gcm, "seal_aes128_gcm"),
    (ProgramSlot::SealAes256Gcm, "seal_aes256_gcm"),
    (ProgramSlot::OpenChaCha20Poly1305, "open_chacha20_poly1305"),
    (ProgramSlot::OpenAes128Gcm, "open_aes128_gcm"),
    (ProgramSlot::OpenAes256Gcm, "open_aes256_gcm"),
    (ProgramSlot::EncapDone, "encap_done"),
    (ProgramSlot::DecapDone, "decap_done"),
    (ProgramSlot::EncapDoneUdp6, "encap_done_udp6"),
    (ProgramSlot::Gateway6, "gateway6"),
    (ProgramSlot::DecapDone6, "decap_done6"),
    (ProgramSlot::Returned6, "returned6"),
    (ProgramSlot::Encap4In6, "encap_4in6"),
    (ProgramSlot::Encap6In6, "encap_6in6"),
    (ProgramSlot::Reassembled, "reassembled"),
];

/// The programs and maps, loaded into the kernel.
pub struct Object {
    /// Maps and programs by name. Map `PROGRAMS` must stay here: the kernel empties a program array that is neither pinned
    /// nor held by a process.
    pub ebpf: Ebpf,
}

impl Object {
    /// Loads every program into the kernel and links the tail calls. Nothing is attached or pinned.
    ///
    /// # Errors
    /// The kernel refused a map or a program; the message holds the verifier's log.
    pub fn load(limits: Limits) -> Result<Self> {
        let tunnels = limits.tunnel_entries();
        let sas = limits.sa_entries();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("ROUTES4", PREFIXES)
            .map_max_entries("ROUTES6", PREFIXES)
            .map_max_entries("TUNNELS", tunnels)
            .map_max_entries("CAPTURES", tunnels)
            .map_max_entries("COUNTERS", tunnels)
            .map_max_entries("DROPS", tunnels * DropReason::COUNT)
            .map_max_entries("EVENT_TIMES", tunnels * EventKind::COUNT)
            .map_max_entries("WORKER_COUNTERS", tunnels)
            .map_max_entries("SHARES", tunnels)
            .map_max_entries("SHARE_METERS", tunnels * Direction::COUNT)
            .map_max_entries("CPU_SAS", tunnels * limits.cpu_sas.max(1))
            .map_max_entries("SLOTS", limits.slots.max(1))
            .map_max_entries("SAS", sas)
            .map_max_entries("GHASH", sas)
            .map_max_entries("SPIS", sas)
            .load(EBPF_OBJECT)
            .context(
                "the kernel refused the datapath's maps (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed)",
            )?;
        for name in CHAIN.iter().map(|(_, name)| *name).chain(["gateway", "returned", "way"]) {
            load_program(program(&mut ebpf, name)?)
                .with_context(|| format!("the kernel refused XDP program {name}"))?;
        }
        let mut slots = ProgramArray::try_from(duplicate(&ebpf, "PROGRAMS")?)?;
        for (slot, name) in CHAIN {
            let fd = program(&mut ebpf, name)?.fd()?.try_clone()?;
            slots.set(slot as u32, &fd, 0).with_context(|| format!("cannot link XDP program {name}"))?;
        }
        Ok(Self { ebpf })
    }

    /// The program called `name`.
    ///
    /// # Errors
    /// The object has no XDP program of that name.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        program(&mut self.ebpf, name)
    }

    /// Pins every map under `directory`, a folder of the BPF file system, by its name.
    ///
    /// # Errors
    /// A name is taken, or the folder is not in a BPF file system.
    pub fn pin_maps(&self, directory: &Path) -> Result<()> {
        for (name, map) in self.ebpf.maps() {
            // Maps of the compiler's read-only data have names with dots, which the BPF file system reserves.
            let path = directory.join(name.trim_start_matches('.').replace('.', "_"));
            map.pin(&path).with_context(|| format!("cannot pin map {name} at {}", path.display()))?;
        }
        Ok(())
    }
}

/// Loads a program. The verifier gives up when a signal waits for this thread, so it gets several attempts, as in libbpf.
fn load_program(program: &mut Xdp) -> Result<(), ProgramError> {
    const ATTEMPTS: u32 = 20;
    for _ in 1..ATTEMPTS {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. }) if io_error.kind() == ErrorKind::WouldBlock => {}
            loaded => return loaded,
        }
    }
    program.load()
}

/// The program called `name`.
fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// A second handle to a map that `ebpf` keeps.
pub(super) fn duplicate(ebpf: &Ebpf, name: &str) -> Result<Map> {
    let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
    let open = |data: &MapData| -> Result<MapData> {
        Ok(MapData::from_fd(data.fd().as_fd().try_clone_to_owned()?)?)
    };
    Ok(match map {
        Map::Array(data) => Map::Array(open(data)?),
        Map::HashMap(data) => Map::HashMap(open(data)?),
        Map::LpmTrie(data) => Map::LpmTrie(open(data)?),
        Map::PerCpuArray(data) => Map::PerCpuArray(open(data)?),
        Map::PerfEventArray(data) => Map::PerfEventArray(open(data)?),
        Map::ProgramArray(data) => Map::ProgramArray(open(data)?),
        Map::XskMap(data) => Map::XskMap(open(data)?),
        _ => bail!("map {name} is of an unexpected type"),
    })
}

/// The memory of an array map that `ebpf` keeps, to be written, too.
pub(super) fn mapped<T: gateway_common::Pod>(ebpf: &Ebpf, name: &str) -> Result<Mapped<T>> {
    match duplicate(ebpf, name)? {
        Map::Array(data) => Mapped::of(&data, name, true),
        _ => bail!("map {name} is of an unexpected type"),
    }
}

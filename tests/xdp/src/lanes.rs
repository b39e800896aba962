//! A lane at the ingress interface with a socket that nobody reads: what goes there comes out of the test run.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, XskMap};
use gateway_common::limits::FLOWS;
use gateway_common::{Control, Flow, FlowKey, Lane, Port, PortRole, Slot};
use gateway_user::datapath::Plain;

use crate::gateway::{GATEWAY_MAC, GatewayUnderTest, INGRESS, VGW_PEER_IFINDEX};

/// The lane of the ingress interface.
pub const LANE: u32 = 5;
/// Lanes of the interfaces that are sent to.
const OTHER_LANE: u32 = 9;

/// The maps that the programs share with workers, and the socket.
pub(crate) struct Lanes {
    entries: Array<MapData, Plain<Lane>>,
    sockets: XskMap<MapData>,
    flows: Array<MapData, Plain<Flow>>,
    control: Array<MapData, Plain<Control>>,
    slots: Array<MapData, Plain<Slot>>,
    socket: Option<OwnedFd>,
}

impl Lanes {
    pub(crate) fn new(mut take: impl FnMut(&str) -> Result<Map>) -> Result<Self> {
        Ok(Self {
            entries: take("LANES")?.try_into()?,
            sockets: take("XSKS")?.try_into()?,
            flows: take("FLOWS")?.try_into()?,
            control: take("CONTROL")?.try_into()?,
            slots: take("SLOTS")?.try_into()?,
            socket: None,
        })
    }
}

impl GatewayUnderTest {
    /// Gives the ingress interface, with the roles `roles`, and the interfaces to send to lanes. [`LANE`] has a socket, has seen no
    /// frame, has room for a million, and its worker never counts as hanging.
    ///
    /// # Errors
    /// The kernel has no AF_XDP, or refuses an update.
    pub fn open_lane(&mut self, roles: u32) -> Result<()> {
        let port = |roles, first_lane| {
            Plain(Port { roles, mac: GATEWAY_MAC, reserved: [0; 2], first_lane, lanes: 1 })
        };
        self.ports.insert(INGRESS, port(roles, LANE), 0)?;
        for (name, roles) in [("wan", PortRole::WAN), ("lan", PortRole::LAN)] {
            let index = nix::net::if_::if_nametoindex(name)?;
            self.ports.insert(index, port(roles, OTHER_LANE), 0)?;
        }
        self.ports.insert(VGW_PEER_IFINDEX, port(PortRole::TUNNEL, OTHER_LANE), 0)?;
        let socket = socket()?;
        self.lanes.sockets.set(LANE, socket.as_raw_fd(), 0)?;
        self.lanes.socket = Some(socket);
        let far_ahead = u64::MAX / 2;
        self.edit_lane(|lane| *lane = Lane { limit: 1_000_000, progress_ns: far_ahead, ..Lane::default() })
    }

    /// As [`Self::open_lane`], with `slots` slots, a power of two, all of which the XDP program may fill.
    ///
    /// # Errors
    /// The kernel has no AF_XDP, or refuses an update.
    pub fn open_slots(&mut self, roles: u32, slots: u32) -> Result<()> {
        self.open_lane(roles)?;
        let slots = u64::from(slots);
        self.edit_lane(|lane| (lane.limit, lane.slots) = (slots, slots))
    }

    /// What lies in the slot of frame `number` of [`LANE`].
    ///
    /// # Errors
    /// The kernel refuses a look-up.
    pub fn slot(&self, number: u64) -> Result<Slot> {
        let index = Slot::index(LANE, self.lane()?.slots, number);
        Ok(self.lanes.slots.get(&index, 0)?.0)
    }

    /// Changes what lies there.
    ///
    /// # Errors
    /// The kernel refuses a look-up or the update.
    pub fn edit_slot(&mut self, number: u64, edit: impl FnOnce(&mut Slot)) -> Result<()> {
        let mut slot = self.slot(number)?;
        edit(&mut slot);
        let index = Slot::index(LANE, self.lane()?.slots, number);
        Ok(self.lanes.slots.set(index, Plain(slot), 0)?)
    }

    /// Closes the socket of [`LANE`], as when its worker ends.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn close_socket(&mut self) -> Result<()> {
        self.lanes.sockets.unset(LANE)?;
        self.lanes.socket = None;
        Ok(())
    }

    /// Changes the number of receive queues of the ingress interface that have lanes.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_queues(&mut self, lanes: u32) -> Result<()> {
        let Plain(mut port) = self.ports.get(&INGRESS, 0)?;
        port.lanes = lanes;
        Ok(self.ports.insert(INGRESS, Plain(port), 0)?)
    }

    /// Takes the lanes of `interface` away.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses the update.
    pub fn set_unserved(&mut self, interface: &str) -> Result<()> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        let Plain(mut port) = self.ports.get(&index, 0)?;
        (port.first_lane, port.lanes) = (0, 0);
        Ok(self.ports.insert(index, Plain(port), 0)?)
    }

    /// Changes the entry of [`LANE`].
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn edit_lane(&mut self, edit: impl FnOnce(&mut Lane)) -> Result<()> {
        let mut lane = self.lane()?;
        edit(&mut lane);
        Ok(self.lanes.entries.set(LANE, Plain(lane), 0)?)
    }

    /// The entry of [`LANE`].
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub fn lane(&self) -> Result<Lane> {
        Ok(self.lanes.entries.get(&LANE, 0)?.0)
    }

    /// What is noted in the place of `key`.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub fn flow(&self, key: FlowKey) -> Result<Flow> {
        Ok(self.lanes.flows.get(&key.slot(FLOWS), 0)?.0)
    }

    /// Changes what is noted in the place of `key`.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_flow(&mut self, key: FlowKey, flow: Flow) -> Result<()> {
        Ok(self.lanes.flows.set(key.slot(FLOWS), Plain(flow), 0)?)
    }

    /// Begins another epoch of ways.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_epoch(&mut self, epoch: u64) -> Result<()> {
        Ok(self.lanes.control.set(0, Plain(Control { epoch, ..Control::default() }), 0)?)
    }
}

/// A socket that can stand in map `XSKS`. It is bound to no interface, so a frame would be lost on its way there.
fn socket() -> Result<OwnedFd> {
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot open an AF_XDP socket");
    }
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

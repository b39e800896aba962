//! Offload switches of an interface (`ethtool(8)`, `include/uapi/linux/ethtool.h`).

use std::io;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// An offload that can be switched by a legacy `ethtool` command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offload {
    /// Checksums of sent packets left to the device.
    TxChecksum,
    /// TCP segmentation left to the device.
    TcpSegmentation,
    /// Segmentation of any kind left to the end of the stack.
    GenericSegmentation,
}

impl Offload {
    /// `ETHTOOL_STXCSUM`, `ETHTOOL_STSO`, `ETHTOOL_SGSO`.
    const fn set_command(self) -> u32 {
        match self {
            Self::TxChecksum => 0x17,
            Self::TcpSegmentation => 0x1f,
            Self::GenericSegmentation => 0x24,
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Switches `offload` of `interface` off.
///
/// # Errors
/// There is no such interface, or its driver refuses.
pub(super) fn switch_off(interface: &str, offload: Offload) -> Result<()> {
    let mut value = EthtoolValue { command: offload.set_command(), data: 0 };
    // SAFETY: `ifreq` holds integers, arrays and a pointer, for all of which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    anyhow::ensure!(interface.len() < request.ifr_name.len(), "interface name {interface} is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request and the value that it points to outlive the call; the kernel reads and writes within them.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("cannot switch off {offload:?} of {interface}"));
    }
    Ok(())
}

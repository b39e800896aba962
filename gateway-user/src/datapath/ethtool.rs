//! Offload switches and queues of an interface (`ethtool(8)`, `include/uapi/linux/ethtool.h`).

use std::io;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::workers::Queues;

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

/// `ETHTOOL_GCHANNELS`.
const GET_CHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    command: u32,
    max_receive: u32,
    max_transmit: u32,
    max_other: u32,
    max_combined: u32,
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Switches `offload` of `interface` off.
///
/// # Errors
/// There is no such interface, or its driver refuses.
pub(super) fn switch_off(interface: &str, offload: Offload) -> Result<()> {
    let mut value = EthtoolValue { command: offload.set_command(), data: 0 };
    // SAFETY: `value` is what the command takes.
    unsafe { command(interface, &mut value) }
        .with_context(|| format!("cannot switch off {offload:?} of {interface}"))
}

/// Queues of `interface` that are in use; `None` if its driver does not tell.
pub(super) fn queues(interface: &str) -> Option<Queues> {
    let mut channels = EthtoolChannels { command: GET_CHANNELS, ..EthtoolChannels::default() };
    // SAFETY: `channels` is what the command takes.
    unsafe { command(interface, &mut channels) }.ok()?;
    let EthtoolChannels { receive, transmit, combined, .. } = channels;
    Some(Queues { receive: receive.saturating_add(combined), transmit: transmit.saturating_add(combined) })
}

/// Lets `interface`'s driver carry out the command in `argument`.
///
/// # Safety
/// `argument` starts with the number of a command, and is the structure that this command reads and writes.
unsafe fn command<T>(interface: &str, argument: &mut T) -> Result<()> {
    // SAFETY: `ifreq` holds integers, arrays and a pointer, for all of which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    anyhow::ensure!(interface.len() < request.ifr_name.len(), "interface name {interface} is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(argument).cast();
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request and what it points to outlive the call; the caller vouches that the kernel stays within them.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_tell_has_no_answer() {
        assert_eq!(queues("lo"), None, "the loopback interface has no channels");
        assert_eq!(queues("vgw-none"), None);
        let error = switch_off("vgw-none", Offload::TxChecksum).unwrap_err();
        assert!(format!("{error:#}").contains("vgw-none"), "{error:#}");
    }
}

//! Datagram sockets inside a namespace.

use crate::NetNs;
use anyhow::{Context as _, Result};
use nix::errno::Errno;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// A socket at `address`, on a port of the kernel's choice, that leaves fragmentation to whoever needs it: its datagrams
/// carry no DF bit.
pub(super) fn bind(namespace: &NetNs, address: Ipv4Addr) -> Result<UdpSocket> {
    let socket = namespace
        .enter(|| UdpSocket::bind((address, 0)))?
        .with_context(|| format!("cannot bind {address}"))?;
    let value = libc::IP_PMTUDISC_DONT;
    // SAFETY: the option takes an int; the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(socket)
}

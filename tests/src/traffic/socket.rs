//! Datagram sockets inside a namespace.

use crate::NetNs;
use anyhow::{Context as _, Result};
use nix::errno::Errno;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// A socket at `address`, on a port of the kernel's choice, that leaves fragmentation to whoever needs it: its datagrams
/// carry no DF bit, and over IPv6 the host makes fragments as long as it knows that the path carries.
pub(super) fn bind(namespace: &NetNs, address: IpAddr) -> Result<UdpSocket> {
    let socket = namespace
        .enter(|| UdpSocket::bind((address, 0)))?
        .with_context(|| format!("cannot bind {address}"))?;
    let (level, option, value) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
    };
    // SAFETY: the option takes an int; the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(socket)
}

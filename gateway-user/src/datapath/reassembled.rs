//! ESP that arrived in fragments.
//!
//! XDP leaves fragments to the kernel, which puts them together and has no use for ESP. Raw sockets get what it delivers (XDP takes
//! everything else), and each packet goes, with its outer header, to the XDP program of `vgw0`, which goes on as if it had arrived whole
//! ([`ReturnKind::Reassembled`]). Every socket is served by a task of its own; what one cannot take in time, its buffer's limit drops.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{ETH_LEN, IPV4_LEN, IPV6_LEN, NAT_T_PORT, PROTO_ESP, PROTO_UDP, UDP_LEN};
use gateway_common::{ETHERTYPE_RETURN, Ethernet, Ip, Ipv4, Ipv6, Pod, ReturnHeader, ReturnKind};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{BindToDevice, Ipv6RecvTClass};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn6, SockaddrStorage, bind,
    recvmsg, setsockopt, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::vgw0::TunnelInterface;
use super::wan_addresses::WanAddresses;

/// The largest packet that the programs open, without its Ethernet header.
const LARGEST: usize = MAX_FRAME - ETH_LEN;
/// What is sent of a larger one: the headers, from which the program sees that it is too large, and counts it.
const START: usize = IPV6_LEN + UDP_LEN + 32;
/// The largest IP packet.
const BUFFER_LEN: usize = 65_535 + IPV6_LEN;
/// Pause between two messages in the log.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The tasks that serve the sockets; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Reassembly(Vec<JoinHandle<()>>);

impl Reassembly {
    /// Opens sockets for each address of the gateway, for ESP and for ESP in UDP, that get what arrives at interface `wan`.
    ///
    /// # Errors
    /// The kernel refuses a socket.
    pub(super) fn start(wan: &str, addresses: WanAddresses, vgw0: &TunnelInterface) -> Result<Self> {
        let mut tasks = Self(Vec::new());
        for address in addresses.iter() {
            for protocol in [PROTO_ESP, PROTO_UDP] {
                let socket = open(wan, address, protocol).with_context(|| {
                    format!("cannot open a raw socket for protocol {protocol} at {address}")
                })?;
                let receiver = Receiver { address, protocol, buffer: vec![0; BUFFER_LEN] };
                let injector = Injector::open(vgw0)?;
                // SAFETY: the descriptor stays open and the same as long as it is owned.
                let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
                tasks.0.push(tokio::spawn(serve(socket, receiver, injector)));
            }
        }
        Ok(tasks)
    }
}

impl Drop for Reassembly {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(socket: AsyncFd<OwnedFd>, mut receiver: Receiver, mut injector: Injector) {
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        match guard.try_io(|socket| receiver.receive(socket.get_ref())) {
            Ok(Ok(Some(packet))) => injector.send(&packet),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => injector.note("cannot receive reassembled ESP", &error),
        }
    }
}

/// A socket that gets packets of `protocol` to `address`; of UDP those that hold ESP.
fn open(wan: &str, address: IpAddr, protocol: u8) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | flags.bits(), i32::from(protocol)) };
    // SAFETY: the call succeeded, and nobody else has the descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) };
    if protocol == PROTO_UDP {
        filter_esp(&socket, address.is_ipv4())?;
    }
    ignore_path_mtu(&socket, address.is_ipv4())?;
    setsockopt(&socket, BindToDevice, &wan.into())?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6RecvTClass, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 0)))?;
    Ok(socket)
}

/// Keeps the kernel from believing ICMP errors about packets of the socket's protocol, which anybody can forge: it would look for a socket that
/// sends such, find this one, and take the MTU that it is told for that of the way to the peer.
fn ignore_path_mtu(socket: &OwnedFd, is_v4: bool) -> Result<()> {
    let (level, option, value) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
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
    Ok(())
}

/// Lets through only datagrams to the port of ESP that do not begin with the marker of IKE (RFC 3948 section 2.2). A raw IPv4 socket sees
/// the IP header, one of IPv6 does not.
fn filter_esp(socket: &OwnedFd, is_v4: bool) -> Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    // X becomes the length of what stands before the UDP header.
    let first = if is_v4 {
        statement(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0)
    } else {
        statement(libc::BPF_LDX | libc::BPF_IMM, 0)
    };
    let mut program = [
        first,
        statement(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 2),
        jump(NAT_T_PORT.into(), 0, 3),
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_IND, UDP_LEN as u32),
        jump(0, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
        statement(libc::BPF_RET | libc::BPF_K, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the pointers describe the program, which outlives the call; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Takes packets from one socket.
struct Receiver {
    address: IpAddr,
    protocol: u8,
    buffer: Vec<u8>,
}

impl Receiver {
    /// The next packet with an outer header as if it had arrived whole; `None` if what arrived is none.
    fn receive(&mut self, socket: &OwnedFd) -> std::io::Result<Option<Vec<u8>>> {
        let mut control = nix::cmsg_space!(i32);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let message = recvmsg::<SockaddrIn6>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let (len, source) = (message.bytes, message.address.map(|address| address.ip()));
        let class = message.cmsgs().ok().into_iter().flatten().find_map(|control| match control {
            ControlMessageOwned::Ipv6TClass(class) => Some(class.cast_unsigned() as u8),
            _ => None,
        });
        let arrived = &self.buffer[..len];
        Ok(match self.address {
            IpAddr::V4(address) => packet4(address, self.protocol, arrived),
            // Without a class nothing is known of congestion on the way: as a path that does not mark.
            IpAddr::V6(address) => {
                source.and_then(|source| packet6(source, address, class.unwrap_or(0), self.protocol, arrived))
            }
        })
    }
}

/// The packet whose payload is that of `arrived`, an IPv4 packet as a raw socket gets it. Options are left out.
fn packet4(address: Ipv4Addr, protocol: u8, arrived: &[u8]) -> Option<Vec<u8>> {
    let (class, source) = (*arrived.get(1)?, *arrived.get(12..16)?.first_chunk::<4>()?);
    let payload = arrived.get(usize::from(arrived[0] & 15) * 4..)?;
    let total_len = IPV4_LEN + payload.len();
    let header = Ipv4::outer(class, total_len as u32, protocol, source, address.octets());
    Some([bytes(&header), payload].concat())
}

/// The packet of `payload`. A packet with a payload that no length field can tell is none.
fn packet6(source: Ipv6Addr, address: Ipv6Addr, class: u8, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    u16::try_from(payload.len()).ok()?;
    let total_len = (IPV6_LEN + payload.len()) as u32;
    let header = <Ipv6 as Ip>::outer(class, total_len, protocol, source.octets(), address.octets());
    Some([bytes(&header), payload].concat())
}

/// Sends packets to the XDP program of `vgw0`.
struct Injector {
    socket: OwnedFd,
    destination: libc::sockaddr_ll,
    header: ReturnHeader,
    logged: Option<Instant>,
}

impl Injector {
    fn open(vgw0: &TunnelInterface) -> Result<Self> {
        // Protocol 0: it receives nothing.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .context("cannot open a packet socket")?;
        // SAFETY: integers only.
        let mut destination: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        destination.sll_family = libc::AF_PACKET as u16;
        destination.sll_ifindex = vgw0.xdp.index.cast_signed();
        let mut ethernet = [0; ETH_LEN];
        ethernet.copy_from_slice(bytes(&Ethernet::new(vgw0.stack.mac, vgw0.xdp.mac, ETHERTYPE_RETURN)));
        let header =
            ReturnHeader { ethernet, reserved: [0; 2], kind: ReturnKind::Reassembled as u32, lane: 0 };
        Ok(Self { socket, destination, header, logged: None })
    }

    /// A packet that the interface does not take is lost, as on any way that is full.
    fn send(&mut self, packet: &[u8]) {
        let shown = if packet.len() > LARGEST { &packet[..START] } else { packet };
        let frame = [bytes(&self.header), shown].concat();
        // SAFETY: the pointers describe the frame and the address, which outlive the call.
        let result = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const self.destination).cast(),
                size_of_val(&self.destination) as libc::socklen_t,
            )
        };
        if result < 0 {
            self.note("cannot hand on reassembled ESP", &std::io::Error::last_os_error());
        }
    }

    /// Logs a failure, unless one was logged a moment ago.
    fn note(&mut self, what: &str, error: &std::io::Error) {
        if error.kind() != ErrorKind::WouldBlock && self.logged.is_none_or(|at| at.elapsed() >= LOG_PAUSE) {
            self.logged = Some(Instant::now());
            tracing::warn!("{what}: {error}");
        }
    }
}

fn bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: the type has no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_header_is_that_of_a_whole_packet_with_what_is_known() {
        let mut arrived =
            vec![0x46, 0x03, 0, 0, 0, 0, 0, 0, 9, 50, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1, 1, 1, 1, 0];
        arrived.extend(*b"payload");
        let packet = packet4([192, 0, 2, 1].into(), PROTO_ESP, &arrived).unwrap();
        let header = Ipv4::outer(3, 27, 50, [192, 0, 2, 7], [192, 0, 2, 1]);
        assert_eq!((&packet[..20], &packet[20..]), (bytes(&header), &b"payload"[..]));
        for len in 0..24 {
            assert_eq!(packet4([192, 0, 2, 1].into(), PROTO_ESP, &arrived[..len]), None, "{len} bytes");
        }
        let (source, own) = ("2001:db8::7".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let packet = packet6(source, own, 0xb9, PROTO_UDP, b"payload").unwrap();
        assert_eq!(packet[..8], [0x6b, 0x90, 0, 0, 0, 7, 17, 64]);
        assert_eq!((&packet[8..24], &packet[24..40]), (&source.octets()[..], &own.octets()[..]));
        assert_eq!(&packet[40..], b"payload");
        assert_eq!(packet6(source, own, 0, PROTO_UDP, &vec![0; 65_536]), None);
    }
}

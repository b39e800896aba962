//! Packet capture on a wire that should carry nothing but IPsec.

use crate::{NetNs, wait_until};
use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, setsockopt, socket, sockopt::RcvBufForce,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Packets whose description a report keeps.
const DESCRIBED: usize = 20;

/// Receive buffer of the capture's socket, in bytes: several thousand full frames.
const BUFFER: usize = 16 << 20;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Length of an IPv6 header.
const IPV6_LEN: usize = 40;
const ICMPV6: u8 = 58;
/// ICMPv6 messages of neighbour discovery (RFC 4861 section 4).
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
/// Reports of multicast listeners (RFC 3810 section 5.2), behind a header for every hop of eight bytes: the groups of the above.
const LISTENER_REPORT: u8 = 143;
const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ESP: u8 = 50;
const IKE_PORT: u16 = 500;
const NAT_TRAVERSAL_PORT: u16 = 4500;

/// Where the type of the first payload lies in an IKE message (RFC 7296 section 3.1), and two of its values.
const NEXT_PAYLOAD: usize = 16;
const NOTIFY: u8 = 41;
const ENCRYPTED_FRAGMENT: u8 = 53;

/// Where the flags of an IKE message lie, and one of them.
const FLAGS: usize = 19;
const RESPONSE: u8 = 0x20;

/// Where the type of the notification lies when it is the first payload (RFC 7296 section 3.10), and one of its values.
const FIRST_NOTIFY_TYPE: usize = 28 + 6;
const COOKIE: [u8; 2] = 16390_u16.to_be_bytes();

/// What a frame on the wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketClass {
    /// ESP directly over IP (RFC 4303).
    Esp,
    /// ESP in UDP (RFC 3948).
    EspInUdp,
    /// IKE on port 500 or 4500, keep-alives included (RFC 7296 section 2.23).
    Ike,
    /// Address resolution, for IPv6 by neighbour discovery.
    Arp,
    /// Anything else: what a tunnel must not let through.
    Plaintext,
}

/// What a capture saw. Only the classes count packets of both families; what is told of IKE messages and UDP ports is about IPv4.
#[derive(Clone, Debug, Default)]
pub struct CaptureReport {
    counts: BTreeMap<PacketClass, u64>,
    fragments: BTreeMap<Ipv4Addr, u64>,
    cookies: BTreeMap<Ipv4Addr, u64>,
    requests: BTreeMap<Ipv4Addr, u64>,
    responses: BTreeMap<Ipv4Addr, u64>,
    longest_ike: usize,
    esp_ports: BTreeMap<Ipv4Addr, BTreeSet<u16>>,
    repeated_esp: u64,
    esp_traffic_classes: BTreeMap<Ipv4Addr, BTreeSet<u8>>,
    /// One line each about the first packets, for people.
    pub described: Vec<String>,
}

impl CaptureReport {
    /// Packets of `class`.
    pub fn count(&self, class: PacketClass) -> u64 {
        self.counts.get(&class).copied().unwrap_or(0)
    }

    /// Packets from `source` that carry a fragment of an IKE message (RFC 7383 section 2.5).
    pub fn ike_fragments(&self, source: Ipv4Addr) -> u64 {
        self.fragments.get(&source).copied().unwrap_or(0)
    }

    /// Demands from `source` for a cookie, or answers with one: IKE_SA_INIT messages that begin with the notification
    /// COOKIE (RFC 7296 section 2.6).
    pub fn ike_cookies(&self, source: Ipv4Addr) -> u64 {
        self.cookies.get(&source).copied().unwrap_or(0)
    }

    /// Packets from `source` with requests of IKE (RFC 7296 section 3.1), repeated ones included.
    pub fn ike_requests(&self, source: Ipv4Addr) -> u64 {
        self.requests.get(&source).copied().unwrap_or(0)
    }

    /// Packets from `source` with responses of IKE, repeated ones included.
    pub fn ike_responses(&self, source: Ipv4Addr) -> u64 {
        self.responses.get(&source).copied().unwrap_or(0)
    }

    /// UDP source ports from which `source` sent ESP.
    pub fn esp_ports(&self, source: Ipv4Addr) -> BTreeSet<u16> {
        self.esp_ports.get(&source).cloned().unwrap_or_default()
    }

    /// Traffic classes (DSCP and ECN) of the packets with ESP from `source`.
    pub fn esp_traffic_classes(&self, source: Ipv4Addr) -> BTreeSet<u8> {
        self.esp_traffic_classes.get(&source).cloned().unwrap_or_default()
    }

    /// Length in bytes of the longest IP packet with IKE.
    pub fn longest_ike(&self) -> usize {
        self.longest_ike
    }

    /// Packets with ESP whose SPI and sequence number (its lower half, where it is extended) an earlier one had.
    pub fn repeated_esp(&self) -> u64 {
        self.repeated_esp
    }

    /// Packets of any class.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Adds the packets of `other`.
    pub fn merge(&mut self, other: Self) {
        for (class, count) in other.counts {
            *self.counts.entry(class).or_default() += count;
        }
        let counts = [
            (&mut self.fragments, other.fragments),
            (&mut self.cookies, other.cookies),
            (&mut self.requests, other.requests),
            (&mut self.responses, other.responses),
        ];
        for (mine, others) in counts {
            for (source, count) in others {
                *mine.entry(source).or_default() += count;
            }
        }
        self.longest_ike = self.longest_ike.max(other.longest_ike);
        for (source, ports) in other.esp_ports {
            self.esp_ports.entry(source).or_default().extend(ports);
        }
        for (source, classes) in other.esp_traffic_classes {
            self.esp_traffic_classes.entry(source).or_default().extend(classes);
        }
        self.repeated_esp += other.repeated_esp;
        self.described.extend(other.described);
        self.described.truncate(DESCRIBED);
    }

    fn add(&mut self, frame: &[u8], needle: &[u8]) {
        let class = classify(frame, needle);
        *self.counts.entry(class).or_default() += 1;
        match (class, ethertype(frame)) {
            (PacketClass::Ike, Some(ETHERTYPE_IPV4)) => self.add_ike(&frame[14..]),
            (PacketClass::EspInUdp, Some(ETHERTYPE_IPV4)) => self.add_esp_port(&frame[14..]),
            _ => {}
        }
        if let (PacketClass::Esp | PacketClass::EspInUdp, Some((source, _))) =
            (class, addresses(&frame[14..]))
        {
            self.esp_traffic_classes.entry(source).or_default().insert(frame[15]);
        }
        if self.described.len() < DESCRIBED {
            self.described.push(describe(frame, class));
        }
    }
}

impl CaptureReport {
    fn add_esp_port(&mut self, packet: &[u8]) {
        let port = packet.get(usize::from(packet[0] & 15) * 4..).and_then(|datagram| datagram.first_chunk());
        if let (Some((source, _)), Some(port)) = (addresses(packet), port) {
            self.esp_ports.entry(source).or_default().insert(u16::from_be_bytes(*port));
        }
    }

    fn add_ike(&mut self, packet: &[u8]) {
        self.longest_ike = self.longest_ike.max(packet.len());
        let (Some((source, _)), Some(message)) = (addresses(packet), ike_message(packet)) else { return };
        if let Some(flags) = message.get(FLAGS) {
            let response = flags & RESPONSE != 0;
            let counts = if response { &mut self.responses } else { &mut self.requests };
            *counts.entry(source).or_default() += 1;
        }
        match message.get(NEXT_PAYLOAD) {
            Some(&ENCRYPTED_FRAGMENT) => *self.fragments.entry(source).or_default() += 1,
            Some(&NOTIFY) if message.get(FIRST_NOTIFY_TYPE..FIRST_NOTIFY_TYPE + 2) == Some(&COOKIE) => {
                *self.cookies.entry(source).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// A running capture. Dropping it stops it.
#[derive(Debug)]
pub struct Capture {
    report: Arc<Mutex<CaptureReport>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts to capture both directions of `device` in `namespace`; from the moment this returns no frame is missed. A
    /// frame that contains the bytes `needle`, which the test sends as payload, counts as plaintext whatever its headers
    /// claim.
    pub fn start(namespace: &NetNs, device: &str, needle: &[u8]) -> Result<Self> {
        Self::limited(namespace, device, needle, u64::MAX)
    }

    /// Captures the next `packets` frames and no more; see [`Capture::start`].
    pub fn sample(
        namespace: &NetNs,
        device: &str,
        needle: &[u8],
        packets: u64,
        timeout: Duration,
    ) -> Result<CaptureReport> {
        let capture = Self::limited(namespace, device, needle, packets)?;
        capture.wait_for(packets, timeout)?;
        Ok(capture.stop())
    }

    fn limited(namespace: &NetNs, device: &str, needle: &[u8], limit: u64) -> Result<Self> {
        assert!(!needle.is_empty(), "every frame contains the empty needle");
        let socket = namespace.enter(|| open(device))??;
        let report = Arc::new(Mutex::new(CaptureReport::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (report, stop, needle) = (Arc::clone(&report), Arc::clone(&stop), needle.to_vec());
            move || read_frames(&socket, &report, &stop, &needle, limit)
        });
        Ok(Self { report, stop, thread: Some(thread) })
    }

    /// Waits until at least `packets` frames were seen.
    pub fn wait_for(&self, packets: u64, timeout: Duration) -> Result<()> {
        wait_until(timeout, &format!("capture of {packets} packets"), || {
            Ok(self.snapshot().total() >= packets)
        })
    }

    /// What was seen so far.
    pub fn snapshot(&self) -> CaptureReport {
        self.report.lock().expect("the capture's thread does not panic").clone()
    }

    /// Ends the capture.
    pub fn stop(mut self) -> CaptureReport {
        self.join();
        self.snapshot()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the capture's thread does not panic");
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.join();
    }
}

/// A packet socket for all frames of a device of this network namespace, those that leave included. A look for one takes 50 ms at
/// most.
pub(crate) fn open(device: &str) -> Result<OwnedFd> {
    // Protocol 0: nothing is received before the socket is bound to its device.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, RcvBufForce, &BUFFER)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(50))?;
    let index = nix::net::if_::if_nametoindex(device).with_context(|| format!("no device {device}"))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and the length describe `address`, a complete `sockaddr_ll` that outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result).context("cannot bind the capture")?;
    Ok(socket)
}

fn read_frames(
    socket: &OwnedFd,
    report: &Mutex<CaptureReport>,
    stop: &AtomicBool,
    needle: &[u8],
    limit: u64,
) {
    // One GRO super-packet fits.
    let mut buffer = vec![0; 1 << 17];
    let mut frames = 0;
    // Beside the report, which is copied whenever somebody looks at it.
    let mut numbers = HashSet::new();
    while frames < limit {
        // What was on the wire before `stop` is in the queue; traffic that goes on must not keep the capture alive.
        let stopping = stop.load(Ordering::Relaxed);
        let flags = if stopping { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        match recv(socket.as_raw_fd(), &mut buffer, flags) {
            Ok(length) => {
                frames += 1;
                let frame = &buffer[..length];
                let repeated = esp_number(frame).is_some_and(|number| !numbers.insert(number));
                let mut report = report.lock().expect("no holder of the report panics");
                report.add(frame, needle);
                report.repeated_esp += u64::from(repeated);
            }
            Err(_) if stopping => return,
            Err(_) => {}
        }
    }
}

/// Classifies an Ethernet frame.
fn classify(frame: &[u8], needle: &[u8]) -> PacketClass {
    if frame.windows(needle.len()).any(|window| window == needle) {
        return PacketClass::Plaintext;
    }
    match ethertype(frame) {
        Some(ETHERTYPE_ARP) => PacketClass::Arp,
        Some(ETHERTYPE_IPV4) => classify_ipv4(&frame[14..]).unwrap_or(PacketClass::Plaintext),
        Some(ETHERTYPE_IPV6) => classify_ipv6(&frame[14..]).unwrap_or(PacketClass::Plaintext),
        _ => PacketClass::Plaintext,
    }
}

/// Packets of gateways have no extension headers; those of the VNets are of `fd00::/8`.
fn classify_ipv6(packet: &[u8]) -> Option<PacketClass> {
    if [packet.get(8)?, packet.get(24)?].contains(&&0xfd) {
        return None;
    }
    match *packet.get(6)? {
        ESP => Some(PacketClass::Esp),
        UDP => classify_udp(packet.get(IPV6_LEN..)?),
        HOP_BY_HOP if *packet.get(IPV6_LEN + 8)? == LISTENER_REPORT => Some(PacketClass::Arp),
        ICMPV6 if NEIGHBOUR_DISCOVERY.contains(packet.get(IPV6_LEN)?) => Some(PacketClass::Arp),
        _ => None,
    }
}

fn classify_ipv4(packet: &[u8]) -> Option<PacketClass> {
    let (source, destination) = addresses(packet)?;
    if [source, destination].iter().any(|address| address.octets()[0] == 10) {
        return None;
    }
    match *packet.get(9)? {
        ESP => Some(PacketClass::Esp),
        UDP => classify_udp(packet.get(usize::from(packet[0] & 15) * 4..)?),
        _ => None,
    }
}

fn classify_udp(datagram: &[u8]) -> Option<PacketClass> {
    let port = |at: usize| Some(u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?));
    let ports = [port(0)?, port(2)?];
    if ports.contains(&NAT_TRAVERSAL_PORT) {
        // RFC 3948 section 2.2 and 2.3: four zero bytes mark IKE, a lone 0xff is a keep-alive.
        let payload = datagram.get(8..)?;
        let ike = payload.starts_with(&[0; 4]) || payload == [0xff];
        return Some(if ike { PacketClass::Ike } else { PacketClass::EspInUdp });
    }
    ports.contains(&IKE_PORT).then_some(PacketClass::Ike)
}

/// SPI and sequence number of a frame with ESP (RFC 4303 section 2), in UDP or not.
fn esp_number(frame: &[u8]) -> Option<[u8; 8]> {
    let packet = frame.get(14..)?;
    let (class, payload) = match ethertype(frame)? {
        ETHERTYPE_IPV4 => (classify_ipv4(packet)?, packet.get(usize::from(packet.first()? & 15) * 4..)?),
        ETHERTYPE_IPV6 => (classify_ipv6(packet)?, packet.get(IPV6_LEN..)?),
        _ => return None,
    };
    match class {
        PacketClass::Esp => payload.first_chunk().copied(),
        PacketClass::EspInUdp => payload.get(8..)?.first_chunk().copied(),
        _ => None,
    }
}

/// The IKE message in an IPv4 packet with IKE.
fn ike_message(packet: &[u8]) -> Option<&[u8]> {
    let payload = packet.get(usize::from(packet[0] & 15) * 4 + 8..)?;
    Some(payload.strip_prefix(&[0; 4]).unwrap_or(payload))
}

fn describe(frame: &[u8], class: PacketClass) -> String {
    let packet = frame.get(14..).unwrap_or(&[]);
    let between = match (ethertype(frame), addresses(packet)) {
        (Some(ETHERTYPE_IPV4), Some((source, destination))) => format!("{source} > {destination}"),
        (other, _) => format!("ethertype {:04x}", other.unwrap_or(0)),
    };
    let (header, protocol) = if ethertype(frame) == Some(ETHERTYPE_IPV6) { (IPV6_LEN, 6) } else { (20, 9) };
    let detail = match class {
        PacketClass::Esp => esp_header(packet.get(header..).unwrap_or(&[])),
        PacketClass::EspInUdp => esp_header(packet.get(header + 8..).unwrap_or(&[])),
        PacketClass::Plaintext => format!("protocol {}", packet.get(protocol).copied().unwrap_or(0)),
        PacketClass::Ike | PacketClass::Arp => String::new(),
    };
    format!("{between:<33} {:<10} {:>5} bytes  {detail}", format!("{class:?}"), frame.len())
        .trim_end()
        .to_owned()
}

fn esp_header(esp: &[u8]) -> String {
    let word = |at: usize| {
        esp.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap_or([0; 4])))
    };
    format!("spi {:08x} seq {}", word(0), word(4))
}

fn ethertype(frame: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?))
}

fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let at = |offset: usize| Some(Ipv4Addr::from_octets(packet.get(offset..offset + 4)?.try_into().ok()?));
    Some((at(12)?, at(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(payload);
        frame
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = port.to_be_bytes().repeat(2);
        datagram.extend([0; 4]);
        datagram.extend(payload);
        frame(UDP, [192, 0, 2, 2], [198, 51, 100, 2], &datagram)
    }

    #[test]
    fn ipsec_is_told_from_everything_else() {
        let class = |frame: &[u8]| classify(frame, b"needle");
        let wan = ([192, 0, 2, 2], [198, 51, 100, 2]);
        assert_eq!(class(&frame(ESP, wan.0, wan.1, &[1; 16])), PacketClass::Esp);
        assert_eq!(class(&udp(500, &[1; 28])), PacketClass::Ike);
        assert_eq!(class(&udp(4500, &[0, 0, 0, 0, 1])), PacketClass::Ike);
        assert_eq!(class(&udp(4500, &[0xff])), PacketClass::Ike);
        assert_eq!(class(&udp(4500, &[1; 16])), PacketClass::EspInUdp);
        assert_eq!(class(&udp(53, &[1; 16])), PacketClass::Plaintext);
        assert_eq!(class(&frame(1, wan.0, wan.1, &[8, 0])), PacketClass::Plaintext);
        assert_eq!(class(&frame(ESP, [10, 1, 1, 10], [10, 2, 1, 10], &[1; 16])), PacketClass::Plaintext);
        assert_eq!(class(&[0; 10]), PacketClass::Plaintext);
    }

    #[test]
    fn ipsec_over_ipv6_is_told_from_everything_else() {
        let frame = |next: u8, source: [u8; 2], payload: &[u8]| {
            let mut frame = vec![0; 12];
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64]);
            frame.extend(source);
            frame.extend([0; 14]);
            frame.extend([0x20, 0x01]);
            frame.extend([0; 14]);
            frame.extend(payload);
            frame
        };
        let wan = [0x20, 0x01];
        let class = |frame: &[u8]| classify(frame, b"needle");
        assert_eq!(class(&frame(ESP, wan, &[1; 16])), PacketClass::Esp);
        assert_eq!(esp_number(&frame(ESP, wan, &[1; 16])), Some([1; 8]));
        assert_eq!(class(&frame(UDP, wan, &[1, 244, 1, 244, 0, 0, 0, 0])), PacketClass::Ike);
        assert_eq!(class(&frame(ICMPV6, wan, &[135; 24])), PacketClass::Arp);
        assert_eq!(class(&frame(ICMPV6, wan, &[128; 24])), PacketClass::Plaintext);
        assert_eq!(class(&frame(ESP, [0xfd, 0], &[1; 16])), PacketClass::Plaintext);
        assert_eq!(class(&frame(6, wan, &[1; 16])), PacketClass::Plaintext);
    }

    #[test]
    fn readable_payload_inside_esp_is_plaintext() {
        let leak = frame(ESP, [192, 0, 2, 2], [198, 51, 100, 2], b"....the needle....");
        assert_eq!(classify(&leak, b"needle"), PacketClass::Plaintext);
    }

    #[test]
    fn fragments_and_cookies_are_counted_by_their_source() {
        let message = |first_payload: u8, notify: u16| {
            let mut message = vec![1; 16];
            message.extend([first_payload, 0x20, 34, if first_payload == 53 { 0x20 } else { 0x08 }]);
            message.resize(28, 0);
            message.extend([0, 0, 0, 16, 0, 0]);
            message.extend(notify.to_be_bytes());
            message
        };
        let mut report = CaptureReport::default();
        report.add(&udp(4500, &[&[0; 4], &message(53, 0)[..]].concat()), b"needle");
        report.add(&udp(500, &message(41, 16390)), b"needle");
        report.add(&udp(500, &message(41, 16388)), b"needle");
        report.add(&udp(500, &message(33, 16390)), b"needle");
        let source = Ipv4Addr::new(192, 0, 2, 2);
        assert_eq!((report.ike_fragments(source), report.ike_cookies(source)), (1, 1));
        assert_eq!((report.ike_requests(source), report.ike_responses(source)), (3, 1));
        assert_eq!(report.ike_fragments(Ipv4Addr::new(198, 51, 100, 2)), 0);
        assert_eq!(report.longest_ike(), 28 + 4 + 36);
    }

    #[test]
    fn esp_is_told_apart_by_spi_and_sequence_number() {
        let [one, two] = [[0, 0, 1, 2, 0, 0, 0, 7], [0, 0, 1, 2, 0, 0, 0, 8]];
        let plain = |payload: &[u8]| frame(ESP, [192, 0, 2, 2], [198, 51, 100, 2], payload);
        assert_eq!(esp_number(&plain(&one)), Some(one));
        assert_eq!(esp_number(&udp(4500, &two)), Some(two));
        assert_eq!(esp_number(&udp(4500, &[0; 8])), None, "IKE");
        assert_eq!(esp_number(&udp(500, &one)), None, "IKE");
        assert_eq!(esp_number(&plain(&one[..7])), None, "too short");
        assert_eq!(esp_number(&[0; 10]), None);
    }

    #[test]
    fn descriptions_show_the_spi() {
        let esp = frame(ESP, [192, 0, 2, 2], [198, 51, 100, 2], &[0, 0, 1, 2, 0, 0, 0, 7]);
        let mut report = CaptureReport::default();
        report.add(&esp, b"needle");
        assert!(report.described[0].contains("spi 00000102 seq 7"), "{}", report.described[0]);
        assert_eq!((report.total(), report.count(PacketClass::Esp)), (1, 1));
    }
}

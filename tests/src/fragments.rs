//! A router that sends everything in small fragments.

use crate::{Family, Lab, NetNs, RawPort, Site};
use anyhow::{Context as _, Result};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of payload in a fragment. Linux takes no shorter ones over IPv6, except as the last (RFC 8200 section 5).
const PAYLOAD_V4: usize = 256;
const PAYLOAD_V6: usize = 1232;
/// Ports of IKE.
const IKE: [u16; 2] = [500, 4500];
/// Protocols.
const UDP: u8 = 17;
const ESP: u8 = 50;
const FRAGMENT: u8 = 44;

/// Carries what the gateway of one site sends to that of another, in place of the kernel's forwarding, in fragments where it is long enough.
#[derive(Debug)]
pub struct FragmentingRouter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    ike: AtomicU64,
    esp: AtomicU64,
}

/// The packets that a router has sent in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragmented {
    /// Datagrams of IKE.
    pub ike: u64,
    /// ESP, plain and in UDP.
    pub esp: u64,
}

impl FragmentingRouter {
    /// Begins with the packets from site `from` to site `to`, whose gateways find each other over `outer`.
    ///
    /// # Errors
    /// `nft` is missing, or a port cannot be opened.
    pub fn start(lab: &Lab, from: u8, to: u8, outer: Family) -> Result<Self> {
        let (near, far) = (lab.site(from), lab.site(to));
        let (from, to) = (near.inet_port(), far.inet_port());
        // What is copied must be complete when it leaves.
        near.gateway.face_xdp(Site::WAN)?;
        lab.inet.nft(&format!(
            "table inet fragments {{\n chain forward {{\n  type filter hook forward priority filter;\n  iifname \"{from}\" \
             oifname \"{to}\" drop\n }}\n}}\n"
        ))?;
        let route = Route {
            ingress: RawPort::open(&lab.inet, &from)?,
            egress: RawPort::open(&lab.inet, &to)?,
            address: far.wan_address_of(outer),
            ingress_mac: mac(&lab.inet, &from)?,
            ethernet: [mac(&far.gateway, Site::WAN)?, mac(&lab.inet, &to)?],
        };
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || route.serve(&shared)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was sent in fragments up to now.
    pub fn fragmented(&self) -> Fragmented {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Fragmented { ike: count(&self.shared.ike), esp: count(&self.shared.esp) }
    }
}

impl Drop for FragmentingRouter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("warning: the router has stopped: {error:#}"),
            Some(Err(_)) => eprintln!("warning: the router has panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

/// The way from one port to the other.
struct Route {
    ingress: RawPort,
    egress: RawPort,
    /// Where the packets go that take this way.
    address: IpAddr,
    ingress_mac: [u8; 6],
    /// MAC addresses of frames that leave: destination, source.
    ethernet: [[u8; 6]; 2],
}

impl Route {
    fn serve(&self, shared: &Shared) -> Result<()> {
        while !shared.stop.load(Ordering::Relaxed) {
            let Some(frame) = self.ingress.receive()? else { continue };
            if frame.len() < ETHERNET + 20 || frame[..6] != self.ingress_mac {
                continue;
            }
            let packet = &frame[ETHERNET..];
            let pieces = match (self.address, u16::from_be_bytes([frame[12], frame[13]])) {
                (IpAddr::V4(address), 0x0800) if packet[16..20] == address.octets() => split_v4(packet),
                (IpAddr::V6(address), 0x86dd) if packet.len() >= 40 && packet[24..40] == address.octets() => {
                    split_v6(packet)
                }
                _ => continue,
            };
            if pieces.len() > 1 {
                shared.count(packet);
            }
            for piece in pieces {
                let header = [&self.ethernet.concat()[..], &frame[12..14]].concat();
                self.egress.try_send(&[header, piece].concat())?;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Counts a packet that went in fragments.
    fn count(&self, packet: &[u8]) {
        let (protocol, payload) =
            if packet[0] >> 4 == 4 { (packet[9], &packet[20..]) } else { (packet[6], &packet[40..]) };
        let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let counter = match protocol {
            ESP => &self.esp,
            UDP if port(2) == IKE[1] && payload[8..12] != [0; 4] => &self.esp,
            UDP if IKE.contains(&port(2)) => &self.ike,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fragments of an IPv4 packet without options (RFC 791 section 3.2), whatever its DF bit says.
fn split_v4(packet: &[u8]) -> Vec<Vec<u8>> {
    static IDENTIFICATION: AtomicU64 = AtomicU64::new(1);
    let payload = &packet[20..usize::from(u16::from_be_bytes([packet[2], packet[3]]))];
    if payload.len() <= PAYLOAD_V4 {
        return vec![packet.to_vec()];
    }
    let id = IDENTIFICATION.fetch_add(1, Ordering::Relaxed) as u16;
    let pieces = payload.chunks(PAYLOAD_V4).enumerate();
    let piece = |(number, piece): (usize, &[u8])| {
        let offset = number * PAYLOAD_V4;
        let more = if offset + piece.len() < payload.len() { 0x2000 } else { 0 };
        let mut header = packet[..20].to_vec();
        header[2..4].copy_from_slice(&((20 + piece.len()) as u16).to_be_bytes());
        header[4..6].copy_from_slice(&id.to_be_bytes());
        header[6..8].copy_from_slice(&(more | (offset / 8) as u16).to_be_bytes());
        header[10..12].fill(0);
        let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        [&header, piece].concat()
    };
    pieces.map(piece).collect()
}

/// Fragments of an IPv6 packet without extension headers, as its sender makes them (RFC 8200 section 4.5).
fn split_v6(packet: &[u8]) -> Vec<Vec<u8>> {
    static IDENTIFICATION: AtomicU64 = AtomicU64::new(1);
    let payload = &packet[40..40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))];
    if payload.len() <= PAYLOAD_V6 {
        return vec![packet.to_vec()];
    }
    let id = IDENTIFICATION.fetch_add(1, Ordering::Relaxed) as u32;
    let pieces = payload.chunks(PAYLOAD_V6).enumerate();
    let piece = |(number, piece): (usize, &[u8])| {
        let offset = number * PAYLOAD_V6;
        let more = u16::from(offset + piece.len() < payload.len());
        let mut header = packet[..40].to_vec();
        header[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
        header[6] = FRAGMENT;
        header.extend([packet[6], 0]);
        header.extend((offset as u16 | more).to_be_bytes());
        header.extend(id.to_be_bytes());
        [&header, piece].concat()
    };
    pieces.map(piece).collect()
}

fn mac(namespace: &NetNs, device: &str) -> Result<[u8; 6]> {
    let shown = namespace.ip(&format!("-o link show {device}"))?;
    let mut words = shown.split_whitespace();
    let address = words.find(|word| *word == "link/ether").and_then(|_| words.next());
    let address = address.with_context(|| format!("no address in {shown}"))?;
    let bytes: Result<Vec<u8>, _> = address.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes?.try_into().ok().with_context(|| format!("{address} is no address"))
}

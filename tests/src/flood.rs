//! An attacker on the wide-area network, who sends as fast as he can.

use crate::{Lab, RawPort, Site, ike_init_request, ping, poll_until};
use anyhow::Result;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const ESP: u8 = 50;
const UDP: u8 = 17;
/// Where ESP begins in a frame.
const ESP_AT: usize = ETHERNET + IPV4;
/// Genuine frames that are kept.
const CAPTURED: usize = 64;
/// Frames between two looks at the clock.
const BATCH: u64 = 64;
/// Sequence numbers that forged packets are ahead of genuine ones, at least and at most: too new to be refused unopened.
const AHEAD: (u64, u64) = (1_000, 5_000);

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodKind {
    /// ESP with SPIs that no SA has.
    UnknownSpi,
    /// ESP with the right SPI, new sequence numbers and a wrong integrity check value: each packet costs a look at all of it.
    BadIcv,
    /// Genuine packets that arrived before.
    Replay,
    /// Datagrams to the IKE ports that are no messages, half of them with the peer's address.
    IkeGarbage,
    /// Good requests for an IKE SA, each from another address that is not configured.
    InitOfStrangers,
    /// Good requests for an IKE SA, each a new one, with the peer's address.
    InitOfPeer,
}

impl FloodKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::UnknownSpi,
        Self::BadIcv,
        Self::Replay,
        Self::IkeGarbage,
        Self::InitOfStrangers,
        Self::InitOfPeer,
    ];

    /// A few words for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSpi => "ESP, unknown SPI",
            Self::BadIcv => "ESP, wrong ICV",
            Self::Replay => "ESP, replayed",
            Self::IkeGarbage => "IKE garbage",
            Self::InitOfStrangers => "IKE_SA_INIT, many addresses",
            Self::InitOfPeer => "IKE_SA_INIT, the peer's address",
        }
    }

    /// The drop reason that datapath counters have for it; IKE is not the datapath's business.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::UnknownSpi => Some("unknown_spi"),
            Self::BadIcv => Some("authentication_failed"),
            Self::Replay => Some("replayed"),
            Self::IkeGarbage | Self::InitOfStrangers | Self::InitOfPeer => None,
        }
    }
}

/// Somebody at the last cable before a gateway.
#[derive(Debug)]
pub struct Attacker<'a> {
    near: &'a Site,
    far: &'a Site,
    port: RawPort,
    /// The newest genuine ESP frames.
    captured: Vec<Vec<u8>>,
}

impl<'a> Attacker<'a> {
    /// Takes a place before the gateway of site `to`, and captures ESP of pings from site `from`.
    ///
    /// # Errors
    /// No ESP is seen.
    pub fn new(lab: &'a Lab, from: u8, to: u8) -> Result<Self> {
        let (near, far) = (lab.site(from), lab.site(to));
        let port = RawPort::open(&lab.inet, &far.inet_port())?;
        let mut attacker = Self { near, far, port, captured: Vec::new() };
        attacker.capture_pings()?;
        Ok(attacker)
    }

    /// Sends `count` frames, or until `stop`, `rate` per second or as fast as the cable takes them. Returns how many the cable took.
    ///
    /// # Errors
    /// The cable is gone.
    pub fn flood(
        &mut self,
        kind: FloodKind,
        count: u64,
        rate: Option<u32>,
        stop: &AtomicBool,
    ) -> Result<u64> {
        let needs_new = matches!(kind, FloodKind::BadIcv | FloodKind::Replay);
        if needs_new {
            self.capture_pings()?;
        }
        let (mut taken, started) = (0, Instant::now());
        for number in 0..count {
            if number.is_multiple_of(BATCH) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if needs_new {
                    self.capture()?;
                }
                if let Some(rate) = rate {
                    let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                }
            }
            taken += u64::from(self.port.try_send(&self.frame(kind, number))?);
        }
        Ok(taken)
    }

    /// Has genuine ESP pass by that is newer than all before: what lies left of the window is refused otherwise.
    fn capture_pings(&mut self) -> Result<()> {
        while self.port.receive_now()?.is_some() {}
        self.captured.clear();
        poll_until(Duration::from_secs(20), "ESP on the wire", || {
            ping(&self.near.host, &format!("-c 40 -i 0.01 -s 400 -W 5 {}", self.far.host_address()))?;
            self.capture()?;
            Ok((!self.captured.is_empty()).then_some(()))
        })
    }

    /// Takes what has passed by, the newest of it.
    fn capture(&mut self) -> Result<()> {
        while let Some(frame) = self.port.receive_now()? {
            let is_esp = frame.len() > ESP_AT + 100
                && frame[12..14] == [8, 0]
                && frame[ETHERNET + 9] == ESP
                && frame[ETHERNET + 16..ESP_AT] == self.far.gateway_address().octets();
            if is_esp {
                self.captured.push(frame);
            }
        }
        let surplus = self.captured.len().saturating_sub(CAPTURED);
        self.captured.drain(..surplus);
        Ok(())
    }

    fn frame(&self, kind: FloodKind, number: u64) -> Vec<u8> {
        let noise = mixed(number);
        let genuine = || self.captured[number as usize % self.captured.len()].clone();
        match kind {
            FloodKind::UnknownSpi => {
                let esp = [&(noise as u32 | 0x100).to_be_bytes()[..], &noise_bytes(number, 120)].concat();
                self.packet(self.near.gateway_address(), ESP, &esp)
            }
            FloodKind::BadIcv => {
                let mut frame = genuine();
                let field = ESP_AT + 4..ESP_AT + 8;
                let seen = u32::from_be_bytes(frame[field.clone()].try_into().expect("four bytes"));
                let ahead = (AHEAD.0 + number % (AHEAD.1 - AHEAD.0)) as u32;
                frame[field].copy_from_slice(&seen.wrapping_add(ahead).to_be_bytes());
                frame
            }
            FloodKind::Replay => genuine(),
            FloodKind::IkeGarbage => {
                let source =
                    if number.is_multiple_of(2) { self.near.gateway_address() } else { stranger(noise) };
                let message = noise_bytes(number, 28 + (noise >> 40) as usize % 300);
                if noise & 4 == 0 {
                    self.packet(source, UDP, &datagram(500, &message))
                } else {
                    self.packet(source, UDP, &datagram(4500, &[&[0; 4][..], &message].concat()))
                }
            }
            FloodKind::InitOfStrangers => {
                self.packet(stranger(noise), UDP, &datagram(500, &ike_init_request(noise | 1)))
            }
            FloodKind::InitOfPeer => {
                self.packet(self.near.gateway_address(), UDP, &datagram(500, &ike_init_request(noise | 1)))
            }
        }
    }

    /// A frame to the gateway, its Ethernet header that of genuine ones.
    fn packet(&self, source: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend(((IPV4 + payload.len()) as u16).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        packet.extend(source.octets());
        packet.extend(self.far.gateway_address().octets());
        let words = packet.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        [&self.captured[0][..ETHERNET], &packet, payload].concat()
    }
}

/// A good mixture of the bits of `number` (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn noise_bytes(number: u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).flat_map(|word| mixed(number << 8 ^ word).to_be_bytes());
    words.take(len).collect()
}

/// An address that no configuration names (RFC 2544).
fn stranger(noise: u64) -> Ipv4Addr {
    let [a, b, ..] = noise.to_be_bytes();
    Ipv4Addr::new(198, 18 + (a & 1), b, a)
}

/// A UDP datagram between two ports of the same number, without a checksum.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    [&port.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

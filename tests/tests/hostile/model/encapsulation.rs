//! Packets for a tunnel, and what they must look like when they leave (RFC 4303 section 3.3).

use std::collections::HashMap;

use gateway_common::DropReason;

use super::header::{ETHERNET, Header, PLAIN, checksum_is_right, decrement_ttl, double_word, word};
use super::{Arrival, Fate, Model, Owner, Prediction, Sealed, Slot, mss, owner, tunnel, way};
use crate::hostile::association::{Association, ICV};
use crate::hostile::network::Interface;

const ESP: u8 = 50;
const UDP: u8 = 17;
const TCP: u8 = 6;
const UDP_HEADER: usize = 8;
/// First dynamic port (RFC 6335 section 6).
const FIRST_DYNAMIC: u16 = 49_152;

/// What tells inner flows apart: addresses, protocol, and ports where the packet has them.
type Flow = (Slot, [u8; 4], [u8; 4], u8, u32);

/// Source ports that inner flows had.
#[derive(Default)]
pub(super) struct SealedFlows(HashMap<Flow, u16>);

impl SealedFlows {
    /// A slot has another SA.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.0.retain(|flow, _| flow.0 != slot);
    }
}

/// Bytes of IP packet that become of an inner packet of `inner` bytes.
fn outer_len(association: &Association, inner: usize) -> usize {
    let udp = if association.config.udp_encapsulation { UDP_HEADER } else { 0 };
    PLAIN + udp + 8 + association.iv_len() + (inner + 2).next_multiple_of(4) + ICV
}

impl Model {
    /// A packet for `number` that arrived at an interface that may bring such.
    pub(super) fn encapsulate(&self, arrival: &Arrival, header: &Header, number: u32) -> Prediction {
        let len = header.total_len;
        if !header.lengths_agree() || ETHERNET + len > arrival.frame.len() {
            return Prediction::drop(number, DropReason::Malformed);
        }
        if owner(header.source) != Some(Owner::Local) {
            return Prediction::drop(number, DropReason::SourceOutsideVnet);
        }
        let is_forwarded = arrival.interface != Interface::VgwPeer;
        let needs_kernel = header.ttl <= 1 || header.length != PLAIN || len > tunnel(number).mtu;
        if is_forwarded && needs_kernel {
            return Prediction::pass();
        }
        if len > tunnel(number).mtu {
            return Prediction::drop(number, DropReason::TooBig);
        }
        let Some(slot) = self.outbound(number, arrival.queue) else {
            return Prediction::drop(number, DropReason::NoOutboundSa);
        };
        let sa = &self.sas[&slot];
        if sa.is_expired() {
            return Prediction::drop(number, DropReason::LifetimeExpired);
        }
        let to = sa.association.remote();
        let Some((_, ethernet)) = way(to, outer_len(&sa.association, len), false) else {
            return Prediction::drop(number, DropReason::NoRoute);
        };
        if !sa.association.config.esn && sa.sent >= u64::from(u32::MAX) {
            return Prediction::drop(number, DropReason::SequenceExhausted);
        }
        let mut inner = arrival.frame[ETHERNET..ETHERNET + len].to_vec();
        mss::clamp(&mut inner, header, tunnel(number).mtu);
        if is_forwarded {
            decrement_ttl(&mut inner);
        }
        Prediction::sure(Fate::Sealed(Sealed { slot, tunnel: number, inner, ethernet }))
    }

    /// Checks the frame that left for `sealed`, and notes what may not come again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_sealed(&mut self, sealed: &Sealed, frame: &[u8]) -> Result<(), String> {
        let sa = self.sas.get_mut(&sealed.slot).expect("predictions name SAs that exist");
        let (association, config) = (&sa.association, &sa.association.config);
        let inner = Header::parse(&sealed.inner).expect("it was parsed before");
        let len = outer_len(association, sealed.inner.len());
        ensure("length of the frame", &frame.len(), &(ETHERNET + len))?;
        ensure("Ethernet header", &frame[..ETHERNET], &sealed.ethernet)?;
        let packet = &frame[ETHERNET..];
        let outer = Header::parse(packet).expect("the length was checked");
        ensure("version and header length", &packet[0], &0x45)?;
        ensure("traffic class", &outer.class, &inner.class)?;
        ensure("total length", &outer.total_len, &len)?;
        ensure("flags and fragment offset: DF alone", &word(packet, 6), &0x4000)?;
        ensure("TTL", &outer.ttl, &64)?;
        ensure("checksum is right", &checksum_is_right(packet), &true)?;
        ensure("outer source", &outer.source, &association.local())?;
        ensure("outer destination", &outer.destination, &association.remote())?;
        ensure("protocol", &outer.protocol, &if config.udp_encapsulation { UDP } else { ESP })?;
        let mut esp = &packet[PLAIN..];
        if config.udp_encapsulation {
            ensure("UDP destination port", &word(esp, 2), &config.remote.port())?;
            ensure("UDP length", &usize::from(word(esp, 4)), &(len - PLAIN))?;
            ensure("UDP checksum", &word(esp, 6), &0)?;
            let port = word(esp, 0);
            if config.udp_port_entropy {
                let flow = flow_of(sealed, &inner);
                let first = *self.flows.0.entry(flow).or_insert(port);
                ensure("UDP source port of the flow", &port, &first)?;
                ensure("UDP source port is a dynamic one", &(port >= FIRST_DYNAMIC), &true)?;
            } else {
                ensure("UDP source port", &port, &config.local.port())?;
            }
            esp = &esp[UDP_HEADER..];
        }
        ensure("SPI", &double_word(esp, 0), &config.spi)?;
        let sequence = sa.sent + 1;
        ensure("sequence number", &double_word(esp, 4), &(sequence as u32))?;
        if !config.implicit_iv {
            // Never the same again with the same key: unpredictable it need not be (RFC 4106 section 3.1).
            let iv = u64::from(double_word(esp, 8)) << 32 | u64::from(double_word(esp, 12));
            ensure("IV is new", &sa.last_iv.is_none_or(|last| iv > last), &true)?;
            sa.last_iv = Some(iv);
        }
        sa.sent = sequence;
        let plaintext = association.open(sequence, esp).ok_or("ICV is wrong")?;
        let padding = plaintext.len() - sealed.inner.len() - 2;
        let mut expected = sealed.inner.clone();
        expected.extend((1..=padding).map(|byte| byte as u8));
        expected.extend([padding as u8, 4]);
        ensure("plaintext", &hex::encode(plaintext), &hex::encode(expected))
    }
}

/// The flow of a packet. Fragments have no ports: only one of a packet's has.
fn flow_of(sealed: &Sealed, inner: &Header) -> Flow {
    let has_ports = matches!(inner.protocol, TCP | UDP)
        && !inner.is_fragment
        && inner.length == PLAIN
        && inner.total_len >= PLAIN + 4;
    let ports = if has_ports { double_word(&sealed.inner, PLAIN) } else { 0 };
    (sealed.slot, inner.source, inner.destination, inner.protocol, ports)
}

fn ensure<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, is: &T, should_be: &T) -> Result<(), String> {
    if is == should_be { Ok(()) } else { Err(format!("{what}: {is:02x?} in place of {should_be:02x?}")) }
}

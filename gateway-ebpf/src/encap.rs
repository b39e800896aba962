//! From an inner packet to a frame that is ready to be sealed (RFC 4303 section 3.3).

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::budget::Direction;
use gateway_common::budget::admission::Verdict;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{
    ESP_ICV_LEN, ESP_IV_LEN, ESP_LEN, ESP_TRAILER_LEN, ETH_LEN, PROTO_ESP, PROTO_UDP, UDP_LEN,
};
use gateway_common::{
    CapturePoint, DropReason, Ethernet, EventKind, FlowKey, GatewayConfig, Ip, Ipv4, Ipv6, Job, Port,
    PortRole, ProgramSlot, RouteKind, Sa, SaFlags, df, dscp, ecn, ip,
};

use crate::drop::drop;
use crate::maps::{CONFIG, COUNTERS, CPU_SAS, JOB, PORTS, PROGRAMS, SAS, TUNNELS};
use crate::packet::{Esp, Iv, Udp, at, frame_len};
use crate::route::{Family, NextHop, Way};
use crate::{
    atomic, budget, capture, checksum, event, flows, icmp, lane, log, mss, port_entropy, resize, route, sa,
};

/// Encapsulates the packet `ip`, which arrived at `port`, for `tunnel`. `None` leaves it to the kernel.
#[inline(always)]
pub(crate) fn encapsulate<I: Family>(
    ctx: &XdpContext,
    config: &GatewayConfig,
    port: &Port,
    ip: &mut I,
    tunnel: u32,
) -> Option<u32> {
    let forwarded = is_forwarded(port);
    let header_len = ip.header_len() as usize;
    let inner_len = ip.total_len();
    if header_len < I::LEN || inner_len < header_len as u32 || ETH_LEN as u32 + inner_len > frame_len(ctx) {
        return Some(drop(tunnel, DropReason::Malformed));
    }
    let from = I::lookup(ip.source());
    if from.kind != RouteKind::LOCAL && !icmp::answers_inbound(ctx, ip, from, tunnel) {
        return Some(drop(tunnel, DropReason::SourceOutsideVnet));
    }
    let entry = TUNNELS.get(tunnel)?;
    if forwarded && (ip.hop_limit() <= 1 || ip.concerns_routers() || inner_len > entry.mtu) {
        return None;
    }
    if inner_len > entry.mtu {
        return Some(drop(tunnel, DropReason::TooBig));
    }
    let index = outbound_sa(ctx, config, tunnel, entry.outbound_sa);
    if index == 0 {
        let [source, destination] = ip.words();
        if event::raise_limited(EventKind::NoOutboundSa, tunnel, [0; 4], source) {
            log::no_outbound_sa(ctx, destination);
        }
        return Some(drop(tunnel, DropReason::NoOutboundSa));
    }
    mss::clamp(ctx, ip, tunnel);
    let sa = SAS.get_ptr_mut(index)?;
    // SAFETY: `sa` points into the map.
    if unsafe { (*sa).flags } & SaFlags::OUTER_IPV6 != 0 {
        return Some(go_on_in6::<I>(ctx, index, tunnel));
    }
    // SAFETY: `sa` points into the map; the agent does not change an SA in use.
    Some(unsafe { seal::<I, Ipv4>(ctx, config, port, ip, sa, index, tunnel) })
}

/// Goes on in the program for IPv6 outside. A program of its own, so that each has room on its stack.
#[inline(always)]
fn go_on_in6<I: Family>(ctx: &XdpContext, index: u32, tunnel: u32) -> u32 {
    let Some(job) = JOB.get_ptr_mut(0) else { return drop(tunnel, DropReason::Internal) };
    let program = if I::IS_V6 { ProgramSlot::Encap6In6 } else { ProgramSlot::Encap4In6 };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU. Nothing with a destructor is alive.
    unsafe {
        (*job).sa = index;
        (*job).tunnel = tunnel;
        PROGRAMS.tail_call(ctx, program as u32);
    }
    drop(tunnel, DropReason::Internal)
}

/// Encapsulates an IPv4 packet for a peer with an IPv6 address.
#[xdp]
pub(crate) fn encap_4in6(ctx: XdpContext) -> u32 {
    capture::after(&ctx, CapturePoint::DroppedOnArrival, 0, seal_in6::<Ipv4>(&ctx))
}

/// Encapsulates an IPv6 packet for a peer with an IPv6 address.
#[xdp]
pub(crate) fn encap_6in6(ctx: XdpContext) -> u32 {
    capture::after(&ctx, CapturePoint::DroppedOnArrival, 0, seal_in6::<Ipv6>(&ctx))
}

#[inline(always)]
fn seal_in6<I: Family>(ctx: &XdpContext) -> u32 {
    let Some(job) = JOB.get(0) else { return drop(0, DropReason::Internal) };
    let (index, tunnel) = (job.sa, job.tunnel);
    // SAFETY: entries are only replaced as a whole by the agent.
    let port = unsafe { PORTS.get(ctx.ingress_ifindex() as u32) };
    let (Some(port), Some(config)) = (port, CONFIG.get(0)) else { return drop(tunnel, DropReason::Internal) };
    let (Some(ip), Some(sa)) = (at::<I>(ctx, ETH_LEN), SAS.get_ptr_mut(index)) else {
        return drop(tunnel, DropReason::Internal);
    };
    // SAFETY: `ip` lies within the frame, `sa` points into the map; the agent does not change an SA in use.
    unsafe { seal::<I, Ipv6>(ctx, config, port, &mut *ip, sa, index, tunnel) }
}

/// The SA of the receive queue that the packet came from, if it has one of its own (RFC 9611), else the tunnel's.
#[inline(always)]
fn outbound_sa(ctx: &XdpContext, config: &GatewayConfig, tunnel: u32, of_tunnel: u32) -> u32 {
    if config.cpu_sas == 0 {
        return of_tunnel;
    }
    // SAFETY: the context is that of the running program.
    let queue = unsafe { (*ctx.ctx).rx_queue_index };
    match CPU_SAS.get(tunnel * config.cpu_sas + queue % config.cpu_sas) {
        Some(own) if *own != 0 => *own,
        _ => of_tunnel,
    }
}

/// Whether packets at `port` come from a neighbour, and not from the kernel's routing, which has done its part (TTL,
/// fragmentation) already.
#[inline(always)]
fn is_forwarded(port: &Port) -> bool {
    port.roles & PortRole::TUNNEL == 0
}

/// Continues a frame that an AEAD program has sealed.
#[xdp]
pub(crate) fn encap_done(ctx: XdpContext) -> u32 {
    let verdict = match JOB.get(0) {
        Some(job) => send(&ctx, job),
        None => drop(0, DropReason::Internal),
    };
    capture::after(&ctx, CapturePoint::DroppedSealed, 0, verdict)
}

/// As `encap_done`, for ESP in UDP over IPv6, where the UDP checksum must not be left out (RFC 8200 section 8.1).
#[xdp]
pub(crate) fn encap_done_udp6(ctx: XdpContext) -> u32 {
    let verdict = match JOB.get(0) {
        Some(job) if checksum::complete_udp6(&ctx).is_some() => send(&ctx, job),
        Some(job) => drop(job.tunnel, DropReason::Internal),
        None => drop(0, DropReason::Internal),
    };
    capture::after(&ctx, CapturePoint::DroppedSealed, 0, verdict)
}

/// Counts a frame that is ready and sends it.
#[inline(always)]
fn send(ctx: &XdpContext, job: &Job) -> u32 {
    if let Some(sa) = SAS.get_ptr_mut(job.sa) {
        // SAFETY: `sa` points into the map.
        unsafe { count(sa, job.tunnel, job.inner_len) };
    }
    capture::frame(ctx, CapturePoint::OuterOutbound, job.tunnel);
    route::redirect(job.egress_ifindex)
}

/// Counts a packet that is sealed, or will be by a worker.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
unsafe fn count(sa: *mut Sa, tunnel: u32, inner_len: u32) {
    // SAFETY: the caller vouches for `sa`.
    unsafe { sa::count(sa, tunnel, inner_len) };
    if let Some(counters) = COUNTERS.get_ptr_mut(tunnel) {
        // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
        unsafe {
            (*counters).out_packets += 1;
            (*counters).out_bytes += u64::from(inner_len);
        }
    }
}

/// Makes a packet to the peer, with an outer header `O`, of the packet `ip`.
///
/// # Safety
/// `sa` must point into map `SAS`, and its outer packets be of version `O`.
#[inline(always)]
unsafe fn seal<I: Family, O: Outer>(
    ctx: &XdpContext,
    config: &GatewayConfig,
    port: &Port,
    ip: &mut I,
    sa: *mut Sa,
    index: u32,
    tunnel: u32,
) -> u32 {
    // SAFETY: the caller vouches for `sa`.
    let (flags, spi, salt, aead) = unsafe { ((*sa).flags, (*sa).spi, (*sa).salt, (*sa).aead) };
    if spi == [0; 4] {
        return drop(tunnel, DropReason::NoOutboundSa);
    }
    // SAFETY: as above.
    if unsafe { sa::is_expired(sa) } {
        event::raise_limited(EventKind::HardLifetime, tunnel, spi, [0; 2]);
        return drop(tunnel, DropReason::LifetimeExpired);
    }
    let inner_len = ip.total_len();
    let padding = inner_len.wrapping_add(ESP_TRAILER_LEN as u32).wrapping_neg() & 3;
    let payload_len = inner_len + padding + ESP_TRAILER_LEN as u32;
    let has_udp = flags & SaFlags::UDP_ENCAP != 0;
    let udp_len = if has_udp { UDP_LEN } else { 0 };
    let iv_len = if flags & SaFlags::IMPLICIT_IV != 0 { 0 } else { ESP_IV_LEN };
    let headers = (O::LEN + ESP_LEN + iv_len + udp_len) as u32;
    let outer_len = headers + payload_len + ESP_ICV_LEN as u32;
    let ingress_ifindex = ctx.ingress_ifindex() as u32;
    // SAFETY: the caller vouches for `sa`.
    let class = dscp::outer(unsafe { (*sa).outer_dscp }, ip.traffic_class());
    // SAFETY: the caller vouches for `sa`.
    let outer = unsafe { O::between(sa, class, outer_len) };
    let way = match way_to_peer(ctx, &outer, ingress_ifindex) {
        NextHop::Direct(way) => way,
        NextHop::Stack => route::into_stack(config),
        NextHop::Unreachable => return drop(tunnel, DropReason::NoRoute),
    };
    // SAFETY: the caller vouches for `sa`.
    let mut source_port = unsafe { (*sa).local_port };
    let mut flow_label = 0;
    if flags & SaFlags::UDP_PORT_ENTROPY != 0 {
        flow_label = port_entropy::of_flow(ctx, ip);
        source_port = source_port_of(flow_label);
    }
    // SAFETY: the caller vouches for `sa`.
    let allows_fragments = df::allows_fragments(unsafe { (*sa).outer_df }, ip.may_be_fragmented());
    let mut class = class;
    match budget::admit(tunnel, Direction::Outbound, inner_len, ip.traffic_class()) {
        Verdict::Pass => {}
        Verdict::Mark => {
            class |= ecn::CE;
            ip.set_traffic_class(ip.traffic_class() | ecn::CE);
        }
        Verdict::Drop => return drop(tunnel, DropReason::BudgetExceeded),
    }
    // SAFETY: the counter lies in a map value.
    let sequence = unsafe { atomic::fetch_add(&raw mut (*sa).sequence, 1) } + 1;
    if flags & SaFlags::ESN == 0 && sequence > u64::from(u32::MAX) {
        event::raise_limited(EventKind::HardLifetime, tunnel, spi, [0; 2]);
        return drop(tunnel, DropReason::SequenceExhausted);
    }
    capture::frame(ctx, CapturePoint::InnerOutbound, tunnel);
    if is_forwarded(port) {
        ip.decrement_hop_limit();
    }

    let old_len = frame_len(ctx);
    let tail = inner_len + padding + (ESP_TRAILER_LEN + ESP_ICV_LEN) as u32;
    let Some(job) = JOB.get_ptr_mut(0) else { return drop(tunnel, DropReason::Internal) };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let job = unsafe { &mut *job };
    // From memory, so that the verifier looks at what follows once, and not once for each length of the headers.
    // SAFETY: a field of a structure that is there.
    let headers = unsafe {
        (&raw mut job.offset).write_volatile(headers);
        (&raw const job.offset).read_volatile()
    };
    if !resize::grow(ctx, old_len, inner_len, headers, tail) {
        return drop(tunnel, DropReason::Internal);
    }
    let esp = Esp { spi, sequence: (sequence as u32).to_be_bytes() };
    // The IV that RFC 8750 section 4 prescribes, and as good as any where it is sent.
    let iv = sequence.to_be_bytes();
    let sent_iv = if iv_len == 0 { None } else { Some(&iv) };
    // SAFETY: the caller vouches for `sa`.
    let remote_port = unsafe { (*sa).remote_port };
    // A zero checksum is what RFC 3948 section 2.1 asks for over IPv4; over IPv6 it is computed when the packet is sealed.
    let len = ((outer_len - O::LEN as u32) as u16).to_be_bytes();
    let udp = Udp { source: source_port, destination: remote_port, len, checksum: [0; 2] };
    let udp = if has_udp { Some(&udp) } else { None };
    // SAFETY: the caller vouches for `sa`.
    let mut outer = unsafe { O::between(sa, class, outer_len) };
    outer.set_flow_label(flow_label);
    if allows_fragments {
        // The sequence number, so that the fragments of two packets are not taken for those of one.
        outer.allow_fragments(sequence as u16);
    }
    let written = write_headers(ctx, &way, &outer, udp, &esp, sent_iv);
    let payload = ETH_LEN as u32 + headers;
    if written.is_none() || write_trailer(ctx, payload + inner_len, padding, I::NEXT_HEADER).is_none() {
        return drop(tunnel, DropReason::Internal);
    }

    fill_aad(job, flags, &esp, sequence);
    job.sa = index;
    job.offset = payload;
    job.length = payload_len;
    job.nonce[..4].copy_from_slice(&salt);
    job.nonce[4..].copy_from_slice(&iv);
    job.next = if O::IS_V6 && has_udp { ProgramSlot::EncapDoneUdp6 } else { ProgramSlot::EncapDone } as u32;
    job.egress_ifindex = way.ifindex;
    job.sequence = sequence;
    job.tunnel = tunnel;
    job.inner_len = inner_len;
    job.outer_ecn = 0;
    job.ingress_ifindex = ingress_ifindex;
    if port.first_lane != 0
        && lane::serves(way.ifindex)
        && let Some(lane) = lane::find(ctx, port, tunnel)
        && lane.load(ctx, job, spi)
    {
        // SAFETY: the caller vouches for `sa`.
        unsafe { count(sa, tunnel, inner_len) };
        return lane.send(ctx, tunnel);
    }
    // SAFETY: nothing with a destructor is alive.
    unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::sealing(aead)) };
    drop(tunnel, DropReason::Internal)
}

/// Associated data: SPI and sequence number, 64 bits of it when extended (RFC 4106 section 5).
#[inline(always)]
pub(crate) fn fill_aad(job: &mut Job, flags: u32, esp: &Esp, sequence: u64) {
    job.aad[..4].copy_from_slice(&esp.spi);
    if flags & SaFlags::ESN != 0 {
        job.aad[4..].copy_from_slice(&sequence.to_be_bytes());
        job.aad_len = 12;
    } else {
        job.aad[4..8].copy_from_slice(&esp.sequence);
        job.aad_len = 8;
    }
}

/// An IP version that packets to peers may have.
trait Outer: Family {
    /// The header of a packet of `outer_len` bytes between the ends of `sa`, with the DSCP and ECN of `class` (RFC 6040 section 4.1).
    ///
    /// # Safety
    /// `sa` must point into map `SAS`, and its outer packets be of this version.
    unsafe fn between(sa: *const Sa, class: u8, outer_len: u32) -> Self;

    /// Sets the flow label, where there is one.
    fn set_flow_label(&mut self, label: u32);

    /// Lets routers fragment the packet `id`, if those of its version ever do.
    fn allow_fragments(&mut self, id: u16);
}

impl Outer for Ipv4 {
    #[inline(always)]
    unsafe fn between(sa: *const Sa, class: u8, outer_len: u32) -> Self {
        // SAFETY: as the caller vouches.
        let (flags, local, remote) = unsafe { ((*sa).flags, (*sa).local_addr, (*sa).remote_addr) };
        Self::outer(class, outer_len, protocol(flags), ip::unmapped(local), ip::unmapped(remote))
    }

    #[inline(always)]
    fn set_flow_label(&mut self, _label: u32) {}

    #[inline(always)]
    fn allow_fragments(&mut self, id: u16) {
        Self::allow_fragments(self, id);
    }
}

impl Outer for Ipv6 {
    #[inline(always)]
    unsafe fn between(sa: *const Sa, class: u8, outer_len: u32) -> Self {
        // SAFETY: as the caller vouches.
        let (flags, local, remote) = unsafe { ((*sa).flags, (*sa).local_addr, (*sa).remote_addr) };
        <Self as Ip>::outer(class, outer_len, protocol(flags), local, remote)
    }

    #[inline(always)]
    fn set_flow_label(&mut self, label: u32) {
        Self::set_flow_label(self, label);
    }

    #[inline(always)]
    fn allow_fragments(&mut self, _id: u16) {}
}

/// Protocol of the packets of an SA with `flags`.
#[inline(always)]
const fn protocol(flags: u32) -> u8 {
    if flags & SaFlags::UDP_ENCAP != 0 { PROTO_UDP } else { PROTO_ESP }
}

/// Where a packet with the header `outer` goes, from what is noted or from the kernel's forwarding table.
#[inline(always)]
fn way_to_peer<O: Family>(ctx: &XdpContext, outer: &O, ingress_ifindex: u32) -> NextHop {
    let key = FlowKey::outer(ingress_ifindex, outer);
    let Some(key) = flows::keep::<O>(&key) else { return NextHop::Stack };
    let epoch = flows::epoch();
    if let Some(way) = flows::find(key, epoch, outer.total_len()) {
        return NextHop::Direct(way);
    }
    let next_hop = route::next_hop(ctx, outer, ingress_ifindex);
    if let NextHop::Direct(way) = &next_hop {
        flows::note(key, epoch, way);
    }
    next_hop
}

/// The UDP source port of a flow, network order.
#[inline(always)]
const fn source_port_of(flow: u32) -> [u8; 2] {
    gateway_common::port_entropy::source_port(flow).to_be_bytes()
}

#[inline(always)]
fn write_headers<O: Family>(
    ctx: &XdpContext,
    way: &Way,
    ip: &O,
    udp: Option<&Udp>,
    esp: &Esp,
    iv: Option<&Iv>,
) -> Option<()> {
    let ethernet_at = at::<Ethernet>(ctx, 0)?;
    let ip_at = at::<O>(ctx, ETH_LEN)?;
    // SAFETY: every pointer was checked to lie within the frame; the structures have alignment 1.
    unsafe {
        if let Some(udp) = udp {
            let udp_at = at::<Udp>(ctx, ETH_LEN + O::LEN)?;
            *udp_at = *udp;
            write_esp(ctx, ETH_LEN + O::LEN + UDP_LEN, esp, iv)?;
        } else {
            write_esp(ctx, ETH_LEN + O::LEN, esp, iv)?;
        }
        *ethernet_at = way.ethernet::<O>();
        *ip_at = *ip;
    }
    Some(())
}

#[inline(always)]
fn write_esp(ctx: &XdpContext, offset: usize, esp: &Esp, iv: Option<&Iv>) -> Option<()> {
    let esp_at = at::<Esp>(ctx, offset)?;
    // SAFETY: lies within the frame.
    unsafe { *esp_at = *esp };
    if let Some(iv) = iv {
        let iv_at = at::<Iv>(ctx, offset + ESP_LEN)?;
        // SAFETY: lies within the frame.
        unsafe { *iv_at = *iv };
    }
    Some(())
}

/// Writes padding 1, 2, 3… and the trailer (RFC 4303 section 2.4) at `offset`.
#[inline(always)]
fn write_trailer(ctx: &XdpContext, offset: u32, padding: u32, next_header: u8) -> Option<()> {
    let trailer: [u8; 5] = match padding {
        0 => [0, next_header, 0, 0, 0],
        1 => [1, 1, next_header, 0, 0],
        2 => [1, 2, 2, next_header, 0],
        _ => [1, 2, 3, 3, next_header],
    };
    // Behind the trailer there is room for the ICV, which overwrites what is too much here.
    let at = at::<[u8; 5]>(ctx, offset as usize & MAX_FRAME)?;
    // SAFETY: lies within the frame.
    unsafe { *at = trailer };
    Some(())
}

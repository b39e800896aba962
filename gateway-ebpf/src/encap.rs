//! From an inner packet to a frame that is ready to be sealed (RFC 4303 section 3.3).

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{
    ESP_ICV_LEN, ESP_IV_LEN, ESP_LEN, ESP_TRAILER_LEN, ETH_LEN, IPV4_LEN, PROTO_ESP, PROTO_IPIP, PROTO_UDP,
    UDP_LEN,
};
use gateway_common::{
    DropReason, Ethernet, EventKind, FlowKey, GatewayConfig, Ipv4, Job, Port, PortRole, ProgramSlot,
    RouteKind, Sa, SaFlags,
};

use crate::drop::drop;
use crate::maps::{COUNTERS, CPU_SAS, JOB, PROGRAMS, SAS, TUNNELS};
use crate::packet::{Esp, Iv, Udp, at, frame_len};
use crate::route::NextHop;
use crate::{atomic, budget, event, flows, lane, port_entropy, resize, route, sa};

/// Encapsulates the packet `ip`, which arrived at `port`, for `tunnel`. `None` leaves it to the kernel.
#[inline(always)]
pub(crate) fn encapsulate(
    ctx: &XdpContext,
    config: &GatewayConfig,
    port: &Port,
    ip: &mut Ipv4,
    tunnel: u32,
) -> Option<u32> {
    let forwarded = is_forwarded(port);
    let header_len = ip.header_len() as usize;
    let inner_len = ip.total_len();
    if header_len < IPV4_LEN || inner_len < header_len as u32 || ETH_LEN as u32 + inner_len > frame_len(ctx) {
        return Some(drop(tunnel, DropReason::Malformed));
    }
    if route::lookup(ip.source).kind != RouteKind::LOCAL {
        return Some(drop(tunnel, DropReason::SourceOutsideVnet));
    }
    let entry = TUNNELS.get(tunnel)?;
    if forwarded && (ip.ttl <= 1 || header_len != IPV4_LEN || inner_len > entry.mtu) {
        return None;
    }
    if inner_len > entry.mtu {
        return Some(drop(tunnel, DropReason::TooBig));
    }
    let index = outbound_sa(ctx, config, tunnel, entry.outbound_sa);
    if index == 0 {
        if event::raise_limited(EventKind::NoOutboundSa, tunnel, [0; 4], ip.source) {
            debug!(ctx, "no outbound SA for {:i}", u32::from_be_bytes(ip.destination));
        }
        return Some(drop(tunnel, DropReason::NoOutboundSa));
    }
    let sa = SAS.get_ptr_mut(index)?;
    // SAFETY: `sa` points into the map; the agent does not change an SA in use.
    Some(unsafe { seal(ctx, config, port, ip, sa, index, tunnel) })
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
pub(crate) fn encap_done(_ctx: XdpContext) -> u32 {
    let Some(job) = JOB.get(0) else { return drop(0, DropReason::Internal) };
    if let Some(sa) = SAS.get_ptr_mut(job.sa) {
        // SAFETY: `sa` points into the map.
        unsafe { count(sa, job.tunnel, job.inner_len) };
    }
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

/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
unsafe fn seal(
    ctx: &XdpContext,
    config: &GatewayConfig,
    port: &Port,
    ip: &mut Ipv4,
    sa: *mut Sa,
    index: u32,
    tunnel: u32,
) -> u32 {
    // SAFETY: the caller vouches for `sa`.
    let (flags, local_addr, remote_addr, spi, salt, aead) =
        unsafe { ((*sa).flags, (*sa).local_addr, (*sa).remote_addr, (*sa).spi, (*sa).salt, (*sa).aead) };
    if spi == [0; 4] {
        return drop(tunnel, DropReason::NoOutboundSa);
    }
    // SAFETY: as above.
    if unsafe { sa::is_expired(sa) } {
        event::raise_limited(EventKind::HardLifetime, tunnel, spi, [0; 4]);
        return drop(tunnel, DropReason::LifetimeExpired);
    }
    let inner_len = ip.total_len();
    let padding = inner_len.wrapping_add(ESP_TRAILER_LEN as u32).wrapping_neg() & 3;
    let payload_len = inner_len + padding + ESP_TRAILER_LEN as u32;
    let udp_len = if flags & SaFlags::UDP_ENCAP != 0 { UDP_LEN } else { 0 };
    let iv_len = if flags & SaFlags::IMPLICIT_IV != 0 { 0 } else { ESP_IV_LEN };
    let headers = (IPV4_LEN + ESP_LEN + iv_len + udp_len) as u32;
    let protocol = if udp_len != 0 { PROTO_UDP } else { PROTO_ESP };
    let outer_len = headers + payload_len + ESP_ICV_LEN as u32;
    let outer = Ipv4::outer(ip.tos, outer_len, protocol, local_addr, remote_addr);
    let ingress_ifindex = ctx.ingress_ifindex() as u32;
    let key = FlowKey::outer(ingress_ifindex, &outer);
    let epoch = flows::epoch();
    let way = match flows::find(&key, epoch, outer_len) {
        Some(way) => way,
        None => match route::next_hop(ctx, &outer, ingress_ifindex) {
            NextHop::Direct(way) => {
                flows::note(key, epoch, &way);
                way
            }
            NextHop::Stack => route::into_stack(config),
            NextHop::Unreachable => return drop(tunnel, DropReason::NoRoute),
        },
    };
    let source_port = if flags & SaFlags::UDP_PORT_ENTROPY != 0 {
        port_entropy::of_flow(ctx, ip)
    } else {
        // SAFETY: the caller vouches for `sa`.
        unsafe { (*sa).local_port }
    };
    if !budget::admit(inner_len) {
        return drop(tunnel, DropReason::BudgetExceeded);
    }
    // SAFETY: the counter lies in a map value.
    let sequence = unsafe { atomic::fetch_add(&raw mut (*sa).sequence, 1) } + 1;
    if flags & SaFlags::ESN == 0 && sequence > u64::from(u32::MAX) {
        event::raise_limited(EventKind::HardLifetime, tunnel, spi, [0; 4]);
        return drop(tunnel, DropReason::SequenceExhausted);
    }
    if is_forwarded(port) {
        ip.decrement_ttl();
    }

    let old_len = frame_len(ctx);
    let tail = inner_len + padding + (ESP_TRAILER_LEN + ESP_ICV_LEN) as u32;
    let resized = resize::grow(ctx, old_len, inner_len, headers, tail);
    let Some(job) = JOB.get_ptr_mut(0) else { return drop(tunnel, DropReason::Internal) };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let job = unsafe { &mut *job };
    if !resized {
        return drop(tunnel, DropReason::Internal);
    }
    let esp = Esp { spi, sequence: (sequence as u32).to_be_bytes() };
    // The IV that RFC 8750 section 4 prescribes, and as good as any where it is sent.
    let iv = sequence.to_be_bytes();
    let sent_iv = if iv_len == 0 { None } else { Some(&iv) };
    let written = if udp_len == 0 {
        write_headers(ctx, &way.ethernet, &outer, None, &esp, sent_iv)
    } else {
        // SAFETY: the caller vouches for `sa`.
        let remote_port = unsafe { (*sa).remote_port };
        // A zero checksum is what RFC 3948 section 2.1 asks for over IPv4.
        let len = ((outer_len - IPV4_LEN as u32) as u16).to_be_bytes();
        let udp = Udp { source: source_port, destination: remote_port, len, checksum: [0; 2] };
        write_headers(ctx, &way.ethernet, &outer, Some(&udp), &esp, sent_iv)
    };
    let payload = ETH_LEN as u32 + headers;
    if written.is_none() || write_trailer(ctx, payload + inner_len, padding).is_none() {
        return drop(tunnel, DropReason::Internal);
    }

    fill_aad(job, flags, &esp, sequence);
    job.sa = index;
    job.offset = payload;
    job.length = payload_len;
    job.nonce[..4].copy_from_slice(&salt);
    job.nonce[4..].copy_from_slice(&iv);
    job.next = ProgramSlot::EncapDone as u32;
    job.egress_ifindex = way.ifindex;
    job.sequence = sequence;
    job.tunnel = tunnel;
    job.inner_len = inner_len;
    job.outer_ecn = 0;
    job.ingress_ifindex = ingress_ifindex;
    if port.first_lane != 0
        && lane::serves(way.ifindex)
        && let Some(lane) = lane::find(ctx, port)
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

#[inline(always)]
fn write_headers(
    ctx: &XdpContext,
    ethernet: &Ethernet,
    ip: &Ipv4,
    udp: Option<&Udp>,
    esp: &Esp,
    iv: Option<&Iv>,
) -> Option<()> {
    let ethernet_at = at::<Ethernet>(ctx, 0)?;
    let ip_at = at::<Ipv4>(ctx, ETH_LEN)?;
    // SAFETY: every pointer was checked to lie within the frame; the structures have alignment 1.
    unsafe {
        if let Some(udp) = udp {
            let udp_at = at::<Udp>(ctx, ETH_LEN + IPV4_LEN)?;
            *udp_at = *udp;
            write_esp(ctx, ETH_LEN + IPV4_LEN + UDP_LEN, esp, iv)?;
        } else {
            write_esp(ctx, ETH_LEN + IPV4_LEN, esp, iv)?;
        }
        *ethernet_at = *ethernet;
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
fn write_trailer(ctx: &XdpContext, offset: u32, padding: u32) -> Option<()> {
    let trailer: [u8; 5] = match padding {
        0 => [0, PROTO_IPIP, 0, 0, 0],
        1 => [1, 1, PROTO_IPIP, 0, 0],
        2 => [1, 2, 2, PROTO_IPIP, 0],
        _ => [1, 2, 3, 3, PROTO_IPIP],
    };
    // Behind the trailer there is room for the ICV, which overwrites what is too much here.
    let at = at::<[u8; 5]>(ctx, offset as usize & MAX_FRAME)?;
    // SAFETY: lies within the frame.
    unsafe { *at = trailer };
    Some(())
}

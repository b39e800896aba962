//! From an ESP frame to a forwarded inner packet (RFC 4303 section 3.4).

use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::budget::Direction;
use gateway_common::budget::admission::Verdict;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{ESP_ICV_LEN, ESP_IV_LEN, ESP_LEN, ESP_TRAILER_LEN, ETH_LEN, PROTO_IPV6};
use gateway_common::{
    CapturePoint, DropReason, Ethernet, EventKind, FlowKey, GatewayConfig, Ipv4, Ipv6, Job, Port,
    ProgramSlot, RouteKind, Sa, SaFlags, SpiKey, ecn, trailer,
};

use crate::drop::drop;
use crate::encap::fill_aad;
use crate::maps::{CONFIG, COUNTERS, JOB, PROGRAMS, SAS, SPIS};
use crate::packet::{EspStart, at, frame_len};
use crate::route::{Family, NextHop};
use crate::{budget, capture, event, flows, icmp, lane, log, mss, replay, route, sa};

/// Finds the SA of the ESP packet at `offset` behind the outer header `ip`, and hands the frame that arrived at `port` to a
/// worker or to its AEAD program.
#[inline(always)]
pub(crate) fn decapsulate<O: Family>(ctx: &XdpContext, port: &Port, ip: &O, offset: usize) -> u32 {
    let Some(start) = at::<EspStart>(ctx, offset) else { return drop(0, DropReason::Malformed) };
    // SAFETY: lies within the frame.
    let start = unsafe { &*start };
    let esp = &start.header;
    let key = SpiKey { spi: esp.spi, is_v6: u32::from(O::IS_V6) };
    // SAFETY: a plain integer is read from the map.
    let Some(index) = (unsafe { SPIS.get(key) }).copied() else {
        let [source, _] = ip.words();
        if event::raise_limited(EventKind::UnknownSpi, 0, esp.spi, source) {
            log::unknown_spi(ctx, esp.spi, source);
        }
        return drop(0, DropReason::UnknownSpi);
    };
    let Some(sa) = SAS.get_ptr_mut(index) else { return drop(0, DropReason::Internal) };
    // SAFETY: `sa` points into the map; the agent does not change an SA in use.
    let (flags, tunnel, aead, salt) = unsafe { ((*sa).flags, (*sa).tunnel, (*sa).aead, (*sa).salt) };
    let is_iv_implicit = flags & SaFlags::IMPLICIT_IV != 0;
    let payload = offset + ESP_LEN + if is_iv_implicit { 0 } else { ESP_IV_LEN };
    let overhead = (payload - ETH_LEN + ESP_ICV_LEN) as u32;
    let total_len = ip.total_len();
    // The ciphertext is a multiple of four bytes (RFC 4303 section 2.4) and holds at least the trailer.
    if total_len < overhead + 4 || (total_len - overhead) & 3 != 0 || ETH_LEN + total_len as usize > MAX_FRAME
    {
        return drop(tunnel, DropReason::Malformed);
    }
    capture::frame(ctx, CapturePoint::OuterInbound, tunnel);
    // SAFETY: `sa` points into the map.
    let (is_removed, is_expired) = unsafe { ((*sa).spi == [0; 4], sa::is_expired(sa)) };
    if is_removed {
        return drop(0, DropReason::UnknownSpi);
    }
    if is_expired {
        event::raise_limited(EventKind::HardLifetime, tunnel, esp.spi, [0; 2]);
        return drop(tunnel, DropReason::LifetimeExpired);
    }
    // SAFETY: `sa` points into the map.
    let sequence =
        unsafe { replay::precheck(sa, flags & SaFlags::ESN != 0, u32::from_be_bytes(esp.sequence)) };
    let Some(sequence) = sequence else { return drop(tunnel, DropReason::Replayed) };

    let Some(job) = JOB.get_ptr_mut(0) else { return drop(tunnel, DropReason::Internal) };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let job = unsafe { &mut *job };
    fill_aad(job, flags, esp, sequence);
    job.sa = index;
    job.offset = payload as u32;
    job.length = total_len - overhead;
    job.nonce[..4].copy_from_slice(&salt);
    // RFC 8750 section 4: the full sequence number, zero in its upper half unless it is extended.
    job.nonce[4..].copy_from_slice(&if is_iv_implicit { sequence.to_be_bytes() } else { start.iv });
    job.next = ProgramSlot::DecapDone as u32;
    job.egress_ifindex = 0;
    job.sequence = sequence;
    job.tunnel = tunnel;
    job.inner_len = 0;
    job.outer_ecn = u32::from(ip.traffic_class() & 3);
    job.ingress_ifindex = ctx.ingress_ifindex() as u32;
    let spi = esp.spi;
    if port.first_lane != 0
        && let Some(lane) = lane::find(ctx, port, tunnel)
        && lane.load(ctx, job, spi)
    {
        return lane.send(ctx, tunnel);
    }
    // SAFETY: nothing with a destructor is alive.
    unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::opening(aead)) };
    drop(tunnel, DropReason::Internal)
}

/// Continues a frame that an AEAD program has opened.
#[xdp]
pub(crate) fn decap_done(ctx: XdpContext) -> u32 {
    finish::<Ipv4>(&ctx)
}

/// Goes on where `decap_done` found an inner IPv6 packet.
#[xdp]
pub(crate) fn decap_done6(ctx: XdpContext) -> u32 {
    finish::<Ipv6>(&ctx)
}

#[inline(always)]
fn finish<I: Family>(ctx: &XdpContext) -> u32 {
    let Some(job) = JOB.get_ptr_mut(0) else {
        return capture::after(ctx, CapturePoint::DroppedOpened, 0, drop(0, DropReason::Internal));
    };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let job = unsafe { &mut *job };
    let verdict = deliver::<I>(ctx, job);
    capture::after(ctx, CapturePoint::DroppedOpened, job.offset, verdict)
}

#[inline(always)]
fn deliver<I: Family>(ctx: &XdpContext, job: &mut Job) -> u32 {
    if !I::IS_V6 && holds_ipv6(ctx, job, 0) {
        // SAFETY: nothing with a destructor is alive.
        unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::DecapDone6 as u32) };
        return drop(job.tunnel, DropReason::Internal);
    }
    let Some(config) = CONFIG.get(0) else { return drop(job.tunnel, DropReason::Internal) };
    let Some(sa) = SAS.get_ptr_mut(job.sa) else { return drop(job.tunnel, DropReason::Internal) };
    // SAFETY: `sa` points into the map.
    match unsafe { forward::<I>(ctx, config, job, sa, 0) } {
        Ok(ifindex) => {
            capture::frame(ctx, CapturePoint::InnerInbound, job.tunnel);
            route::redirect(ifindex)
        }
        Err(reason) => drop(job.tunnel, reason),
    }
}

/// Whether the trailer of an opened frame that starts `front` bytes into this one announces an IPv6 packet.
#[inline(always)]
pub(crate) fn holds_ipv6(ctx: &XdpContext, job: &Job, front: usize) -> bool {
    // Both bytes, since the verifier learns nothing from a check for a single one.
    let trailer_at = front + job.offset as usize + job.length as usize - ESP_TRAILER_LEN;
    match at::<[u8; ESP_TRAILER_LEN]>(ctx, trailer_at & MAX_FRAME) {
        // SAFETY: lies within the frame.
        Some(trailer) => unsafe { (*trailer)[1] == PROTO_IPV6 },
        None => false,
    }
}

/// Checks an authenticated packet whose frame starts `front` bytes into this one, removes the encapsulation and finds the way on: the
/// interface to redirect to.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn forward<I: Family>(
    ctx: &XdpContext,
    config: &GatewayConfig,
    job: &mut Job,
    sa: *mut Sa,
    front: u32,
) -> Result<u32, DropReason> {
    // SAFETY: the caller vouches for `sa`.
    if !unsafe { replay::accept(sa, job.sequence) } {
        // What the window has passed while a worker had it was in time when it arrived.
        // SAFETY: the caller vouches for `sa`.
        let is_late = front != 0 && unsafe { replay::is_late(sa, job.sequence) };
        return Err(if is_late { DropReason::Worker } else { DropReason::Replayed });
    }
    let inner_len = strip::<I>(ctx, job, front, config.padding)?;
    let ip = at::<I>(ctx, ETH_LEN).ok_or(DropReason::Internal)?;
    // SAFETY: lies within the frame.
    let ip = unsafe { &mut *ip };
    mss::clamp(ctx, ip, job.tunnel);
    let needs_stack = ip.hop_limit() <= 1 || ip.concerns_routers();
    let key = FlowKey::inner(job.tunnel, job.ingress_ifindex, ip);
    let key = flows::keep::<I>(&key).ok_or(DropReason::Internal)?;
    let epoch = flows::epoch();
    let known = if needs_stack { None } else { flows::find(key, epoch, inner_len) };
    // What is noted was found allowed. What is allowed for what it quotes is not noted: the next one may quote something else.
    let mut is_noted = known.is_none();
    if known.is_none() {
        let from = I::lookup(ip.source());
        let to = I::lookup(ip.destination());
        if from.kind != RouteKind::REMOTE || from.tunnel != job.tunnel || to.kind != RouteKind::LOCAL {
            is_noted = false;
            if !icmp::answers_outbound(ctx, ip, from, job.tunnel) {
                return Err(DropReason::SelectorMismatch);
            }
        }
    }
    let class = ip.traffic_class();
    if ecn::is_alarming(class, job.outer_ecn as u8) {
        let [source, _] = ip.words();
        // SAFETY: the caller vouches for `sa`.
        event::raise_limited(EventKind::AlarmingEcn, job.tunnel, unsafe { (*sa).spi }, source);
    }
    let Some(ecn) = ecn::decapsulate(class, job.outer_ecn as u8) else { return Err(DropReason::EcnDrop) };
    let verdict = budget::admit(job.tunnel, Direction::Inbound, inner_len, ecn);
    if verdict == Verdict::Drop {
        return Err(DropReason::BudgetExceeded);
    }
    let ecn = if verdict == Verdict::Mark { ecn::CE } else { ecn };
    if class & 3 != ecn {
        ip.set_traffic_class(class & 0xfc | ecn);
    }
    let next_hop = match known {
        Some(way) => NextHop::Direct(way),
        None if needs_stack => NextHop::Stack,
        None => route::next_hop(ctx, ip, job.ingress_ifindex),
    };
    let way = match next_hop {
        NextHop::Direct(way) => {
            if known.is_none() && route::leaves_the_vnet(way.ifindex) {
                return Err(DropReason::NoRoute);
            }
            if is_noted {
                flows::note(key, epoch, &way);
            }
            ip.decrement_hop_limit();
            way
        }
        NextHop::Stack => route::into_stack(config),
        NextHop::Unreachable => return Err(DropReason::NoRoute),
    };
    let ethernet_at = at::<Ethernet>(ctx, 0).ok_or(DropReason::Internal)?;
    // SAFETY: lies within the frame; the counters are per CPU; the caller vouches for `sa`.
    unsafe {
        *ethernet_at = way.ethernet::<I>();
        sa::count(sa, job.tunnel, inner_len);
        if let Some(counters) = COUNTERS.get_ptr_mut(job.tunnel) {
            (*counters).in_packets += 1;
            (*counters).in_bytes += u64::from(inner_len);
        }
    }
    Ok(way.ifindex)
}

/// Removes everything around the inner packet but room for an Ethernet header, and `padding` bytes behind it. Returns the length of
/// the inner packet.
#[inline(always)]
fn strip<I: Family>(ctx: &XdpContext, job: &mut Job, front: u32, padding: u32) -> Result<u32, DropReason> {
    let surplus = front + job.offset - ETH_LEN as u32;
    // SAFETY: helper that checks its arguments; every packet pointer is fetched anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, surplus.cast_signed()) } != 0 {
        return Err(DropReason::Internal);
    }
    job.offset = ETH_LEN as u32;
    let trailer_at = ETH_LEN + job.length as usize - ESP_TRAILER_LEN;
    let trailer = at::<[u8; ESP_TRAILER_LEN]>(ctx, trailer_at & MAX_FRAME).ok_or(DropReason::Malformed)?;
    // SAFETY: lies within the frame.
    let [pad_length, next_header] = unsafe { *trailer };
    trailer::check_next_header::<I>(next_header)?;
    let ip = at::<I>(ctx, ETH_LEN).ok_or(DropReason::Malformed)?;
    // SAFETY: lies within the frame.
    let inner_len = trailer::inner_len(unsafe { &*ip }, pad_length, job.length)?;
    let surplus = frame_len(ctx).cast_signed() - (ETH_LEN as u32 + inner_len + padding).cast_signed();
    // SAFETY: as above.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, -surplus) } != 0 {
        return Err(DropReason::Internal);
    }
    Ok(inner_len)
}

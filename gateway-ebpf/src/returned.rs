//! What the workers hand back: opened packets whose way they do not know, and questions; and what the agent found in fragments.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::ip::to_words;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::ETH_LEN;
use gateway_common::{
    CapturePoint, DropReason, ETHERTYPE_RETURN, Ethernet, FlowKey, GatewayConfig, Handoff, Ip, Ipv4, Ipv6,
    Job, ProgramSlot, ReturnHeader, ReturnKind, RouteKind, Sa,
};

use crate::drop::drop;
use crate::maps::{CONFIG, JOB, LANES, PROGRAMS, SAS};
use crate::packet::at;
use crate::route::{Family, NextHop};
use crate::{atomic, capture, decap, event, flows, route};

/// Bytes before the opened frame, or before the inner header of a question.
const FRONT: usize = ReturnHeader::LEN + Handoff::LEN;

/// Attached to `vgw0` itself. What the kernel must see passes: frames that XDP redirected to the peer of `vgw0`.
#[xdp]
pub(crate) fn returned(ctx: XdpContext) -> u32 {
    let Some(ethernet) = at::<Ethernet>(&ctx, 0) else { return XDP_PASS };
    // SAFETY: lies within the frame, and any alignment will do.
    if unsafe { (*ethernet).ethertype } != ETHERTYPE_RETURN.to_be_bytes() {
        return XDP_PASS;
    }
    treat::<Ipv4>(&ctx)
}

/// Goes on where `returned` found an inner IPv6 packet.
#[xdp]
pub(crate) fn returned6(ctx: XdpContext) -> u32 {
    treat::<Ipv6>(&ctx)
}

#[inline(always)]
fn treat<I: Family>(ctx: &XdpContext) -> u32 {
    let Some(header) = at::<ReturnHeader>(ctx, 0) else {
        return capture::after(ctx, CapturePoint::DroppedReturned, 0, drop(0, DropReason::Malformed));
    };
    // SAFETY: lies within the frame, which has no alignment.
    let header = unsafe { header.read_unaligned() };
    if !I::IS_V6 && header.kind == ReturnKind::Reassembled as u32 {
        // SAFETY: nothing with a destructor is alive.
        unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::Reassembled as u32) };
        return capture::after(ctx, CapturePoint::DroppedReturned, 0, drop(0, DropReason::Internal));
    }
    let verdict = answer::<I>(ctx, header.kind);
    let verdict = capture::after(ctx, CapturePoint::DroppedReturned, opened_at(), verdict);
    count(header.lane);
    verdict
}

/// Where the packet starts in a frame that was dropped.
#[inline(always)]
fn opened_at() -> u32 {
    match JOB.get(0) {
        Some(job) if job.offset == ETH_LEN as u32 => job.offset,
        Some(job) => FRONT as u32 + job.offset,
        None => 0,
    }
}

/// Counts a frame of the worker of `lane` that is done.
#[inline(always)]
fn count(lane: u32) {
    if let Some(lane) = LANES.get_ptr_mut(lane) {
        // SAFETY: `lane` points into the map.
        unsafe { atomic::fetch_add(&raw mut (*lane).returned, 1) };
    }
}

/// Does what the worker asks for, if the packet it concerns is of version `I`, or there is none; else the other program does.
#[inline(always)]
fn answer<I: Family>(ctx: &XdpContext, kind: u32) -> u32 {
    let Some(handoff) = at::<Handoff>(ctx, ReturnHeader::LEN) else { return drop(0, DropReason::Malformed) };
    let (Some(job), Some(config)) = (JOB.get_ptr_mut(0), CONFIG.get(0)) else {
        return drop(0, DropReason::Internal);
    };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let job = unsafe { &mut *job };
    // SAFETY: lies within the frame, which has no alignment.
    let spi = unsafe {
        *job = (&raw const (*handoff).job).read_unaligned();
        (&raw const (*handoff).spi).read_unaligned()
    };
    let Some(sa) = SAS.get_ptr_mut(job.sa) else { return drop(0, DropReason::Malformed) };
    // SAFETY: `sa` points into the map.
    let (installed, tunnel, remote_addr) = unsafe { ((*sa).spi, (*sa).tunnel, to_words(&(*sa).remote_addr)) };
    if spi == [0; 4] || spi != installed {
        return drop(0, DropReason::Worker);
    }
    job.tunnel = tunnel;
    match ReturnKind::from_number(kind) {
        // SAFETY: `sa` points into the map.
        Some(ReturnKind::Deliver) => unsafe { deliver::<I>(ctx, config, job, sa) },
        Some(ReturnKind::Resolve) => resolve::<I>(ctx, job),
        Some(ReturnKind::AuthenticationFailed) => {
            event::raise_limited(gateway_common::EventKind::AuthenticationFailed, tunnel, spi, remote_addr);
            XDP_DROP
        }
        Some(ReturnKind::Reassembled) | None => drop(tunnel, DropReason::Malformed),
    }
}

/// Goes on in program `returned6`.
#[inline(always)]
fn as_ipv6(ctx: &XdpContext, job: &Job) -> u32 {
    // SAFETY: nothing with a destructor is alive.
    unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::Returned6 as u32) };
    drop(job.tunnel, DropReason::Internal)
}

/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
unsafe fn deliver<I: Family>(ctx: &XdpContext, config: &GatewayConfig, job: &mut Job, sa: *mut Sa) -> u32 {
    let (offset, length) = (job.offset as usize, job.length as usize);
    if job.next != ProgramSlot::DecapDone as u32
        || !(ETH_LEN + Ipv4::LEN..=MAX_FRAME).contains(&offset)
        || !(4..=MAX_FRAME).contains(&length)
    {
        return drop(job.tunnel, DropReason::Malformed);
    }
    if !I::IS_V6 && decap::holds_ipv6(ctx, job, FRONT) {
        return as_ipv6(ctx, job);
    }
    // SAFETY: the caller vouches for `sa`.
    match unsafe { decap::forward::<I>(ctx, config, job, sa, FRONT as u32) } {
        Ok(ifindex) => {
            capture::frame(ctx, CapturePoint::InnerInbound, job.tunnel);
            route::redirect(ifindex)
        }
        Err(reason) => drop(job.tunnel, reason),
    }
}

/// Notes the way of the inner header, or takes back what was noted if it is no way for a worker any more.
#[inline(always)]
fn resolve<I: Family>(ctx: &XdpContext, job: &Job) -> u32 {
    let epoch = flows::epoch();
    let Some(ip) = at::<I>(ctx, FRONT) else { return drop(job.tunnel, DropReason::Malformed) };
    // SAFETY: lies within the frame.
    let ip = unsafe { &*ip };
    if !I::IS_V6 && !ip.has_right_version() {
        return as_ipv6(ctx, job);
    }
    let key = FlowKey::inner(job.tunnel, job.ingress_ifindex, ip);
    let Some(key) = flows::keep::<I>(&key) else { return drop(job.tunnel, DropReason::Internal) };
    let from = I::lookup(ip.source());
    let to = I::lookup(ip.destination());
    let belongs = from.kind == RouteKind::REMOTE && from.tunnel == job.tunnel && to.kind == RouteKind::LOCAL;
    if belongs
        && let NextHop::Direct(way) = route::next_hop(ctx, ip, job.ingress_ifindex)
        && !route::leaves_the_vnet(way.ifindex)
    {
        flows::note(key, epoch, &way);
    } else {
        flows::forget(key);
    }
    XDP_DROP
}

//! TCP through a tunnel: neither end sends segments that do not fit, though no ICMP error told them.

use crate::support::{number, with_engine};
use anyhow::{Result, ensure};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use testbed::traffic::{StreamSink, send_stream};
use testbed::{Family, GatewayOptions, Lab, Site, scenario_in, skip_unless_capable};

/// TCP and IP header without options.
fn headers(family: Family) -> u64 {
    match family {
        Family::V4 => 40,
        Family::V6 => 60,
    }
}

/// The largest segment that an end of a connection sends.
fn segment_size(stream: &TcpStream) -> Result<u64> {
    let mut size: libc::c_int = 0;
    let mut len = size_of_val(&size) as libc::socklen_t;
    // SAFETY: the option is an int; the pointers describe `size`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw mut size).cast(),
            &raw mut len,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(size.try_into()?)
}

/// Segment sizes at both ends of a new connection: of the end that called, and of the one that was called.
fn connect(near: &Site, far: &Site, family: Family) -> Result<(u64, u64)> {
    let address = far.host_address_of(family);
    let listener = far.host.enter(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    let caller = near.host.enter(|| TcpStream::connect_timeout(&target, Duration::from_secs(10)))??;
    let (called, _) = listener.accept()?;
    Ok((segment_size(&caller)?, segment_size(&called)?))
}

fn with_clamp(clamp: Option<&str>, engine: &str, check: impl Fn(&Lab, u64) -> Result<()>) {
    scenario_in(
        &format!("segments fit the tunnel (engine {engine}, --mss-clamp {clamp:?})"),
        |lab| lab.sites(2).dual_stack(),
        |lab| {
            let options = GatewayOptions { mss_clamp: clamp.map(ToOwned::to_owned), ..with_engine(engine) };
            let agents = lab.establish_over(Family::V4, &options)?;
            for site in lab.sites() {
                // Their option would take room in each segment.
                site.host.sysctl("net/ipv4/tcp_timestamps", "0")?;
            }
            let mtu = number(&agents[0].vgw().connection("VNet2")?, "mtu")?;
            check(lab, mtu)
        },
    );
}

#[test]
fn both_ends_of_a_connection_send_segments_that_fit_the_tunnel() {
    if skip_unless_capable("both_ends_of_a_connection_send_segments_that_fit_the_tunnel") {
        return;
    }
    for engine in ["kernel", "xsk"] {
        with_clamp(None, engine, |lab, mtu| {
            for family in Family::ALL {
                let fits = mtu - headers(family);
                let sizes = connect(lab.site(1), lab.site(2), family)?;
                ensure!(sizes == (fits, fits), "{family:?}: {sizes:?} with a tunnel of {mtu} bytes");
                let sink = StreamSink::start(&lab.site(2).host, lab.site(2).host_address_of(family))?;
                let sent = send_stream(&lab.site(1).host, sink.address(), Duration::from_secs(1))?;
                ensure!(sink.finish()? == sent && sent > 0, "{sent} bytes were sent");
            }
            Ok(())
        });
    }
}

#[test]
fn the_limit_may_be_lower_or_left_out() {
    if skip_unless_capable("the_limit_may_be_lower_or_left_out") {
        return;
    }
    with_clamp(Some("1000"), "kernel", |lab, _| {
        let sizes = connect(lab.site(1), lab.site(2), Family::V4)?;
        ensure!(sizes == (1000, 1000), "{sizes:?}");
        Ok(())
    });
    with_clamp(Some("off"), "kernel", |lab, _| {
        let sizes = connect(lab.site(1), lab.site(2), Family::V4)?;
        ensure!(sizes == (1460, 1460), "{sizes:?}");
        Ok(())
    });
}

//! Kernel routes of prefixes, many in one request.
//!
//! A netlink socket takes any number of messages in one `send`. The kernel carries them out one after the other before the call
//! returns, and says something only about those that fail and those that ask for it, so of each batch only the last one asks
//! (netlink(7)). One system call for hundreds of routes costs a fraction of a round trip for each.

use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow};
use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::super::ipv6;
use super::super::netdev::ROUTE_PROTOCOL;

/// Bit of `RTAX_LOCK` that locks `RTAX_MTU`: path MTU discovery must not change it.
const LOCK_MTU: u32 = 1 << 2;

/// Messages in one request. If all of them fail, the answers still fit the receive buffer of a socket by default.
const BATCH: usize = 100;

/// Largest answer that is of interest: a header, an error code and the header that it is about.
const ANSWER_BYTES: usize = 4096;

/// Where the routes of prefixes behind tunnels lead.
#[derive(Clone, Debug)]
pub(in crate::datapath) struct Exit {
    /// Name of the interface.
    pub(in crate::datapath) name: String,
    /// Its index.
    pub(in crate::datapath) index: u32,
    /// MTU of the routes, locked.
    pub(in crate::datapath) mtu: u32,
    /// Source addresses of what the gateway itself sends there: at most one of each family.
    pub(in crate::datapath) sources: Vec<IpAddr>,
    /// Whether IPv6 packets can be for this gateway: the VNet has IPv6 prefixes, or peers are reached over IPv6.
    pub(in crate::datapath) with_ipv6: bool,
}

/// What to do with the routes of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make the prefix unreachable wherever no better route exists, so that packets for it never leave in the clear while its
    /// route to the tunnel interface is missing. No error if it is so already.
    Close,
    /// Take [`Self::Close`] back; if that was done already it is no error.
    Open,
    /// Route the prefix to the exit with a locked MTU. An existing route is left alone, which is an error.
    Add,
    /// Remove a route of [`Self::Add`]; one that is gone already is no error.
    Remove,
}

/// A connection to the kernel's routing tables in one network namespace.
pub(super) struct KernelRoutes {
    socket: Socket,
    exit: Exit,
    sequence: u32,
    /// Whether the kernel could route IPv6 packets anywhere.
    has_ipv6: bool,
}

impl KernelRoutes {
    /// Opens the connection in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel refused a socket.
    pub(super) fn open(exit: Exit) -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Answers need not repeat the request.
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().context("cannot open a netlink socket")?;
        Ok(Self { socket, exit, sequence: 0, has_ipv6: ipv6::is_there() })
    }

    /// Does the same for each of `prefixes` that is routed at all, in their order. The outcomes are in that order, too; an error is of its prefix
    /// alone, or of a whole batch when the socket fails.
    pub(super) fn apply(&mut self, action: Action, prefixes: &[IpNet]) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(prefixes.len());
        for batch in prefixes.chunks(BATCH) {
            match self.request(action, batch) {
                Ok(codes) => {
                    let judged = batch.iter().zip(codes);
                    outcomes.extend(judged.map(|(prefix, code)| self.judge(action, *prefix, code)));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    outcomes.extend(
                        batch.iter().map(|prefix| Err(anyhow!("{}: {error}", self.failure(action, *prefix)))),
                    );
                }
            }
        }
        outcomes
    }

    /// Sends one batch and waits for its answers: for each prefix 0 or an error number of errno(3).
    fn request(&mut self, action: Action, prefixes: &[IpNet]) -> Result<Vec<i32>> {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(prefixes.len() as u32);
        let mut codes = vec![0; prefixes.len()];
        let is_routed = |(_, prefix): &(usize, &IpNet)| self.is_routed(action, **prefix);
        let routed: Vec<_> = prefixes.iter().enumerate().filter(is_routed).collect();
        let Some((last, _)) = routed.last().copied() else { return Ok(codes) };
        let mut buffer = Vec::new();
        for (number, prefix) in routed {
            let mut message = NetlinkMessage::from(self.message(action, *prefix)?);
            message.header.flags = NLM_F_REQUEST
                | match action {
                    Action::Close => NLM_F_CREATE | NLM_F_REPLACE,
                    Action::Add => NLM_F_CREATE | NLM_F_EXCL,
                    Action::Open | Action::Remove => 0,
                };
            if number == last {
                message.header.flags |= NLM_F_ACK;
            }
            message.header.sequence_number = first.wrapping_add(number as u32);
            message.finalize();
            let start = buffer.len();
            // Messages begin at multiples of four bytes.
            buffer.resize((start + message.buffer_len()).next_multiple_of(4), 0);
            message.serialize(&mut buffer[start..]);
        }
        retry(|| self.socket.send(&buffer, 0))?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            answer.clear();
            retry(|| self.socket.recv(&mut answer, 0))?;
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
            let number = message.header.sequence_number.wrapping_sub(first) as usize;
            let NetlinkPayload::Error(error) = message.payload else { continue };
            // What is not of this batch is of one that was given up.
            let Some(code) = codes.get_mut(number) else { continue };
            *code = error.raw_code().abs();
            if number == last {
                return Ok(codes);
            }
        }
    }

    /// Whether the kernel has routes of ours for `prefix` that `action` is about.
    fn is_routed(&self, action: Action, prefix: IpNet) -> bool {
        prefix.addr().is_ipv4()
            || match action {
                Action::Close | Action::Open => self.has_ipv6,
                // Without IPv6 of its own the VNet has no packets for an IPv6 prefix.
                Action::Add | Action::Remove => self.exit.with_ipv6,
            }
    }

    fn message(&self, action: Action, prefix: IpNet) -> Result<RouteNetlinkMessage> {
        let builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.network(), prefix.prefix_len())
            .with_context(|| format!("{prefix} cannot be routed"))?
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
        // The closing route loses against every other.
        let closing = |builder: RouteMessageBuilder<IpAddr>| {
            builder.kind(RouteType::Unreachable).priority(u32::MAX).build()
        };
        let leading = |builder: RouteMessageBuilder<IpAddr>| {
            builder.output_interface(self.exit.index).scope(RouteScope::Link).build()
        };
        Ok(match action {
            Action::Close => RouteNetlinkMessage::NewRoute(closing(builder)),
            Action::Open => RouteNetlinkMessage::DelRoute(closing(builder)),
            Action::Add => RouteNetlinkMessage::NewRoute(self.with_metrics(prefix, leading(builder))),
            Action::Remove => RouteNetlinkMessage::DelRoute(leading(builder)),
        })
    }

    fn with_metrics(&self, prefix: IpNet, mut message: RouteMessage) -> RouteMessage {
        let is_alike = |source: &&IpAddr| source.is_ipv4() == prefix.addr().is_ipv4();
        if let Some(source) = self.exit.sources.iter().find(is_alike).copied() {
            message.attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        let metrics = vec![RouteMetric::Lock(LOCK_MTU), RouteMetric::Mtu(self.exit.mtu)];
        message.attributes.push(RouteAttribute::Metrics(metrics));
        message
    }

    fn judge(&self, action: Action, prefix: IpNet, code: i32) -> Result<()> {
        match (action, code) {
            (_, 0) | (Action::Open | Action::Remove, libc::ESRCH) => Ok(()),
            (Action::Add, libc::EEXIST) => {
                Err(anyhow!("{}: the prefix has another route already", self.failure(action, prefix)))
            }
            _ => Err(io::Error::from_raw_os_error(code)).with_context(|| self.failure(action, prefix)),
        }
    }

    fn failure(&self, action: Action, prefix: IpNet) -> String {
        match action {
            Action::Close => format!("cannot make {prefix} unreachable without its tunnel"),
            Action::Open => format!("cannot remove the unreachable route of {prefix}"),
            Action::Add => format!("cannot route {prefix} to {}", self.exit.name),
            Action::Remove => format!("cannot remove the route of {prefix} to {}", self.exit.name),
        }
    }
}

/// Signals interrupt.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

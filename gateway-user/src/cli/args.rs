//! The command line's grammar.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ike::{EspProposal, FRAGMENT_SIZES, IkeProposal};

use super::protocol::Protocol;
use super::size::Size;
use super::top::SortKey;
use crate::agent::Bandwidth;
use crate::api::DEFAULT_RUN_DIR;
use crate::api::capture::CaptureRequest;
use crate::api::trace::{TraceFrom, TraceRequest};
use crate::datapath::CpuList;
use crate::model::{
    BandwidthDirection, CHILD_LIFETIME, CHILD_SAS, DPD, EngineChoice, GatewayAddress, IKE_LIFETIME, MssClamp,
};
use crate::worker::WorkerConfig;

/// VPN gateway: site-to-site tunnels between virtual networks.
#[derive(Debug, Parser)]
#[command(name = "vgw", version, propagate_version = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Directory of the agents' sockets and locks.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub(super) run_dir: PathBuf,
    /// Socket of the agent to talk to, instead of the one found in the run directory.
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway of one VNet until SIGTERM or SIGINT.
    Agent(Box<AgentArgs>),
    /// A worker of an agent, which starts it.
    #[command(hide = true)]
    Worker,
    /// Show state and counters of a gateway and its connections.
    Status(Read),
    /// Show recent state changes.
    Events(Read),
    /// Commands on the gateway.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Commands on the VNets of the network configuration.
    #[command(subcommand)]
    Vnet(VnetCommand),
    /// Commands on the local network sites of the network configuration.
    #[command(subcommand)]
    LocalNetwork(LocalNetworkCommand),
    /// Commands on the connections of a gateway.
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Commands on the network configuration as a whole.
    #[command(subcommand)]
    Netcfg(NetcfgCommand),
    /// Show rates, drops, SAs, budget and workers of a gateway as they are just now. On a terminal until q is pressed; letters sort.
    Top(TopArgs),
    /// Write packets of a connection, or of all, to a pcapng file, for Wireshark. Meanwhile these packets take engine kernel.
    Capture(CaptureArgs),
    /// Show what the gateway would do with a packet, rule by rule, and with which SA and next hop. Nothing is sent.
    Trace(TraceArgs),
}

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// VNet of the gateway; may be left out while only one agent runs here.
    pub(super) vnet: Option<String>,
    /// Time between two pictures, and over which rates are means.
    #[arg(long, short, value_name = "SECONDS", default_value = "2", value_parser = interval)]
    pub(super) interval: f64,
    /// What connections are sorted by.
    #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Name)]
    pub(super) sort: SortKey,
    /// One picture, after the first interval.
    #[arg(long)]
    pub(super) once: bool,
    /// Form of the output; json for one line of JSON for each picture.
    #[command(flatten)]
    pub(super) format: Format,
}

/// Which packets of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CaptureSide {
    /// Packets of the VNets, before they are sealed and after they are opened.
    Inner,
    /// Sealed packets.
    Outer,
    Both,
    /// Neither: for dropped packets only.
    None,
}

#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// VNet of the gateway.
    pub(super) vnet: String,
    /// Connection, named by the local network site at its far end; all if left out.
    pub(super) connection: Option<String>,
    /// The file, which only its owner may read; - for standard output, as in `vgw capture VNet1 -w - | tshark -r -`.
    #[arg(long, short, value_name = "FILE")]
    pub(super) write: PathBuf,
    /// Which packets.
    #[arg(long, value_enum, value_name = "SIDE", default_value_t = CaptureSide::Both)]
    pub(super) side: CaptureSide,
    /// Packets that are dropped, too, those of no connection included; each has the reason as its comment.
    #[arg(long)]
    pub(super) dropped: bool,
    /// Only packets from or to this address; may be repeated, then any of them. Filters look at the headers of the packet as it is
    /// written, those of sealed packets at the gateways' addresses; one of each kind must match.
    #[arg(long, value_name = "ADDR")]
    pub(super) host: Vec<IpAddr>,
    /// Only packets from or to this prefix; may be repeated, and stands beside --host.
    #[arg(long, value_name = "PREFIX")]
    pub(super) net: Vec<ipnet::IpNet>,
    /// Only packets from or to this port; may be repeated.
    #[arg(long, value_name = "PORT")]
    pub(super) port: Vec<u16>,
    /// Only packets of this protocol, by name or number; may be repeated.
    #[arg(long, value_name = "PROTOCOL")]
    pub(super) proto: Vec<Protocol>,
    /// Bytes kept of each frame, at most.
    #[arg(long, short, value_name = "BYTES", default_value_t = CaptureRequest::WHOLE,
          value_parser = clap::value_parser!(u32).range(i64::from(CaptureRequest::SHORTEST)..=i64::from(CaptureRequest::WHOLE)))]
    pub(super) snaplen: u32,
    /// End after this time.
    #[arg(long, value_name = "SECONDS")]
    pub(super) duration: Option<u64>,
    /// End after so many packets.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End before the file is larger; k, m and g are understood.
    #[arg(long, value_name = "BYTES")]
    pub(super) size: Option<Size>,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// VNet of the gateway.
    pub(super) vnet: String,
    /// Source address of the packet.
    pub(super) source: IpAddr,
    /// Destination address of the packet.
    pub(super) destination: IpAddr,
    /// Protocol, by name or number; if left out, the ICMP of the packet's IP version.
    pub(super) protocol: Option<Protocol>,
    /// Destination port.
    pub(super) port: Option<u16>,
    /// Where the packet comes from: lan, wan, host (this machine), or tunnel:CONNECTION, named by its site. By default from the tunnel
    /// to the site that the source belongs to, else from the LAN.
    #[arg(long, value_name = "ORIGIN")]
    pub(super) from: Option<TraceFrom>,
    /// Length of the packet with its IP header, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = TraceRequest::SIZE, value_parser = clap::value_parser!(u16).range(20..))]
    pub(super) size: u16,
    /// Time to live as the packet arrives.
    #[arg(long, value_name = "N", default_value_t = TraceRequest::TTL)]
    pub(super) ttl: u8,
    /// The packet must not be fragmented.
    #[arg(long)]
    pub(super) df: bool,
    /// The packet is an ICMP error about one from SOURCE to DESTINATION.
    #[arg(long, num_args = 2, value_names = ["SOURCE", "DESTINATION"])]
    pub(super) quotes: Option<Vec<IpAddr>>,
    #[command(flatten)]
    pub(super) format: Format,
}

/// How frames go to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HandOver {
    Auto,
    Socket,
}

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// VNet whose gateway to run.
    #[arg(long, value_name = "NAME")]
    pub(super) vnet: String,
    /// Network configuration. Replaces what is stored, with every change since made by `vgw netcfg apply` or `vgw
    /// local-network set`. To be left out when an earlier run stored one that is to stay.
    #[arg(long, value_name = "FILE")]
    pub(super) netcfg: Option<PathBuf>,
    /// Interface towards the peers; its first global IPv4 and its first global IPv6 address are the gateway's.
    #[arg(long, value_name = "IF")]
    pub(super) wan: String,
    /// Address of the gateway, in place of those of the interface; may be given once for IPv4 and once for IPv6. A peer is
    /// reached from the address of its family.
    #[arg(long, value_name = "ADDR")]
    pub(super) wan_address: Vec<IpAddr>,
    /// Interface towards the VNet; may be repeated.
    #[arg(long, value_name = "IF", required = true)]
    pub(super) lan: Vec<String>,
    /// Budget that all tunnels share, in bit/s or with kbit, mbit, gbit. Without it there is no limit. What `vgw gateway
    /// set-bandwidth` has set stands above it.
    #[arg(long, value_name = "RATE")]
    pub(super) bandwidth: Option<Bandwidth>,
    /// Whether the budget is for both directions together (shared) or each direction has as much for itself (separate).
    #[arg(long, value_name = "HOW", default_value_t = BandwidthDirection::Shared)]
    pub(super) bandwidth_direction: BandwidthDirection,
    /// How TCP connections through tunnels are kept from segments that do not fit: the maximum segment size that their ends announce is
    /// lowered to what the tunnel carries (auto), to N bytes if that is less, or not at all (off).
    #[arg(long, value_name = "HOW", default_value_t = MssClamp::Auto)]
    pub(super) mss_clamp: MssClamp,
    /// What seals and opens packets: kernel (the XDP programs), xsk (worker processes with AF_XDP sockets, faster where the CPU
    /// has AES instructions; the gateway starts only if all workers come up), or auto (xsk where they come up, else kernel).
    #[arg(long, value_name = "ENGINE", default_value_t = EngineChoice::Auto)]
    pub(super) engine: EngineChoice,
    /// Workers of engine xsk. By default as many as there are CPUs, at most as many as every interface has queues.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) workers: Option<u32>,
    /// CPUs that the workers are bound to, in turn, such as 0,2-3. By default the last CPU, the one before it, and so on.
    #[arg(long, value_name = "LIST")]
    pub(super) worker_cpus: Option<CpuList>,
    /// How frames go to the workers: socket (AF_XDP sockets alone), or auto (where sockets would copy, XDP programs copy frames to
    /// the workers, and finished frames back in their place).
    #[arg(long, value_name = "WAY", value_enum, default_value_t = HandOver::Auto)]
    pub(super) hand_over: HandOver,
    /// Let the workers never sleep: each takes a whole CPU.
    #[arg(long)]
    pub(super) busy_poll: bool,
    /// Frames that a worker has the kernel send per call, at most.
    #[arg(long, value_name = "N", default_value_t = WorkerConfig::TX_BUDGET, value_parser = clap::value_parser!(u32).range(32..=1024))]
    pub(super) tx_budget: u32,
    /// Frames that may be on their way to a worker at once, per receive queue: a power of two. What comes beyond that takes
    /// engine kernel.
    #[arg(long, value_name = "N", default_value_t = WorkerConfig::RING_SIZE, value_parser = ring_size)]
    pub(super) ring_size: u32,
    /// Directory of keys and configuration that outlive a restart.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/vgw")]
    pub(super) state_dir: PathBuf,
    /// Directory on a BPF file system for the gateway's maps and programs.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/vgw")]
    pub(super) pin_root: PathBuf,
    /// Most connections of the gateway. Each takes 49 KiB of the kernel's memory, whether it exists or not (88 KiB where there are
    /// no more than 16).
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(super) max_connections: u32,
    /// Age at which an IKE SA is rekeyed. By default what the gateway's profile says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<{ IKE_LIFETIME.0 }, { IKE_LIFETIME.1 }>)]
    pub(super) ike_lifetime: Option<Duration>,
    /// Age at which a Child SA is rekeyed. By default what the gateway's profile says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<{ CHILD_LIFETIME.0 }, { CHILD_LIFETIME.1 }>)]
    pub(super) child_lifetime: Option<Duration>,
    /// Idle time after which a peer is asked whether it lives. By default 45.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::<{ DPD.0 }, { DPD.1 }>)]
    pub(super) dpd: Option<Duration>,
    /// IKE proposal such as aes256gcm16-prfsha384-x25519, in place of the profile's; may be repeated, best first.
    #[arg(long, value_name = "PROPOSAL")]
    pub(super) ike_proposal: Vec<IkeProposal>,
    /// ESP proposal such as chacha20poly1305, in place of the profile's; may be repeated, best first.
    #[arg(long, value_name = "PROPOSAL")]
    pub(super) esp_proposal: Vec<EspProposal>,
    /// Certificate of the gateway, followed by those of the authorities above it; PEM. Read again on SIGHUP, like the
    /// other files of certificates.
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(super) certificate: Option<PathBuf>,
    /// Private key of the certificate; PEM, mode 0600.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(super) private_key: Option<PathBuf>,
    /// Certificates of authorities one of which must have issued a peer's; PEM; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Vec<PathBuf>,
    /// Revocation lists of these authorities; PEM; may be repeated.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub(super) crl: Vec<PathBuf>,
    /// For debugging only: write the keys of all SAs to this directory, in tables that Wireshark decrypts captures with.
    /// Whoever reads them reads the traffic.
    #[arg(long, value_name = "DIR")]
    pub(super) key_log: Option<PathBuf>,
    /// Largest IP packet that carries an IKE message whole; longer messages are sent in fragments. By default 1280.
    #[arg(long, value_name = "BYTES", value_parser = fragment_size)]
    pub(super) fragment_size: Option<usize>,
    /// So many half-open IKE SAs, and others must first show by a cookie that their address is theirs. By default 32; 0
    /// for always.
    #[arg(long, value_name = "N")]
    pub(super) cookie_threshold: Option<usize>,
    /// Child SAs for single receive queues of each connection, beside the one for everything, with peers that want them too
    /// (RFC 9611); so that the SAs of one tunnel are used by several processors. `vgw connection configure` may set less, not
    /// more. Each adds as much of the kernel's memory to every connection as the one for everything takes. 1 for none.
    #[arg(long, value_name = "N", default_value_t = CHILD_SAS.0,
          value_parser = clap::value_parser!(u16).range(i64::from(CHILD_SAS.0)..=i64::from(CHILD_SAS.1)))]
    pub(super) child_sas: u16,
    /// Put ESP into UDP even where no NAT was found.
    #[arg(long)]
    pub(super) force_udp_encapsulation: bool,
    /// Send each inner flow's ESP in UDP from a source port of its own, so that network cards and routers which look at ports
    /// spread one tunnel over queues and paths. Only for peers that take ESP from any port, such as gateways of this program, and
    /// are not behind a NAT. Has no effect while this gateway is behind one.
    #[arg(long, requires = "force_udp_encapsulation")]
    pub(super) udp_port_entropy: bool,
}

/// Options of commands that read from one gateway.
#[derive(Debug, Args)]
pub(super) struct Read {
    /// VNet of the gateway; may be left out while only one agent runs here.
    #[arg(long, value_name = "NAME")]
    pub(super) vnet: Option<String>,
    #[command(flatten)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Format {
    /// Form of the output.
    #[arg(long, short, value_name = "FORM", default_value = "table")]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Which gateway's agent a command goes to.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// VNet of the gateway; may be left out while only one agent runs here.
    #[arg(long, value_name = "NAME")]
    pub(super) vnet: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum GatewayCommand {
    /// Show what the gateway is made of.
    Show(Read),
    /// Change the bandwidth that all tunnels share, at once and for later starts.
    SetBandwidth {
        /// VNet of the gateway.
        vnet: String,
        /// In bit/s or with kbit, mbit, gbit; none for no limit; default for what the agent's options say.
        #[arg(value_name = "RATE|none|default")]
        rate: String,
        /// Whether it is for both directions together (shared) or for each (separate). By default as it is.
        #[arg(long, value_name = "HOW")]
        direction: Option<BandwidthDirection>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum VnetCommand {
    /// List the VNets.
    List(Read),
}

#[derive(Debug, Subcommand)]
pub(super) enum LocalNetworkCommand {
    /// List the local network sites.
    List(Read),
    /// Change a local network site in the stored network configuration.
    Set {
        /// Name of the site.
        name: String,
        /// Outer address of its gateway, IPv4 or IPv6, or its host name.
        #[arg(long, value_name = "ADDR|NAME")]
        gateway_address: GatewayAddress,
        #[command(flatten)]
        target: Target,
    },
}

/// Names a connection.
#[derive(Debug, Args)]
pub(super) struct ConnectionName {
    /// VNet of the gateway.
    pub(super) vnet: String,
    /// Local network site at the far end.
    pub(super) site: String,
}

/// What `vgw connection configure` changes. The agent checks the values.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Parameters {
    /// Which end begins: default (either), initiator (this end only), responder (the peer only) or on-demand (this end
    /// when a packet needs the tunnel).
    #[arg(long, value_name = "MODE")]
    pub(super) mode: Option<String>,
    /// How the ends prove who they are: psk (the shared key) or certificate. The latter needs --remote-id.
    #[arg(long, value_name = "METHOD")]
    pub(super) auth: Option<String>,
    /// Who this end says it is: an address, a domain name, an e-mail address or a distinguished name. By default the
    /// gateway's address, or with certificates the name in the gateway's.
    #[arg(long, value_name = "ID")]
    pub(super) local_id: Option<String>,
    /// Who the peer must be, in the same forms. By default the shared key alone decides.
    #[arg(long, value_name = "ID")]
    pub(super) remote_id: Option<String>,
    /// IKE proposal such as aes256gcm16-prfsha384-x25519; may be repeated, best first.
    #[arg(long, value_name = "PROPOSAL")]
    pub(super) ike_proposal: Vec<String>,
    /// ESP proposal such as chacha20poly1305; may be repeated, best first.
    #[arg(long, value_name = "PROPOSAL")]
    pub(super) esp_proposal: Vec<String>,
    /// Which packets the connection is for: any (routes decide), or prefixes, those of the VNet and of the site.
    #[arg(long, value_name = "WHICH")]
    pub(super) traffic_selectors: Option<String>,
    /// Age at which an IKE SA is rekeyed.
    #[arg(long, value_name = "SECONDS")]
    pub(super) ike_lifetime: Option<u64>,
    /// Age at which a Child SA is rekeyed.
    #[arg(long, value_name = "SECONDS")]
    pub(super) child_lifetime: Option<u64>,
    /// Idle time after which the peer is asked whether it lives.
    #[arg(long, value_name = "SECONDS")]
    pub(super) dpd: Option<u64>,
    /// Child SAs for single receive queues, 1 for none, at most what the agent's option says.
    #[arg(long, value_name = "N")]
    pub(super) child_sas: Option<u16>,
    /// Anti-replay window in packets, 64 to 8160: how many later packets may overtake one. The default is the largest, because a
    /// worker's ring may hold as many.
    #[arg(long, value_name = "N")]
    pub(super) replay_window: Option<u16>,
    /// DSCP of outer headers: copy (that of the packet inside), or set:N for one from 0 to 63. Packets keep their own inside the
    /// tunnel.
    #[arg(long, value_name = "WHICH")]
    pub(super) dscp: Option<String>,
    /// Don't-fragment bit of outer IPv4 headers: copy (that of the packet inside; set for IPv6), set, or clear, which lets routers
    /// fragment packets that are too large for the path. By default set: then the sender learns what the path carries.
    #[arg(long, value_name = "WHICH")]
    pub(super) df: Option<String>,
    /// Part of the tunnel in what busy tunnels share of the gateway's bandwidth, against theirs: 1 to 1000. By default 1.
    #[arg(long, value_name = "N")]
    pub(super) weight: Option<u16>,
    /// Bandwidth that the tunnel always gets, such as 20mbit, or none.
    #[arg(long, value_name = "RATE")]
    pub(super) guarantee: Option<String>,
    /// Bandwidth that the tunnel never exceeds, such as 50mbit, or none.
    #[arg(long, value_name = "RATE")]
    pub(super) ceiling: Option<String>,
    /// Take back everything that was set for the connection, except what is named with it.
    #[arg(long)]
    pub(super) reset: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List the connections of a gateway.
    List {
        /// VNet of the gateway; may be left out while only one agent runs here.
        vnet: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Show a connection.
    Show {
        #[command(flatten)]
        name: ConnectionName,
        #[command(flatten)]
        format: Format,
    },
    /// Bring a connection up and keep it up.
    Connect(ConnectionName),
    /// Take a connection down until it is connected again.
    Disconnect(ConnectionName),
    /// Change how a connection is made. What is not named stays as it is; what was never set comes from the options of the
    /// agent, else from the gateway's profile. The connection is negotiated anew if need be.
    Configure {
        #[command(flatten)]
        name: ConnectionName,
        #[command(flatten)]
        parameters: Box<Parameters>,
    },
    /// Rekey the Child SA of a connection now.
    Rekey {
        #[command(flatten)]
        name: ConnectionName,
        /// Rekey the IKE SA instead.
        #[arg(long)]
        ike: bool,
    },
    /// Set the shared key: read from standard input, from a file, or asked for without echo.
    SetKey {
        #[command(flatten)]
        name: ConnectionName,
        /// File that holds the key on its only line.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Print the shared key.
    GetKey(ConnectionName),
    /// Set a random shared key and print it.
    ResetKey(ConnectionName),
}

#[derive(Debug, Subcommand)]
pub(super) enum NetcfgCommand {
    /// Check a network configuration and print everything that is wrong with it; needs no agent.
    Check {
        /// The file; - for standard input.
        file: PathBuf,
        /// Most connections of one gateway.
        #[arg(long, value_name = "N", default_value_t = 10)]
        max_connections: usize,
    },
    /// Replace the stored network configuration; unchanged connections are not touched.
    Apply {
        /// The file; - for standard input.
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Print the stored network configuration.
    Export(Target),
}

/// Parses a number of seconds between two bounds.
fn seconds<const MIN: u64, const MAX: u64>(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(Duration::from_secs(number)),
        _ => Err(format!("expected a number of seconds from {MIN} to {MAX}")),
    }
}

/// Parses the time between two pictures, in seconds.
fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.1..=3600.0).contains(&number) => Ok(number),
        _ => Err("expected a number of seconds from 0.1 to 3600".to_owned()),
    }
}

/// Parses the size of a ring.
fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(number) if (8..=8192).contains(&number) && number.is_power_of_two() => Ok(number),
        _ => Err("expected a power of two from 8 to 8192".to_owned()),
    }
}

/// Parses the size of a fragment.
fn fragment_size(text: &str) -> Result<usize, String> {
    let (min, max) = (FRAGMENT_SIZES.start(), FRAGMENT_SIZES.end());
    match text.parse() {
        Ok(number) if FRAGMENT_SIZES.contains(&number) => Ok(number),
        _ => Err(format!("expected a number of bytes from {min} to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::api::types::ParametersDocument;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn refusal(line: &str) -> String {
        let error = parse(line).map(|_| ()).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn agent_with_all_options() {
        let cli = parse(
            "vgw agent --vnet VNet1 --netcfg a.xml --wan eth0 --lan eth1 --lan eth2 --bandwidth 100mbit --run-dir /r \
             --state-dir /s --pin-root /p --max-connections 3 --child-lifetime 600 --dpd 9 --force-udp-encapsulation",
        )
        .unwrap();
        assert_eq!(cli.global.run_dir, PathBuf::from("/r"));
        let Command::Agent(args) = cli.command else { panic!("agent expected") };
        assert_eq!(args.lan, ["eth1", "eth2"]);
        assert_eq!(args.bandwidth.unwrap().bits_per_second(), 100_000_000);
        assert_eq!((args.max_connections, args.dpd), (3, Some(Duration::from_secs(9))));
        assert_eq!(args.child_lifetime, Some(Duration::from_mins(10)));
        assert!(args.force_udp_encapsulation);
    }

    #[test]
    fn the_engine_has_options() {
        let agent = "vgw agent --vnet VNet1 --wan eth0 --lan eth1";
        let cli = parse(&format!(
            "{agent} --engine xsk --workers 2 --worker-cpus 0,2-3 --busy-poll --tx-budget 64 --ring-size 8"
        ));
        let Command::Agent(args) = cli.unwrap().command else { panic!("agent expected") };
        assert_eq!((args.engine, args.workers, args.busy_poll), (EngineChoice::Xsk, Some(2), true));
        assert_eq!((args.tx_budget, args.ring_size), (64, 8));
        assert_eq!(args.worker_cpus.unwrap().to_string(), "0,2,3");
        let Command::Agent(args) = parse(agent).unwrap().command else { panic!("agent expected") };
        assert_eq!((args.engine, args.workers, args.busy_poll), (EngineChoice::Auto, None, false));
        assert_eq!((args.tx_budget, args.ring_size), (256, 4096));
        assert!(refusal(&format!("{agent} --engine dpdk")).contains("expected auto, kernel or xsk"));
        assert!(refusal(&format!("{agent} --worker-cpus 3-1")).contains("no list of CPUs"));
        assert!(refusal(&format!("{agent} --workers 0")).contains("0 is not in"));
        assert!(refusal(&format!("{agent} --tx-budget 31")).contains("31 is not in"));
        for wrong in ["4", "1000", "16384", "many"] {
            assert!(refusal(&format!("{agent} --ring-size {wrong}")).contains("a power of two from 8"));
        }
    }

    #[test]
    fn source_ports_spread_only_where_esp_is_always_in_udp() {
        let agent = "vgw agent --vnet VNet1 --wan eth0 --lan eth1 --udp-port-entropy";
        assert!(refusal(agent).contains("--force-udp-encapsulation"));
        let Command::Agent(args) = parse(&format!("{agent} --force-udp-encapsulation")).unwrap().command
        else {
            panic!("agent expected")
        };
        assert!(args.udp_port_entropy);
    }

    #[test]
    fn agent_defaults() {
        let cli = parse("vgw agent --vnet VNet1 --wan eth0 --lan eth1").unwrap();
        assert_eq!(cli.global.run_dir, PathBuf::from("/run/vgw"));
        let Command::Agent(args) = cli.command else { panic!("agent expected") };
        assert_eq!(args.state_dir, PathBuf::from("/var/lib/vgw"));
        assert_eq!(args.pin_root, PathBuf::from("/sys/fs/bpf/vgw"));
        assert_eq!((args.max_connections, args.dpd), (10, None));
        assert!(args.netcfg.is_none() && args.bandwidth.is_none() && args.child_lifetime.is_none());
    }

    #[test]
    fn a_connection_is_configured_with_what_is_named() {
        let cli = parse(
            "vgw connection configure VNet1 VNet2 --mode responder --esp-proposal aes128gcm16 --esp-proposal \
             chacha20poly1305 --dpd 30 --weight 3 --guarantee 20mbit --ceiling none --reset",
        );
        let Command::Connection(ConnectionCommand::Configure { name, parameters }) = cli.unwrap().command
        else {
            panic!("configure expected")
        };
        assert_eq!((name.site.as_str(), parameters.reset), ("VNet2", true));
        let document = ParametersDocument::from(*parameters);
        let expected = ParametersDocument {
            mode: Some("responder".to_owned()),
            esp_proposals: Some(vec!["aes128gcm16".to_owned(), "chacha20poly1305".to_owned()]),
            dpd: Some(30),
            weight: Some(3),
            guarantee: Some("20mbit".to_owned()),
            ceiling: Some("none".to_owned()),
            ..ParametersDocument::default()
        };
        assert_eq!(document, expected);
        assert!(parse("vgw connection configure VNet1 VNet2 --reset").is_ok());
        assert!(refusal("vgw connection configure VNet1 VNet2").contains("--mode"));
    }

    #[test]
    fn the_bandwidth_has_a_direction() {
        let agent = "vgw agent --vnet VNet1 --wan eth0 --lan eth1 --bandwidth 1gbit";
        for (options, expected) in [
            ("", BandwidthDirection::Shared),
            ("--bandwidth-direction separate", BandwidthDirection::Separate),
        ] {
            let Command::Agent(args) = parse(&format!("{agent} {options}")).unwrap().command else {
                panic!("agent expected")
            };
            assert_eq!(args.bandwidth_direction, expected);
        }
        assert!(refusal(&format!("{agent} --bandwidth-direction both")).contains("shared or separate"));
        let set = "vgw gateway set-bandwidth VNet1 50mbit --direction separate";
        let Command::Gateway(GatewayCommand::SetBandwidth { vnet, rate, direction }) =
            parse(set).unwrap().command
        else {
            panic!("set-bandwidth expected")
        };
        assert_eq!((vnet.as_str(), rate.as_str()), ("VNet1", "50mbit"));
        assert_eq!(direction, Some(BandwidthDirection::Separate));
        assert!(refusal("vgw gateway set-bandwidth VNet1").contains("<RATE|none|default>"));
    }

    #[test]
    fn usage_errors_name_what_is_wrong() {
        let agent = "vgw agent --vnet VNet1 --wan eth0 --lan eth1";
        assert!(refusal("vgw agent --vnet VNet1 --wan eth0").contains("--lan"));
        assert!(refusal(&format!("{agent} --bandwidth 100mb")).contains("100mbit"));
        for wrong in ["8", "3601"] {
            assert!(refusal(&format!("{agent} --dpd {wrong}")).contains("from 9 to 3600"));
        }
        assert!(refusal(&format!("{agent} --fragment-size 575")).contains("from 576 to 65535"));
        assert!(refusal(&format!("{agent} --certificate a.pem")).contains("--private-key"));
        assert!(refusal(&format!("{agent} --max-connections 0")).contains("0 is not in"));
        assert!(refusal("vgw connection set-key VNet1 VNet2 secret").contains("unexpected argument"));
        assert!(refusal("vgw local-network set VNet2 --gateway-address not_here").contains("here"));
        assert!(refusal("vgw status --output yaml").contains("yaml"));
    }

    #[test]
    fn what_is_watched_has_options() {
        let Command::Top(args) = parse("vgw top VNet1 -i 0.5 --sort drops --once").unwrap().command else {
            panic!("top expected")
        };
        assert_eq!((args.interval, args.sort, args.once), (0.5, SortKey::Drops, true));
        for wrong in ["0", "soon", "inf", "NaN"] {
            assert!(refusal(&format!("vgw top --interval {wrong}")).contains("from 0.1 to 3600"), "{wrong}");
        }
        let line =
            "vgw capture VNet1 VNet2 -w - --host fd00::1 --net 10.0.0.0/8 --proto tcp --proto 50 --size 2m";
        let Command::Capture(args) = parse(line).unwrap().command else { panic!("capture expected") };
        assert_eq!(args.proto, [Protocol(6), Protocol(50)]);
        assert_eq!((args.side, args.dropped, args.size), (CaptureSide::Both, false, Some(Size(2 << 20))));
        assert!(refusal("vgw capture VNet1").contains("--write"));
        assert!(refusal("vgw capture VNet1 -w - --snaplen 33").contains("33 is not in"));
        let line = "vgw trace VNet1 10.1.0.1 fd00::1 udp 53 --from tunnel:VNet2 --size 1500 --df";
        let Command::Trace(args) = parse(line).unwrap().command else { panic!("trace expected") };
        assert_eq!((args.protocol, args.port, args.size, args.ttl), (Some(Protocol(17)), Some(53), 1500, 64));
        assert!(args.df && args.destination.is_ipv6() && args.quotes.is_none());
        let line = "vgw trace VNet1 192.0.2.9 10.1.0.1 --quotes 10.1.0.1 10.2.0.1";
        let Command::Trace(args) = parse(line).unwrap().command else { panic!("trace expected") };
        assert_eq!((args.protocol, args.quotes.map(|quotes| quotes.len())), (None, Some(2)));
        assert!(refusal("vgw trace VNet1 10.1.0.1 10.2.0.1 --from eth0").contains("expected lan, wan, host"));
    }

    #[test]
    fn proposals_name_the_unknown_token_and_the_known_ones() {
        let agent = "vgw agent --vnet VNet1 --wan eth0 --lan eth1";
        let message = refusal(&format!("{agent} --ike-proposal aes256gcm16-prfsha384-brainpool"));
        assert!(message.contains("\"brainpool\"") && message.contains("x25519"), "{message}");
        let message = refusal(&format!("{agent} --esp-proposal des"));
        assert!(message.contains("des is insecure") && message.contains("56 bits"), "{message}");
        assert!(parse(&format!("{agent} --ike-proposal aes256gcm16-prfsha384-x25519")).is_ok());
        assert!(
            parse(&format!("{agent} --esp-proposal aes256gcm16 --esp-proposal chacha20poly1305")).is_ok()
        );
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for line in
            ["vgw --socket /a status", "vgw status --socket /a", "vgw connection --socket /a list VNet1"]
        {
            assert_eq!(parse(line).unwrap().global.socket, Some(PathBuf::from("/a")), "{line}");
        }
    }
}

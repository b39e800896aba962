//! `vgw capture`: what it writes, tshark reads.

use crate::support::{exercise, lanes, with_both_engines, with_engine};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testbed::{
    Agent, GatewayOptions, Lab, Process, RawPort, Site, ping, poll_until, run, scenario, vgw_binary,
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Pings that are captured.
const PINGS: usize = 5;
/// An address that no VNet has.
const FOREIGN: &str = "172.16.9.9";

/// A capture in the background, and its file.
struct Running {
    process: Process,
    file: PathBuf,
}

impl Running {
    /// Starts `vgw capture VNet1 <arguments>` and waits until it captures.
    fn start(lab: &Lab, agent: &Agent, name: &str, arguments: &[&str]) -> Result<Self> {
        let file = lab.directory().join(format!("{name}.pcapng"));
        let path = file.display().to_string();
        let arguments = [&["capture", "VNet1", "-w", &path], arguments].concat();
        let process = agent.vgw().start(&arguments, &lab.directory().join(format!("{name}.log")))?;
        wait_until(PATIENCE, "start of the capture", || Ok(process.log().contains("capturing packets")))?;
        Ok(Self { process, file })
    }

    /// Waits until the capture ends by itself; its file.
    fn finish(mut self) -> Result<PathBuf> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{}", self.process.log());
        Ok(self.file)
    }

    /// Ends the capture when its file has so many packets that match `filter`; its file.
    fn end_with(mut self, filter: &str, packets: usize) -> Result<PathBuf> {
        wait_until(PATIENCE, &format!("{packets} packets of {filter}"), || {
            Ok(fields(&self.file, filter, &["frame.number"])?.len() >= packets)
        })?;
        let status = self.process.end(Signal::SIGINT, PATIENCE)?;
        ensure!(status.success(), "{}", self.process.log());
        let log = self.process.log();
        ensure!(log.contains("packets captured, 0 lost"), "{log}");
        Ok(self.file)
    }
}

/// The fields of the packets that `filter` selects, a list for each. A file that is being written may end in the middle of a block.
fn fields(file: &Path, filter: &str, names: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-T", "fields", "-Y", filter]);
    for name in names {
        command.args(["-e", name]);
    }
    let output = command.arg("-r").arg(file).stderr(Stdio::null()).output().context("cannot run tshark")?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// How many packets match `filter`.
fn count(file: &Path, filter: &str) -> Result<usize> {
    Ok(fields(file, filter, &["frame.number"])?.len())
}

fn ping_once(lab: &Lab, options: &str) -> Result<u32> {
    Ok(ping(&lab.site(1).host, &format!("{options} {}", lab.site(2).host_address()))?.received)
}

#[test]
fn both_sides_are_captured_with_directions_and_reasons() {
    with_both_engines("both_sides_are_captured_with_directions_and_reasons", 2, |lab, options| {
        let agents = lab.establish(options)?;
        lab.wait_reachable(1, 2)?;
        exercise(lab, 1, 2)?;
        let before = lanes(&agents[0].vgw().status()?, Site::LAN, "handed_over").unwrap_or(0);
        let wire = RawPort::open(&lab.inet, &lab.site(1).inet_port())?;
        lab.site(1).host.ip(&format!("addr add {FOREIGN}/32 dev {}", Site::HOST_PORT))?;

        let capture = Running::start(lab, &agents[0], "both", &["VNet2", "--dropped"])?;
        let (here, there) = (lab.site(1).host_address(), lab.site(2).host_address());
        ensure!(ping_once(lab, &format!("-c {PINGS} -i 0.1 -W 2"))? == PINGS as u32, "pings were lost");
        let after = lanes(&agents[0].vgw().status()?, Site::LAN, "handed_over").unwrap_or(0);
        ensure!(before == after, "{} packets that are captured went to workers", after - before);
        ensure!(
            ping_once(lab, &format!("-c 2 -i 0.1 -W 1 -I {FOREIGN}"))? == 0,
            "a foreign source came back"
        );
        let mut forged = esp_towards(&wire, lab)?;
        wire.send(&altered(&mut forged, 38, 0x7f))?;
        wire.send(&altered(&mut forged, 34, 0xff))?;
        let file = capture.end_with("frame.comment", 4)?;

        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "mode {mode:o}");
        let ends = |source, destination| format!("ip.src == {source} && ip.dst == {destination}");
        let (wan, peer) = (lab.site(1).wan_address(), lab.site(2).wan_address());
        for (filter, expected) in [
            (format!("icmp.type == 8 && !frame.comment && {}", ends(here, there)), ["inner", "2"]),
            (format!("icmp.type == 0 && !frame.comment && {}", ends(there, here)), ["inner", "1"]),
        ] {
            let found = fields(&file, &filter, &["frame.interface_name", "frame.packet_flags_direction"])?;
            ensure!(found.len() == PINGS, "{filter}: {found:?}");
            ensure!(found.iter().all(|packet| direction_of(packet) == expected), "{filter}: {found:?}");
        }
        for (filter, expected) in [(ends(wan, peer), ["outer", "2"]), (ends(peer, wan), ["outer", "1"])] {
            let filter = format!("esp && !frame.comment && {filter}");
            let found = fields(&file, &filter, &["frame.interface_name", "frame.packet_flags_direction"])?;
            ensure!(found.len() >= PINGS, "{filter}: {found:?}");
            ensure!(found.iter().all(|packet| direction_of(packet) == expected), "{filter}: {found:?}");
        }
        for (filter, comment, expected) in [
            (format!("icmp && ip.src == {FOREIGN}"), "source_outside_vnet: dropped as it arrived", 2),
            ("esp".to_owned(), "authentication_failed: dropped before it was opened", 1),
            ("esp".to_owned(), "unknown_spi: dropped as it arrived", 1),
        ] {
            let filter = format!("{filter} && frame.comment contains \"{comment}\"");
            ensure!(
                count(&file, &filter)? == expected,
                "{filter}: {:?}",
                fields(&file, "frame", &["frame.comment"])?
            );
        }
        // Times are of now, in nanoseconds, and the statistics stand at the end.
        let times = fields(&file, "frame", &["frame.time_epoch"])?;
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        for time in times.iter().flatten() {
            let time: f64 = time.parse()?;
            ensure!((0.0..600.0).contains(&(since_epoch - time)), "{time} is not now");
        }
        ensure!(times.iter().flatten().any(|time| !time.ends_with("000")), "{times:?}");
        let summary = run(Command::new("capinfos").arg("-c").arg("-t").arg("-I").arg(&file))?;
        ensure!(
            summary.contains("pcapng") && summary.contains("Number of interfaces in file: 2"),
            "{summary}"
        );

        // Afterwards packets go the way they went before.
        if options.engine.as_deref() == Some("xsk") {
            poll_until(PATIENCE, "workers take packets again", || {
                exercise(lab, 1, 2)?;
                let now = lanes(&agents[0].vgw().status()?, Site::LAN, "handed_over")?;
                Ok((now > after).then_some(()))
            })?;
        }
        Ok(agents)
    });
}

/// Interface and the direction in the packet's flags.
fn direction_of(packet: &[String]) -> [&str; 2] {
    let value = packet[1].trim_start_matches("0x").trim_start_matches('0');
    [&packet[0], value]
}

/// A frame with ESP on its way to the first gateway.
fn esp_towards(wire: &RawPort, lab: &Lab) -> Result<Vec<u8>> {
    let destination = lab.site(1).wan_address().octets();
    poll_until(PATIENCE, "an ESP frame on the wire", || {
        let frame = wire.receive()?;
        Ok(frame.filter(|frame| frame.len() > 60 && frame[23] == 50 && frame[30..34] == destination))
    })
}

/// The frame with one byte more changed.
fn altered(frame: &mut [u8], at: usize, with: u8) -> Vec<u8> {
    frame[at] ^= with;
    frame.to_vec()
}

#[test]
fn filters_and_limits_are_kept() {
    scenario("filters_and_limits_are_kept", 2, |lab| {
        let agents = lab.establish(&GatewayOptions::default())?;
        lab.wait_reachable(1, 2)?;
        let mut traffic = lab.site(1).host.command("ping")?;
        traffic.args(["-i", "0.02", "-s", "400", &lab.site(2).host_address().to_string()]);
        let _traffic = Process::spawn(traffic, &lab.directory().join("ping.log"))?;
        let start = |name: &str, arguments: &[&str]| Running::start(lab, &agents[0], name, arguments);
        let here = lab.site(1).host_address().to_string();

        let host = start("host", &["--host", &here, "--count", "6", "--snaplen", "64"])?.finish()?;
        let found = fields(&host, "frame", &["frame.interface_name", "frame.cap_len", "frame.len"])?;
        ensure!(
            found.len() == 6 && found.iter().all(|packet| *packet == ["inner", "64", "442"]),
            "{found:?}"
        );

        let outer =
            start("outer", &["VNet2", "--side", "outer", "--proto", "esp", "--count", "4"])?.finish()?;
        ensure!(count(&outer, "esp && frame.interface_name == \"outer\"")? == 4);
        ensure!(count(&outer, "frame")? == 4);

        let other = start("other", &["--net", "10.9.0.0/16", "--duration", "1"])?.finish()?;
        ensure!(count(&other, "frame")? == 0, "nothing matches");

        let small = start("small", &["--size", "5k"])?.finish()?;
        let size = std::fs::metadata(&small)?.len();
        ensure!((3000..=5120).contains(&size) && count(&small, "frame")? > 3, "{size} bytes");

        // To standard output, into another program.
        let pipe = format!(
            "{} --socket {} capture VNet1 --side inner --proto icmp --count 4 -w - | tshark -T fields -e icmp.type -r -",
            vgw_binary()?.display(),
            agents[0].vgw().socket().display()
        );
        let text = run(Command::new("sh").args(["-c", &pipe]))?;
        ensure!(text.lines().count() == 4 && text.lines().all(|kind| kind == "0" || kind == "8"), "{text}");

        for (arguments, expected) in [
            (&["VNet9", "-w", "-"][..], "no connection to VNet9"),
            (&["-w", "-", "--side", "none"], "none of inner, outer and dropped"),
            (&["-w", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
            (&["-w", "-", "--proto", "tcpp"], "one of icmp"),
        ] {
            let refused = agents[0].vgw().text(&[&["capture", "VNet1"], arguments].concat());
            let error = format!("{:#}", refused.map(drop).expect_err("must be refused"));
            ensure!(error.contains(expected), "{error}");
        }
        Ok(())
    });
}

#[test]
fn a_capture_ends_with_its_client() {
    scenario("a_capture_ends_with_its_client", 2, |lab| {
        let agents = lab.establish(&with_engine("xsk"))?;
        lab.wait_reachable(1, 2)?;
        let (here, there) = (lab.site(1).host_address().to_string(), lab.site(2).host_address().to_string());
        let engine = || -> Result<String> {
            let trace = agents[0].vgw().json(&["trace", "VNet1", &here, &there])?;
            let steps = trace["steps"].as_array().context("steps")?;
            let step = steps.iter().find(|step| step["rule"] == "engine").context("no engine")?;
            Ok(step["detail"].as_str().unwrap_or_default().to_owned())
        };
        ensure!(engine()?.starts_with("xsk"), "{}", engine()?);
        let mut capture = Running::start(lab, &agents[0], "killed", &["VNet2"])?;
        ensure!(engine()? == "kernel, because a capture of the connection runs", "{}", engine()?);
        capture.process.end(Signal::SIGKILL, PATIENCE)?;
        wait_until(PATIENCE, "end of the capture", || Ok(engine()?.starts_with("xsk")))
    });
}

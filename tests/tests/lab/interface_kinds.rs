//! Interfaces of other kinds, and where the XDP programs run.

use crate::support::{events, exercise, no_wrong_drops, with_engine};
use anyhow::{Context as _, Result, ensure};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};
use testbed::{GatewayOptions, NetNs, Site, run, scenario};

/// Number of the event that tells the mode.
const MODE: u64 = 244;

const TAP_MAC: [u8; 6] = [2, 0, 0, 0, 0x55, 1];
const TAP_HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0x55, 2];
const TAP_HOST: [u8; 4] = [10, 1, 3, 10];

#[test]
fn the_mode_that_is_asked_for_is_used_or_the_start_refused() {
    scenario("the_mode_that_is_asked_for_is_used_or_the_start_refused", 2, |lab| {
        let mode =
            |mode: &str| GatewayOptions { xdp_mode: Some(mode.to_owned()), ..GatewayOptions::default() };
        let agents = vec![lab.start_agent(1, &mode("generic"))?, lab.start_agent(2, &mode("native"))?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        for (agent, mode, reason) in [
            (&agents[0], "generic", "it was asked for"),
            (&agents[1], "native", "the drivers take the programs, and frames that are redirected"),
        ] {
            let status = agent.vgw().status()?;
            ensure!(status["xdp_mode"] == mode && status["xdp_reason"] == reason, "{status}");
            ensure!(events(agent, MODE)? == 1, "one event tells the mode");
        }
        no_wrong_drops(&agents)
    });
}

#[test]
fn an_interface_that_takes_no_redirected_frames_is_found_out() {
    scenario("an_interface_that_takes_no_redirected_frames_is_found_out", 2, |lab| {
        // The other end of the cable has neither XDP nor a NAPI context: frames that are redirected to it would be lost.
        let site = lab.site(1);
        run(site.host.command("ethtool")?.args(["-K", Site::HOST_PORT, "gro", "off"]))?;
        let native = GatewayOptions { xdp_mode: Some("native".to_owned()), ..GatewayOptions::default() };
        let refused = lab.start_refused(1, &lab.netcfg(), &native)?;
        ensure!(refused.contains("native XDP, which was asked for, is not possible"), "{refused}");
        ensure!(refused.contains("interface lan0: it does not take frames"), "{refused}");
        ensure!(!site.gateway.ip("link show")?.contains("xdp"), "something is still attached");

        let agents = lab.establish(&with_engine("kernel"))?;
        let status = agents[0].vgw().status()?;
        ensure!(status["xdp_mode"] == "generic", "{status}");
        let reason = status["xdp_reason"].as_str().context("a reason")?;
        ensure!(reason.contains("interface lan0: it does not take frames"), "{reason}");
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        no_wrong_drops(&agents)
    });
}

#[test]
fn a_tun_device_is_refused() {
    scenario("a_tun_device_is_refused", 2, |lab| {
        let gateway = &lab.site(1).gateway;
        gateway.ip("tuntap add mode tun name tun0")?;
        gateway.ip("address add 10.1.3.1/24 dev tun0")?;
        gateway.ip("link set tun0 up")?;
        let options = GatewayOptions { more_lans: vec!["tun0".to_owned()], ..GatewayOptions::default() };
        let refused = lab.start_refused(1, &lab.netcfg(), &options)?;
        ensure!(refused.contains("interface tun0 (tun, NONE) has no Ethernet headers"), "{refused}");
        ensure!(refused.contains("TAP"), "{refused}");
        ensure!(gateway.ip("link show")?.matches("vgw0").count() == 0, "vgw0 is left behind");
        Ok(())
    });
}

#[test]
fn a_tap_device_leads_to_a_lan_in_both_modes() {
    for mode in ["native", "generic"] {
        scenario(&format!("a_tap_device_leads_to_a_lan_in_both_modes ({mode})"), 2, |lab| {
            let (site, far) = (lab.site(1), lab.site(2));
            let mut tap = open_tap(&site.gateway)?;
            let options = GatewayOptions {
                more_lans: vec!["tap0".to_owned()],
                xdp_mode: Some(mode.to_owned()),
                ..with_engine("kernel")
            };
            let agents = vec![lab.start_agent(1, &options)?, lab.start_agent(2, &GatewayOptions::default())?];
            lab.set_keys(&agents, "A1b2C3D4")?;
            lab.wait_connected(&agents)?;
            lab.wait_reachable(1, 2)?;
            for sequence in 0..5u16 {
                let request = echo_request(far.host_address().octets(), sequence);
                tap.write_all(&request)?;
                let answer = echo_answer(&mut tap, far.host_address().octets(), sequence)?;
                ensure!(answer[42..] == request[42..], "the content is another: {answer:02x?}");
            }
            no_wrong_drops(&agents)
        });
    }
}

/// A TAP device `tap0` of the gateway's, whose cable the test holds.
fn open_tap(gateway: &NetNs) -> Result<File> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    let tap = gateway.enter(|| -> Result<File> {
        let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: `ifreq` holds integers, arrays and a pointer, for all of which zero is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"tap0") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
        // SAFETY: the request outlives the call, and is what the command takes.
        let result = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, &raw const request) };
        ensure!(result == 0, "{}", std::io::Error::last_os_error());
        // SAFETY: no pointer is involved.
        let result = unsafe { libc::fcntl(tap.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        ensure!(result == 0, "{}", std::io::Error::last_os_error());
        Ok(tap)
    })??;
    let host = TAP_HOST.map(|octet| octet.to_string()).join(".");
    gateway.ip(&format!("link set tap0 address {}", text(TAP_MAC)))?;
    gateway.ip("link set tap0 up")?;
    gateway.ip("address add 10.1.3.1/24 dev tap0")?;
    gateway.ip(&format!("neigh add {host} lladdr {} dev tap0 nud permanent", text(TAP_HOST_MAC)))?;
    Ok(tap)
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// An Ethernet frame with an ICMP echo request (RFC 792).
fn echo_request(to: [u8; 4], sequence: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x77, 0x77];
    icmp.extend(sequence.to_be_bytes());
    icmp.extend(0..100_u8);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
    ip.extend(TAP_HOST.iter().chain(&to));
    ip[2..4].copy_from_slice(&((20 + icmp.len()) as u16).to_be_bytes());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [&TAP_MAC[..], &TAP_HOST_MAC, &[8, 0], &ip, &icmp].concat()
}

/// Waits for the answer to [`echo_request`]; other frames pass by.
fn echo_answer(tap: &mut File, from: [u8; 4], sequence: u16) -> Result<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut buffer = [0; 2048];
    while Instant::now() < deadline {
        match tap.read(&mut buffer) {
            Ok(length) => {
                let frame = &buffer[..length];
                // In generic mode a byte of padding follows a packet out of a tunnel.
                let is_it = length >= 142
                    && frame[..6] == TAP_HOST_MAC
                    && frame[26..30] == from
                    && frame[34..36] == [0, 0]
                    && frame[40..42] == sequence.to_be_bytes();
                if is_it {
                    return Ok(frame[..142].to_vec());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("no answer {sequence} came out of the TAP device")
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

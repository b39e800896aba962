//! What somebody on the way between two gateways can do to a worker.

use crate::support::{events, exercise, first_worker, lanes, number, with_engine};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{Agent, Lab, RawPort, Site, ping, poll_until, scenario};

const ETH_LEN: usize = 14;
const ESP_AT: usize = ETH_LEN + 20;
const PROTO_ESP: u8 = 50;
const ESP_LEN: usize = 8;
const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;

/// Datagrams per second, and how long they flow.
const LOAD: (u32, Duration) = (4000, Duration::from_secs(3));

#[test]
fn forged_and_mangled_esp_is_dropped_and_counted_and_the_worker_works_on() {
    scenario("forged_and_mangled_esp_is_dropped_and_counted_and_the_worker_works_on", 2, |lab| {
        let agents = lab.establish(&with_engine("xsk"))?;
        exercise(lab, 1, 2)?;
        let target = &agents[1];
        let worker = first_worker(target)?;
        let wire = RawPort::open(&lab.inet, &lab.site(2).inet_port())?;
        let genuine = genuine(lab, &wire)?;
        let before = target.vgw().status()?;
        let handed_before = lanes(&before, Site::WAN, "handed_over")?;

        let algorithm = target.vgw().connection("VNet1")?["esp_algorithm"].clone();
        // RFC 8750: the IV is the sequence number.
        let iv_len = if algorithm.to_string().contains("iiv") { 0 } else { IV_LEN };

        // Every bit of the ICV, on numbers that the receiver has not seen.
        let mut forged = 0;
        for bit in 0..8 * ICV_LEN {
            let mut frame = ahead(&genuine, 1000 + bit as u32);
            let at = frame.len() - ICV_LEN + bit / 8;
            frame[at] ^= 1 << (bit % 8);
            wire.send(&frame)?;
            forged += 1;
        }
        // Every length: what is no multiple of four, or too short for a trailer, is malformed; the rest is forged.
        let mut malformed = 0;
        for len in ESP_AT + ESP_LEN..genuine.len() {
            wire.send(&shortened(&ahead(&genuine, 2000 + len as u32), len))?;
            let text = len.checked_sub(ESP_AT + ESP_LEN + iv_len + ICV_LEN);
            if text.is_some_and(|text| text >= 4 && text.is_multiple_of(4)) {
                forged += 1;
            } else {
                malformed += 1;
            }
        }
        poll_until(Duration::from_secs(10), "all are counted", || {
            let status = target.vgw().status()?;
            let counted = |reason| Ok::<_, anyhow::Error>(drops(&status, reason)? - drops(&before, reason)?);
            let found = (counted("authentication_failed")?, counted("malformed")?);
            ensure!(found.0 <= forged && found.1 <= malformed, "{found:?} of {forged}, {malformed}");
            Ok((found == (forged, malformed)).then_some(()))
        })?;
        let handed = lanes(&target.vgw().status()?, Site::WAN, "handed_over")? - handed_before;
        ensure!(handed >= forged / 2, "{handed} of {forged} forged packets came to the worker");
        same_worker(target, worker)?;
        // The numbers of forged packets are not taken for seen.
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        same_worker(target, worker)
    });
}

#[test]
fn packets_that_are_repeated_at_once_arrive_once() {
    scenario("packets_that_are_repeated_at_once_arrive_once", 2, |lab| {
        let agents = lab.establish(&with_engine("xsk"))?;
        exercise(lab, 1, 2)?;
        let worker = first_worker(&agents[1])?;
        let (near, far) = (lab.site(1), lab.site(2));
        let wire = RawPort::open(&lab.inet, &far.inet_port())?;
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let is_over = AtomicBool::new(false);
        let (sent, repeated) = std::thread::scope(|scope| {
            let repeater = scope.spawn(|| {
                let mut repeated = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(frame) = wire.receive()?
                        && is_esp_to(&frame, far)
                    {
                        wire.send(&frame)?;
                        repeated += 1;
                    }
                }
                Ok::<_, anyhow::Error>(repeated)
            });
            let sent = send_datagrams(&near.host, near.host_address(), sink.address(), 300, LOAD.0, LOAD.1);
            std::thread::sleep(Duration::from_millis(500));
            is_over.store(true, Ordering::Relaxed);
            (sent, repeater.join().expect("the repeater does not panic"))
        });
        let (sent, repeated) = (sent?, repeated?);
        let report = sink.stop();
        ensure!(repeated > sent / 2, "{repeated} of {sent} packets were repeated");
        ensure!((report.duplicates, report.corrupt) == (0, 0), "{report:?}");
        let status = agents[1].vgw().status()?;
        let replayed = drops(&status, "replayed")? + drops(&status, "authentication_failed")?;
        ensure!(replayed + drops(&status, "worker")? >= repeated, "{repeated} were repeated: {status}");
        ensure!(report.received * 10 > sent * 9, "of {sent} datagrams arrived {report:?}");
        same_worker(&agents[1], worker)
    });
}

/// An ESP packet with a payload of more than 400 bytes from the first gateway to the second, as it was on the wire.
fn genuine(lab: &Lab, wire: &RawPort) -> Result<Vec<u8>> {
    let (near, far) = (lab.site(1), lab.site(2));
    ping(&near.host, &format!("-c 1 -s 400 -W 5 {}", far.host_address()))?;
    poll_until(Duration::from_secs(5), "a packet on the wire", || {
        Ok(wire.receive()?.filter(|frame| is_esp_to(frame, far) && frame.len() > 400))
    })
}

fn is_esp_to(frame: &[u8], site: &Site) -> bool {
    frame.len() > ESP_AT + ESP_LEN
        && frame[12..14] == [8, 0]
        && frame[ETH_LEN + 9] == PROTO_ESP
        && frame[ETH_LEN + 16..ESP_AT] == site.gateway_address().octets()
}

/// The frame with a sequence number that is `distance` higher.
fn ahead(frame: &[u8], distance: u32) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let number = &mut frame[ESP_AT + 4..ESP_AT + 8];
    let before = u32::from_be_bytes(number.try_into().expect("four bytes"));
    number.copy_from_slice(&before.wrapping_add(distance).to_be_bytes());
    frame
}

/// The first `len` bytes of the frame, with an IP header that knows.
fn shortened(frame: &[u8], len: usize) -> Vec<u8> {
    let mut frame = frame[..len].to_vec();
    frame[ETH_LEN + 2..ETH_LEN + 4].copy_from_slice(&((len - ETH_LEN) as u16).to_be_bytes());
    frame[ETH_LEN + 10..ETH_LEN + 12].fill(0);
    let words = frame[ETH_LEN..ESP_AT].chunks_exact(2);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[ETH_LEN + 10..ETH_LEN + 12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Packets that a gateway dropped for this reason.
fn drops(status: &Value, reason: &str) -> Result<u64> {
    let count = &status["drops"][reason];
    if count.is_null() { Ok(0) } else { number(&status["drops"], reason) }
}

fn same_worker(agent: &Agent, pid: i32) -> Result<()> {
    let now = first_worker(agent)?;
    ensure!(now == pid && events(agent, 232)? == 0, "worker {pid} ended, {now} took its place");
    Ok(())
}

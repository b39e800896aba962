//! Which engine runs, and what keeps it from running.

use crate::support::{events, exercise, first_worker, lanes, no_wrong_drops, with_both_engines, with_engine};
use anyhow::ensure;
use nix::sys::signal::Signal;
use std::time::Duration;
use testbed::{GatewayOptions, HandOver, Site, scenario};
use xsk::{Chunk, Options, Sizes, Socket, Umem};

#[test]
fn workers_run_by_default_and_do_the_work() {
    scenario("workers_run_by_default_and_do_the_work", 2, |lab| {
        let agents = lab.establish(&GatewayOptions::default())?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        for agent in &agents {
            let status = agent.vgw().status()?;
            let engine = &status["engine"];
            assert_eq!((&engine["wanted"], &engine["running"]), (&"auto".into(), &"xsk".into()), "{status}");
            assert!(engine["reason"].is_null(), "{status}");
            for interface in [Site::LAN, Site::WAN] {
                assert!(lanes(&status, interface, "handed_over")? > 1000, "{status}");
                assert!(lanes(&status, interface, "exchanged")? > 0, "{status}");
            }
            let table = agent.vgw().text(&["status"])?;
            assert!(table.contains("engine xsk (1 worker, exchange mode)"), "{table}");
            assert!(table.contains("handed over"), "{table}");
            assert_eq!(events(agent, 230)?, 1, "the start of the workers");
        }
        no_wrong_drops(&agents)?;
        // AES instructions make AES-GCM the best choice of the default profile; without them nothing changes.
        let aes = std::arch::is_x86_feature_detected!("aes");
        let expected = if aes { "aes256gcm16" } else { "chacha20poly1305" };
        let algorithm = agents[0].vgw().connection("VNet2")?["esp_algorithm"].clone();
        assert!(algorithm.as_str().is_some_and(|name| name.starts_with(expected)), "{algorithm}");
        Ok(())
    });
}

#[test]
fn workers_that_get_frames_by_their_sockets_alone_do_the_work() {
    scenario("workers_that_get_frames_by_their_sockets_alone_do_the_work", 2, |lab| {
        let options = GatewayOptions { hand_over: HandOver::Sockets, ..with_engine("xsk") };
        let agents = lab.establish(&options)?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        for agent in &agents {
            let status = agent.vgw().status()?;
            for interface in [Site::LAN, Site::WAN] {
                assert!(lanes(&status, interface, "handed_over")? > 1000, "{status}");
                assert_eq!(lanes(&status, interface, "exchanged")?, 0, "{status}");
            }
            let table = agent.vgw().text(&["status"])?;
            assert!(table.contains("engine xsk (1 worker, copy mode)"), "{table}");
        }
        no_wrong_drops(&agents)
    });
}

#[test]
fn engine_kernel_has_no_workers_and_prefers_chacha20() {
    scenario("engine_kernel_has_no_workers_and_prefers_chacha20", 2, |lab| {
        let agents = lab.establish(&with_engine("kernel"))?;
        exercise(lab, 1, 2)?;
        let status = agents[0].vgw().status()?;
        let engine = &status["engine"];
        assert_eq!((&engine["wanted"], &engine["running"]), (&"kernel".into(), &"kernel".into()), "{status}");
        assert_eq!(engine["workers"].as_array().map(Vec::len), Some(0), "{status}");
        let algorithm = agents[0].vgw().connection("VNet2")?["esp_algorithm"].clone();
        assert!(algorithm.as_str().is_some_and(|name| name.starts_with("chacha20poly1305")), "{algorithm}");
        let table = agents[0].vgw().text(&["status"])?;
        assert!(table.contains("engine kernel, XDP"), "{table}");
        Ok(())
    });
}

#[test]
fn options_that_cannot_be_followed_are_refused_with_the_reason() {
    scenario("options_that_cannot_be_followed_are_refused_with_the_reason", 1, |lab| {
        let refusal = |options: &GatewayOptions| lab.start_refused(1, &lab.netcfg(), options);
        let said = refusal(&with_engine("dpdk"))?;
        ensure!(said.contains("expected auto, kernel or xsk"), "{said}");
        let said = refusal(&GatewayOptions { workers: Some(2), ..with_engine("auto") })?;
        ensure!(said.contains("2 workers are too many") && said.contains("1 queue(s) only"), "{said}");
        let said = refusal(&GatewayOptions { worker_cpus: Some("1023".to_owned()), ..with_engine("auto") })?;
        ensure!(said.contains("workers cannot run on CPU 1023"), "{said}");
        let links = lab.site(1).gateway.ip("link show")?;
        ensure!(!links.contains("vgw0") && !links.contains("xdp"), "something was left behind: {links}");
        Ok(())
    });
}

#[test]
fn a_queue_that_another_program_holds_makes_the_gateway_fall_back() {
    scenario("a_queue_that_another_program_holds_makes_the_gateway_fall_back", 2, |lab| {
        let umem = Umem::new(64, Chunk::Small)?;
        let options =
            Options { sizes: Sizes::all(16), zero_copy: false, send_budget: None, send_buffer: None };
        let _holder = lab.site(1).gateway.enter(|| Socket::bind(&umem, Site::LAN, 0, &options))??;

        let said = lab.start_refused(1, &lab.netcfg(), &with_engine("xsk"))?;
        ensure!(said.contains("engine xsk does not come up") && said.contains(Site::LAN), "{said}");

        let agents = lab.establish(&with_engine("auto"))?;
        exercise(lab, 1, 2)?;
        let status = agents[0].vgw().status()?;
        let engine = &status["engine"];
        assert_eq!((&engine["wanted"], &engine["running"]), (&"auto".into(), &"kernel".into()), "{status}");
        assert!(engine["reason"].as_str().is_some_and(|reason| reason.contains(Site::LAN)), "{status}");
        assert_eq!(events(&agents[0], 231)?, 1, "an event tells it");
        assert_eq!(
            agents[1].vgw().status()?["engine"]["running"],
            "xsk",
            "the other gateway is not concerned"
        );
        Ok(())
    });
}

#[test]
fn an_interface_of_both_sides_has_its_lanes_once() {
    with_both_engines("an_interface_of_both_sides_has_its_lanes_once", 2, |lab, options| {
        let both = GatewayOptions { more_lans: vec![Site::WAN.to_owned()], ..options.clone() };
        let agents = vec![lab.start_agent(1, &both)?, lab.start_agent(2, options)?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        let status = agents[0].vgw().status()?;
        let workers = status["engine"]["workers"].as_array().into_iter().flatten();
        let served = workers.filter_map(|worker| worker["lanes"].as_array()).flatten();
        let mut served: Vec<_> = served.map(|lane| lane["interface"].as_str()).collect();
        served.sort_unstable();
        let once = [Some(Site::LAN), Some("vgw0-xdp"), Some(Site::WAN)];
        ensure!(served.is_empty() || served == once, "{served:?}");
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

#[test]
fn a_queue_that_another_worker_has_for_a_moment_is_waited_for() {
    scenario("a_queue_that_another_worker_has_for_a_moment_is_waited_for", 1, |lab| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let agent = std::thread::scope(|scope| {
            scope.spawn(move || {
                let umem = Umem::new(64, Chunk::Small)?;
                let options =
                    Options { sizes: Sizes::all(16), zero_copy: false, send_budget: None, send_buffer: None };
                let _holder = lab.site(1).gateway.enter(|| Socket::bind(&umem, Site::WAN, 0, &options))??;
                ready.send(())?;
                // The worker comes, and finds the queue occupied.
                std::thread::sleep(Duration::from_millis(1500));
                anyhow::Ok(())
            });
            is_ready.recv()?;
            lab.start_agent(1, &with_engine("xsk"))
        })?;
        first_worker(&agent).map(|_| ())
    });
}

#[test]
fn an_agent_that_starts_again_at_once_has_workers_again() {
    scenario("an_agent_that_starts_again_at_once_has_workers_again", 1, |lab| {
        // With engine auto it would go on without workers if the queues were not free yet.
        let mut agent = lab.start_agent(1, &with_engine("auto"))?;
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
            agent.restart(signal)?;
            let status = agent.vgw().status()?;
            ensure!(status["engine"]["running"] == "xsk", "after {signal}: {}", status["engine"]);
        }
        Ok(())
    });
}

#[test]
fn an_orderly_end_takes_the_workers_along() {
    scenario("an_orderly_end_takes_the_workers_along", 1, |lab| {
        let mut agent = lab.start_agent(1, &with_engine("xsk"))?;
        let worker = format!("/proc/{}", first_worker(&agent)?);
        agent.stop(Signal::SIGTERM)?;
        ensure!(!std::path::Path::new(&worker).exists(), "{worker} goes on");
        let log = agent.log();
        ensure!(!log.contains("worker 0 ended"), "an end that was asked for is no event: {log}");
        Ok(())
    });
}

//! Tests of the core on a recording datapath, without sockets and without a clock.

mod bandwidth;
mod capture;
mod certificates;
mod changes;
mod commands;
mod connect;
mod events;
mod ipv6;
mod names;
mod netcfg;
mod packet_policy;
mod parameters;
mod queue_sas;
mod recorder;
mod scale;
mod trace;
mod tunnels;

use std::path::Path;
use std::time::Instant;

use rand::SeedableRng;
use tokio::sync::oneshot;

use self::recorder::Recorder;
use super::super::test_support::{netcfg_xml, settings};
use super::*;
use crate::api::command::{Change, Command, Refusal, Reply};
use crate::api::types::{ApplyReport, ConnectionStatus, Status};
use crate::model::SharedKey;
use crate::netcfg::Limits;

/// A core on a recording datapath, and the time that it is told.
struct Bench {
    core: Core<Recorder>,
    now: Instant,
}

impl Bench {
    /// The started core of `vnet`, with its state in `directory`.
    async fn start(directory: &Path, vnet: &str, xml: &str) -> Self {
        let mut bench = Self::prepare(directory, vnet, xml);
        bench.core.start(bench.now).await.unwrap();
        bench
    }

    /// The core before its start.
    fn prepare(directory: &Path, vnet: &str, xml: &str) -> Self {
        Self::prepare_with(directory, settings(vnet), xml)
    }

    /// The core before its start, with these settings.
    fn prepare_with(directory: &Path, settings: Settings, xml: &str) -> Self {
        let vnet = &settings.vnet;
        let store = Store::open(directory, vnet).unwrap();
        let (keys, held) = (store.load_keys().unwrap(), store.load_held().unwrap());
        let (parameters, bandwidth) = (store.load_parameters().unwrap(), store.load_bandwidth().unwrap());
        let most = Limits::default().max_connections.max(settings.max_connections as usize);
        let limits = Limits { max_connections: most };
        let configuration = crate::netcfg::parse("netcfg", xml.as_bytes(), &limits).unwrap();
        let rng = rand::rngs::StdRng::seed_from_u64(vnet.bytes().map(u64::from).sum());
        let core = Core::new(
            settings,
            Kept {
                store,
                configuration,
                keys,
                held,
                parameters,
                bandwidth,
                certificates: Certificates::default(),
                key_log: None,
            },
            EventLog::default(),
            Recorder::default(),
            Box::new(rng),
        );
        Self { core, now: Instant::now() }
    }

    async fn ask<T>(&mut self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.core.handle_command(self.now, make(reply));
        self.write_all().await;
        answer.try_recv().expect("every command is answered at once")
    }

    async fn change<T>(&mut self, make: impl FnOnce(Reply<T>) -> Change) -> Result<T, Refusal> {
        self.ask(|reply| Command::Change(make(reply))).await
    }

    /// Writes every file that is to be written, and tells what became of the changes that the datapath was asked for.
    async fn write_all(&mut self) {
        loop {
            if let Some(write) = self.core.next_write() {
                self.core.handle_written(self.now, write.run());
            } else if self.core.following.is_some() {
                let outcomes = self.core.changed().await;
                self.core.handle_changed(self.now, outcomes);
            } else {
                return;
            }
        }
    }

    async fn set_key(&mut self, site: &str, key: &str) -> Result<(), Refusal> {
        let key = SharedKey::new(key).unwrap();
        self.change(|reply| Change::SetKey(site.to_owned(), key, reply)).await
    }

    async fn status(&mut self) -> Status {
        self.ask(Command::Status).await.unwrap()
    }

    async fn connection(&mut self, site: &str) -> ConnectionStatus {
        self.ask(|reply| Command::Connection(site.to_owned(), reply)).await.unwrap()
    }

    async fn apply(&mut self, xml: &str) -> Result<ApplyReport, Refusal> {
        self.change(|reply| Change::ApplyNetcfg(xml.to_owned(), reply)).await
    }

    /// Lets time pass until the datapath is asked again.
    async fn retry(&mut self) {
        self.now += DATAPATH_RETRY;
        self.core.handle_timeout(self.now);
        self.write_all().await;
    }

    /// The datagrams to send, when all work is done.
    fn sent(&mut self) -> Vec<Transmit> {
        while let Some(work) = self.core.poll_work() {
            self.core.handle_done(self.now, work.run());
        }
        self.core.take_transmits()
    }

    /// What the datapath was told since the last time.
    fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.core.dataplane.calls)
    }

    /// Numbers and messages of all events so far.
    fn events(&self) -> Vec<(u16, String)> {
        self.core.events.records().map(|record| (record.number, record.message.clone())).collect()
    }
}

/// An SA with a recognisable key.
fn esp_sa(spi: u32) -> EspSa {
    EspSa {
        spi,
        aead: EspAead::ChaCha20Poly1305,
        key: vec![7; 32].into(),
        salt: [1, 2, 3, 4].into(),
        esn: true,
        local: "192.0.2.1:4500".parse().unwrap(),
        remote: "192.0.2.2:4500".parse().unwrap(),
        udp_encapsulation: false,
        behind_nat: false,
        resource: None,
    }
}

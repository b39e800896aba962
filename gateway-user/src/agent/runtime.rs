//! The agent's main loop.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use ike::Done;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::certificate_reader::CertificateReader;
use super::certificates::{CertificateFileError, Certificates};
use super::core::{Core, Kept, limit_of, own_network};
use super::events::EventLog;
use super::prepare::{Prepared, prepare};
use super::profile::CipherPreference;
use super::resolver::{Answer, Resolver};
use super::settings::Options;
use super::sockets::{Datagram, IkeSockets};
use super::workers::Workers;
use super::writer::Writer;
use crate::api::command::{Command, Commander};
use crate::api::server::ApiSocket;
use crate::api::socket_path;
use crate::datapath::{Datapath, DatapathConfig, DatapathEvent, DatapathEvents, EngineEvent};
use crate::model::GatewayState;
use crate::store::StoreError;

/// How long peers get to confirm that the gateway goes.
const FAREWELL: Duration = Duration::from_secs(2);

/// Commands that may wait while one is carried out.
const COMMAND_QUEUE: usize = 64;

/// Everything that the loop waits for.
struct Sources {
    sockets: IkeSockets,
    workers: Workers,
    writer: Writer,
    resolver: Resolver,
    commands: mpsc::Receiver<Command>,
    datapath_events: DatapathEvents,
    engine_events: Option<mpsc::Receiver<EngineEvent>>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    certificates: CertificateReader,
}

/// What the loop was woken by.
enum Input<'a> {
    Datagram(Datagram<'a>),
    Done(Done),
    Written(Result<(), StoreError>),
    Resolved(Answer),
    /// Outcomes of changes that the datapath was asked for.
    Changed(Vec<anyhow::Result<()>>),
    Command(Command),
    Datapath(DatapathEvent),
    Engine(EngineEvent),
    Hangup,
    Certificates(Result<Certificates, CertificateFileError>),
    Timeout,
    Signal,
}

/// Runs the gateway of one VNet until SIGTERM or SIGINT.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // Installed first: a signal during the start must not kill the agent half-way, but end it once it is up.
    let terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    super::interface::wait_for_addresses().await;
    let Prepared {
        lock,
        mut settings,
        store,
        configuration,
        from_file,
        keys,
        held,
        parameters,
        bandwidth,
        certificates,
        key_log,
    } = prepare(&options)?;
    let sockets = IkeSockets::bind(settings.wan_addresses).await?;
    // Clients may connect from here on; they are answered when the gateway is up.
    let socket = ApiSocket::bind(&socket_path(&options.run_dir, &options.vnet))?;
    let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let commander = Commander { vnet: options.vnet.clone(), channel: sender };

    let mut events = EventLog::default();
    events.add_gateway(&options.vnet, GatewayState::Provisioning);
    let local_prefixes = own_network(&options.vnet, &configuration)?.address_space.clone();
    let mut datapath = Datapath::start(DatapathConfig {
        vnet: options.vnet.clone(),
        wan: options.wan.clone(),
        lan: options.lan.clone(),
        wan_addrs: settings.wan_addresses,
        local_prefixes,
        limit: limit_of(bandwidth.unwrap_or(settings.bandwidth)),
        max_tunnels: options.max_connections,
        cpu_sas: options.peering.queue_sas(),
        pin_root: options.pin_root.clone(),
        engine: options.engine.clone(),
        mss_clamp: options.mss_clamp,
    })
    .await
    .context("cannot start the datapath")?;
    let datapath_events = match datapath.events() {
        Ok(events) => events,
        Err(error) => {
            // The first failure is the one to report.
            let _ = datapath.stop().await;
            return Err(error);
        }
    };

    settings.preference = CipherPreference::of(datapath.engine_stats().running);
    let engine_events = datapath.engine_events();

    let rng = rand::make_rng::<rand::rngs::StdRng>();
    let mut core = Core::new(
        settings,
        Kept { store, configuration, keys, held, parameters, bandwidth, certificates, key_log },
        events,
        datapath,
        Box::new(rng),
    );
    let workers = Workers::default();
    let mut sources = Sources {
        sockets,
        workers,
        writer: Writer::default(),
        resolver: Resolver::default(),
        commands,
        datapath_events,
        engine_events,
        terminate,
        interrupt,
        hangup,
        certificates: CertificateReader::new(options.certificates.clone()),
    };
    let now = tell_time(&mut core);
    let started = match core.start(now).await {
        Ok(()) if from_file => core.store_configuration(),
        outcome => outcome,
    };
    let server = tokio::spawn(socket.serve(commander));
    let served = match started {
        Ok(()) => serve(&mut core, &mut sources).await,
        Err(error) => Err(error),
    };
    let farewell = bid_farewell(&mut core, &mut sources).await;
    server.abort();
    // Cancelled as asked; waited for, because the socket's file goes with it.
    let _ = server.await;
    let (datapath, mut events) = core.into_parts();
    let stopped = datapath.stop().await.context("cannot take the datapath down");
    events.add_gateway(&options.vnet, GatewayState::NotProvisioned);
    drop(lock);
    served.and(farewell).and(stopped)
}

/// The loop of a running gateway; ends with a signal.
async fn serve(core: &mut Core<Datapath>, sources: &mut Sources) -> anyhow::Result<()> {
    loop {
        sources.take_from(core).await;
        let timeout = core.next_timeout();
        match next(core, sources, timeout).await? {
            Input::Signal => return Ok(()),
            Input::Hangup => sources.certificates.begin(),
            input => handle(core, input),
        }
    }
}

/// The loop of a gateway that goes: until every peer has confirmed, or nothing would be repeated in time any more.
async fn bid_farewell(core: &mut Core<Datapath>, sources: &mut Sources) -> anyhow::Result<()> {
    let deadline = Instant::now() + FAREWELL;
    core.begin_stop(Instant::now());
    loop {
        sources.take_from(core).await;
        // A farewell that is not confirmed yet is being sealed, or has a timer for its repetition; what else has timers
        // lasts longer. What a command changed before is still written and answered.
        let timeout = core.next_timeout().filter(|timeout| *timeout <= deadline);
        let is_idle = sources.workers.is_idle() && !core.is_changing();
        if timeout.is_none() && (is_idle || Instant::now() >= deadline) {
            return Ok(());
        }
        let input = next(core, sources, timeout.or(Some(deadline))).await?;
        handle(core, input);
    }
}

/// Tells the core the time of day, and returns the time. A clock before 1970 tells nothing.
fn tell_time(core: &mut Core<Datapath>) -> Instant {
    let now = Instant::now();
    if let Ok(since_epoch) = SystemTime::now().duration_since(UNIX_EPOCH) {
        core.set_wall_clock(now, since_epoch);
    }
    now
}

/// Waits for what comes first, from outside or from the datapath of `core`.
async fn next<'s>(
    core: &mut Core<Datapath>,
    sources: &'s mut Sources,
    timeout: Option<Instant>,
) -> anyhow::Result<Input<'s>> {
    tokio::select! {
        outcomes = core.changed() => Ok(Input::Changed(outcomes)),
        input = sources.next(timeout) => input,
    }
}

fn handle(core: &mut Core<Datapath>, input: Input<'_>) {
    let now = tell_time(core);
    match input {
        Input::Datagram(Datagram { local, remote, payload }) => {
            core.handle_datagram(now, local, remote, payload);
        }
        Input::Done(done) => core.handle_done(now, done),
        Input::Written(outcome) => core.handle_written(now, outcome),
        Input::Resolved(answer) => core.handle_resolved(now, answer),
        Input::Changed(outcomes) => core.handle_changed(now, outcomes),
        Input::Command(command) => core.handle_command(now, command),
        Input::Datapath(event) => core.handle_datapath_event(now, event),
        Input::Engine(event) => core.handle_engine_event(event),
        Input::Timeout => core.handle_timeout(now),
        Input::Certificates(outcome) => core.handle_certificates(now, outcome),
        // Who goes reads nothing again.
        Input::Signal | Input::Hangup => {}
    }
}

/// Waits for the next change of the engine; `None` when there will be none.
async fn next_engine_event(events: &mut Option<mpsc::Receiver<EngineEvent>>) -> Option<EngineEvent> {
    events.as_mut()?.recv().await
}

impl Sources {
    /// Waits for what comes first. Nothing is lost when several things come at once: every source can be asked again.
    async fn next(&mut self, timeout: Option<Instant>) -> anyhow::Result<Input<'_>> {
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            datagram = self.sockets.receive() => Ok(Input::Datagram(datagram)),
            done = self.workers.next() => Ok(Input::Done(done)),
            outcome = self.writer.next() => Ok(Input::Written(outcome)),
            answer = self.resolver.next() => Ok(Input::Resolved(answer)),
            Some(command) = self.commands.recv() => Ok(Input::Command(command)),
            event = self.datapath_events.next() => event.map(Input::Datapath),
            Some(event) = next_engine_event(&mut self.engine_events) => Ok(Input::Engine(event)),
            _ = self.hangup.recv() => Ok(Input::Hangup),
            outcome = self.certificates.next() => Ok(Input::Certificates(outcome)),
            () = timer => Ok(Input::Timeout),
            _ = self.terminate.recv() => Ok(Input::Signal),
            _ = self.interrupt.recv() => Ok(Input::Signal),
        }
    }

    /// Sends what the core has to send, and begins as much of its work as there are workers for, and to write what it
    /// has to store.
    async fn take_from(&mut self, core: &mut Core<Datapath>) {
        for transmit in core.take_transmits() {
            self.sockets.send(&transmit).await;
        }
        while self.workers.has_room()
            && let Some(work) = core.poll_work()
        {
            self.workers.begin(work);
        }
        if let Some(write) = core.next_write() {
            self.writer.begin(write);
        }
        while self.resolver.has_room()
            && let Some(question) = core.next_question()
        {
            self.resolver.begin(question);
        }
    }
}

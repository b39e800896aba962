//! One round of measurements of one system.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::generator::{Echo, Generator, LightGenerator, Load, PacketSize, Rate, streams};
use super::results::{Results, SizeResults};
use super::search::{TrialLength, best_rate, zero_loss_rate};
use super::settings::Settings;
use super::statistics::Figure;
use super::system::{Running, System};
use super::topology::Topology;
use super::usage::Usage;

/// Pause between round trips beside a load, so that they do not become a load themselves.
const PAUSE: Duration = Duration::from_micros(200);
/// Most time for the round trips of one figure.
const MOST_TIME: Duration = Duration::from_secs(4);
/// Share of the best rate at which delay under load and processor time are measured.
pub(super) const LOADED_SHARE: f64 = 0.5;
/// Size of the packets of that load.
pub(super) const LOADED_SIZE: PacketSize = PacketSize::Fixed(1400);
/// Sizes for which one gateway alone is measured, where they are among those to measure.
const ALONE_SIZES: [PacketSize; 2] = [PacketSize::Fixed(64), PacketSize::Fixed(1400)];

/// Starts `system` afresh and adds what it does to `results`. What fails is noted there, and the rest goes on.
pub(super) fn round(system: &dyn System, settings: &Settings, is_first: bool, results: &mut Results) {
    let outcome = Topology::create().and_then(|topology| {
        let running = system.start(&topology).context("start")?;
        let ready = topology.wait_ready().with_context(|| running.log_tail());
        ready.and_then(|()| topology.set_inner_mtu(running.inner_mtu())).context("start")?;
        let generator = Generator::open(&topology, settings.flows, settings.placement())?;
        let mut round = Round { topology: &topology, running, generator, settings, results };
        round.run(is_first);
        Ok(())
    });
    if let Err(error) = outcome {
        results.failures.push(shorten(&format!("{error:#}")));
    }
}

struct Round<'a> {
    topology: &'a Topology,
    running: Box<dyn Running>,
    generator: Generator,
    settings: &'a Settings,
    results: &'a mut Results,
}

impl Round<'_> {
    fn run(&mut self, is_first: bool) {
        self.step("round trips", Self::idle_round_trips);
        self.step("UDP", |round| round.all_udp(is_first));
        for size in self.settings.packet_sizes().unwrap_or_default() {
            self.step(&format!("order of UDP {size}"), |round| round.order(size));
        }
        self.step("half load", Self::half_load);
        for &count in &self.settings.tcp_streams {
            self.step(&format!("TCP {count}"), |round| {
                let rate = streams(round.topology, count, round.settings.tcp(), round.settings.placement())?;
                round.results.tcp.entry(count).or_default().push(rate);
                Ok(())
            });
        }
        // Last, because nothing passes afterwards.
        self.step("one gateway alone", Self::alone);
    }

    fn step(&mut self, name: &str, measure: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = measure(self) {
            self.results.failures.push(shorten(&format!("{name}: {error:#}")));
        }
    }

    /// Everything that the kernel's generator does at host B; afterwards its port is what it was.
    fn all_udp(&mut self, is_first: bool) -> Result<()> {
        let light = LightGenerator::open(self.topology, self.settings.flows, self.settings.placement())?;
        let before = self.running.hand_over()?;
        for size in self.settings.packet_sizes().unwrap_or_default() {
            self.step(&format!("UDP {size}"), |round| round.udp(&light, size, is_first));
        }
        if let (Some(before), Some(after)) = (before, self.running.hand_over()?) {
            self.results.hand_over.get_or_insert_default().add(&after.since(&before));
        }
        self.step("processor time", |round| round.processor_time(&light));
        Ok(())
    }

    /// The best rate, and in the first round the rate without loss.
    fn udp(&mut self, light: &LightGenerator<'_>, size: PacketSize, is_first: bool) -> Result<()> {
        let entry = self.results.sizes.entry(size.to_string()).or_insert_with(|| SizeResults::new(size));
        let trial = |rate, length| {
            let length = match length {
                TrialLength::Short => self.settings.trial(),
                TrialLength::Long => self.settings.confirmation(),
            };
            light.deliver(&Load { size, rate, length })
        };
        let best = best_rate(entry.received.median(), |rate| trial(rate, TrialLength::Short))?;
        ensure!(best.received > 0.0, "nothing arrives");
        let zero_loss = is_first.then(|| zero_loss_rate(best.received, trial)).transpose()?;
        entry.received.push(best.received);
        entry.offered_at_best.push(best.offered);
        if let Some(found) = zero_loss {
            entry.zero_loss = Some(found.unwrap_or(0.0));
        }
        Ok(())
    }

    /// Whether packets arrive in order and once: numbered ones from sockets, at the rate of the load beside round trips.
    fn order(&mut self, size: PacketSize) -> Result<()> {
        let Some(rate) = self.half_of_best(size) else { return Ok(()) };
        let delivery = self.generator.deliver(&Load { size, rate, length: self.settings.trial() })?;
        let entry = self.results.sizes.get_mut(&size.to_string());
        entry.context("the best rate is known")?.arrivals.add(&delivery);
        Ok(())
    }

    /// Half of this round's best rate; nothing where none was found, which is noted already, or measured.
    fn half_of_best(&self, size: PacketSize) -> Option<Rate> {
        let best = self.results.sizes.get(&size.to_string())?.received.rounds.last()?;
        Some(Rate::PacketsPerSecond(LOADED_SHARE * best))
    }

    fn idle_round_trips(&mut self) -> Result<()> {
        let echo = Echo::start(self.topology, self.settings.placement())?;
        // The first ones find cold caches.
        echo.round_trips(self.settings.round_trips / 10, Duration::ZERO, MOST_TIME)?;
        let trips = echo.round_trips(self.settings.round_trips, Duration::ZERO, MOST_TIME)?;
        self.results.idle.add(&trips)
    }

    /// Round trips beside a load of sockets.
    fn half_load(&mut self) -> Result<()> {
        let Some(rate) = self.half_of_best(LOADED_SIZE) else { return Ok(()) };
        let echo = Echo::start(self.topology, self.settings.placement())?;
        let length = self.settings.beside_load();
        let trips = thread::scope(|scope| {
            let generator = &self.generator;
            let load = scope.spawn(move || generator.deliver(&Load { size: LOADED_SIZE, rate, length }));
            let trips = echo.round_trips(self.settings.round_trips, PAUSE, length);
            load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            trips
        })?;
        self.results.loaded.add(&trips)
    }

    fn processor_time(&mut self, light: &LightGenerator<'_>) -> Result<()> {
        let Some(rate) = self.half_of_best(LOADED_SIZE) else { return Ok(()) };
        let processes = self.running.processes();
        let before = Usage::so_far(&processes)?;
        let load = Load { size: LOADED_SIZE, rate, length: self.settings.confirmation() };
        let delivery = light.deliver(&load)?;
        let used = Usage::so_far(&processes)?.since(&before);
        let gigabytes = delivery.arrived as f64 * LOADED_SIZE.mean() / 1e9;
        ensure!(gigabytes > 0.0, "nothing arrives");
        let usage = &mut self.results.usage;
        usage.busy.push(used.busy / gigabytes);
        usage.stolen.push(used.stolen / gigabytes);
        usage.generator.push(used.generator / gigabytes);
        usage.gateways.push(used.gateways / gigabytes);
        Ok(())
    }

    fn alone(&mut self) -> Result<()> {
        if !self.running.stop_far_gateway(self.topology)? {
            return Ok(());
        }
        let light = LightGenerator::open(self.topology, self.settings.flows, self.settings.placement())?;
        let (counter, _link) = self.topology.discard_at_far_gateway()?;
        let sizes = self.settings.packet_sizes()?;
        for size in ALONE_SIZES.into_iter().filter(|size| sizes.contains(size)) {
            let before = self.results.alone.get(&size.to_string()).and_then(Figure::median);
            let best = best_rate(before, |rate| {
                let load = Load { size, rate, length: self.settings.trial() };
                light.send_only(&load, || counter.count())
            })?;
            self.results.alone.entry(size.to_string()).or_default().push(best.received);
        }
        Ok(())
    }
}

/// A failure quotes a log, whose end tells why.
fn shorten(text: &str) -> String {
    const HEAD: usize = 200;
    const TAIL: usize = 600;
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= HEAD + TAIL {
        return text.to_owned();
    }
    let (head, tail) = (&characters[..HEAD], &characters[characters.len() - TAIL..]);
    head.iter().chain(&[' ', '…', ' ']).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_long_failure_are_kept() {
        let text = format!("start {} the reason", "log ".repeat(1000));
        let short = shorten(&text);
        assert!(
            short.starts_with("start log") && short.ends_with("the reason") && short.len() < 1000,
            "{short}"
        );
        assert_eq!(shorten("short"), "short");
    }
}

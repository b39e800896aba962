//! A gateway, its model, and frames for both: each must agree with the other about every one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};
use gateway_common::{Aead, DropReason, GatewayConfig};
use rand::RngExt as _;

use super::association::{Association, Kind};
use super::generator::{Generator, Specimen};
use super::model::{Fate, Model, Prediction, Slot};
use super::network::{CPU_SAS, Interface, Outbound, TUNNEL_LIST, TUNNELS, Tunnel};
use super::wire::Wire;
use super::world::{Verdict, World};

/// Frames between two looks at every counter.
const COUNTERS_EVERY: u64 = 5_000;
/// One in so many frames that are to leave comes by a cable and leaves by one.
const WIRE_ONE_IN: u32 = 20;
/// What those are called in the summary, beside their fate.
pub(crate) const SEEN_ON_THE_WIRE: &str = "of these, came and left by cables";
/// Frames between two exchanges of SAs.
const REKEY_EVERY: u64 = 20_000;
/// Frames between two replacements of the SAs that come to an end.
const RENEW_EVERY: u64 = 200_000;
const AEADS: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];
/// Numbers that the SA of a tunnel with [`Outbound::Exhausted`] has left.
const NUMBERS_LEFT: u64 = 400;
/// Bytes that an SA with a hard lifetime carries.
const HARD_BYTES: u64 = 200_000;

/// How often each fate came about, by name.
pub(crate) type Fates = BTreeMap<&'static str, u64>;

/// The gateway and what accompanies it.
pub(crate) struct Trial {
    seed: u64,
    world: World,
    model: Model,
    generator: Generator,
    frames: u64,
    passed: u64,
    answered: u64,
    next_spi: u32,
    /// What became of the last frame.
    out: Vec<u8>,
    wire: Wire,
    /// Bytes behind opened packets.
    padding: u32,
    /// How often each fate came about.
    pub(crate) fates: Fates,
}

impl Trial {
    /// A gateway in a namespace of the calling thread's own.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        // Every other gateway does as in generic mode.
        let padding = if seed.is_multiple_of(2) { 0 } else { GatewayConfig::GENERIC_PADDING };
        let mut world = World::new(padding)?;
        world.attach()?;
        let wire = Wire::open()?;
        let generator = Generator::new(seed, world.index(Interface::Lan));
        let (model, fates) = (Model::default(), Fates::new());
        let mut trial = Self {
            seed,
            world,
            model,
            generator,
            frames: 0,
            passed: 0,
            answered: 0,
            next_spi: 0x1000,
            out: Vec::new(),
            wire,
            padding,
            fates,
        };
        for tunnel in TUNNEL_LIST {
            for number in 0..if tunnel.receives { 8 } else { 0 } {
                trial.receive_with(tunnel, Kind::numbered(number))?;
            }
            trial.renew_outbound(tunnel, None)?;
        }
        for queue in [1, CPU_SAS - 1] {
            trial.renew_outbound(&TUNNEL_LIST[0], Some(queue))?;
        }
        Ok(trial)
    }

    /// Tries `frames` frames.
    ///
    /// # Errors
    /// Gateway and model disagree. The message has what it takes to see it again.
    pub(crate) fn run(&mut self, frames: u64) -> Result<()> {
        for _ in 0..frames {
            let specimen = self.generator.specimen();
            self.frames += 1;
            self.try_one(&specimen)?;
            if self.frames.is_multiple_of(COUNTERS_EVERY) {
                self.compare_counters()?;
            }
            if self.frames.is_multiple_of(REKEY_EVERY) {
                self.rekey()?;
            }
        }
        self.compare_counters()
    }

    fn try_one(&mut self, specimen: &Specimen) -> Result<()> {
        let arrival = &specimen.arrival;
        let (program, prediction) = if arrival.interface == Interface::Vgw0 {
            ("returned", self.model.predict_returned(&arrival.frame, World::slots()))
        } else {
            ("gateway", self.model.predict(arrival))
        };
        let on_wire = self.generator.random.random_range(0..WIRE_ONE_IN) == 0;
        let departure = prediction.departure().filter(|_| on_wire && Wire::carries(arrival));
        let verdict = match departure {
            None => self.world.run(program, arrival, &mut self.out)?,
            Some(ethernet) => {
                *self.fates.entry(SEEN_ON_THE_WIRE).or_default() += 1;
                match self.wire.cross(arrival, &ethernet, &mut self.out) {
                    Ok(()) => Verdict::Redirect,
                    Err(error) => return self.disagree(specimen, &prediction, &format!("{error:#}"), ""),
                }
            }
        };
        let frame = &self.out[..];
        let observed = match verdict {
            Verdict::Pass if frame == arrival.frame => prediction.find(|fate| matches!(fate, Fate::Pass)),
            Verdict::Pass => Err("the frame that passed was changed".to_owned()),
            Verdict::Drop => find_drop(&self.world, &self.model, &prediction)?,
            Verdict::Redirect => check_forwarded(&mut self.model, &prediction, frame, self.padding),
        };
        let (fate, slot) = match observed {
            Ok(fate) => (fate, slot_of(&prediction, fate)),
            Err(error) => {
                let out = if verdict == Verdict::Drop { String::new() } else { hex::encode(frame) };
                return self.disagree(specimen, &prediction, &format!("{verdict:?}: {error}"), &out);
            }
        };
        *self.fates.entry(name_of(fate)).or_default() += 1;
        self.passed += u64::from(matches!(fate, Fate::Pass));
        self.answered += u64::from(matches!(fate, Fate::Answered));
        self.model.settle(&prediction, fate);
        if let Some(slot) = slot
            && let Err(error) = self.compare_sa(slot)
        {
            return self.disagree(specimen, &prediction, &format!("{error:#}"), "");
        }
        Ok(())
    }

    fn disagree(&self, specimen: &Specimen, prediction: &Prediction, what: &str, out: &str) -> Result<()> {
        let mut counted = String::new();
        for (tunnel, reason) in drop_counters() {
            let (is, was) = (self.world.dropped(tunnel, reason)?, self.model.dropped_for(tunnel, reason));
            if is != was {
                let difference = is - was;
                write!(counted, "\n  counted for tunnel {tunnel}: {reason:?}, {difference} times")?;
            }
        }
        if let Some((slot, sequence)) = prediction.authenticated {
            let (sa, kept) = (&self.model.sas[&slot], self.world.sa(slot).0);
            let (spi, highest) = (sa.association.config.spi, sa.window.highest);
            write!(
                counted,
                "\n  SA {spi:#x}: number {sequence:#x}, highest {highest:#x}, {kept:#x} in the gateway"
            )?;
        }
        bail!(
            "gateway and model disagree about frame {} of seed {} ({} at {:?}, queue {})\n  {what}{counted}\n  predicted: \
             {:?}\n  frame: {}\n  left as: {out}",
            self.frames,
            self.seed,
            specimen.trail.join(", "),
            specimen.arrival.interface,
            specimen.arrival.queue,
            prediction.fates,
            hex::encode(&specimen.arrival.frame),
        )
    }

    /// Compares an SA with what it should be.
    fn compare_sa(&self, slot: Slot) -> Result<()> {
        let sa = &self.model.sas[&slot];
        let (mut sequence, packets, bytes) = self.world.sa(slot);
        // Attempts to draw a number that there is not may be counted.
        if !sa.association.config.esn && sa.sent >= u64::from(u32::MAX) {
            sequence = sequence.min(sa.sent);
        }
        let should_be = (sa.sequence(), sa.packets, sa.bytes);
        ensure!(
            (sequence, packets, bytes) == should_be,
            "SA {:#x} has sequence number, packets and bytes {:?} in place of {should_be:?}",
            sa.association.config.spi,
            (sequence, packets, bytes)
        );
        Ok(())
    }

    /// Compares everything that is counted with the model's sums, and both with the number of frames.
    fn compare_counters(&self) -> Result<()> {
        for (tunnel, reason) in drop_counters() {
            let (is, should_be) =
                (self.world.dropped(tunnel, reason)?, self.model.dropped_for(tunnel, reason));
            ensure!(
                is == should_be,
                "seed {}, {} frames: {is} drops of tunnel {tunnel} for {reason:?} in place of {should_be}",
                self.seed,
                self.frames
            );
        }
        for tunnel in 0..TUNNELS {
            let is = self.world.counters().traffic(tunnel as u32)?;
            let is = (is.in_packets, is.in_bytes, is.out_packets, is.out_bytes);
            let should_be = self.model.traffic[tunnel];
            let should_be =
                (should_be.in_packets, should_be.in_bytes, should_be.out_packets, should_be.out_bytes);
            ensure!(
                is == should_be,
                "seed {}, {} frames: tunnel {tunnel} carried {is:?} in place of {should_be:?}",
                self.seed,
                self.frames
            );
        }
        for slot in self.model.sas.keys() {
            self.compare_sa(*slot)?;
        }
        let sum = self.passed + self.answered + self.model.dropped() + self.model.forwarded();
        ensure!(sum == self.frames, "{} frames came, {sum} are accounted for", self.frames);
        Ok(())
    }

    /// Replaces one inbound SA of each tunnel, and outbound ones.
    fn rekey(&mut self) -> Result<()> {
        let is_time_to_renew = self.frames.is_multiple_of(RENEW_EVERY);
        for tunnel in TUNNEL_LIST {
            if tunnel.receives {
                self.replace_inbound(tunnel)?;
            }
            if tunnel.outbound == Outbound::Usual || is_time_to_renew {
                self.renew_outbound(tunnel, None)?;
            }
        }
        self.renew_outbound(&TUNNEL_LIST[0], Some(1))
    }

    fn replace_inbound(&mut self, tunnel: &Tunnel) -> Result<()> {
        let senders = &mut self.generator.senders;
        let of_tunnel = |sender: &super::generator::Sender| sender.association.tunnel == tunnel.number;
        let Some(oldest) = senders.iter().position(of_tunnel) else { bail!("no inbound SA") };
        let spi = senders.remove(oldest).association.config.spi;
        self.world.remove_inbound(tunnel.number, spi)?;
        self.model.remove_inbound(spi);
        self.generator.note_spi(spi);
        let kind = Kind::numbered(self.generator.random.random_range(0..8));
        self.receive_with(tunnel, kind)
    }

    fn receive_with(&mut self, tunnel: &Tunnel, kind: Kind) -> Result<()> {
        let mut association = self.association(tunnel, kind);
        if self.generator.random.random_range(0..20) == 0 {
            association.config.hard_bytes = HARD_BYTES;
        }
        let slot = self.world.receive_with(tunnel.number, &association.config)?;
        let association = Rc::new(association);
        self.model.receive_with(slot, association.clone());
        self.generator.send_with(association, slot);
        Ok(())
    }

    /// Gives a tunnel, or one of its queues, another outbound SA.
    fn renew_outbound(&mut self, tunnel: &Tunnel, queue: Option<u32>) -> Result<()> {
        let mut kind = Kind::numbered(self.generator.random.random_range(0..8));
        let mut sent = 0;
        match tunnel.outbound {
            Outbound::Missing => return Ok(()),
            Outbound::Exhausted => {
                kind.esn = false;
                sent = u64::from(u32::MAX) - NUMBERS_LEFT;
            }
            // Extended numbers have no end in 32 bits.
            Outbound::Usual if kind.esn => sent = self.generator.random.random_range(0..1 << 33),
            Outbound::Usual | Outbound::Expiring => {}
        }
        let mut association = self.association(tunnel, kind);
        if tunnel.outbound == Outbound::Expiring {
            association.config.hard_bytes = HARD_BYTES;
        }
        let slot = self.world.send_with(tunnel.number, queue, &association.config, sent)?;
        self.generator.note_spi(association.config.spi);
        if let Some(before) = self.model.send_with(queue, slot, Rc::new(association), sent) {
            self.world.remove_outbound(tunnel.number, before.association.config.spi)?;
        }
        Ok(())
    }

    fn association(&mut self, tunnel: &Tunnel, kind: Kind) -> Association {
        let random = &mut self.generator.random;
        self.next_spi += random.random_range(1..0x1_0000);
        let aead = AEADS[random.random_range(0..AEADS.len())];
        Association::new(tunnel, self.next_spi, aead, kind, random)
    }
}

/// Every counter of drops.
fn drop_counters() -> impl Iterator<Item = (u32, DropReason)> {
    (0..TUNNELS as u32).flat_map(|tunnel| DropReason::ALL.iter().map(move |reason| (tunnel, *reason)))
}

/// The predicted drop whose counter has moved.
fn find_drop<'a>(
    world: &World,
    model: &Model,
    prediction: &'a Prediction,
) -> Result<Result<&'a Fate, String>> {
    for fate in &prediction.fates {
        let is_it = match fate {
            Fate::Drop(tunnel, reason) => {
                world.dropped(*tunnel, *reason)? == model.dropped_for(*tunnel, *reason) + 1
            }
            // That nothing else was counted is seen when all counters are looked at.
            Fate::Answered => true,
            _ => false,
        };
        if is_it {
            return Ok(Ok(fate));
        }
    }
    Ok(Err("not dropped for a reason that was predicted".to_owned()))
}

/// The predicted fate of a frame that was forwarded as `frame`.
fn check_forwarded<'a>(
    model: &mut Model,
    prediction: &'a Prediction,
    frame: &[u8],
    padding: u32,
) -> Result<&'a Fate, String> {
    let fate = prediction.find(|fate| matches!(fate, Fate::Opened(_) | Fate::Sealed(_)))?;
    match fate {
        // What the padding holds says nothing.
        Fate::Opened(opened)
            if !frame.starts_with(&opened.frame) || frame.len() != opened.frame.len() + padding as usize =>
        {
            let differs = frame.iter().zip(&opened.frame).position(|(is, should_be)| is != should_be);
            Err(format!("wrong from byte {} on", differs.unwrap_or(frame.len().min(opened.frame.len()))))
        }
        Fate::Sealed(sealed) => model.check_sealed(sealed, frame).map(|()| fate),
        _ => Ok(fate),
    }
}

/// The SA that a fate concerns.
fn slot_of(prediction: &Prediction, fate: &Fate) -> Option<Slot> {
    match fate {
        Fate::Opened(opened) => Some(opened.slot),
        Fate::Sealed(sealed) => Some(sealed.slot),
        _ => prediction.authenticated.map(|(slot, _)| slot),
    }
}

/// How a fate is called in the summary.
fn name_of(fate: &Fate) -> &'static str {
    match fate {
        Fate::Pass => "passed to the kernel",
        Fate::Answered => "answered to a worker",
        Fate::Opened(_) => "opened and forwarded",
        Fate::Sealed(_) => "sealed and forwarded",
        Fate::Drop(_, reason) => reason.name(),
    }
}

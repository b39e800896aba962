//! Looking for the load at which a system does best.

use anyhow::Result;

use super::generator::Rate;

/// What a load brought about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Packets per second offered.
    pub(crate) offered: f64,
    /// Packets per second received.
    pub(crate) received: f64,
    /// Packets lost.
    pub(crate) lost: u64,
    /// Packets that arrived, those before and after the time that counts included.
    pub(crate) arrived: u64,
}

/// How long to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrialLength {
    /// To find a rate.
    Short,
    /// To confirm it.
    Long,
}

/// First step between rates, as a factor.
const FIRST_STEP: f64 = 1.5;
/// The search ends when the step is smaller than that.
const LAST_STEP: f64 = 1.08;
/// How much better a rate must be to be a reason to go on in its direction.
const GAIN: f64 = 1.01;
/// Share of the upper end that the zero-loss rate is found to.
pub(crate) const RESOLUTION: f64 = 0.03;
/// Share of a rate that must have been offered for the rate to hold.
const OFFERED_SHARE: f64 = 0.97;
/// How often a rate is tried that was not offered though nothing was lost.
const ATTEMPTS: u32 = 4;
/// How often a rate that lost packets in the longer trial is lowered by 5 %.
const RETREATS: u32 = 10;

/// The best received rate, and where. A sender that shares its processors with what it measures takes their time away, so
/// the best is not at the highest load: after an unpaced load, paced ones climb from `start` (or what the unpaced one
/// brought through) in steps of 50 %, then finer ones.
///
/// # Errors
/// Those of `trial`.
pub(crate) fn best_rate(
    start: Option<f64>,
    mut trial: impl FnMut(Rate) -> Result<Outcome>,
) -> Result<Outcome> {
    let unpaced = trial(Rate::Unpaced)?;
    let mut best = unpaced;
    // Where next to nothing comes through a flood, the search has to come down from somewhere.
    let mut rate = start.unwrap_or(unpaced.received.max(unpaced.offered / 50.0)).max(1.0);
    let mut step = if start.is_some() { FIRST_STEP.sqrt() } else { FIRST_STEP };
    let mut at_rate = trial(Rate::PacketsPerSecond(rate))?;
    keep_better(&mut best, at_rate);
    while step >= LAST_STEP {
        // Up first: below the best rate, what is received is what is offered.
        let mut moved = false;
        for factor in [step, 1.0 / step] {
            // What is received is at most what is offered, so there is nothing to be gained below.
            while factor > 1.0 || rate * factor > best.received {
                let next = trial(Rate::PacketsPerSecond(rate * factor))?;
                keep_better(&mut best, next);
                // The sender does not get any faster.
                let exhausted = factor > 1.0 && next.offered < rate;
                if next.received < GAIN * at_rate.received || exhausted {
                    break;
                }
                (rate, at_rate, moved) = (rate * factor, next, true);
            }
            if moved {
                break;
            }
        }
        step = step.sqrt();
    }
    Ok(best)
}

/// The highest rate up to `upper` at which nothing is lost: found by halving to [`RESOLUTION`] of `upper` with short
/// trials, then confirmed by a long one, and lowered by 5 % until that loses nothing. `None` when nothing holds.
///
/// # Errors
/// Those of the trials.
pub(crate) fn zero_loss_rate(
    upper: f64,
    mut trial: impl FnMut(Rate, TrialLength) -> Result<Outcome>,
) -> Result<Option<f64>> {
    // Nor does a rate hold at which the sender did not get round to sending, time and again.
    let mut loses = |rate, length| {
        for _ in 0..ATTEMPTS {
            let outcome = trial(Rate::PacketsPerSecond(rate), length)?;
            if outcome.lost > 0 {
                break;
            }
            if outcome.offered >= OFFERED_SHARE * rate {
                return Ok::<_, anyhow::Error>(false);
            }
        }
        Ok(true)
    };
    let (mut low, mut high) = (0.0, upper);
    if !loses(upper, TrialLength::Short)? {
        low = upper;
    }
    while high - low > RESOLUTION * upper {
        let middle = f64::midpoint(low, high);
        if loses(middle, TrialLength::Short)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    for _ in 0..=RETREATS {
        if low < RESOLUTION * upper {
            break;
        }
        if !loses(low, TrialLength::Long)? {
            return Ok(Some(low));
        }
        low *= 0.95;
    }
    Ok(None)
}

fn keep_better(best: &mut Outcome, outcome: Outcome) {
    if outcome.received > best.received {
        *best = outcome;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forwards up to `capacity` packets per second; what is offered beyond takes its time away. The sender reaches `most`.
    fn system(capacity: f64, most: f64) -> impl Fn(Rate) -> Result<Outcome> {
        move |rate| {
            let offered = match rate {
                Rate::Unpaced => most,
                Rate::PacketsPerSecond(rate) => rate.min(most),
            };
            let excess = (offered - capacity).max(0.0);
            let received = (offered - excess - excess / 3.0).max(capacity / 10.0).min(offered);
            Ok(Outcome { offered, received, lost: (offered - received) as u64, arrived: 0 })
        }
    }

    #[test]
    fn the_best_rate_is_found_below_a_sender_that_hides_it() {
        for capacity in [5_000.0, 90_000.0, 400_000.0] {
            let best = best_rate(None, system(capacity, 1_000_000.0)).unwrap();
            assert!(best.received > 0.95 * capacity, "{} of {capacity}", best.received);
        }
    }

    #[test]
    fn the_best_rate_of_a_system_that_drowns_is_found() {
        let drowning = |rate| {
            let outcome = system(5_000.0, 1e6)(rate)?;
            let received = if outcome.offered > 8_000.0 { 0.0 } else { outcome.received };
            Ok(Outcome { received, ..outcome })
        };
        let best = best_rate(None, drowning).unwrap();
        assert!(best.received > 0.9 * 5_000.0, "{best:?}");
    }

    #[test]
    fn the_best_rate_of_a_fast_system_is_the_senders() {
        let best = best_rate(None, system(2e6, 1e6)).unwrap();
        assert!(best.received > 0.99e6, "{best:?}");
    }

    #[test]
    fn a_search_that_starts_near_takes_fewer_trials() {
        let count = |start| {
            let (system, mut trials) = (system(90_000.0, 1e6), 0);
            let best = best_rate(start, |rate| {
                trials += 1;
                system(rate)
            });
            assert!(best.unwrap().received > 0.95 * 90_000.0);
            trials
        };
        let (far, near) = (count(None), count(Some(88_000.0)));
        assert!(near < far, "{near} and {far} trials");
        assert!(far <= 16, "{far} trials");
    }

    #[test]
    fn the_zero_loss_rate_is_found() {
        let fake = system(70_000.0, 1e6);
        let found = zero_loss_rate(100_000.0, |rate, _| fake(rate)).unwrap().unwrap();
        assert!((found - 70_000.0).abs() <= RESOLUTION * 100_000.0, "{found}");
        let found = zero_loss_rate(60_000.0, |rate, _| fake(rate)).unwrap().unwrap();
        assert!((found - 60_000.0).abs() < 1.0, "the upper end holds: {found}");
    }

    #[test]
    fn a_rate_that_loses_packets_in_a_long_trial_is_lowered() {
        let (short, long) = (system(70_000.0, 1e6), system(60_000.0, 1e6));
        let trial = |rate, length| if length == TrialLength::Long { long(rate) } else { short(rate) };
        let found = zero_loss_rate(100_000.0, trial).unwrap().unwrap();
        assert!((56_000.0..=60_000.0).contains(&found), "{found}");
    }

    #[test]
    fn a_rate_that_was_not_offered_does_not_hold() {
        let idle = system(1e6, 70_000.0);
        let found = zero_loss_rate(100_000.0, |rate, _| idle(rate)).unwrap().unwrap();
        assert!((found - 70_000.0).abs() <= RESOLUTION * 100_000.0, "{found}");
    }

    #[test]
    fn a_system_that_always_loses_has_no_zero_loss_rate() {
        let lossy = |_, _| Ok(Outcome { offered: 1e6, received: 1.0, lost: 1, arrived: 0 });
        assert_eq!(zero_loss_rate(100_000.0, lossy).unwrap(), None);
    }
}

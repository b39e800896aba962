//! Medians, spreads, quantiles.

use serde::{Deserialize, Serialize};

/// One figure, measured in several rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Value of each round, in the order of measurement.
    pub(crate) rounds: Vec<f64>,
}

impl Figure {
    /// Adds the value of a round.
    pub(crate) fn push(&mut self, value: f64) {
        self.rounds.push(value);
    }

    /// The middle value, or the mean of the two middle ones. `None` when nothing was measured.
    pub(crate) fn median(&self) -> Option<f64> {
        let sorted = sorted(&self.rounds);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// The smallest and the largest value.
    pub(crate) fn spread(&self) -> Option<(f64, f64)> {
        let sorted = sorted(&self.rounds);
        Some((*sorted.first()?, *sorted.last()?))
    }

    /// How many times the median of `other` its own median is.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        let (own, other) = (self.median()?, other.median()?);
        (other > 0.0).then_some(own / other)
    }
}

/// The value that the share `quantile` (0 to 1) of `values` does not exceed (nearest rank). `None` without values.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(rounds: &[f64]) -> Figure {
        Figure { rounds: rounds.to_vec() }
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(figure(&[3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(figure(&[4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(figure(&[]).median(), None);
        assert_eq!(figure(&[3.0, 1.0, 2.0]).spread(), Some((1.0, 3.0)));
    }

    #[test]
    fn ratios_are_of_medians() {
        let (own, other) = (figure(&[9.0, 3.0, 6.0]), figure(&[4.0, 4.0, 100.0]));
        assert_eq!(own.ratio_to(&other), Some(1.5));
        assert_eq!(own.ratio_to(&figure(&[])), None);
        assert_eq!(own.ratio_to(&figure(&[0.0])), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(50.0));
        assert_eq!(quantile(&values, 0.99), Some(99.0));
        assert_eq!(quantile(&values, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.01), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

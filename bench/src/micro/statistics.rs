//! Statistics of a few dozen values.

/// The median; sorts `values`, of which there must be one at least.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_halves_the_values() {
        assert!((median(&mut [3.0]) - 3.0).abs() < 1e-9);
        assert!((median(&mut [9.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&mut [9.0, 1.0, 2.0, 4.0]) - 3.0).abs() < 1e-9);
    }
}

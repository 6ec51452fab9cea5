//! Latencies in figures.

use std::time::Duration;

/// The value that so much of all are not above, in milliseconds. Zero when there are none.
pub(crate) fn quantile(latencies: &[Duration], part: f64) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let at = (part * last as f64).round() as usize;
    sorted.get(at.min(last)).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let latencies: Vec<_> = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|p| quantile(&latencies, p)), [1.0, 51.0, 100.0, 101.0]);
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }
}

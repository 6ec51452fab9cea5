//! Growing, randomised waits. Pure: the caller owns the clock and the random numbers.

use std::time::Duration;

use fastrand::Rng;

/// An exponential back-off: each step doubles the ceiling up to a cap.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    steps: u32,
}

impl Backoff {
    /// Starts at `base` and never waits longer than `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, steps: 0 }
    }

    /// The next wait with full jitter: anything from zero to the ceiling. Spreads a crowd that failed together best.
    pub fn full(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.step();
        ceiling.mul_f64(rng.f64())
    }

    /// The same with another cap for this step.
    pub fn full_up_to(&mut self, cap: Duration, rng: &mut Rng) -> Duration {
        let ceiling = self.base.saturating_mul(self.factor()).min(cap);
        self.steps = self.steps.saturating_add(1);
        ceiling.mul_f64(rng.f64())
    }

    /// The next wait with little jitter: three quarters of the ceiling to all of it. For waits that must not be short.
    pub fn spread(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.step();
        ceiling.mul_f64(0.75 + 0.25 * rng.f64())
    }

    /// Starts again at the base.
    pub fn reset(&mut self) {
        self.steps = 0;
    }

    fn factor(&self) -> u32 {
        1u32.checked_shl(self.steps).unwrap_or(u32::MAX)
    }

    fn step(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(self.factor()).min(self.cap);
        self.steps = self.steps.saturating_add(1);
        ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn full_jitter_stays_below_a_doubling_ceiling_and_uses_the_room() {
        let mut rng = Rng::with_seed(1);
        for step in 0..40 {
            let ceiling = S.saturating_mul(1u32.checked_shl(step).unwrap_or(u32::MAX)).min(60 * S);
            let waits: Vec<_> = (0..200)
                .map(|_| {
                    let mut b = Backoff::new(S, 60 * S);
                    for _ in 0..step {
                        b.full(&mut rng);
                    }
                    b.full(&mut rng)
                })
                .collect();
            assert!(waits.iter().all(|w| *w <= ceiling));
            assert!(waits.iter().any(|w| *w < ceiling / 4) && waits.iter().any(|w| *w > ceiling * 3 / 4));
        }
    }

    #[test]
    fn spread_never_waits_less_than_three_quarters() {
        let mut rng = Rng::with_seed(2);
        let mut b = Backoff::new(60 * S, 3600 * S);
        for ceiling in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            let wait = b.spread(&mut rng);
            assert!(wait >= ceiling * S * 3 / 4 && wait <= ceiling * S, "{wait:?} of {ceiling}");
        }
        b.reset();
        assert!(b.spread(&mut rng) <= 60 * S);
    }
}

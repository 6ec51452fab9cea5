//! Token buckets: how often something may happen. Pure: they take `now`.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::timings::Rate;

/// One bucket. Kept as the moment at which it is full again (the generic cell rate algorithm), so it needs no timer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// `None`: it was never used, so it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// When there is none, how long until there is one. A refusal costs nothing.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.every;
        let missing = full_at - now;
        match missing.checked_sub(rate.every * rate.burst) {
            None | Some(Duration::ZERO) => {
                self.full_at = Some(full_at);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// One bucket per key, in bounded memory.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    most: usize,
    /// A key that is not here has a full bucket.
    used: HashMap<K, Bucket>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// Remembers at most `most` keys.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most: most.max(1), used: HashMap::new() }
    }

    /// Takes one token of `key`'s.
    ///
    /// # Errors
    /// See [`Bucket::take`].
    pub(crate) fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        if self.used.len() >= self.most && !self.used.contains_key(&key) {
            self.forget(now);
        }
        self.used.entry(key).or_default().take(self.rate, now)
    }

    /// Makes room: full buckets say nothing, and among the others the fullest are the least to lose. A whole eighth of
    /// them goes, so that looking through all of them is seldom.
    fn forget(&mut self, now: Instant) {
        self.used.retain(|_, bucket| bucket.full_at.is_some_and(|at| at > now));
        if self.used.len() < self.most {
            return;
        }
        let mut by_fullness: Vec<_> = self.used.iter().map(|(key, bucket)| (bucket.full_at, *key)).collect();
        let least = by_fullness.len().div_ceil(8);
        by_fullness.select_nth_unstable_by_key(least - 1, |(full_at, _)| *full_at);
        for (_, key) in &by_fullness[..least] {
            self.used.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 60, every: Duration::from_secs(5) };

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// How many of `n` tries at `now` pass.
    fn passes(bucket: &mut Bucket, n: usize, now: Instant) -> usize {
        (0..n).filter(|_| bucket.take(RATE, now).is_ok()).count()
    }

    #[test]
    fn sixty_at_once_then_one_per_five_seconds() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        assert_eq!(passes(&mut bucket, 1000, start), 60);
        assert_eq!(bucket.take(RATE, start), Err(secs(5)), "and it says for how long");
        assert_eq!(bucket.take(RATE, start + secs(4)), Err(secs(1)), "a refusal costs nothing");
        assert_eq!(passes(&mut bucket, 10, start + secs(5)), 1);
        assert_eq!(passes(&mut bucket, 100, start + secs(105)), 20);
        assert_eq!(passes(&mut bucket, 1000, start + secs(100_000)), 60, "never more than the burst");
        assert_eq!(passes(&mut bucket, 1, start), 0, "a clock that goes back gives nothing away");
    }

    #[test]
    fn one_key_s_use_is_not_another_s() {
        let (mut buckets, now) = (Buckets::new(RATE, 100), Instant::now());
        assert_eq!((0..100).filter(|_| buckets.take(1, now).is_ok()).count(), 60);
        assert!(buckets.take(2, now).is_ok());
        assert!(buckets.take(1, now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_those_who_asked_most_are_remembered() {
        let (mut buckets, now) = (Buckets::new(RATE, 1000), Instant::now());
        for _ in 0..100 {
            let _ = buckets.take(0, now);
        }
        for stranger in 1..100_000_u32 {
            assert!(buckets.take(stranger, now).is_ok());
            assert!(buckets.used.len() <= 1000);
        }
        assert!(buckets.take(0, now).is_err(), "a hundred thousand others do not wash it away");
        assert!(buckets.used.capacity() < 4000);
        // Once they are all full again nothing is worth remembering.
        assert!(buckets.take(u32::MAX, now + secs(3600)).is_ok());
        assert_eq!(buckets.used.len(), 1);
    }
}

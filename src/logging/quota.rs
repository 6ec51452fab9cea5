//! How many log lines strangers may cause. Whoever can open a connection can make the web server speak; the log must
//! stay readable and the disk free all the same. Pure: takes `now`.

use std::time::{Duration, Instant};

use log::Level;

use crate::rate::Bucket;
use crate::timings::Rate;

/// For each of the two kinds of lines: fifty at once, then five per second.
const RATE: Rate = Rate { burst: 50, every: Duration::from_millis(200) };

/// Counts lines. Warnings and errors are counted apart, so that chatter cannot crowd them out.
#[derive(Debug, Default)]
pub(super) struct Quota {
    grave: Lines,
    chatter: Lines,
}

#[derive(Debug, Default)]
struct Lines {
    bucket: Bucket,
    left_out: u64,
}

impl Quota {
    /// Whether a line may be written at `now`; if so, how many like it were left out before.
    pub(super) fn allow(&mut self, level: Level, now: Instant) -> Option<u64> {
        let lines = if level <= Level::Warn { &mut self.grave } else { &mut self.chatter };
        if lines.bucket.take(RATE, now).is_ok() {
            Some(std::mem::take(&mut lines.left_out))
        } else {
            lines.left_out += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_comes_to_ten_lines_a_second_and_nothing_is_left_out_in_silence() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        let (mut written, mut told) = (0, 0);
        for ms in 0..100_000 {
            for level in [Level::Error, Level::Debug] {
                if let Some(left_out) = quota.allow(level, start + Duration::from_millis(ms)) {
                    written += 1;
                    told += left_out;
                }
            }
        }
        assert!(written <= 2 * 50 + 10 * 100, "{written} lines in 100 s");
        assert!(written >= 10 * 100, "{written}: no less than promised");
        let later = start + Duration::from_secs(3600);
        told += quota.allow(Level::Error, later).unwrap() + quota.allow(Level::Info, later).unwrap();
        assert_eq!(written + told, 200_000, "each line is written or counted");
    }

    #[test]
    fn chatter_does_not_crowd_out_a_warning() {
        let (mut quota, now) = (Quota::default(), Instant::now());
        let chatter = (0..1000).filter(|_| quota.allow(Level::Info, now).is_some()).count();
        assert_eq!(chatter, 50);
        assert_eq!(quota.allow(Level::Warn, now), Some(0));
    }
}

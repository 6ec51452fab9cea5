//! Log lines that strangers can cause must not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about the same thing.
const PAUSE: Duration = Duration::from_secs(60);

/// Says yes at most once a minute.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    /// Whether the line may be written at `now`.
    pub(super) fn due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_however_often_it_is_asked() {
        let (seldom, start) = (LogThrottle::default(), Instant::now());
        let said = (0..180_000).filter(|ms| seldom.due(start + Duration::from_millis(*ms))).count();
        assert_eq!(said, 3);
    }
}

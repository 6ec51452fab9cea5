//! Log lines that strangers can cause must not fill the disk.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::Client;
use crate::runtime::lock;

/// Between two lines about the same thing.
const PAUSE: Duration = Duration::from_secs(60);

/// Says yes at most once a minute.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(Mutex<Option<Instant>>);

impl LogThrottle {
    /// Whether the line may be written at `now`.
    pub(super) fn due(&self, now: Instant) -> bool {
        let mut last = lock(&self.0);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }

    /// Tells the operator of a client that was refused, once a minute: it may be a proxy that is not known as one.
    pub(super) fn warn_turned_away(&self, client: Client, why: impl fmt::Display) {
        if self.due(Instant::now()) {
            log::warn!(
                "web: {client} was turned away: {why}. If it is your reverse proxy, name it in `trusted_proxies` and let \
                 it send X-Forwarded-For"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_however_often_it_is_asked() {
        let (throttle, start) = (LogThrottle::default(), Instant::now());
        let said = (0..180_000).filter(|ms| throttle.due(start + Duration::from_millis(*ms))).count();
        assert_eq!(said, 3);
    }
}

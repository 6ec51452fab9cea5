//! How many registrations each client may send. They cost more than pages.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, Key};
use super::log_throttle::LogThrottle;
use crate::rate::Buckets;
use crate::timings::Limits;

/// Lets registrations in.
pub(crate) struct RegistrationRateLimit {
    by_client: Mutex<Buckets<Key>>,
    turned_away: LogThrottle,
}

impl RegistrationRateLimit {
    pub(crate) fn new(limits: &Limits) -> Self {
        let by_client = Mutex::new(Buckets::new(limits.web_registrations, limits.web_clients));
        Self { by_client, turned_away: LogThrottle::default() }
    }

    /// Counts one registration. The operator is told of refusals once a minute.
    ///
    /// # Errors
    /// How long until this client may send one more.
    pub(crate) fn admit(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let Some(key) = client.key() else { return Ok(()) };
        let admitted = self.by_client.lock().unwrap_or_else(PoisonError::into_inner).take(key, now);
        admitted.inspect_err(|_| self.turned_away.warn_turned_away(client, "too many registrations from one address"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn each_client_has_its_own_sixty_and_whoever_is_not_told_apart_is_not_counted() {
        let client = |n: u8| Client::Address(IpAddr::from([198, 51, 100, n]));
        let (limit, now) = (RegistrationRateLimit::new(&Limits::default()), Instant::now());
        for n in 0..100 {
            assert_eq!(limit.admit(client(1), now).is_ok(), n < 60, "{n}");
        }
        assert_eq!(limit.admit(client(1), now), Err(Duration::from_secs(5)));
        assert_eq!(limit.admit(client(2), now), Ok(()));
        let proxy = Client::NoForwardingHeader(Some(IpAddr::from([127, 0, 0, 1])));
        assert!((0..10_000).all(|_| limit.admit(proxy, now).is_ok()), "all phones may come this way");
    }
}

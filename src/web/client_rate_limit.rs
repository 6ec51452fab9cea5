//! How often each client may ask for something.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::{Client, Key};
use super::log_throttle::LogThrottle;
use crate::rate::Buckets;
use crate::runtime::lock;
use crate::timings::Rate;

/// A limit on requests, or on registrations, which cost more.
pub(crate) struct ClientRateLimit {
    what: &'static str,
    by_client: Mutex<Buckets<Key>>,
    turned_away: LogThrottle,
}

impl ClientRateLimit {
    /// At most `rate` of `what`; so many `clients` are remembered.
    pub(crate) fn new(what: &'static str, rate: Rate, clients: usize) -> Self {
        Self { what, by_client: Mutex::new(Buckets::new(rate, clients)), turned_away: LogThrottle::default() }
    }

    /// Counts one. The operator is told of refusals once a minute.
    ///
    /// # Errors
    /// How long until this client may ask again.
    pub(crate) fn admit(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let Some(key) = client.key() else { return Ok(()) };
        let admitted = lock(&self.by_client).take(key, now);
        admitted.inspect_err(|_| self.turned_away.warn_turned_away(client, format_args!("too many {}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::timings::Limits;

    fn limit() -> ClientRateLimit {
        ClientRateLimit::new("registrations", Limits::default().web_registrations, 100)
    }

    #[test]
    fn each_client_has_its_own_sixty_and_whoever_is_not_told_apart_is_not_counted() {
        let client = |n: u8| Client::Address(IpAddr::from([198, 51, 100, n]));
        let (limit, now) = (limit(), Instant::now());
        for n in 0..100 {
            assert_eq!(limit.admit(client(1), now).is_ok(), n < 60, "{n}");
        }
        assert_eq!(limit.admit(client(1), now), Err(Duration::from_secs(5)));
        assert_eq!(limit.admit(client(2), now), Ok(()));
        let proxy = Client::NoForwardingHeader(Some(IpAddr::from([127, 0, 0, 1])));
        assert!((0..10_000).all(|_| limit.admit(proxy, now).is_ok()), "all phones may come this way");
    }
}

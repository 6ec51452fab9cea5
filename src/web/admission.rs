//! Which registrations are looked at. They cost more than pages: a host is looked up, the database and Signal asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::client::{Client, Key};
use super::seldom::Seldom;
use crate::rate::Buckets;
use crate::timings::Limits;

/// When to come again if everybody at once is too much.
const SOON: Duration = Duration::from_secs(2);

/// Lets registrations in.
pub(crate) struct Admission {
    by_client: Mutex<Buckets<Key>>,
    at_once: Arc<Semaphore>,
    told: Seldom,
}

/// Why a registration is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNow {
    /// This client sends too many. Holds the time until it may send one more.
    #[error("too many registrations from one address")]
    TooMany(Duration),
    /// All clients together do.
    #[error("too many registrations at the same time; try again soon")]
    Busy,
}

impl NotNow {
    /// The HTTP status that answers it.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::TooMany(_) => 429,
            Self::Busy => 503,
        }
    }

    /// When there is a point in trying again.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::TooMany(wait) => wait,
            Self::Busy => SOON,
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            by_client: Mutex::new(Buckets::new(limits.web_registrations, limits.web_clients)),
            at_once: Arc::new(Semaphore::new(limits.web_registrations_at_once.max(1))),
            told: Seldom::default(),
        }
    }

    /// Admits one registration, which lasts as long as the permit is held. The operator is told of refusals once a
    /// minute.
    ///
    /// # Errors
    /// See [`NotNow`].
    pub(crate) fn admit(&self, client: Client, now: Instant) -> Result<SemaphoreGuardArc, NotNow> {
        let admitted = self.try_admit(client, now);
        if let Err(refusal) = &admitted
            && self.told.due(now)
        {
            log::warn!(
                "web: a registration from {client} was not looked at: {refusal}. If it is your reverse proxy, name it \
                 in `trusted_proxies` and let it send X-Forwarded-For"
            );
        }
        admitted
    }

    fn try_admit(&self, client: Client, now: Instant) -> Result<SemaphoreGuardArc, NotNow> {
        if let Some(key) = client.key() {
            let mut by_client = self.by_client.lock().unwrap_or_else(PoisonError::into_inner);
            by_client.take(key, now).map_err(NotNow::TooMany)?;
        }
        self.at_once.try_acquire_arc().ok_or(NotNow::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(n: u8) -> Client {
        Client::Address(IpAddr::from([198, 51, 100, n]))
    }

    #[test]
    fn each_client_has_its_own_sixty_and_whoever_is_not_told_apart_is_not_counted() {
        let (admission, now) = (Admission::new(&Limits::default()), Instant::now());
        for n in 0..100 {
            assert_eq!(admission.admit(client(1), now).is_ok(), n < 60, "{n}");
        }
        assert_eq!(admission.admit(client(1), now).err(), Some(NotNow::TooMany(Duration::from_secs(5))));
        assert!(admission.admit(client(2), now).is_ok());
        let proxy = Client::Untold(Some(IpAddr::from([127, 0, 0, 1])));
        assert!((0..10_000).all(|_| admission.admit(proxy, now).is_ok()), "all phones may come this way");
    }

    #[test]
    fn registrations_at_once_are_bounded() {
        let limits = Limits { web_registrations_at_once: 2, ..Limits::default() };
        let (admission, now) = (Admission::new(&limits), Instant::now());
        let permits = [admission.admit(client(1), now).unwrap(), admission.admit(client(2), now).unwrap()];
        assert_eq!(admission.admit(client(3), now).err(), Some(NotNow::Busy));
        drop(permits);
        assert!(admission.admit(client(3), now).is_ok());
    }
}

//! Host names to addresses. One look-up per host is in flight whatever the number of askers, because the system's
//! resolver blocks a thread for each and cannot be called back.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use event_listener::Event;
use futures_lite::FutureExt as _;
use smol::lock::Semaphore;
use smol::{Executor, Timer};

/// Looks up host names. The system's resolver, or a table in tests.
#[async_trait::async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, best first.
    ///
    /// # Errors
    /// Whatever the resolver says.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver (`getaddrinfo`): it knows the hosts file, mDNS and the search list, and orders addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait::async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = smol::net::resolve((host, 0)).await?;
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }
}

/// On whose behalf a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Signal: one name, which must not wait behind the others.
    Signal,
    /// A push server of an account.
    Push,
    /// A push server somebody wants to register: names strangers choose, whose servers may hang. Pushes must not wait
    /// behind them.
    Check,
}

/// Why there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookupError {
    /// No answer in time.
    Late,
    /// The answer is no; the text says why.
    Failed(String),
}

/// What a look-up found. Text instead of an error because every asker gets a copy.
type Found = Result<Vec<IpAddr>, String>;

/// A look-up under way.
#[derive(Default)]
struct Flight {
    found: OnceLock<Found>,
    landed: Event,
}

/// What tells look-ups apart. Signal's name as somebody's push server is another one, lest it wait in their queue.
type Key = (Purpose, String);

type Flights = Arc<Mutex<HashMap<Key, Arc<Flight>>>>;

/// Shares look-ups between askers.
#[derive(Clone)]
pub(super) struct Lookup {
    resolver: Arc<dyn Resolve>,
    executor: Arc<Executor<'static>>,
    flights: Flights,
    /// Threads that look-ups for pushes may block,
    pushes: Arc<Semaphore>,
    /// and those for registrations.
    checks: Arc<Semaphore>,
}

impl Lookup {
    /// `slots`: look-ups at the same time, Signal's not counted. A third of them is for registrations.
    pub(super) fn new(resolver: Arc<dyn Resolve>, executor: Arc<Executor<'static>>, slots: usize) -> Self {
        let checks = (slots / 3).max(1);
        let semaphore = |slots: usize| Arc::new(Semaphore::new(slots.max(1)));
        let (pushes, checks) = (semaphore(slots.saturating_sub(checks)), semaphore(checks));
        Self { resolver, executor, flights: Flights::default(), pushes, checks }
    }

    /// The same with another resolver.
    pub(super) fn with(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The addresses of `host`; never an empty list. The look-up goes on after the deadline, so that the next asker
    /// joins it instead of blocking one more thread.
    pub(super) async fn addresses(
        &self,
        host: &str,
        purpose: Purpose,
        deadline: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let flight = self.join(host, purpose);
        let landed = async {
            loop {
                let listener = flight.landed.listen();
                if let Some(found) = flight.found.get() {
                    return found.clone().map_err(LookupError::Failed);
                }
                listener.await;
            }
        };
        let late = async {
            Timer::after(deadline).await;
            Err(LookupError::Late)
        };
        landed.or(late).await
    }

    fn join(&self, host: &str, purpose: Purpose) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (purpose, host.to_owned());
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), flight.clone());
        let landing = Landing { flights: self.flights.clone(), key, flight: flight.clone() };
        let resolver = self.resolver.clone();
        let slots = match purpose {
            Purpose::Signal => None,
            Purpose::Push => Some(self.pushes.clone()),
            Purpose::Check => Some(self.checks.clone()),
        };
        let task = self.executor.spawn(async move {
            let _slot = match slots {
                Some(slots) => Some(slots.acquire_arc().await),
                None => None,
            };
            if !landing.awaited() {
                return;
            }
            let found = match resolver.resolve(&landing.key.1).await {
                Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
                Ok(addresses) => Ok(addresses),
                Err(error) => Err(error.to_string()),
            };
            let _ = landing.flight.found.set(found);
        });
        task.detach();
        flight
    }
}

/// Ends a flight however its task ends: a resolver that panics must not leave its askers joining a look-up that will
/// never land.
struct Landing {
    flights: Flights,
    key: Key,
    flight: Arc<Flight>,
}

impl Landing {
    /// Whether anybody still waits: besides this one and the map's, every handle is an asker's.
    fn awaited(&self) -> bool {
        Arc::strong_count(&self.flight) > 2
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        let _ = self.flight.found.set(Err("the look-up was given up".to_owned()));
        self.flight.landed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never answers for names under `.hangs`.
    struct Hangs;

    #[async_trait::async_trait]
    impl Resolve for Hangs {
        async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            if host.ends_with(".hangs") {
                futures_lite::future::pending::<()>().await;
            }
            Ok(vec![IpAddr::from([192, 0, 2, 1])])
        }
    }

    #[test]
    fn registrations_with_hanging_names_do_not_keep_pushes_or_signal_waiting() {
        let executor = Arc::new(Executor::new());
        let lookup = Lookup::new(Arc::new(Hangs), executor.clone(), 6);
        let (soon, late) = (Duration::from_millis(30), Duration::from_secs(10));
        smol::block_on(executor.run(async {
            for n in 0..8 {
                let junk = lookup.addresses(&format!("{n}.hangs"), Purpose::Check, soon).await;
                assert_eq!(junk, Err(LookupError::Late));
            }
            for purpose in [Purpose::Push, Purpose::Signal] {
                assert!(lookup.addresses("push.example", purpose, late).await.is_ok(), "{purpose:?}");
            }
            assert_eq!(lookup.addresses("push.example", Purpose::Check, soon).await, Err(LookupError::Late));
        }));
    }
}

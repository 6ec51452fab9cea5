//! Host names to addresses. One look-up per host is in flight whatever the number of askers, because the system's
//! resolver blocks a thread for each and cannot be called back. What is found serves the next askers for some seconds;
//! whoever dials vets it each time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
        let host = host.to_owned();
        let found = own_thread(move || (host.as_str(), 0).to_socket_addrs()).await??;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What blocks, on a thread that ends with it. Those of the `blocking` crate, behind smol's own look-up, stay for ever and
/// wake twice a second, each.
///
/// # Errors
/// No thread can be started, or `work` panicked.
pub async fn own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = smol::channel::bounded(1);
    thread::Builder::new().name("look-up".into()).spawn(move || drop(tell.try_send(work())))?;
    told.recv().await.map_err(|_| io::Error::other("the look-up was given up"))
}

/// On whose behalf a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Signal: one name, which must not wait behind the others.
    Signal,
    /// A push server of an account.
    Push,
    /// A push server somebody wants to register: names strangers choose, whose name servers may hang. Pushes must not
    /// wait behind them.
    Check,
}

impl Purpose {
    /// For whom a look-up under way must be for this one to wait for it.
    fn waits_with(self) -> &'static [Self] {
        match self {
            Self::Signal => &[Self::Signal],
            Self::Push => &[Self::Push],
            Self::Check => &[Self::Push, Self::Check],
        }
    }

    /// For whom an answer may have been found. It is vetted for each use.
    fn answered_by(self) -> &'static [Self] {
        match self {
            Self::Signal => &[Self::Signal],
            Self::Push | Self::Check => &[Self::Push, Self::Check],
        }
    }

    /// Whether old addresses are better than none: not for a name that is to be judged for the first time.
    fn takes_old(self) -> bool {
        self != Self::Check
    }
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

/// An answer that may still be used.
struct Kept {
    found: Found,
    until: Instant,
    /// The last addresses found, and when that was.
    last: Option<(Vec<IpAddr>, Instant)>,
}

/// What is known and what is being found out.
#[derive(Default)]
struct Names {
    flights: HashMap<Key, Arc<Flight>>,
    kept: HashMap<Key, Kept>,
}

type Shared = Arc<Mutex<Names>>;

/// How long answers are kept, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Addresses.
    pub(super) found: Duration,
    /// Failures.
    pub(super) failed: Duration,
    /// Addresses, for whoever would have none otherwise because a look-up takes long.
    pub(super) old: Duration,
    /// How long is long.
    pub(super) patience: Duration,
    /// Names.
    pub(super) names: usize,
}

/// Shares look-ups between askers.
#[derive(Clone)]
pub(super) struct Lookup {
    resolver: Arc<dyn Resolve>,
    executor: Arc<Executor<'static>>,
    names: Shared,
    keep: Keep,
    /// Threads that look-ups for pushes may block,
    pushes: Arc<Semaphore>,
    /// and those for registrations.
    checks: Arc<Semaphore>,
}

impl Lookup {
    /// `slots`: look-ups at the same time, Signal's not counted. A third of them is for registrations.
    pub(super) fn new(resolver: Arc<dyn Resolve>, executor: Arc<Executor<'static>>, slots: usize, keep: Keep) -> Self {
        let checks = (slots / 3).max(1);
        let semaphore = |slots: usize| Arc::new(Semaphore::new(slots.max(1)));
        let (pushes, checks) = (semaphore(slots.saturating_sub(checks)), semaphore(checks));
        Self { resolver, executor, names: Shared::default(), keep, pushes, checks }
    }

    /// The same with another resolver.
    pub(super) fn with(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The addresses of `host`; never an empty list. The look-up goes on after the deadline, so that the next asker
    /// joins it instead of blocking one more thread. When it takes long, as behind the names of accounts whose name
    /// servers hang, the addresses of before serve.
    pub(super) async fn addresses(
        &self,
        host: &str,
        purpose: Purpose,
        deadline: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let flight = match self.known_or_joined(host, purpose) {
            Ok(found) => return found.map_err(LookupError::Failed),
            Err(flight) => flight,
        };
        let (wait, otherwise) = match self.old(host, purpose) {
            Some(addresses) => (deadline.min(self.keep.patience), Ok(addresses)),
            None => (deadline, Err(LookupError::Late)),
        };
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
            Timer::after(wait).await;
            otherwise
        };
        landed.or(late).await
    }

    /// The addresses of `host` that were found last, unless that is too long ago.
    fn old(&self, host: &str, purpose: Purpose) -> Option<Vec<IpAddr>> {
        let names = lock(&self.names);
        let purposes = purpose.answered_by().iter().filter(|_| purpose.takes_old());
        let last = purposes.filter_map(|purpose| names.kept.get(&(*purpose, host.to_owned()))?.last.as_ref());
        let (addresses, at) = last.max_by_key(|(_, at)| *at)?;
        (at.elapsed() < self.keep.old).then(|| addresses.clone())
    }

    /// What is known of `host`, or the look-up that finds it out.
    fn known_or_joined(&self, host: &str, purpose: Purpose) -> Result<Found, Arc<Flight>> {
        let mut names = lock(&self.names);
        let now = Instant::now();
        let key = |purpose: &Purpose| (*purpose, host.to_owned());
        let mut kept = purpose.answered_by().iter().filter_map(|purpose| names.kept.get(&key(purpose)));
        if let Some(kept) = kept.find(|kept| now < kept.until) {
            return Ok(kept.found.clone());
        }
        if let Some(flight) = purpose.waits_with().iter().find_map(|purpose| names.flights.get(&key(purpose))) {
            return Err(flight.clone());
        }
        let key = key(&purpose);
        let flight = Arc::new(Flight::default());
        names.flights.insert(key.clone(), flight.clone());
        drop(names);
        let landing = Landing { names: self.names.clone(), key, flight: flight.clone() };
        let (resolver, keep) = (self.resolver.clone(), self.keep);
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
            lock(&landing.names).keep(&landing.key, &found, keep);
            let _ = landing.flight.found.set(found);
        });
        task.detach();
        Err(flight)
    }
}

impl Names {
    fn keep(&mut self, key: &Key, found: &Found, keep: Keep) {
        let now = Instant::now();
        let until = now + if found.is_ok() { keep.found } else { keep.failed };
        if until == now {
            return;
        }
        if self.kept.len() >= keep.names && !self.kept.contains_key(key) {
            let old = |kept: &Kept| kept.last.as_ref().is_some_and(|(_, at)| now < *at + keep.old);
            self.kept.retain(|_, kept| now < kept.until || old(kept));
        }
        // Names that registrations choose must not push out those of accounts, and none Signal's, which is one.
        let others = self.kept.iter().filter(|((purpose, _), _)| *purpose != Purpose::Signal);
        let first = others.min_by_key(|((purpose, _), kept)| (*purpose == Purpose::Push, kept.until));
        if self.kept.len() >= keep.names
            && let Some(first) = first.map(|(name, _)| name.clone())
        {
            self.kept.remove(&first);
        }
        let last = match found {
            Ok(addresses) => Some((addresses.clone(), now)),
            Err(_) => self.kept.remove(key).and_then(|kept| kept.last),
        };
        self.kept.insert(key.clone(), Kept { found: found.clone(), until, last });
    }
}

fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a flight however its task ends: a resolver that panics must not leave its askers joining a look-up that will
/// never land.
struct Landing {
    names: Shared,
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
        lock(&self.names).flights.remove(&self.key);
        let _ = self.flight.found.set(Err("the look-up was given up".to_owned()));
        self.flight.landed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests;

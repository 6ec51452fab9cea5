//! Host names to addresses. What is found serves the next askers for some seconds, and of those who ask for one name at
//! the same time one looks it up: the system's resolver blocks a thread for each look-up and cannot be called back, and
//! thousands of accounts ask for Signal's name after an outage. Whoever dials vets the answer each time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use smol::Executor;
use smol::lock::Semaphore;

use crate::runtime::{lock, timeout};

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
pub(super) enum LookupPurpose {
    /// Signal: one name, which must not wait behind the others.
    Signal,
    /// A push server of an account.
    Push,
    /// A push server somebody wants to register: names strangers choose, whose name servers may hang. Pushes must not
    /// wait behind them.
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

/// How long answers are kept, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheTtl {
    /// Addresses.
    pub(super) found: Duration,
    /// Failures.
    pub(super) failed: Duration,
    /// Addresses, for whoever would have none otherwise because a look-up takes long.
    pub(super) old: Duration,
    /// How long is long.
    pub(super) patience: Duration,
    /// Names, for each purpose.
    pub(super) names: usize,
}

/// What a look-up found. Text instead of an error because every asker gets a copy.
type LookupResult = Result<Vec<IpAddr>, String>;

/// What was found last.
struct CacheEntry {
    found: LookupResult,
    at: Instant,
    fresh_until: Instant,
}

/// One name. Whoever holds the lock of `answer` looks the name up; the others wait for the lock and find the answer.
#[derive(Default)]
struct Name {
    answer: Arc<smol::lock::Mutex<Option<CacheEntry>>>,
    /// The addresses that were found last, and when.
    old: Mutex<Option<(Vec<IpAddr>, Instant)>>,
}

/// The names of one purpose: those of others push none of them out and take none of their threads.
struct Names {
    /// With the time when each was asked for last.
    known: Mutex<HashMap<String, (Arc<Name>, Instant)>>,
    /// Look-ups at the same time, each of which blocks a thread.
    permits: Arc<Semaphore>,
}

impl Names {
    fn new(most: usize) -> Self {
        Self { known: Mutex::default(), permits: Arc::new(Semaphore::new(most.max(1))) }
    }

    /// The name `host`. Of those nobody asks for now `most` are kept: the one that was not asked for the longest makes
    /// room, and before that those never found, lest names that hang push out the others.
    fn name(&self, host: &str, most: usize) -> Arc<Name> {
        let mut known = lock(&self.known);
        let now = Instant::now();
        if let Some((name, asked)) = known.get_mut(host) {
            *asked = now;
            return name.clone();
        }
        let idle = || known.iter().filter(|(_, (name, _))| Arc::strong_count(name) == 1);
        let first = idle().min_by_key(|(_, (name, asked))| (lock(&name.old).is_some(), *asked));
        if let Some(host) = first.filter(|_| idle().count() >= most).map(|(host, _)| host.clone()) {
            known.remove(&host);
        }
        known.entry(host.to_owned()).or_insert_with(|| (Arc::default(), now)).0.clone()
    }
}

/// Shares look-ups between askers.
#[derive(Clone)]
pub(super) struct Lookup {
    resolver: Arc<dyn Resolve>,
    executor: Arc<Executor<'static>>,
    ttl: CacheTtl,
    signal: Arc<Names>,
    pushes: Arc<Names>,
    checks: Arc<Names>,
}

impl Lookup {
    /// `most`: look-ups at the same time, a third of them for registrations. Signal has two more.
    pub(super) fn new(
        resolver: Arc<dyn Resolve>,
        executor: Arc<Executor<'static>>,
        most: usize,
        ttl: CacheTtl,
    ) -> Self {
        let checks = (most / 3).max(1);
        let names = |most| Arc::new(Names::new(most));
        let (signal, pushes, checks) = (names(2), names(most.saturating_sub(checks)), names(checks));
        Self { resolver, executor, ttl, signal, pushes, checks }
    }

    /// The same with another resolver.
    pub(super) fn with(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The addresses of `host`; never an empty list. A look-up that was begun goes on after the deadline, so that the
    /// next asker waits for it instead of blocking one more thread. When it takes long, as behind the names of accounts
    /// whose name servers hang, the addresses of before serve, but not for a name that is judged for the first time.
    pub(super) async fn addresses(
        &self,
        host: &str,
        purpose: LookupPurpose,
        deadline: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let names = match purpose {
            LookupPurpose::Signal => &self.signal,
            LookupPurpose::Push => &self.pushes,
            LookupPurpose::Check => &self.checks,
        };
        let name = names.name(host, self.ttl.names);
        let old =
            lock(&name.old).clone().filter(|(_, at)| purpose != LookupPurpose::Check && at.elapsed() < self.ttl.old);
        let (wait, otherwise) = match old {
            Some((addresses, _)) => (deadline.min(self.ttl.patience), Ok(addresses)),
            None => (deadline, Err(LookupError::Late)),
        };
        timeout(wait, self.ask(names, &name, host)).await.unwrap_or(otherwise)
    }

    async fn ask(&self, names: &Names, name: &Arc<Name>, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let asked = Instant::now();
        loop {
            let mut answer = name.answer.lock_arc().await;
            if let Some(known) = &*answer
                && (asked <= known.at || Instant::now() < known.fresh_until)
            {
                return known.found.clone().map_err(LookupError::Failed);
            }
            let permit = names.permits.acquire_arc().await;
            let (resolver, ttl, name, host) = (self.resolver.clone(), self.ttl, name.clone(), host.to_owned());
            // The lock goes with the look-up. The next turn of the loop waits for it to be free again.
            let look_up = async move {
                let _permit = permit;
                let now = Instant::now();
                // Stays if the resolver panics.
                *answer = Some(CacheEntry { found: Err("the look-up was given up".into()), at: now, fresh_until: now });
                let found = match resolver.resolve(&host).await {
                    Ok(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
                    Ok(addresses) => Ok(addresses),
                    Err(error) => Err(error.to_string()),
                };
                let at = Instant::now();
                if let Ok(addresses) = &found {
                    *lock(&name.old) = Some((addresses.clone(), at));
                }
                let fresh_until = at + if found.is_ok() { ttl.found } else { ttl.failed };
                *answer = Some(CacheEntry { found, at, fresh_until });
            };
            self.executor.spawn(look_up).detach();
        }
    }
}

#[cfg(test)]
mod tests;

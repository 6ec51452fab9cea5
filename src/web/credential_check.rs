//! How much registrations may have us do, and ask of Signal. Whoever sends junk from many addresses gets past every limit
//! by client. What reaches Signal in our name must stay small all the same, and neither phones that are registered nor
//! accounts that reconnect may wait behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::register::{Asked, Refused};
use crate::account::AccountId;
use crate::rate::Buckets;
use crate::runtime::{lock, timeout};
use crate::timings::{Limits, Rate, Timings};

/// Bounds the registrations that are worked on, and the questions to Signal.
pub(crate) struct CredentialCheckLimiter {
    /// Anybody can invent new accounts. Known ones have a queue of their own, so that a phone that was linked anew gets
    /// through while somebody does.
    new: Queue,
    known: Queue,
    unknown_accounts: Arc<Semaphore>,
    per_account: usize,
    /// What the registrations of an account that are worked on hold.
    in_progress: Mutex<HashMap<(AccountId, Shows), Arc<()>>>,
    wait: Duration,
    unconfirmed: Mutex<Buckets<()>>,
}

/// Whether a registration shows the credentials that are stored for its account. Those who do are counted apart, so that
/// junk never keeps a phone out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shows {
    /// The stored credentials.
    Stored,
    /// Others, or there are none.
    Others,
}

/// Held while a registration is worked on.
#[derive(Debug)]
pub(crate) struct InProgress {
    _of_account: Arc<()>,
    _unknown_account_permit: Option<SemaphoreGuardArc>,
}

struct Queue {
    rate: Mutex<Buckets<()>>,
    at_once: Arc<Semaphore>,
}

fn bucket(rate: Rate) -> Mutex<Buckets<()>> {
    Mutex::new(Buckets::new(rate, 1))
}

fn take(bucket: &Mutex<Buckets<()>>) -> bool {
    lock(bucket).take((), Instant::now()).is_ok()
}

impl CredentialCheckLimiter {
    pub(crate) fn new(timings: &Timings, limits: &Limits) -> Self {
        let semaphore = |most: usize| Arc::new(Semaphore::new(most.max(1)));
        let queue = || Queue { rate: bucket(limits.asks), at_once: semaphore(limits.asks_at_once) };
        Self {
            new: queue(),
            known: queue(),
            unknown_accounts: semaphore(limits.strangers_at_once),
            per_account: limits.registrations_per_account.max(1),
            in_progress: Mutex::default(),
            wait: timings.ask_turn,
            unconfirmed: bucket(limits.unconfirmed),
        }
    }

    /// Counts a registration for as long as it is worked on.
    ///
    /// # Errors
    /// There are too many of this account, or too many that show no stored credentials.
    pub(crate) fn begin(&self, id: AccountId, shows: Shows) -> Result<InProgress, Refused> {
        let permit = match shows {
            Shows::Stored => None,
            Shows::Others => Some(self.unknown_accounts.try_acquire_arc().ok_or_else(busy)?),
        };
        let mut in_progress = lock(&self.in_progress);
        in_progress.retain(|_, held| Arc::strong_count(held) > 1);
        let held = in_progress.entry((id, shows)).or_default();
        if Arc::strong_count(held) > self.per_account {
            return Err(Refused::for_now("too many registrations of this account are being worked on already"));
        }
        Ok(InProgress { _of_account: held.clone(), _unknown_account_permit: permit })
    }

    /// Waits a moment for a turn to ask, where strangers could ask the same. The question lasts as long as the turn is
    /// held.
    ///
    /// # Errors
    /// Others ask too much.
    pub(crate) async fn turn(&self, asked: Asked) -> Result<Option<SemaphoreGuardArc>, Refused> {
        let queue = match asked {
            Asked::New => &self.new,
            Asked::Replacement => &self.known,
            Asked::Resumption => return Ok(None),
        };
        let turn = timeout(self.wait, queue.at_once.acquire_arc()).await.ok_or_else(busy)?;
        if take(&queue.rate) { Ok(Some(turn)) } else { Err(busy()) }
    }

    /// Whether one more new account may be stored without Signal's word.
    ///
    /// # Errors
    /// There were too many already.
    pub(crate) fn store_unconfirmed(&self) -> Result<(), Refused> {
        let why = "Signal cannot be asked about it, and too many accounts were stored without its word already";
        if take(&self.unconfirmed) { Ok(()) } else { Err(Refused::for_now(why)) }
    }
}

/// Strangers keep us too busy already.
fn busy() -> Refused {
    let why = "too many new accounts are being registered at the same time";
    Refused::for_now(format_args!("{why}; if strangers do it, name yours in `allowed_uuids`"))
}

#[cfg(test)]
mod tests {
    use futures_lite::FutureExt;
    use smol::Timer;

    use super::*;

    const SLOW: Duration = Duration::from_secs(3600);

    fn limiter_with(at_once: usize, burst: u32) -> CredentialCheckLimiter {
        let timings = Timings { ask_turn: Duration::from_millis(50), ..Timings::default() };
        let rate = Rate { burst, every: SLOW };
        CredentialCheckLimiter::new(
            &timings,
            &Limits { asks: rate, asks_at_once: at_once, unconfirmed: rate, ..Limits::default() },
        )
    }

    #[test]
    fn questions_at_once_are_bounded_and_the_rest_is_told_soon() {
        smol::block_on(async {
            let limiter = limiter_with(2, 100);
            let (first, _second) = (limiter.turn(Asked::New).await.unwrap(), limiter.turn(Asked::New).await.unwrap());
            let started = Instant::now();
            assert!(limiter.turn(Asked::New).await.is_err());
            assert!(started.elapsed() >= Duration::from_millis(50) && started.elapsed() < Duration::from_secs(5));
            limiter.turn(Asked::Replacement).await.expect("known accounts have turns of their own");
            let soon = async {
                Timer::after(Duration::from_millis(5)).await;
                drop(first);
                futures_lite::future::pending().await
            };
            limiter.turn(Asked::New).or(soon).await.expect("a turn that comes free in time");
        });
    }

    #[test]
    fn registrations_at_once_are_bounded_by_account_and_for_strangers_in_all_but_right_credentials_have_their_own() {
        let limits = Limits { strangers_at_once: 5, registrations_per_account: 2, ..Limits::default() };
        let limiter = CredentialCheckLimiter::new(&Timings::default(), &limits);
        let id = |n: u8| AccountId::parse(&format!("0f2b1a3c-1111-4222-8333-4444555566{n:02x}")).unwrap();
        let mut places = Vec::new();
        for n in 0..10 {
            for _ in 0..5 {
                places.extend(limiter.begin(id(n), Shows::Others));
            }
            let own: Vec<_> = (0..5).map_while(|_| limiter.begin(id(n), Shows::Stored).ok()).collect();
            assert_eq!(own.len(), 2, "whatever strangers do");
            assert!(limiter.begin(id(n), Shows::Stored).unwrap_err().why.contains("of this account"));
        }
        assert_eq!(places.len(), 5);
        assert!(limiter.begin(id(0), Shows::Others).unwrap_err().why.contains("allowed_uuids"));
        drop(places);
        assert!(limiter.begin(id(0), Shows::Others).is_ok());
        assert_eq!(limiter.in_progress.lock().unwrap().len(), 1, "what is over is forgotten");
    }

    #[test]
    fn questions_in_all_are_bounded() {
        smol::block_on(async {
            let limiter = limiter_with(2, 5);
            for n in 0..20 {
                assert_eq!(limiter.turn(Asked::New).await.is_ok(), n < 5, "{n}");
            }
            assert!(limiter.turn(Asked::Replacement).await.is_ok());
        });
        let limiter = limiter_with(2, 5);
        let stored = (0..20).filter(|_| limiter.store_unconfirmed().is_ok()).count();
        assert_eq!(stored, 5);
    }
}

//! How much registrations may have us do, and ask of Signal. Whoever sends junk from many addresses gets past every limit
//! by client. What reaches Signal in our name must stay small all the same, and neither phones that are registered nor
//! accounts that reconnect may wait behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use smol::Timer;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::register::{Asked, Refused};
use crate::account::AccountId;
use crate::rate::Bucket;
use crate::timings::{Limits, Rate, Timings};

/// Hands out turns to ask.
pub(crate) struct Asks {
    /// Anybody can invent new accounts. Known ones have turns of their own, so that a phone that was linked anew gets
    /// through while somebody does.
    new: Lane,
    known: Lane,
    strangers: Arc<Semaphore>,
    per_account: usize,
    crowds: Crowds,
    wait: Duration,
    unconfirmed: Limited,
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

/// How many registrations of whom are being worked on. Holds only those above zero.
type Crowds = Arc<Mutex<HashMap<(AccountId, Shows), usize>>>;

/// Held while a registration is worked on.
#[derive(Debug)]
pub(crate) struct Place {
    crowds: Crowds,
    whose: (AccountId, Shows),
    _stranger: Option<SemaphoreGuardArc>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = crowds.get_mut(&self.whose) {
            *left -= 1;
            if *left == 0 {
                crowds.remove(&self.whose);
            }
        }
    }
}

struct Lane {
    rate: Limited,
    at_once: Arc<Semaphore>,
}

struct Limited {
    rate: Rate,
    bucket: Mutex<Bucket>,
}

impl Limited {
    fn new(rate: Rate) -> Self {
        Self { rate, bucket: Mutex::default() }
    }

    fn take(&self) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.rate, Instant::now()).is_ok()
    }
}

impl Asks {
    pub(crate) fn new(timings: &Timings, limits: &Limits) -> Self {
        let lane =
            || Lane { rate: Limited::new(limits.asks), at_once: Arc::new(Semaphore::new(limits.asks_at_once.max(1))) };
        Self {
            new: lane(),
            known: lane(),
            strangers: Arc::new(Semaphore::new(limits.strangers_at_once.max(1))),
            per_account: limits.registrations_per_account.max(1),
            crowds: Crowds::default(),
            wait: timings.ask_turn,
            unconfirmed: Limited::new(limits.unconfirmed),
        }
    }

    /// A place for a registration, held until it is decided and carried out.
    ///
    /// # Errors
    /// There are too many of this account, or too many strangers.
    pub(crate) fn place(&self, id: AccountId, shows: Shows) -> Result<Place, Refused> {
        let stranger = match shows {
            Shows::Stored => None,
            Shows::Others => Some(self.strangers.try_acquire_arc().ok_or_else(busy)?),
        };
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        let crowd = crowds.entry((id, shows)).or_default();
        if *crowd >= self.per_account {
            return Err(Refused::for_now("too many registrations of this account are being worked on already"));
        }
        *crowd += 1;
        Ok(Place { crowds: self.crowds.clone(), whose: (id, shows), _stranger: stranger })
    }

    /// Waits a moment for a turn to ask, where strangers could ask the same. The question lasts as long as the turn is
    /// held.
    ///
    /// # Errors
    /// Others ask too much.
    pub(crate) async fn turn(&self, asked: Asked) -> Result<Option<SemaphoreGuardArc>, Refused> {
        let lane = match asked {
            Asked::New => &self.new,
            Asked::Replacement => &self.known,
            Asked::Resumption => return Ok(None),
        };
        let turn = async { Some(lane.at_once.acquire_arc().await) };
        let late = async {
            Timer::after(self.wait).await;
            None
        };
        let turn = turn.or(late).await.ok_or_else(busy)?;
        if lane.rate.take() { Ok(Some(turn)) } else { Err(busy()) }
    }

    /// Whether one more new account may be stored without Signal's word.
    ///
    /// # Errors
    /// There were too many already.
    pub(crate) fn store_unconfirmed(&self) -> Result<(), Refused> {
        let why = "Signal cannot be asked about it, and too many accounts were stored without its word already";
        if self.unconfirmed.take() { Ok(()) } else { Err(Refused::for_now(why)) }
    }
}

/// Strangers keep us too busy already.
fn busy() -> Refused {
    let why = "too many new accounts are being registered at the same time";
    Refused::for_now(format_args!("{why}; if strangers do it, name yours in `allowed_uuids`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(3600);

    fn asks(at_once: usize, burst: u32) -> Asks {
        let timings = Timings { ask_turn: Duration::from_millis(50), ..Timings::default() };
        let rate = Rate { burst, every: SLOW };
        Asks::new(&timings, &Limits { asks: rate, asks_at_once: at_once, unconfirmed: rate, ..Limits::default() })
    }

    #[test]
    fn questions_at_once_are_bounded_and_the_rest_is_told_soon() {
        smol::block_on(async {
            let asks = asks(2, 100);
            let (first, _second) = (asks.turn(Asked::New).await.unwrap(), asks.turn(Asked::New).await.unwrap());
            let started = Instant::now();
            assert!(asks.turn(Asked::New).await.is_err());
            assert!(started.elapsed() >= Duration::from_millis(50) && started.elapsed() < Duration::from_secs(5));
            asks.turn(Asked::Replacement).await.expect("known accounts have turns of their own");
            let soon = async {
                Timer::after(Duration::from_millis(5)).await;
                drop(first);
                futures_lite::future::pending().await
            };
            asks.turn(Asked::New).or(soon).await.expect("a turn that comes free in time");
        });
    }

    #[test]
    fn places_are_bounded_by_account_and_for_strangers_in_all_but_right_credentials_have_their_own() {
        let limits = Limits { strangers_at_once: 5, registrations_per_account: 2, ..Limits::default() };
        let asks = Asks::new(&Timings::default(), &limits);
        let id = |n: u8| AccountId::parse(&format!("0f2b1a3c-1111-4222-8333-4444555566{n:02x}")).unwrap();
        let mut places = Vec::new();
        for n in 0..10 {
            for _ in 0..5 {
                places.extend(asks.place(id(n), Shows::Others));
            }
            let own: Vec<_> = (0..5).map_while(|_| asks.place(id(n), Shows::Stored).ok()).collect();
            assert_eq!(own.len(), 2, "whatever strangers do");
            assert!(asks.place(id(n), Shows::Stored).unwrap_err().why.contains("of this account"));
        }
        assert_eq!(places.len(), 5);
        assert!(asks.place(id(0), Shows::Others).unwrap_err().why.contains("allowed_uuids"));
        drop(places);
        assert!(asks.crowds.lock().unwrap().is_empty());
        assert!(asks.place(id(0), Shows::Others).is_ok());
    }

    #[test]
    fn questions_in_all_are_bounded() {
        smol::block_on(async {
            let asks = asks(2, 5);
            for n in 0..20 {
                assert_eq!(asks.turn(Asked::New).await.is_ok(), n < 5, "{n}");
            }
            assert!(asks.turn(Asked::Replacement).await.is_ok());
        });
        let asks = asks(2, 5);
        let stored = (0..20).filter(|_| asks.store_unconfirmed().is_ok()).count();
        assert_eq!(stored, 5);
    }
}

//! How much strangers may have us do, and ask of Signal. Whoever sends junk from many addresses gets past every limit by
//! client. What reaches Signal in our name must stay small all the same, and neither phones that are registered nor
//! accounts that reconnect may wait behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use smol::Timer;
use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::register::{Asked, Refused};
use crate::rate::Bucket;
use crate::timings::{Limits, Rate, Timings};

/// Hands out turns to ask.
pub(crate) struct Asks {
    /// Anybody can invent new accounts. Known ones have turns of their own, so that a phone that was linked anew gets
    /// through while somebody does.
    new: Lane,
    known: Lane,
    strangers: Arc<Semaphore>,
    wait: Duration,
    unconfirmed: Limited,
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
            wait: timings.ask_turn,
            unconfirmed: Limited::new(limits.unconfirmed),
        }
    }

    /// A place for a registration that shows no credentials we know. Held until it is decided.
    ///
    /// # Errors
    /// [`Refused::Busy`]: there are too many.
    pub(crate) fn stranger(&self) -> Result<SemaphoreGuardArc, Refused> {
        self.strangers.try_acquire_arc().ok_or(Refused::Busy)
    }

    /// Waits a moment for a turn to ask. The question lasts as long as the turn is held.
    ///
    /// # Errors
    /// [`Refused::Busy`]: others ask too much.
    pub(crate) async fn turn(&self, asked: Asked) -> Result<SemaphoreGuardArc, Refused> {
        let lane = match asked {
            Asked::New => &self.new,
            Asked::Replacement => &self.known,
        };
        let turn = async { Some(lane.at_once.acquire_arc().await) };
        let late = async {
            Timer::after(self.wait).await;
            None
        };
        let turn = turn.or(late).await.ok_or(Refused::Busy)?;
        if lane.rate.take() { Ok(turn) } else { Err(Refused::Busy) }
    }

    /// Whether one more new account may be stored without Signal's word.
    ///
    /// # Errors
    /// [`Refused::Unconfirmed`]: there were too many already.
    pub(crate) fn store_unconfirmed(&self) -> Result<(), Refused> {
        if self.unconfirmed.take() { Ok(()) } else { Err(Refused::Unconfirmed) }
    }
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
            assert!(matches!(asks.turn(Asked::New).await, Err(Refused::Busy)));
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
    fn strangers_at_once_are_bounded() {
        let asks = Asks::new(&Timings::default(), &Limits { strangers_at_once: 2, ..Limits::default() });
        let places = [asks.stranger().unwrap(), asks.stranger().unwrap()];
        assert!(matches!(asks.stranger(), Err(Refused::Busy)));
        drop(places);
        assert!(asks.stranger().is_ok());
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

//! The circuit breaker before Signal's host, one for all accounts. It also paces connects and bounds handshakes.
//!
//! Each account backs off by itself; that alone would send thousands of attempts a minute at a host that is down, and
//! leave phones waiting for their turn after it came back. During an outage the breaker lets only a few probes through;
//! the first success closes it, and everybody may go, at the pacing rate.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_listener::Event;
use smol::lock::{Mutex as AsyncMutex, Semaphore, SemaphoreGuardArc};

use crate::account::AccountId;
use crate::runtime::{lock, timeout};
use crate::timings::Limits;

/// The pure part: who may go when.
#[derive(Debug)]
struct Pace {
    /// Accounts that failed since the last success, up to the threshold.
    failed: Vec<AccountId>,
    threshold: usize,
    normal_interval: Duration,
    probe_interval: Duration,
    last: Option<Instant>,
    /// Whether Signal answered the last attempt that ended.
    answered: Option<bool>,
}

impl Pace {
    fn down(&self) -> bool {
        self.failed.len() >= self.threshold
    }

    /// When the next attempt may start.
    fn next(&self, now: Instant) -> Instant {
        let interval = if self.down() { self.probe_interval } else { self.normal_interval };
        self.last.map_or(now, |last| last + interval)
    }
}

/// The breaker. One per process.
#[derive(Debug)]
pub struct CircuitBreaker {
    pace: Mutex<Pace>,
    /// Held by whoever is next; the rest queue behind it in order.
    turnstile: AsyncMutex<()>,
    handshakes: Arc<Semaphore>,
    /// Told when an outage ends.
    recovered: Event,
}

impl CircuitBreaker {
    /// A closed breaker: everybody may go.
    pub fn new(limits: &Limits) -> Self {
        Self {
            pace: Mutex::new(Pace {
                failed: Vec::new(),
                threshold: limits.breaker_failures.max(1),
                normal_interval: Duration::from_secs(1) / limits.connects_per_second.max(1),
                probe_interval: Duration::from_secs(1) / limits.breaker_probes_per_second.max(1),
                last: None,
                answered: None,
            }),
            turnstile: AsyncMutex::new(()),
            handshakes: Arc::new(Semaphore::new(limits.handshakes.max(1))),
            recovered: Event::new(),
        }
    }

    /// Waits for this attempt's turn. The attempt lasts as long as the permit is held.
    pub async fn enter(&self) -> SemaphoreGuardArc {
        let permit = self.handshakes.acquire_arc().await;
        let _turn = self.turnstile.lock().await;
        loop {
            let recovered = self.recovered.listen();
            let now = Instant::now();
            let at = {
                let mut pace = lock(&self.pace);
                let at = pace.next(now);
                if at <= now {
                    pace.last = Some(now);
                    return permit;
                }
                at
            };
            timeout(at - now, recovered).await;
        }
    }

    /// Signal answered, whatever it said.
    pub fn record_success(&self) {
        let was_down = {
            let mut pace = lock(&self.pace);
            let was_down = pace.down();
            pace.failed.clear();
            pace.answered = Some(true);
            was_down
        };
        if was_down {
            log::info!("Signal answers again: all accounts reconnect");
            self.recovered.notify(usize::MAX);
        }
    }

    /// Signal could not be reached for this account. One account alone can fail for reasons of its own.
    pub fn record_failure(&self, id: AccountId, reason: &str) {
        let mut pace = lock(&self.pace);
        pace.answered = Some(false);
        if pace.down() || pace.failed.contains(&id) {
            return;
        }
        pace.failed.push(id);
        if pace.down() {
            drop(pace);
            log::warn!("Signal's host fails for all accounts, probing it: {reason}");
        }
    }

    /// Whether Signal's host counts as down.
    pub fn is_down(&self) -> bool {
        lock(&self.pace).down()
    }

    /// Whether Signal answered, whatever it said, the last attempt that ended. `None` before the first one.
    pub fn answered(&self) -> Option<bool> {
        lock(&self.pace).answered
    }

    /// Resolves when the outage ends; never, when there is none.
    pub async fn outage_over(&self) {
        self.recovered.listen().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::FutureExt as _;
    use smol::Timer;

    use super::*;

    fn account(n: u32) -> AccountId {
        AccountId::parse(&format!("{n:08x}-2222-4333-8444-555555555555")).unwrap()
    }

    fn limits() -> Limits {
        Limits { connects_per_second: 1000, breaker_probes_per_second: 20, breaker_failures: 3, ..Limits::default() }
    }

    async fn entered_within(breaker: &CircuitBreaker, time: Duration) -> usize {
        let mut n = 0;
        let count = async {
            loop {
                drop(breaker.enter().await);
                n += 1;
            }
        };
        timeout(time, count).await;
        n
    }

    #[test]
    fn an_outage_lets_only_probes_through_and_the_first_success_releases_the_rest() {
        smol::block_on(async {
            let breaker = CircuitBreaker::new(&limits());
            for n in 0..3 {
                for _ in 0..10 {
                    assert!(!breaker.is_down(), "one account alone is no outage");
                    breaker.record_failure(account(n), "refused");
                    if n == 2 {
                        break;
                    }
                }
            }
            assert!(breaker.is_down());
            let probes = entered_within(&breaker, Duration::from_millis(300)).await;
            assert!((1..=8).contains(&probes), "{probes} probes in 300 ms at 20/s");
            let waiting = breaker.outage_over();
            let heal = async {
                Timer::after(Duration::from_millis(20)).await;
                breaker.record_success();
                futures_lite::future::pending::<()>().await;
            };
            waiting.or(heal).await;
            assert!(!breaker.is_down());
            let released = entered_within(&breaker, Duration::from_millis(300)).await;
            assert!(released > 2 * probes, "{released} after the outage");
        });
    }

    #[test]
    fn connects_are_paced() {
        smol::block_on(async {
            let breaker = CircuitBreaker::new(&Limits { connects_per_second: 50, ..limits() });
            let n = entered_within(&breaker, Duration::from_millis(400)).await;
            assert!((2..=22).contains(&n), "{n} connects in 400 ms at 50/s");
        });
    }

    #[test]
    fn handshakes_at_a_time_are_bounded() {
        smol::block_on(async {
            let breaker = CircuitBreaker::new(&Limits { handshakes: 2, ..limits() });
            let _a = breaker.enter().await;
            let b = breaker.enter().await;
            assert!(timeout(Duration::from_millis(50), breaker.enter()).await.is_none());
            drop(b);
            breaker.enter().await;
        });
    }
}

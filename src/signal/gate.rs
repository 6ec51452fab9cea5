//! The one door to Signal's host for all accounts: paced, bounded, and nearly closed while the host is down.
//!
//! Each account backs off by itself; that alone would send thousands of attempts a minute at a host that is down, and
//! leave phones waiting for their turn after it came back. The gate lets only a few probes through during an outage,
//! and releases everybody, at the pacing rate, with the first success.

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
    open_interval: Duration,
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
        let interval = if self.down() { self.probe_interval } else { self.open_interval };
        self.last.map_or(now, |last| last + interval)
    }
}

/// The door. One per process.
#[derive(Debug)]
pub struct Gate {
    pace: Mutex<Pace>,
    /// Held by whoever is next; the rest queue behind it in order.
    turnstile: AsyncMutex<()>,
    handshakes: Arc<Semaphore>,
    /// Told when an outage ends.
    reopened: Event,
}

impl Gate {
    /// An open gate.
    pub fn new(limits: &Limits) -> Self {
        Self {
            pace: Mutex::new(Pace {
                failed: Vec::new(),
                threshold: limits.gate_failures.max(1),
                open_interval: Duration::from_secs(1) / limits.connects_per_second.max(1),
                probe_interval: Duration::from_secs(1) / limits.gate_probes_per_second.max(1),
                last: None,
                answered: None,
            }),
            turnstile: AsyncMutex::new(()),
            handshakes: Arc::new(Semaphore::new(limits.handshakes.max(1))),
            reopened: Event::new(),
        }
    }

    /// Waits for this attempt's turn. The attempt lasts as long as the permit is held.
    pub async fn enter(&self) -> SemaphoreGuardArc {
        let permit = self.handshakes.acquire_arc().await;
        let _turn = self.turnstile.lock().await;
        loop {
            let reopened = self.reopened.listen();
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
            timeout(at - now, reopened).await;
        }
    }

    /// Signal answered, whatever it said.
    pub fn reached(&self) {
        let was_down = {
            let mut pace = lock(&self.pace);
            let was_down = pace.down();
            pace.failed.clear();
            pace.answered = Some(true);
            was_down
        };
        if was_down {
            log::info!("Signal answers again: all accounts reconnect");
            self.reopened.notify(usize::MAX);
        }
    }

    /// Signal could not be reached for this account. One account alone can fail for reasons of its own.
    pub fn failed(&self, id: AccountId, reason: &str) {
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
        self.reopened.listen().await;
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
        Limits { connects_per_second: 1000, gate_probes_per_second: 20, gate_failures: 3, ..Limits::default() }
    }

    async fn entered_within(gate: &Gate, time: Duration) -> usize {
        let mut n = 0;
        let count = async {
            loop {
                drop(gate.enter().await);
                n += 1;
            }
        };
        timeout(time, count).await;
        n
    }

    #[test]
    fn an_outage_lets_only_probes_through_and_the_first_success_releases_the_rest() {
        smol::block_on(async {
            let gate = Gate::new(&limits());
            for n in 0..3 {
                for _ in 0..10 {
                    assert!(!gate.is_down(), "one account alone is no outage");
                    gate.failed(account(n), "refused");
                    if n == 2 {
                        break;
                    }
                }
            }
            assert!(gate.is_down());
            let probes = entered_within(&gate, Duration::from_millis(300)).await;
            assert!((1..=8).contains(&probes), "{probes} probes in 300 ms at 20/s");
            let waiting = gate.outage_over();
            let heal = async {
                Timer::after(Duration::from_millis(20)).await;
                gate.reached();
                futures_lite::future::pending::<()>().await;
            };
            waiting.or(heal).await;
            assert!(!gate.is_down());
            let released = entered_within(&gate, Duration::from_millis(300)).await;
            assert!(released > 2 * probes, "{released} after the outage");
        });
    }

    #[test]
    fn connects_are_paced() {
        smol::block_on(async {
            let gate = Gate::new(&Limits { connects_per_second: 50, ..limits() });
            let n = entered_within(&gate, Duration::from_millis(400)).await;
            assert!((2..=22).contains(&n), "{n} connects in 400 ms at 50/s");
        });
    }

    #[test]
    fn handshakes_at_a_time_are_bounded() {
        smol::block_on(async {
            let gate = Gate::new(&Limits { handshakes: 2, ..limits() });
            let _a = gate.enter().await;
            let b = gate.enter().await;
            assert!(timeout(Duration::from_millis(50), gate.enter()).await.is_none());
            drop(b);
            gate.enter().await;
        });
    }
}

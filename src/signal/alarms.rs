//! One timer for the deadlines of all connections. Thousands of them wait for a moment some seconds away, and do not mind
//! a quarter of a second; the runtime's own timers each cost several system calls when they are set and when they fire.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smol::{Executor, Timer};

/// Longest delay beyond a deadline.
const COARSE: Duration = Duration::from_millis(250);
/// The same as a part of the interval between keepalives, for tests with short ones.
const PART: u32 = 64;

/// Where [`Alarm`]s come from.
#[derive(Clone)]
pub struct Alarms(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    every: Duration,
    executor: Arc<Executor<'static>>,
}

#[derive(Default)]
struct Waiting {
    /// By deadline; the number tells those with the same one apart.
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    /// A task looks at them.
    watched: bool,
}

impl Alarms {
    /// For connections that send a keepalive as often as that. A task on `executor` works while there is an alarm.
    pub fn new(keepalive: Duration, executor: Arc<Executor<'static>>) -> Self {
        let every = COARSE.min(keepalive / PART).max(Duration::from_millis(1));
        Self(Arc::new(Shared { waiting: Mutex::default(), every, executor }))
    }

    /// An alarm that is not set.
    pub fn alarm(&self) -> Alarm {
        Alarm { alarms: self.clone(), at: None, number: None }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere does not make the table less true.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, at: Instant, number: Option<u64>, waker: &Waker) -> u64 {
        let mut waiting = self.lock();
        let number = number.unwrap_or_else(|| {
            waiting.next += 1;
            waiting.next
        });
        let old = waiting.wakers.insert((at, number), waker.clone());
        let watched = std::mem::replace(&mut waiting.watched, true);
        drop(waiting);
        // Not under the lock: whose waker it is may have an alarm of its own to drop.
        drop(old);
        if !watched {
            self.0.executor.spawn(self.clone().watch()).detach();
        }
        number
    }

    /// Wakes whoever is due, until nobody waits.
    async fn watch(self) {
        loop {
            Timer::after(self.0.every).await;
            let due = {
                let mut waiting = self.lock();
                let later = waiting.wakers.split_off(&(Instant::now(), u64::MAX));
                let due = std::mem::replace(&mut waiting.wakers, later);
                if due.is_empty() && waiting.wakers.is_empty() {
                    waiting.watched = false;
                    return;
                }
                due
            };
            due.into_values().for_each(Waker::wake);
        }
    }
}

impl fmt::Debug for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarms").field("every", &self.0.every).finish_non_exhaustive()
    }
}

/// A future that is ready soon after the moment it was last set to, again after each setting.
#[derive(Debug)]
pub struct Alarm {
    alarms: Alarms,
    at: Option<Instant>,
    /// It waits under this number.
    number: Option<u64>,
}

impl Alarm {
    /// Sets it, whatever it was set to before.
    pub fn set(&mut self, at: Instant) {
        self.unset();
        self.at = Some(at);
    }

    fn unset(&mut self) {
        if let (Some(at), Some(number)) = (self.at.take(), self.number.take()) {
            // Dropped after the lock, as above.
            let _waker = self.alarms.lock().wakers.remove(&(at, number));
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            self.unset();
            return Poll::Ready(());
        }
        self.number = Some(self.alarms.wait(at, self.number, cx.waker()));
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::{FutureExt, future};

    use super::*;

    fn alarms() -> (Arc<Executor<'static>>, Alarms) {
        let executor = Arc::new(Executor::new());
        (executor.clone(), Alarms::new(Duration::from_millis(640), executor))
    }

    #[test]
    fn an_alarm_goes_off_after_its_moment_and_each_time_it_is_set() {
        let (executor, alarms) = alarms();
        smol::block_on(executor.run(async {
            let mut alarm = alarms.alarm();
            for ms in [30, 60, 1] {
                let start = Instant::now();
                alarm.set(start + Duration::from_millis(ms));
                (&mut alarm).await;
                assert!(start.elapsed() >= Duration::from_millis(ms));
            }
        }));
    }

    #[test]
    fn one_that_is_set_anew_or_dropped_does_not_go_off() {
        let (executor, alarms) = alarms();
        smol::block_on(executor.run(async {
            let mut alarm = alarms.alarm();
            alarm.set(Instant::now() + Duration::from_millis(20));
            assert!(future::poll_once(&mut alarm).await.is_none());
            alarm.set(Instant::now() + Duration::from_secs(3600));
            let early = async {
                (&mut alarm).await;
                true
            };
            let enough = async {
                Timer::after(Duration::from_millis(200)).await;
                false
            };
            assert!(!early.or(enough).await);
            assert_eq!(alarms.lock().wakers.len(), 1);
            drop(alarm);
            assert!(alarms.lock().wakers.is_empty());
        }));
    }

    #[test]
    fn many_alarms_go_off_in_their_order_and_nothing_works_when_none_is_left() {
        let (executor, alarms) = alarms();
        smol::block_on(executor.run(async {
            let start = Instant::now();
            let many = (0..500).map(|n| {
                let mut alarm = alarms.alarm();
                let at = start + Duration::from_millis(n % 100);
                alarm.set(at);
                async move {
                    alarm.await;
                    assert!(Instant::now() >= at);
                }
            });
            futures_util::future::join_all(many).await;
            while alarms.lock().watched {
                Timer::after(Duration::from_millis(5)).await;
            }
        }));
    }
}

//! Two things that many parts need of the runtime: a deadline for a future, and a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_lite::future;
use futures_util::FutureExt as _;
use smol::Timer;

/// What `work` comes to, or `None` when it takes longer than `limit`. Takes no more room than both together: an async
/// function would hold `work` twice.
pub(crate) fn timeout<F: Future>(limit: Duration, work: F) -> impl Future<Output = Option<F::Output>> {
    future::or(work.map(Some), Timer::after(limit).map(|_| None))
}

/// Locks, also where somebody panicked while they had the lock: what it guards is as true as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn work_has_its_time_and_no_more() {
        let hour = Duration::from_secs(3600);
        assert_eq!(smol::block_on(timeout(hour, async { 1 })), Some(1));
        assert_eq!(smol::block_on(timeout(Duration::ZERO, future::pending::<()>())), None);
        let work = async { future::pending::<[u8; 10_000]>().await };
        let room = size_of_val(&work);
        assert!(size_of_val(&timeout(hour, work)) < room + 300);
    }

    #[test]
    fn a_panic_does_not_lock_others_out() {
        let mutex = Mutex::new(1);
        let _ = catch_unwind(|| {
            let _held = mutex.lock();
            panic!("planted");
        });
        assert_eq!(*lock(&mutex), 1);
    }
}

//! The task of one account: its two loops side by side, what is written down when they end, and what a panic costs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use smol::Timer;

use crate::account::Credentials;
use crate::account_state::{AccountState, StopReason};
use crate::backoff::Backoff;
use crate::metrics::Metrics;
use crate::push::Pusher;
use crate::runtime::timeout;
use crate::signal::{self, AccountExit, Signal};
use crate::status::{Cause, State};
use crate::store::{Store, StoreError};
use crate::timings::Timings;
use crate::wakeup::Wakeup;

/// What every account's task works with.
pub struct Tools {
    /// The way to Signal.
    pub signal: Arc<Signal>,
    /// The way to phones.
    pub pusher: Arc<Pusher>,
    /// The database.
    pub store: Store,
    /// Whether the phone's own sync messages wake it.
    pub wake_for_own_sync: bool,
}

/// Runs an account until it must not run any more. When it returns, the reason is in the database, unless writing it
/// down panicked: then it returns after a wait, and whoever starts the account again finds the reason anew.
pub(super) async fn run(tools: Arc<Tools>, account_state: Arc<AccountState>, credentials: Arc<Credentials>) {
    let signal = &tools.signal;
    if AssertUnwindSafe(run_and_persist(&tools, &account_state, &credentials)).catch_unwind().await.is_err() {
        let wait = signal.timings.backoff_cap;
        panicked(&account_state, &signal.metrics, wait);
        Timer::after(wait).await;
    }
}

async fn run_and_persist(tools: &Tools, account_state: &AccountState, credentials: &Credentials) {
    let signal = &tools.signal;
    let exit = restart_on_panic(account_state, &signal.metrics, &signal.timings, || {
        run_loops(tools, account_state, credentials)
    })
    .await;
    match exit {
        AccountExit::Stopped(StopReason::Requested) => {}
        AccountExit::Stopped(StopReason::EndpointGone) => {
            if let Some((endpoint, answered)) = account_state.gone_endpoint() {
                let reason = format!("for half an hour or longer {answered}");
                suspend(account_state, State::EndpointGone, reason);
                let gone = || tools.store.set_endpoint_gone(credentials.id, endpoint.clone(), true);
                Box::pin(persist(tools, account_state, gone)).await;
            }
        }
        AccountExit::Unlinked => {
            suspend(account_state, State::Unlinked, "Signal refused the login three times (403)");
            Box::pin(persist(tools, account_state, || tools.store.set_forbidden(credentials.clone()))).await;
        }
    }
}

/// Enters a state that stays.
pub(super) fn suspend(account_state: &AccountState, state: State, reason: impl Into<String>) {
    account_state.enter(state, state.label(), Cause::new(reason, state.remedy()), None);
}

/// Runs again, after a back-off, whenever that panics: a fault in one account costs that account a moment and nobody
/// else anything.
async fn restart_on_panic<F>(
    account_state: &AccountState,
    metrics: &Metrics,
    timings: &Timings,
    mut run: impl FnMut() -> F,
) -> AccountExit
where
    F: Future<Output = AccountExit>,
{
    let mut rng = fastrand::Rng::new();
    let mut backoff = Backoff::new(timings.backoff_base, timings.backoff_cap);
    loop {
        let begun = Instant::now();
        if let Ok(exit) = AssertUnwindSafe(Box::pin(run())).catch_unwind().await {
            return exit;
        }
        if begun.elapsed() >= timings.backoff_reset {
            backoff.reset();
        }
        let wait = backoff.spread(&mut rng);
        panicked(account_state, metrics, wait);
        if let Some(stop_reason) = timeout(wait, account_state.stopped()).await {
            return AccountExit::Stopped(stop_reason);
        }
    }
}

/// Says that the program failed at this account and starts it again after `wait`.
fn panicked(account_state: &AccountState, metrics: &Metrics, wait: Duration) {
    metrics.panic();
    account_state.push_abandoned();
    log::error!(
        "{}: the program failed at this account and starts it again in {wait:.0?}. Please report this",
        account_state.id().short()
    );
    let cause = Cause::new("the program failed at this account", "please report it, with the lines of the log before");
    account_state.enter(State::Waiting, "panic", cause, Instant::now().checked_add(wait));
}

pub(super) async fn run_loops(tools: &Tools, account_state: &AccountState, credentials: &Credentials) -> AccountExit {
    let wakeup = Wakeup {
        pusher: &tools.pusher,
        store: &tools.store,
        metrics: &tools.signal.metrics,
        timings: &tools.signal.timings,
        credentials,
    };
    // In one expression: a future that is named first and moved then takes room twice.
    let exit = signal::keep_connected(&tools.signal, account_state, credentials)
        .or(async { match wakeup.run(account_state).await {} })
        .await;
    Box::pin(wakeup.save(account_state)).await;
    exit
}

/// Writes until it is written: an account that must not run is not forgotten because the disk was full.
async fn persist<F>(tools: &Tools, account_state: &AccountState, write: impl Fn() -> F)
where
    F: Future<Output = Result<bool, StoreError>>,
{
    let t = &tools.signal.timings;
    let mut backoff = Backoff::new(t.backoff_base, t.backoff_cap);
    let mut rng = fastrand::Rng::new();
    let mut level = log::Level::Error;
    while let Err(error) = write().await {
        log::log!(level, "{}: the new state could not be stored, trying again: {error}", account_state.id().short());
        level = log::Level::Debug;
        Timer::after(backoff.spread(&mut rng)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::account::sample;
    use crate::notifier::Next;
    use crate::push::PushKind;

    fn account_state(timings: &Timings) -> AccountState {
        AccountState::new(&sample(), false, timings)
    }

    fn fast() -> Timings {
        Timings { backoff_base: Duration::from_millis(5), ..Timings::default() }
    }

    #[test]
    fn a_panic_is_counted_and_the_account_runs_again() {
        let (timings, metrics) = (fast(), Metrics::default());
        let account_state = account_state(&timings);
        let runs = Cell::new(0);
        let exit = smol::block_on(restart_on_panic(&account_state, &metrics, &timings, || {
            runs.set(runs.get() + 1);
            let n = runs.get();
            async move {
                smol::future::yield_now().await;
                assert!(n == 4, "planted");
                AccountExit::Unlinked
            }
        }));
        assert_eq!((exit, runs.get()), (AccountExit::Unlinked, 4));
        assert!(metrics.render(&crate::metrics::Gauges::default()).contains("mollysocket_panics_total 3"));
    }

    #[test]
    fn a_run_that_lasted_a_while_starts_the_back_off_again() {
        let timings = Timings { backoff_reset: Duration::ZERO, ..fast() };
        let metrics = Metrics::default();
        let runs = Cell::new(0);
        let begun = Instant::now();
        smol::block_on(restart_on_panic(&account_state(&timings), &metrics, &timings, || {
            runs.set(runs.get() + 1);
            let n = runs.get();
            async move {
                assert!(n == 16, "planted");
                AccountExit::Unlinked
            }
        }));
        // Doubling would have come to minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_wake_up_whose_push_panicked_is_still_owed() {
        let (timings, metrics) = (fast(), Metrics::default());
        let account_state = account_state(&timings);
        account_state.on_envelope(None, Instant::now());
        let mut first = true;
        smol::block_on(restart_on_panic(&account_state, &metrics, &timings, || {
            let planted = std::mem::take(&mut first);
            let account_state = &account_state;
            async move {
                assert_eq!(account_state.next_push(Instant::now()), Next::Send(PushKind::Wake));
                account_state.push_started(PushKind::Wake, Instant::now());
                assert!(!planted, "planted");
                AccountExit::Unlinked
            }
        }));
        assert!(!first);
    }

    #[test]
    fn a_panicking_account_can_still_be_stopped() {
        let timings = Timings { backoff_base: Duration::from_secs(3600), ..Timings::default() };
        let account_state = account_state(&timings);
        let metrics = Metrics::default();
        account_state.stop();
        let planted = || async { panic!("planted") };
        assert_eq!(
            smol::block_on(restart_on_panic(&account_state, &metrics, &timings, planted)),
            AccountExit::Stopped(StopReason::Requested)
        );
    }
}

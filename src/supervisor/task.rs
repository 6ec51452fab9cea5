//! The task of one account: its two loops side by side, what is written down when they end, and what a panic costs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_lite::FutureExt;
use smol::Timer;

use crate::account::Account;
use crate::backoff::Backoff;
use crate::live::{Halt, Live};
use crate::push::Pusher;
use crate::signal::{self, End, Signal};
use crate::status::State;
use crate::store::{Store, StoreError};
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

/// Runs an account until it must not run any more. When it returns, the reason is in the database.
pub(super) async fn run(tools: Arc<Tools>, live: Arc<Live>, account: Account) {
    let t = &tools.signal.timings;
    let mut rng = fastrand::Rng::new();
    let mut backoff = Backoff::new(t.backoff_base, t.backoff_cap);
    let end = loop {
        let life = AssertUnwindSafe(Box::pin(lives(&tools, &live, &account))).catch_unwind();
        match life.await {
            Ok(end) => break end,
            Err(_) => {
                tools.signal.metrics.panic();
                let wait = backoff.spread(&mut rng);
                log::error!(
                    "{}: the program failed at this account and starts it again in {wait:.0?}. Please report this",
                    live.id().short()
                );
                let halted = async { Some(live.halted().await) };
                let pause = async {
                    Timer::after(wait).await;
                    None
                };
                if let Some(halt) = halted.or(pause).await {
                    break End::Halted(halt);
                }
            }
        }
    };
    match end {
        End::Halted(Halt::Stop) => {}
        End::Halted(Halt::EndpointGone) => {
            live.enter(State::EndpointGone, "gone", "the push server says the endpoint no longer exists", None);
            // The one in use, which may be newer than the row this task started with.
            let endpoint = live.endpoint();
            persist(&tools, &live, || tools.store.set_endpoint_gone(account.id(), endpoint.clone(), true)).await;
        }
        End::Unlinked => {
            live.enter(State::Unlinked, "unlinked", "Signal refused the login twice (403)", None);
            persist(&tools, &live, || tools.store.set_forbidden(account.credentials.clone())).await;
        }
    }
}

async fn lives(tools: &Tools, live: &Live, account: &Account) -> End {
    let wakeup = Wakeup {
        pusher: &tools.pusher,
        store: &tools.store,
        metrics: &tools.signal.metrics,
        timings: &tools.signal.timings,
        credentials: &account.credentials,
    };
    let started_with = live.covered();
    let receive = signal::keep_connected(&tools.signal, live, &account.credentials);
    let push = async { match wakeup.run(live).await {} };
    let end = receive.or(push).await;
    if live.covered() != started_with {
        wakeup.save(live.covered()).await;
    }
    end
}

/// Writes until it is written: an account that must not run is not forgotten because the disk was full.
async fn persist<F>(tools: &Tools, live: &Live, write: impl Fn() -> F)
where
    F: Future<Output = Result<bool, StoreError>>,
{
    let t = &tools.signal.timings;
    let mut backoff = Backoff::new(t.backoff_base, t.backoff_cap);
    let mut rng = fastrand::Rng::new();
    while let Err(error) = write().await {
        log::error!("{}: the new state could not be stored, trying again: {error}", live.id().short());
        Timer::after(backoff.spread(&mut rng)).await;
    }
}

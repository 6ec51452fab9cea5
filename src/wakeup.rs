//! The push loop of one account: sends what its notifier owes, whatever Signal's side is doing.

use std::time::Instant;

use futures_lite::FutureExt;
use smol::Timer;

use crate::account::Credentials;
use crate::account_state::AccountState;
use crate::metrics::Metrics;
use crate::net::Permit;
use crate::notifier::{Next, PushEffect};
use crate::push::Pusher;
use crate::runtime::timeout;
use crate::store::Store;
use crate::timings::Timings;

/// What the push loop works with.
pub struct Wakeup<'a> {
    /// Sends.
    pub pusher: &'a Pusher,
    /// Stores until when envelopes are fetched.
    pub store: &'a Store,
    /// Counters.
    pub metrics: &'a Metrics,
    /// Waits.
    pub timings: &'a Timings,
    /// Whose row that is stored in.
    pub credentials: &'a Credentials,
}

impl Wakeup<'_> {
    /// Never ends by itself.
    pub async fn run(&self, account_state: &AccountState) -> std::convert::Infallible {
        // Beside each other: a database that is locked or slow must not hold back a wake-up.
        self.push(account_state).or(self.keep_fetched_until(account_state)).await
    }

    /// Sends whatever is due.
    async fn push(&self, account_state: &AccountState) -> std::convert::Infallible {
        let mut rng = fastrand::Rng::new();
        loop {
            let changed = account_state.listen();
            match account_state.next_push(Instant::now()) {
                // Boxed, so that nothing of it stays while nothing is owed; and one after the other, because the wait may
                // be that of all accounts, and what a push needs is large.
                Next::Send(_) => {
                    if let Some((permit, generation)) = Box::pin(self.turn(account_state)).await {
                        Box::pin(self.send(account_state, permit, generation, &mut rng)).await;
                    }
                }
                Next::Wait(at) => {
                    timeout(at.saturating_duration_since(Instant::now()), changed).await;
                }
                Next::Idle => changed.await,
            }
        }
    }

    /// Writes until when envelopes are fetched whenever that changed, not too often.
    async fn keep_fetched_until(&self, account_state: &AccountState) -> std::convert::Infallible {
        loop {
            let changed = account_state.listen();
            if account_state.unsaved_fetched_until().is_none() {
                changed.await;
                continue;
            }
            // Boxed, as above.
            Box::pin(self.save(account_state)).await;
            Timer::after(self.timings.fetched_write).await;
        }
    }

    /// Waits until a push may go out, with a permit for it and the generation of the endpoint that is for. Until then
    /// nothing is on its way, so what arrives meanwhile shares the wake-up. `None` when the endpoint changed: ask again
    /// what is due.
    async fn turn(&self, account_state: &AccountState) -> Option<(Permit, u64)> {
        let (endpoint, generation, lane) = account_state.target();
        let turn = async { Some((self.pusher.permit(&endpoint, lane).await, generation)) };
        let moved = async {
            account_state.endpoint_changed(generation).await;
            None
        };
        turn.or(moved).await
    }

    /// One push, if one is still due. Given up when the endpoint changes meanwhile: what is owed goes to the new one.
    async fn send(&self, account_state: &AccountState, permit: Permit, permit_for: u64, rng: &mut fastrand::Rng) {
        let Next::Send(kind) = account_state.next_push(Instant::now()) else { return };
        let (endpoint, generation) = account_state.push_started(kind, Instant::now());
        if generation != permit_for {
            // The phone moved just now: the permit, and the turn, are those of another push server.
            return account_state.push_abandoned();
        }
        let push = self.pusher.send_with(permit, &endpoint, kind);
        let moved = async {
            account_state.endpoint_changed(generation).await;
            None
        };
        let Some(delivery) = async { Some(push.await) }.or(moved).await else {
            return;
        };
        self.metrics.push(delivery.outcome.result());
        let now = Instant::now();
        match account_state.push_finished(kind, generation, &delivery, now, rng) {
            Some(PushEffect::Accepted(Some(latency))) => {
                self.metrics.wake_latency(latency);
                log::debug!("{}: wake-up accepted by {}", account_state.id().short(), endpoint.origin());
            }
            Some(PushEffect::Accepted(None)) => {
                log::info!("{}: test push accepted by {}", account_state.id().short(), endpoint.origin());
            }
            _ => {}
        }
    }

    /// Writes until when envelopes are fetched, unless that is known.
    pub async fn save(&self, account_state: &AccountState) {
        let Some(until) = account_state.unsaved_fetched_until() else { return };
        match self.store.set_fetched_until([(self.credentials.clone(), until)].into()).await {
            Ok(()) => account_state.fetched_until_saved(until),
            // Costs one wake-up too many after the next start, nothing else.
            Err(error) => log::debug!("the time until which messages are fetched was not stored: {error}"),
        }
    }
}

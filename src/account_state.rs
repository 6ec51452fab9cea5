//! What is shared about one account while the program runs: its debt, its endpoint, its status.
//!
//! The session asks it what an envelope needs, the push loop asks it what to send, the supervisor tells it about
//! changes. It outlives both loops, so that what is owed survives reconnects, endpoint changes and suspensions.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};
use fastrand::Rng;

use crate::account::{Account, AccountId, Endpoint, ServerTime};
use crate::metrics::PushResult;
use crate::net::Lane;
use crate::notifier::{Next, Notifier, PushEffect, WakeSeq};
use crate::push::{Delivery, Outcome, PushKind};
use crate::runtime::lock;
use crate::signal::wire::Envelope;
use crate::status::{Cause, PushState, State, Status};
use crate::timings::Timings;

/// Why an account's loops must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The program ends, or the account was removed or replaced.
    Requested,
    /// The push server said for long enough that the endpoint is gone.
    EndpointGone,
}

/// One account at run time.
#[derive(Debug)]
pub struct AccountState {
    id: AccountId,
    wake_for_own_sync: bool,
    fetched_margin: Duration,
    inner: Mutex<Inner>,
    changed: Event,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    /// Counts endpoint changes, so that the end of a push to an old endpoint is not taken for news about the new one.
    endpoint_generation: u64,
    notifier: Notifier,
    /// Signal's clock, as last heard, and when that was.
    clock: Option<(ServerTime, Instant)>,
    /// Signal's time when the push in flight was sent.
    sent_at: Option<ServerTime>,
    fetched_until: Option<ServerTime>,
    /// What of it is in the database.
    fetched_until_saved: Option<ServerTime>,
    stop_reason: Option<StopReason>,
    /// The endpoint the push server said is gone, and how it said so. Not `endpoint`: that may be another one by the time
    /// it is looked at.
    gone: Option<(Endpoint, String)>,
    status: Status,
    /// What trouble was already logged since all was well.
    announced: Vec<&'static str>,
    /// Which push failures were already logged since a push was accepted.
    announced_push: Vec<PushResult>,
    /// Signal's last notice.
    alert: Option<String>,
}

impl AccountState {
    /// An account that does nothing yet.
    pub fn new(account: &Account, wake_for_own_sync: bool, timings: &Timings) -> Self {
        Self {
            id: account.id(),
            wake_for_own_sync,
            fetched_margin: timings.fetched_margin,
            inner: Mutex::new(Inner {
                endpoint: account.endpoint.clone(),
                endpoint_generation: 0,
                notifier: Notifier::new(timings),
                clock: None,
                sent_at: None,
                fetched_until: account.fetched_until,
                fetched_until_saved: account.fetched_until,
                stop_reason: None,
                gone: None,
                status: Status::new(State::Connecting, Instant::now()),
                // The first connection is told as well.
                announced: vec!["start"],
                announced_push: Vec::new(),
                alert: None,
            }),
            changed: Event::new(),
        }
    }

    /// Whose it is.
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Resolves at the next change. Ask for it before looking, else a change in between is missed.
    pub fn listen(&self) -> EventListener {
        self.changed.listen()
    }

    /// A copy of the status.
    pub fn status(&self) -> Status {
        lock(&self.inner).status.clone()
    }

    /// Signal's last notice.
    pub fn notice(&self) -> Option<String> {
        lock(&self.inner).alert.clone()
    }

    /// Whether a wake-up is owed.
    pub fn owes(&self) -> bool {
        lock(&self.inner).notifier.owes()
    }

    // What the session says and asks.

    /// Signal's clock shows this now. Nothing younger than it, less the margin, counts as fetched: a server whose clock ran
    /// ahead must not silence the account until the others catch up.
    pub fn note_server_time(&self, time: Option<ServerTime>, now: Instant) {
        if let Some(time) = time {
            let mut inner = lock(&self.inner);
            inner.clock = Some((time, now));
            inner.fetched_until = inner.fetched_until.map(|until| until.min(self.less_margin(time)));
        }
    }

    /// Signal's notice, such as `idle-primary-device`. Logged when it is another one than before.
    pub fn note_alert(&self, alert: Option<String>) {
        let mut inner = lock(&self.inner);
        if let Some(text) = &alert
            && inner.alert != alert
        {
            log::warn!("{}: Signal's notice: {}", self.id.short(), text.escape_default());
        }
        inner.alert = alert;
    }

    /// A message arrived. The sequence number to wait for before it may be acked; `None` when it may be acked at once.
    pub fn on_envelope(&self, envelope: Option<Envelope>, now: Instant) -> Option<WakeSeq> {
        let mut inner = lock(&self.inner);
        inner.status.last_envelope = Some(now);
        if let Some(envelope) = envelope {
            let own = envelope.from_own_phone && !self.wake_for_own_sync;
            // A time of an earlier run counts only once Signal's clock was heard.
            let until = inner.clock.and(inner.fetched_until);
            let fetched = matches!((envelope.server_timestamp, until), (Some(at), Some(until)) if at < until);
            if !envelope.urgent || own || fetched {
                return None;
            }
        }
        let seq = inner.notifier.enqueue(envelope.and_then(|e| e.server_timestamp), now);
        drop(inner);
        self.changed.notify(usize::MAX);
        Some(seq)
    }

    /// Every message up to this sequence number may be acked.
    pub fn accepted(&self) -> WakeSeq {
        lock(&self.inner).notifier.accepted()
    }

    /// Whether a push is on its way.
    pub fn push_in_flight(&self) -> bool {
        lock(&self.inner).notifier.in_flight()
    }

    // What the push loop says and asks.

    /// What to push at `now`.
    pub fn next_push(&self, now: Instant) -> Next {
        let inner = lock(&self.inner);
        if inner.stop_reason.is_some() { Next::Idle } else { inner.notifier.next(now) }
    }

    /// A push of this kind goes out now. Where to, and the generation of that endpoint.
    pub fn push_started(&self, kind: PushKind, now: Instant) -> (Endpoint, u64) {
        let mut inner = lock(&self.inner);
        inner.sent_at = inner.clock.and_then(|(time, heard)| {
            let since = u64::try_from(now.saturating_duration_since(heard).as_millis()).ok()?;
            Some(ServerTime(time.0.checked_add(since)?))
        });
        inner.notifier.started(kind);
        (inner.endpoint.clone(), inner.endpoint_generation)
    }

    /// Where pushes go now, the generation of that endpoint, and which permits they use there.
    pub fn target(&self) -> (Endpoint, u64, Lane) {
        let inner = lock(&self.inner);
        let lane = if inner.notifier.is_limited() { Lane::Limited } else { Lane::Normal };
        (inner.endpoint.clone(), inner.endpoint_generation, lane)
    }

    /// Where pushes go now.
    pub fn endpoint(&self) -> Endpoint {
        lock(&self.inner).endpoint.clone()
    }

    /// Resolves when the endpoint is no longer the one of `generation`.
    pub async fn endpoint_changed(&self, generation: u64) {
        loop {
            let changed = self.changed.listen();
            if lock(&self.inner).endpoint_generation != generation {
                return;
            }
            changed.await;
        }
    }

    /// The push started last ended. `None` when the endpoint changed meanwhile: then it tells nothing.
    pub fn push_finished(
        &self,
        kind: PushKind,
        generation: u64,
        delivery: &Delivery,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<PushEffect> {
        let mut inner = lock(&self.inner);
        if inner.endpoint_generation != generation {
            return None;
        }
        let verdict = inner.notifier.finished(&delivery.outcome, now, rng);
        match verdict {
            PushEffect::Accepted(latency) => {
                if kind == PushKind::Wake
                    && let Some(ServerTime(sent)) = inner.sent_at
                {
                    let until = self.less_margin(ServerTime(sent));
                    inner.fetched_until = inner.fetched_until.max(Some(until));
                    inner.notifier.mark_fetched(until);
                }
                self.push_accepted(&mut inner, delivery, latency, now);
            }
            PushEffect::Retry(at) => self.push_trouble(&mut inner, delivery, at, now),
            PushEffect::TestFailed => self.test_failed(&mut inner, delivery, now),
            PushEffect::Gone => {
                inner.stop_reason = inner.stop_reason.or(Some(StopReason::EndpointGone));
                inner.gone = Some((inner.endpoint.clone(), delivery.reason.clone()));
            }
        }
        drop(inner);
        self.changed.notify(usize::MAX);
        Some(verdict)
    }

    /// A test push to `endpoint` that was sent beside the loop ended. When it was accepted, what is owed goes out at once.
    pub fn test_ended(&self, endpoint: &Endpoint, delivery: &Delivery, now: Instant) {
        let mut inner = lock(&self.inner);
        if inner.endpoint != *endpoint {
            return;
        }
        if delivery.outcome == Outcome::Accepted {
            inner.notifier.works();
            self.push_accepted(&mut inner, delivery, None, now);
        } else {
            self.test_failed(&mut inner, delivery, now);
        }
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// The endpoint that made the loops end with [`StopReason::EndpointGone`], and what its server answered last.
    pub fn gone_endpoint(&self) -> Option<(Endpoint, String)> {
        lock(&self.inner).gone.clone()
    }

    /// The push on its way came to nothing: its loop died, or it was not sent after all.
    pub fn push_abandoned(&self) {
        lock(&self.inner).notifier.abandoned();
    }

    /// The phone has fetched the envelopes older than this, which the database does not know yet.
    pub fn unsaved_fetched_until(&self) -> Option<ServerTime> {
        let inner = lock(&self.inner);
        inner.fetched_until.filter(|_| inner.fetched_until != inner.fetched_until_saved)
    }

    /// The database knows now, or soon will, that envelopes older than this are fetched.
    pub fn fetched_until_saved(&self, until: ServerTime) {
        lock(&self.inner).fetched_until_saved = Some(until);
    }

    // What the supervisor says.

    /// The phone has another endpoint.
    pub fn set_endpoint(&self, endpoint: Endpoint) {
        let mut inner = lock(&self.inner);
        if inner.endpoint.origin() != endpoint.origin() {
            inner.notifier.forget_limit();
        }
        inner.endpoint = endpoint;
        inner.endpoint_generation += 1;
        inner.notifier.endpoint_changed();
        if !inner.notifier.is_limited() {
            inner.status.push.enter(PushState::Ok, Cause::default(), None, Instant::now());
            inner.announced_push.clear();
        }
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// The loops may run (again); what is owed may go out.
    pub fn resume(&self) {
        let mut inner = lock(&self.inner);
        (inner.stop_reason, inner.endpoint_generation) = (None, inner.endpoint_generation + 1);
        inner.notifier.endpoint_changed();
    }

    /// The phone gets a test push.
    pub fn enqueue_test(&self) {
        lock(&self.inner).notifier.enqueue_test();
        self.changed.notify(usize::MAX);
    }

    /// The loops must end. A reason they already have stays: it may still have to be written down.
    pub fn stop(&self) {
        lock(&self.inner).stop_reason.get_or_insert(StopReason::Requested);
        self.changed.notify(usize::MAX);
    }

    /// Whether, and why, the loops must end.
    pub fn stop_reason(&self) -> Option<StopReason> {
        lock(&self.inner).stop_reason
    }

    /// Resolves when the loops must end.
    pub async fn stopped(&self) -> StopReason {
        loop {
            let changed = self.changed.listen();
            if let Some(stop_reason) = self.stop_reason() {
                return stop_reason;
            }
            changed.await;
        }
    }

    /// Enters a state. Logged once, until all is well again; `trouble` names the kind of trouble.
    pub fn enter(&self, state: State, trouble: &'static str, cause: Cause, until: Option<Instant>) {
        let mut inner = lock(&self.inner);
        let id = self.id.short();
        match state {
            State::Connecting => log::debug!("{id}: connecting to Signal"),
            State::Connected => {
                // The next trouble is news, and so is the end of it.
                let told = !std::mem::take(&mut inner.announced).is_empty();
                let level = if told { log::Level::Info } else { log::Level::Debug };
                log::log!(level, "{id}: connected to Signal");
            }
            _ if inner.announced.contains(&trouble) => log::debug!("{id}: {}: {}", state.label(), cause.reason),
            _ => {
                inner.announced.push(trouble);
                let harmless = matches!(state, State::Waiting | State::Paused);
                let level = if harmless { log::Level::Info } else { log::Level::Warn };
                log::log!(level, "{id}: {}: {cause}", state.label());
            }
        }
        inner.status.signal.enter(state, cause, until, Instant::now());
    }

    fn push_accepted(&self, inner: &mut Inner, delivery: &Delivery, latency: Option<Duration>, now: Instant) {
        inner.status.last_push = Some(now);
        inner.status.last_latency = latency;
        let id = self.id.short();
        if inner.status.push.state != PushState::Ok {
            log::info!("{id}: pushes are accepted again by {}", inner.endpoint.origin());
        }
        // One with a remedy cannot be repeated for ever, so it counts; but people should know.
        let doubt = if delivery.remedy.is_empty() { Cause::default() } else { delivery.cause() };
        if doubt != Cause::default() && inner.status.push.reason != doubt.reason {
            log::warn!("{id}: push accepted, but whether by a push server is doubtful: {doubt}");
        }
        inner.status.push.enter(PushState::Ok, doubt, None, now);
        inner.announced_push.clear();
    }

    /// Of a wake-up, which is tried again at `at`. Logged once per kind of failure until a push is accepted.
    fn push_trouble(&self, inner: &mut Inner, delivery: &Delivery, at: Instant, now: Instant) {
        inner.status.push.enter(delivery.outcome.state(), delivery.cause(), Some(at), now);
        let (id, kind) = (self.id.short(), delivery.outcome.result());
        if inner.announced_push.contains(&kind) {
            log::debug!("{id}: push failed again: {}", delivery.reason);
        } else {
            inner.announced_push.push(kind);
            log::warn!("{id}: push failed: {}", delivery.cause());
        }
    }

    /// Of a test, which nobody tries again. A wake-up that is owed keeps its turn.
    fn test_failed(&self, inner: &mut Inner, delivery: &Delivery, now: Instant) {
        let until = inner.status.push.until.filter(|_| inner.notifier.owes());
        inner.status.push.enter(delivery.outcome.state(), delivery.cause(), until, now);
        log::warn!("{}: test push failed: {}", self.id.short(), delivery.cause());
    }

    fn less_margin(&self, time: ServerTime) -> ServerTime {
        let margin = u64::try_from(self.fetched_margin.as_millis()).unwrap_or(u64::MAX);
        ServerTime(time.0.saturating_sub(margin))
    }
}

#[cfg(test)]
mod tests;

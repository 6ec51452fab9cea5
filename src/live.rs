//! What is shared about one account while the program runs: its debt, its endpoint, its status.
//!
//! The session asks it what an envelope needs, the push loop asks it what to send, the supervisor tells it about
//! changes. It outlives both loops, so that what is owed survives reconnects, endpoint changes and suspensions.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use event_listener::{Event, EventListener};
use fastrand::Rng;

use crate::account::{Account, AccountId, Endpoint, ServerTime};
use crate::metrics::PushResult;
use crate::net::Lane;
use crate::notifier::{Next, Notifier, Ticket, Verdict};
use crate::push::{Delivery, Kind, Outcome};
use crate::runtime::lock;
use crate::signal::wire::Envelope;
use crate::status::{PushState, State, Status};
use crate::timings::Timings;

/// Why an account's loops must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The program ends, or the account was removed or replaced.
    Stop,
    /// The push server said for long enough that the endpoint is gone.
    EndpointGone,
}

/// One account at run time.
#[derive(Debug)]
pub struct Live {
    id: AccountId,
    wake_for_own_sync: bool,
    cover_margin: Duration,
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
    covered: Option<ServerTime>,
    /// What of it is in the database.
    covered_saved: Option<ServerTime>,
    halt: Option<Halt>,
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

impl Live {
    /// An account that does nothing yet.
    pub fn new(account: &Account, wake_for_own_sync: bool, timings: &Timings) -> Self {
        Self {
            id: account.id(),
            wake_for_own_sync,
            cover_margin: timings.cover_margin,
            inner: Mutex::new(Inner {
                endpoint: account.endpoint.clone(),
                endpoint_generation: 0,
                notifier: Notifier::new(timings),
                clock: None,
                sent_at: None,
                covered: account.covered_until,
                covered_saved: account.covered_until,
                halt: None,
                gone: None,
                status: Status::new(State::Connecting, SystemTime::now()),
                announced: Vec::new(),
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

    /// Signal's clock shows this now. Nothing younger than it, less the margin, can be covered: a server whose clock ran
    /// ahead must not silence the account until the others catch up.
    pub fn note_server_time(&self, time: Option<ServerTime>, now: Instant) {
        if let Some(time) = time {
            let mut inner = lock(&self.inner);
            inner.clock = Some((time, now));
            inner.covered = inner.covered.map(|covered| covered.min(self.less_margin(time)));
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

    /// A message arrived. The ticket to wait for before it may be acked; `None` when it may be acked at once.
    pub fn take_in(&self, envelope: Option<Envelope>, now: Instant) -> Option<Ticket> {
        let mut inner = lock(&self.inner);
        inner.status.last_envelope = Some(SystemTime::now());
        if let Some(envelope) = envelope {
            let own = envelope.from_own_phone && !self.wake_for_own_sync;
            // A time of an earlier run counts only once Signal's clock was heard.
            let until = inner.clock.and(inner.covered);
            let covered = matches!((envelope.server_timestamp, until), (Some(at), Some(until)) if at < until);
            if !envelope.urgent || own || covered {
                return None;
            }
        }
        let ticket = inner.notifier.owe(envelope.and_then(|e| e.server_timestamp), now);
        drop(inner);
        self.changed.notify(usize::MAX);
        Some(ticket)
    }

    /// Every ticket up to this one may be acked.
    pub fn accepted(&self) -> Ticket {
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
        if inner.halt.is_some() { Next::Idle } else { inner.notifier.next(now) }
    }

    /// A push of this kind goes out now. Where to, and the generation of that endpoint.
    pub fn push_started(&self, kind: Kind, now: Instant) -> (Endpoint, u64) {
        let mut inner = lock(&self.inner);
        inner.sent_at = inner.clock.and_then(|(time, heard)| {
            let since = u64::try_from(now.saturating_duration_since(heard).as_millis()).ok()?;
            Some(ServerTime(time.0.checked_add(since)?))
        });
        inner.notifier.started(kind);
        (inner.endpoint.clone(), inner.endpoint_generation)
    }

    /// Where pushes go now, the generation of that endpoint, and which slots they use there.
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
        kind: Kind,
        generation: u64,
        delivery: &Delivery,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Verdict> {
        let mut inner = lock(&self.inner);
        if inner.endpoint_generation != generation {
            return None;
        }
        let verdict = inner.notifier.finished(&delivery.outcome, now, rng);
        let wall = SystemTime::now();
        match verdict {
            Verdict::Accepted(latency) => {
                inner.status.last_push = Some(wall);
                inner.status.last_latency = latency;
                if kind == Kind::Wake
                    && let Some(ServerTime(sent)) = inner.sent_at
                {
                    let until = self.less_margin(ServerTime(sent));
                    inner.covered = inner.covered.max(Some(until));
                    inner.notifier.cover(until);
                }
                if inner.status.push.state != PushState::Ok {
                    log::info!("{}: pushes are accepted again by {}", self.id.short(), inner.endpoint.origin());
                }
                // It cannot be repeated for ever, so it counts; but people should know.
                let doubtful = if delivery.halves().1.is_empty() { "" } else { delivery.reason.as_str() };
                if !doubtful.is_empty() && inner.status.push.reason != doubtful {
                    log::warn!(
                        "{}: push accepted, but whether by a push server is doubtful: {doubtful}",
                        self.id.short()
                    );
                }
                inner.status.push.enter(PushState::Ok, doubtful, None, wall);
                inner.announced_push.clear();
            }
            Verdict::Retry(at) => {
                let until = wall + at.saturating_duration_since(now);
                self.push_trouble(&mut inner, PushState::Retrying, delivery, until);
            }
            Verdict::Unauthorized(at) => {
                let until = wall + at.saturating_duration_since(now);
                self.push_trouble(&mut inner, PushState::Unauthorized, delivery, until);
            }
            Verdict::TestFailed => {
                let id = self.id.short();
                log::warn!("{id}: test push failed: {}", delivery.reason);
                if delivery.outcome == Outcome::Unauthorized && !inner.notifier.owes() {
                    inner.status.push.enter(PushState::Unauthorized, delivery.reason.as_str(), None, wall);
                }
            }
            Verdict::Gone => {
                inner.halt = inner.halt.or(Some(Halt::EndpointGone));
                inner.gone = Some((inner.endpoint.clone(), delivery.halves().0.to_owned()));
            }
        }
        drop(inner);
        self.changed.notify(usize::MAX);
        Some(verdict)
    }

    /// The endpoint that made the loops halt with [`Halt::EndpointGone`], and what its server answered last.
    pub fn gone_endpoint(&self) -> Option<(Endpoint, String)> {
        lock(&self.inner).gone.clone()
    }

    /// The push on its way came to nothing: its loop died, or it was not sent after all.
    pub fn push_abandoned(&self) {
        lock(&self.inner).notifier.abandoned();
    }

    /// Envelopes older than this are covered by an accepted wake-up, which the database does not know yet.
    pub fn unsaved_cover(&self) -> Option<ServerTime> {
        let inner = lock(&self.inner);
        inner.covered.filter(|_| inner.covered != inner.covered_saved)
    }

    /// The database knows this covered time now, or soon will.
    pub fn cover_saved(&self, until: ServerTime) {
        lock(&self.inner).covered_saved = Some(until);
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
            inner.status.push.enter(PushState::Ok, "", None, SystemTime::now());
            inner.announced_push.clear();
        }
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// The loops may run (again); what is owed may go out.
    pub fn resume(&self) {
        let mut inner = lock(&self.inner);
        (inner.halt, inner.endpoint_generation) = (None, inner.endpoint_generation + 1);
        inner.notifier.endpoint_changed();
    }

    /// The phone gets a test push.
    pub fn owe_test(&self) {
        lock(&self.inner).notifier.owe_test();
        self.changed.notify(usize::MAX);
    }

    /// The loops must end. A reason they already have stays: it may still have to be written down.
    pub fn stop(&self) {
        lock(&self.inner).halt.get_or_insert(Halt::Stop);
        self.changed.notify(usize::MAX);
    }

    /// Whether, and why, the loops must end.
    pub fn halt(&self) -> Option<Halt> {
        lock(&self.inner).halt
    }

    /// Resolves when the loops must end.
    pub async fn halted(&self) -> Halt {
        loop {
            let changed = self.changed.listen();
            if let Some(halt) = self.halt() {
                return halt;
            }
            changed.await;
        }
    }

    /// Enters a state. Logged once, until all is well again; `trouble` names the kind of trouble.
    pub fn enter(&self, state: State, trouble: &'static str, reason: &str, until: Option<SystemTime>) {
        let mut inner = lock(&self.inner);
        inner.status.signal.enter(state, reason, until, SystemTime::now());
        let id = self.id.short();
        match state {
            State::Connecting => log::debug!("{id}: connecting to Signal"),
            State::Connected => {
                // The next trouble is news, and so is the end of it.
                let told = !std::mem::take(&mut inner.announced).is_empty();
                let level = if told { log::Level::Info } else { log::Level::Debug };
                log::log!(level, "{id}: connected to Signal");
            }
            _ if inner.announced.contains(&trouble) => log::debug!("{id}: {}: {reason}", state.label()),
            _ => {
                inner.announced.push(trouble);
                let remedy = state.remedy();
                let harmless = matches!(state, State::Waiting | State::Paused);
                let level = if harmless { log::Level::Info } else { log::Level::Warn };
                log::log!(level, "{id}: {}: {reason}. To do: {remedy}", state.label());
            }
        }
    }

    /// Logged once per kind of failure until a push is accepted.
    fn push_trouble(&self, inner: &mut Inner, state: PushState, delivery: &Delivery, until: SystemTime) {
        inner.status.push.enter(state, delivery.reason.as_str(), Some(until), SystemTime::now());
        let (id, reason) = (self.id.short(), &delivery.reason);
        let kind = delivery.outcome.result();
        if inner.announced_push.contains(&kind) {
            log::debug!("{id}: push failed again: {reason}");
        } else {
            inner.announced_push.push(kind);
            log::warn!("{id}: push failed: {reason}. To do: {}", state.remedy());
        }
    }

    fn less_margin(&self, time: ServerTime) -> ServerTime {
        let margin = u64::try_from(self.cover_margin.as_millis()).unwrap_or(u64::MAX);
        ServerTime(time.0.saturating_sub(margin))
    }
}

#[cfg(test)]
mod tests;

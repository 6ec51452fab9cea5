//! What is owed to one phone, and when the next push may go out. Pure: no clock, no socket.
//!
//! Each envelope that needs a wake-up gets a [`WakeSeq`]. A wake-up covers every number issued before it was sent; its
//! acceptance is what allows the session to ack those envelopes (design, section 2).

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::account::ServerTime;
use crate::backoff::Backoff;
use crate::push::{Outcome, PushKind};
use crate::timings::Timings;

/// So many wake-ups must meet 404 or 410 before the endpoint counts as gone. A proxy that restarts says 404, too.
const GONE_ANSWERS: u32 = 4;

/// Wake-up sequence number of an envelope that needs a wake-up, counted from 1 for the life of the account's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WakeSeq(u64);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Idle,
    /// Nothing before this moment.
    Wait(Instant),
    /// Send this.
    Send(PushKind),
}

/// When Signal took in the newest of some envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Newest {
    /// There are none.
    Nothing,
    /// Then.
    At(ServerTime),
    /// One of them does not say.
    Unknown,
}

/// A push on its way.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    kind: PushKind,
    /// Last sequence number issued before it was sent.
    up_to: WakeSeq,
    /// Arrival of the oldest envelope it covers.
    oldest: Option<Instant>,
    /// The newest envelope it covers.
    newest: Newest,
    /// Whether it was held back by the quiet time.
    trailing: bool,
}

/// The wake-ups owed to one phone.
#[derive(Debug)]
pub struct Notifier {
    /// Last sequence number issued.
    last_issued: WakeSeq,
    /// Every sequence number up to this one is covered by an accepted wake-up.
    accepted: WakeSeq,
    /// Arrival of the oldest envelope that no wake-up on its way covers.
    oldest: Option<Instant>,
    /// The newest envelope that no wake-up on its way covers.
    newest: Newest,
    test_owed: bool,
    in_flight: Option<InFlight>,
    /// No wake-up before this moment: the last one failed.
    retry_at: Option<Instant>,
    /// No push of any kind before this moment: the push server asked for it, and has accepted nothing since.
    limited_until: Option<Instant>,
    /// No wake-up before this moment: one was just accepted.
    quiet_until: Option<Instant>,
    quiet: Duration,
    last_trailing: Option<Instant>,
    /// The endpoint is gone: nothing is sent until there is another one.
    suspended: bool,
    /// Wake-ups that met 404 or 410 since one was accepted, and when the first of them did.
    gone_answers: u32,
    gone_since: Option<Instant>,
    gone: Backoff,
    failed: Backoff,
    limited: Backoff,
    unauthorized: Backoff,
    timings: PushTimings,
}

/// The part of [`Timings`] a notifier needs.
#[derive(Debug, Clone, Copy)]
struct PushTimings {
    quiet_base: Duration,
    quiet_cap: Duration,
    quiet_reset: Duration,
    rejected: Duration,
    gone_after: Duration,
    floor: Duration,
    ceiling: Duration,
}

/// What the end of a push means for the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushEffect {
    /// Accepted. For a wake-up: how long the oldest envelope it covers had waited.
    Accepted(Option<Duration>),
    /// Failed; tried again at this moment if a wake-up is owed.
    Retry(Instant),
    /// A test failed. It is not tried again: whoever asked for it looks at the phone now, not in an hour.
    TestFailed,
    /// The push server has said for long enough that the endpoint is gone; the account must be suspended.
    Gone,
}

impl Notifier {
    /// Nothing is owed.
    pub fn new(t: &Timings) -> Self {
        Self {
            last_issued: WakeSeq(0),
            accepted: WakeSeq(0),
            oldest: None,
            newest: Newest::Nothing,
            test_owed: false,
            in_flight: None,
            retry_at: None,
            limited_until: None,
            quiet_until: None,
            quiet: t.quiet_base,
            last_trailing: None,
            suspended: false,
            gone_answers: 0,
            gone_since: None,
            gone: Backoff::new(t.push_gone_base, t.push_gone_cap),
            failed: Backoff::new(t.push_retry_base, t.push_retry_cap),
            limited: Backoff::new(t.push_limited_base, t.push_retry_cap),
            unauthorized: Backoff::new(t.push_unauthorized_base, t.push_slow_cap),
            timings: PushTimings {
                quiet_base: t.quiet_base,
                quiet_cap: t.quiet_cap,
                quiet_reset: t.quiet_reset,
                rejected: t.push_rejected,
                gone_after: t.push_gone,
                floor: t.retry_after_floor,
                ceiling: t.push_slow_cap,
            },
        }
    }

    /// An envelope that needs a wake-up arrived; Signal took it in at `taken_in`.
    pub fn enqueue(&mut self, taken_in: Option<ServerTime>, now: Instant) -> WakeSeq {
        self.last_issued.0 += 1;
        self.oldest.get_or_insert(now);
        self.newest = self.newest.max(taken_in.map_or(Newest::Unknown, Newest::At));
        self.last_issued
    }

    /// One test push is wanted. Asking again before it went out asks for the same one.
    pub fn enqueue_test(&mut self) {
        self.test_owed = true;
    }

    /// Every sequence number up to this one is covered by an accepted wake-up.
    pub fn accepted(&self) -> WakeSeq {
        self.accepted
    }

    /// Whether a wake-up is owed.
    pub fn owes(&self) -> bool {
        self.last_issued > self.accepted
    }

    /// Whether a push is on its way.
    pub fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What to do at `now`.
    pub fn next(&self, now: Instant) -> Next {
        if self.in_flight.is_some() || self.suspended {
            return Next::Idle;
        }
        let wake = self.owes().then(|| latest([self.retry_at, self.quiet_until, self.limited_until]));
        let test = self.test_owed.then(|| latest([self.limited_until, None, None]));
        let due = |at: Option<Option<Instant>>| at.is_some_and(|at| at.is_none_or(|at| at <= now));
        if due(wake) {
            return Next::Send(PushKind::Wake);
        }
        if due(test) {
            return Next::Send(PushKind::Test);
        }
        match (wake.flatten(), test.flatten()) {
            (Some(a), Some(b)) => Next::Wait(a.min(b)),
            (Some(at), None) | (None, Some(at)) => Next::Wait(at),
            (None, None) => Next::Idle,
        }
    }

    /// A push of this kind goes out now.
    pub fn started(&mut self, kind: PushKind) {
        let (oldest, newest) = match kind {
            PushKind::Wake => (self.oldest.take(), std::mem::replace(&mut self.newest, Newest::Nothing)),
            PushKind::Test => {
                self.test_owed = false;
                (None, Newest::Nothing)
            }
        };
        let trailing = matches!((oldest, self.quiet_until), (Some(arrived), Some(until)) if arrived < until);
        self.in_flight = Some(InFlight { kind, up_to: self.last_issued, oldest, newest, trailing });
    }

    /// The push on its way ended.
    pub fn finished(&mut self, outcome: &Outcome, now: Instant, rng: &mut Rng) -> PushEffect {
        let Some(push) = self.in_flight.take() else {
            return PushEffect::Retry(now);
        };
        if *outcome != Outcome::Accepted {
            self.take_back(&push);
        }
        match outcome {
            Outcome::Accepted => {
                self.works();
                if push.kind == PushKind::Wake {
                    self.accepted = push.up_to;
                    self.lengthen_or_shorten_quiet(push.trailing, now);
                }
                PushEffect::Accepted(push.oldest.map(|arrived| now.saturating_duration_since(arrived)))
            }
            Outcome::Limited(after) => {
                let wait = match after {
                    // Up to a tenth more, so that a crowd that was limited together does not return as one.
                    Some(after) => {
                        let asked = (*after).max(self.timings.floor);
                        asked.mul_f64(1.0 + 0.1 * rng.f64()).min(self.timings.ceiling)
                    }
                    None => self.limited.spread(rng),
                };
                self.limited_until = Some(now + wait);
                if push.kind == PushKind::Test { PushEffect::TestFailed } else { PushEffect::Retry(now + wait) }
            }
            _ if push.kind == PushKind::Test => PushEffect::TestFailed,
            Outcome::Gone => {
                self.gone_answers += 1;
                let since = *self.gone_since.get_or_insert(now);
                if self.gone_answers >= GONE_ANSWERS && now >= since + self.timings.gone_after {
                    self.suspended = true;
                    return PushEffect::Gone;
                }
                PushEffect::Retry(self.retry_in(now, RetryClass::Gone, rng))
            }
            Outcome::Unauthorized => PushEffect::Retry(self.retry_in(now, RetryClass::Unauthorized, rng)),
            Outcome::Failed => PushEffect::Retry(self.retry_in(now, RetryClass::Failed, rng)),
            Outcome::Rejected => PushEffect::Retry(self.retry_in(now, RetryClass::Rejected, rng)),
        }
    }

    /// The push on its way, if there is one, was given up: what it should have done is owed again.
    pub fn abandoned(&mut self) {
        if let Some(push) = self.in_flight.take() {
            self.take_back(&push);
            self.test_owed |= push.kind == PushKind::Test;
        }
    }

    /// The phone has another endpoint, or the old one works again: what is owed goes there as soon as its push server lets
    /// it. A limit is the account's: else each change of the endpoint would be a way around it.
    pub fn endpoint_changed(&mut self) {
        self.abandoned();
        self.suspended = false;
        self.quiet_until = None;
        self.forget_failures();
    }

    /// The push server accepts pushes: what is owed may go out at once.
    pub fn works(&mut self) {
        self.forget_failures();
        self.forget_limit();
    }

    /// A push was accepted, or the phone went to another push server: nobody limits it.
    pub fn forget_limit(&mut self) {
        self.limited_until = None;
        self.limited.reset();
    }

    /// Whether its push server limits it: it did, and has accepted nothing since.
    pub fn is_limited(&self) -> bool {
        self.limited_until.is_some()
    }

    /// The phone has fetched the envelopes Signal took in before `until`. When that is all of them, nothing is owed any more: a
    /// backlog that is still arriving while its wake-up is accepted needs no second one.
    pub fn mark_fetched(&mut self, until: ServerTime) {
        if self.in_flight.is_none() && matches!(self.newest, Newest::At(newest) if newest < until) {
            self.accepted = self.last_issued;
            self.oldest = None;
            self.newest = Newest::Nothing;
        }
    }

    /// What a push should have covered is owed as before.
    fn take_back(&mut self, push: &InFlight) {
        self.oldest = push.oldest.or(self.oldest);
        self.newest = self.newest.max(push.newest);
    }

    fn forget_failures(&mut self) {
        self.retry_at = None;
        self.gone_answers = 0;
        self.gone_since = None;
        self.gone.reset();
        self.failed.reset();
        self.unauthorized.reset();
    }

    fn retry_in(&mut self, now: Instant, class: RetryClass, rng: &mut Rng) -> Instant {
        let wait = match class {
            RetryClass::Failed => self.failed.spread(rng),
            RetryClass::Gone => self.gone.spread(rng),
            RetryClass::Unauthorized => self.unauthorized.spread(rng),
            RetryClass::Rejected => self.timings.rejected,
        };
        self.retry_at = Some(now + wait);
        now + wait
    }

    fn lengthen_or_shorten_quiet(&mut self, trailing: bool, now: Instant) {
        let t = self.timings;
        if trailing {
            self.quiet = (self.quiet * 2).min(t.quiet_cap);
            self.last_trailing = Some(now);
        } else if self.last_trailing.is_none_or(|at| now.saturating_duration_since(at) >= t.quiet_reset) {
            self.quiet = t.quiet_base;
        }
        self.quiet_until = Some(now + self.quiet);
    }
}

/// Why a wake-up is tried again.
enum RetryClass {
    Failed,
    Gone,
    Unauthorized,
    Rejected,
}

fn latest(moments: [Option<Instant>; 3]) -> Option<Instant> {
    moments.into_iter().flatten().max()
}

#[cfg(test)]
mod tests;

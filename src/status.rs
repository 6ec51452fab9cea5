//! What an account is doing, since when, why, and what people can do about it (design, section 3).

use std::fmt;
use std::time::{Duration, Instant};

use crate::printable::printable;

/// Signal's side of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// On the way to Signal.
    Connecting,
    /// Signal delivers: the end of its queue or a first message was seen.
    Connected,
    /// Backing off.
    Waiting,
    /// Another program is connected as the same device (close 4409).
    Displaced,
    /// Signal does not serve this program (499).
    Refused,
    /// The device is not linked any more.
    Unlinked,
    /// The push server no longer knows the endpoint.
    EndpointGone,
    /// The operator paused it.
    Paused,
}

impl State {
    /// Every state, in the order of the design.
    pub const ALL: [Self; 8] = [
        Self::Connecting,
        Self::Connected,
        Self::Waiting,
        Self::Displaced,
        Self::Refused,
        Self::Unlinked,
        Self::EndpointGone,
        Self::Paused,
    ];

    /// Name in logs, metrics and status output.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Displaced => "displaced",
            Self::Refused => "refused",
            Self::Unlinked => "unlinked",
            Self::EndpointGone => "endpoint_gone",
            Self::Paused => "paused",
        }
    }

    /// What people can do, in one line; empty when there is nothing to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Connected | Self::Connecting => "",
            Self::Waiting => "Wait a few minutes. If it lasts, check network, DNS and clock.",
            Self::Displaced => {
                "stop the other MollySocket that uses this account, or register again from Molly to get a new device"
            }
            Self::Refused => {
                "update MollySocket or set `user_agents` to a current Signal-Android version; \
                 if that does not help, link the device again from Molly"
            }
            Self::Unlinked => {
                "open Molly's UnifiedPush settings: Molly links a new device and registers it; if not, switch \
                 UnifiedPush off and on there"
            }
            Self::EndpointGone => {
                "open Molly's UnifiedPush settings, or the UnifiedPush app, so that it gets a new endpoint"
            }
            Self::Paused => "`mollysocket connection resume UUID` lets it go on",
        }
    }
}

/// The push side of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PushState {
    /// The last push was accepted, or there was none yet.
    Ok,
    /// The last push failed. A wake-up is tried again, a test is not.
    Retrying,
    /// The push server did not accept our token, or an access list or a firewall forbids the request.
    Unauthorized,
}

impl PushState {
    /// Name in logs and status output.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retrying => "retrying",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// Why something is as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// What happened, for people; empty when there is nothing to say.
    pub reason: String,
    /// What they can do; empty when there is nothing to do.
    pub remedy: &'static str,
}

impl fmt::Display for Cause {
    /// Both, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ". To do: {}", self.remedy) }
    }
}

impl Cause {
    /// A reason and its remedy.
    pub fn new(reason: impl Into<String>, remedy: &'static str) -> Self {
        Self { reason: reason.into(), remedy }
    }
}

/// One side of an account at a moment. Times are those of the monotonic clock, which nobody sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side<S> {
    /// The state.
    pub state: S,
    /// Since when it is in this state.
    pub since: Instant,
    /// Why, for people.
    pub reason: String,
    /// What they can do; empty when there is nothing to do.
    pub remedy: &'static str,
    /// When it tries again, if it waits.
    pub until: Option<Instant>,
}

/// A state that knows which others are only another phase of it.
pub trait Phases: PartialEq {
    /// Whether going from `self` to `next` is no news: an outage lasts since its first failure, not since its last try.
    fn continues_as(&self, next: &Self) -> bool {
        self == next
    }
}

impl Phases for State {
    fn continues_as(&self, next: &Self) -> bool {
        let trying = |state: &Self| matches!(state, Self::Connecting | Self::Waiting);
        self == next || (trying(self) && trying(next))
    }
}

impl Phases for PushState {}

impl<S: Phases> Side<S> {
    /// Enters `state`; `since` moves only when it is more than another phase.
    pub fn enter(&mut self, state: S, cause: Cause, until: Option<Instant>, now: Instant) {
        let continues = self.state.continues_as(&state);
        if !continues {
            self.since = now;
        }
        // While it tries again, why it has to is still of interest.
        let keeps_cause = continues && self.state != state && cause == Cause::default();
        self.state = state;
        if !keeps_cause {
            (self.reason, self.remedy) = (printable(&cause.reason), cause.remedy);
        }
        self.until = until;
    }
}

/// Both sides of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Signal's side.
    pub signal: Side<State>,
    /// The push side.
    pub push: Side<PushState>,
    /// Last message from Signal.
    pub last_envelope: Option<Instant>,
    /// Last accepted push.
    pub last_push: Option<Instant>,
    /// How long its oldest envelope had waited then. `None` when it covered none, as a test push.
    pub last_latency: Option<Duration>,
}

impl Status {
    /// The status of an account nothing was done for yet.
    pub fn new(state: State, now: Instant) -> Self {
        Self {
            signal: Side { state, since: now, reason: String::new(), remedy: "", until: None },
            push: Side { state: PushState::Ok, since: now, reason: String::new(), remedy: "", until: None },
            last_envelope: None,
            last_push: None,
            last_latency: None,
        }
    }
}

impl Side<State> {
    /// Whether somebody should look at it: something is wrong that does not pass by itself, or that has not passed
    /// within `grace`.
    pub fn needs_attention(&self, now: Instant, grace: Duration) -> bool {
        match self.state {
            State::Connected | State::Paused => false,
            State::Connecting | State::Waiting => now.saturating_duration_since(self.since) >= grace,
            State::Displaced | State::Refused | State::Unlinked | State::EndpointGone => true,
        }
    }
}

impl Side<PushState> {
    /// As on Signal's side.
    pub fn needs_attention(&self, now: Instant, grace: Duration) -> bool {
        match self.state {
            PushState::Ok => false,
            PushState::Retrying => now.saturating_duration_since(self.since) >= grace,
            PushState::Unauthorized => true,
        }
    }
}

impl Status {
    /// Whether one of its sides needs attention.
    pub fn needs_attention(&self, now: Instant, grace: Duration) -> bool {
        self.signal.needs_attention(now, grace) || self.push.needs_attention(now, grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_needs_attention_only_when_it_lasts() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let grace = Duration::from_secs(300);
        for state in State::ALL {
            let status = Status::new(state, at(1000));
            let (soon, late) = (status.needs_attention(at(1010), grace), status.needs_attention(at(1300), grace));
            let expected = match state {
                State::Connected | State::Paused => (false, false),
                State::Connecting | State::Waiting => (false, true),
                _ => (true, true),
            };
            assert_eq!((soon, late), expected, "{state:?}");
        }
        let mut status = Status::new(State::Connected, at(1000));
        for (push, expected) in [
            (PushState::Ok, (false, false)),
            (PushState::Retrying, (false, true)),
            (PushState::Unauthorized, (true, true)),
        ] {
            status.push.state = push;
            assert_eq!((status.needs_attention(at(1010), grace), status.needs_attention(at(1300), grace)), expected);
        }
    }

    #[test]
    fn an_outage_lasts_since_its_first_failure() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut side = Status::new(State::Connected, at(0)).signal;
        for (s, state, why) in [(10, State::Waiting, "why"), (11, State::Connecting, ""), (12, State::Waiting, "why")] {
            side.enter(state, Cause::new(why, ""), None, at(s));
            assert_eq!((side.since, side.reason.as_str()), (at(10), "why"));
        }
        side.enter(State::Connected, Cause::default(), None, at(20));
        assert_eq!((side.since, side.reason.as_str()), (at(20), ""));
        side.enter(State::Displaced, Cause::default(), None, at(30));
        assert_eq!(side.since, at(30));
    }
}

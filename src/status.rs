//! What an account is doing, since when, why, and what people can do about it (design, section 3).

use std::time::SystemTime;

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
}

impl State {
    /// Every state, in the order of the design.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Connected,
        Self::Waiting,
        Self::Displaced,
        Self::Refused,
        Self::Unlinked,
        Self::EndpointGone,
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
        }
    }

    /// What people can do, in one line; empty when there is nothing to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Connecting | Self::Connected => "",
            Self::Waiting => "nothing to do if it passes; else check this machine's network, DNS and clock",
            Self::Displaced => {
                "stop the other MollySocket that uses this account, or register again from Molly to get a new device"
            }
            Self::Refused => {
                "update MollySocket or set `user_agents` to a current Signal-Android version; \
                 if that does not help, link the device again from Molly"
            }
            Self::Unlinked => "open Molly's UnifiedPush settings: it links a new device and registers it",
            Self::EndpointGone => {
                "open Molly's UnifiedPush settings, or the UnifiedPush app, so that it gets a new endpoint"
            }
        }
    }
}

/// The push side of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PushState {
    /// The last push was accepted, or there was none yet.
    Ok,
    /// A push failed and is tried again.
    Retrying,
    /// The push server does not accept our key, or an access list forbids the topic.
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

    /// What people can do, in one line; empty when there is nothing to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Ok => "",
            Self::Retrying => "nothing to do if it passes; else check that this machine reaches the push server",
            Self::Unauthorized => {
                "check the push server's access list; if the VAPID key changed, scan the link again with Molly"
            }
        }
    }
}

/// One side of an account at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side<S> {
    /// The state.
    pub state: S,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// Why, for people.
    pub reason: String,
    /// When it tries again, if it waits.
    pub until: Option<SystemTime>,
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
    pub fn enter(&mut self, state: S, reason: impl Into<String>, until: Option<SystemTime>, now: SystemTime) {
        if !self.state.continues_as(&state) {
            self.since = now;
        }
        self.state = state;
        self.reason = reason.into();
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
    pub last_envelope: Option<SystemTime>,
    /// Last accepted push.
    pub last_push: Option<SystemTime>,
}

impl Status {
    /// The status of an account nothing was done for yet.
    pub fn new(state: State, now: SystemTime) -> Self {
        Self {
            signal: Side { state, since: now, reason: String::new(), until: None },
            push: Side { state: PushState::Ok, since: now, reason: String::new(), until: None },
            last_envelope: None,
            last_push: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_outage_lasts_since_its_first_failure() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let mut side = Status::new(State::Connected, at(0)).signal;
        for (s, state) in [(10, State::Waiting), (11, State::Connecting), (12, State::Waiting)] {
            side.enter(state, "", None, at(s));
            assert_eq!(side.since, at(10));
        }
        side.enter(State::Connected, "", None, at(20));
        assert_eq!(side.since, at(20));
        side.enter(State::Displaced, "", None, at(30));
        assert_eq!(side.since, at(30));
    }
}

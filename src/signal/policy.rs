//! What to do after a connection to Signal ended or did not come about (design, section 3). Pure.

use std::time::Duration;

use fastrand::Rng;

use crate::backoff::Backoff;
use crate::signal::connect::{ConnectError, Refusal};
use crate::signal::session::Ended;
use crate::status::State;
use crate::timings::Timings;

/// The longest `Retry-After` of Signal that is believed. A day without wake-ups is worse than one request too many.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// So many refusals of Signal itself (403) in a row, over a minute at least, mean that the device is not linked any more.
const REFUSALS: u32 = 3;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Connect again after a wait.
    Retry(Retry),
    /// Signal confirmed that the device is not linked any more.
    Unlinked,
}

/// A wait before the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How long.
    pub after: Duration,
    /// The state meanwhile.
    pub state: State,
    /// Kind of trouble: each kind is logged once until all is well again.
    pub trouble: &'static str,
    /// For people.
    pub reason: String,
    /// Whether the wait ends early when Signal's host is reachable again.
    pub ends_with_outage: bool,
}

/// The memory of one account between connections.
#[derive(Debug)]
pub struct Policy<'a> {
    backoff: Backoff,
    displaced: Backoff,
    /// Index of the User-Agent in use.
    agent: usize,
    agents: usize,
    /// How many User-Agents in a row Signal refused.
    refused_agents: usize,
    /// The last answers were so many times a 403 of Signal itself.
    refusals: u32,
    /// A new login was asked for, and no connection has lasted since.
    asked_to_log_in: bool,
    timings: &'a Timings,
}

impl<'a> Policy<'a> {
    /// A fresh account with a choice of `agents` User-Agents.
    pub fn new(timings: &'a Timings, agents: usize) -> Self {
        Self {
            backoff: Backoff::new(timings.backoff_base, timings.backoff_cap),
            displaced: Backoff::new(timings.displaced_base, timings.displaced_cap),
            agent: 0,
            agents: agents.max(1),
            refused_agents: 0,
            refusals: 0,
            asked_to_log_in: false,
            timings,
        }
    }

    /// Index of the User-Agent to present.
    pub fn agent(&self) -> usize {
        self.agent
    }

    /// Signal accepted the upgrade.
    pub fn accepted(&mut self) {
        self.refused_agents = 0;
        self.refusals = 0;
    }

    /// No connection came about.
    pub fn failed(&mut self, error: &ConnectError, rng: &mut Rng) -> Step {
        let reason = error.to_string();
        match error {
            ConnectError::Refused(refusal) => self.refused(refusal, reason, rng),
            ConnectError::Dial(_) | ConnectError::Timeout(_) | ConnectError::Handshake(_) => {
                let after = self.backoff.full(rng);
                wait(after, "unreachable", reason, true)
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal, reason: String, rng: &mut Rng) -> Step {
        if refusal.status == 403 && refusal.by_signal {
            self.refusals += 1;
            if self.refusals >= REFUSALS {
                return Step::Unlinked;
            }
            let after = self.timings.confirm.mul_f64(1.0 + 0.1 * rng.f64());
            return wait(after, "login refused", format!("{reason}; asking again to be sure"), false);
        }
        self.refusals = 0;
        if refusal.status == 499 {
            return self.refused_agent(reason, refusal.retry_after, rng);
        }
        let cap = if refusal.status == 404 { self.timings.not_found_cap } else { self.timings.backoff_cap };
        let backoff = self.backoff.full_up_to(cap, rng);
        let after = refusal.retry_after.map_or(backoff, |asked| self.asked_to_wait(asked, backoff, rng));
        wait(after, refusal.label(), reason, false)
    }

    /// What Signal asks for, and up to a second more so that a crowd does not return as one. "No wait" is not believed:
    /// then the back-off counts.
    fn asked_to_wait(&self, asked: Duration, backoff: Duration, rng: &mut Rng) -> Duration {
        let asked = asked.min(LONGEST_RETRY_AFTER);
        let wait =
            if asked < self.timings.retry_after_floor { backoff.max(self.timings.retry_after_floor) } else { asked };
        wait + self.timings.backoff_base.mul_f64(rng.f64())
    }

    fn refused_agent(&mut self, reason: String, retry_after: Option<Duration>, rng: &mut Rng) -> Step {
        self.agent = (self.agent + 1) % self.agents;
        self.refused_agents += 1;
        if self.refused_agents < self.agents {
            let after = self.timings.backoff_base.mul_f64(0.5 + 0.5 * rng.f64());
            return wait(after, "user agent", format!("{reason}; trying the next User-Agent"), false);
        }
        self.refused_agents = 0;
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        Step::Retry(Retry {
            after: self.timings.refused.mul_f64(0.9 + 0.2 * rng.f64()).max(asked),
            state: State::Refused,
            trouble: "refused",
            reason: format!("{reason}: every configured User-Agent is refused, or the device lacks a capability"),
            ends_with_outage: false,
        })
    }

    /// A connection ended. `connected` is how long Signal had been delivering on it: an open socket that stays silent
    /// must not count as success.
    pub fn ended(&mut self, ended: &Ended, connected: Duration, rng: &mut Rng) -> Step {
        let t = &self.timings;
        if connected >= t.backoff_reset {
            self.backoff.reset();
            self.asked_to_log_in = false;
        }
        if connected >= t.displaced_reset {
            self.displaced.reset();
        }
        match ended {
            Ended::Closed(4409, _) => Step::Retry(Retry {
                after: self.displaced.spread(rng),
                state: State::Displaced,
                trouble: "displaced",
                reason: "Signal says this device is connected elsewhere".into(),
                ends_with_outage: false,
            }),
            Ended::Closed(4401, _) => {
                // Once at once; a server that asks each time must not be stormed.
                let again = std::mem::replace(&mut self.asked_to_log_in, true);
                let after = if again { self.backoff.full(rng) } else { t.reauthenticate.mul_f64(rng.f64()) };
                wait(after, "reauthenticate", "Signal asks for a new login".into(), false)
            }
            Ended::Closed(code, text) => {
                let after = self.backoff.full(rng);
                let why = format!("{code} {text}");
                wait(after, "closed", format!("Signal closed the connection ({})", why.trim_end()), true)
            }
            Ended::Lost(why) => wait(self.backoff.full(rng), "lost", format!("connection lost: {why}"), true),
            Ended::KeepaliveTimeout => {
                wait(self.backoff.full(rng), "keepalive", "Signal did not answer a keepalive".into(), true)
            }
            Ended::Silent => {
                let why = "Signal did not announce the end of its queue: not authenticated, or stalled";
                wait(self.backoff.full(rng), "silent", why.into(), false)
            }
            Ended::WriteTimeout => wait(self.backoff.full(rng), "write", "Signal stopped reading".into(), true),
            Ended::TooLarge => {
                wait(self.backoff.full(rng), "protocol", "Signal sent a message larger than 1 MiB".into(), false)
            }
            Ended::Protocol(why) => wait(self.backoff.full(rng), "protocol", format!("protocol error: {why}"), false),
            Ended::Renewed | Ended::Halted(_) => {
                wait(t.backoff_base.mul_f64(rng.f64()), "renewed", "renewing an old connection".into(), false)
            }
        }
    }
}

fn wait(after: Duration, trouble: &'static str, reason: String, ends_with_outage: bool) -> Step {
    Step::Retry(Retry { after, state: State::Waiting, trouble, reason, ends_with_outage })
}

#[cfg(test)]
mod tests;

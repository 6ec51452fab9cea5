//! What to do after a connection to Signal ended or did not come about (design, section 3). Pure.

use std::time::Duration;

use fastrand::Rng;

use crate::backoff::Backoff;
use crate::signal::connect::{ConnectError, UpgradeRefusal};
use crate::signal::session::Disconnect;
use crate::status::{Cause, State};
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
    /// Why, and what people can do.
    pub cause: Cause,
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
        let cause = Cause::new(error.to_string(), error.remedy());
        match error {
            ConnectError::Refused(refusal) => self.refused(refusal, cause, rng),
            ConnectError::Dial(_) | ConnectError::Timeout(_) | ConnectError::Handshake(_) => {
                let after = self.backoff.full(rng);
                wait(after, "unreachable", cause, true)
            }
        }
    }

    fn refused(&mut self, refusal: &UpgradeRefusal, cause: Cause, rng: &mut Rng) -> Step {
        if refusal.status == 403 && refusal.by_signal {
            self.refusals += 1;
            if self.refusals >= REFUSALS {
                return Step::Unlinked;
            }
            let after = self.timings.confirm.mul_f64(1.0 + 0.1 * rng.f64());
            let reason = format!("{}; asking again to be sure", cause.reason);
            return wait(after, "login refused", Cause::new(reason, ""), false);
        }
        self.refusals = 0;
        if refusal.status == 499 {
            return self.refused_agent(cause.reason, refusal.retry_after, rng);
        }
        let cap = if refusal.status == 404 { self.timings.not_found_cap } else { self.timings.backoff_cap };
        let backoff = self.backoff.full_up_to(cap, rng);
        let after = refusal.retry_after.map_or(backoff, |asked| self.asked_to_wait(asked, backoff, rng));
        wait(after, refusal.label(), cause, false)
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
            let cause = Cause::new(format!("{reason}; trying the next User-Agent"), "");
            return wait(after, "user agent", cause, false);
        }
        self.refused_agents = 0;
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        Step::Retry(Retry {
            after: self.timings.refused.mul_f64(0.9 + 0.2 * rng.f64()).max(asked),
            state: State::Refused,
            trouble: "refused",
            cause: Cause::new(
                format!("{reason}: every configured User-Agent is refused, or the device lacks a capability"),
                State::Refused.remedy(),
            ),
            ends_with_outage: false,
        })
    }

    /// A connection ended. `connected` is how long Signal had been delivering on it: an open socket that stays silent
    /// must not count as success.
    pub fn ended(&mut self, disconnect: &Disconnect, connected: Duration, rng: &mut Rng) -> Step {
        let t = &self.timings;
        if connected >= t.backoff_reset {
            self.backoff.reset();
            self.asked_to_log_in = false;
        }
        if connected >= t.displaced_reset {
            self.displaced.reset();
        }
        match disconnect {
            Disconnect::Closed(4409, _) => Step::Retry(Retry {
                after: self.displaced.spread(rng),
                state: State::Displaced,
                trouble: "displaced",
                cause: Cause::new("Signal says this device is connected elsewhere", State::Displaced.remedy()),
                ends_with_outage: false,
            }),
            Disconnect::Closed(4401, _) => {
                // Once at once; a server that asks each time must not be stormed.
                let again = std::mem::replace(&mut self.asked_to_log_in, true);
                let after = if again { self.backoff.full(rng) } else { t.reauthenticate.mul_f64(rng.f64()) };
                wait(after, "reauthenticate", Cause::new("Signal asks for a new login", ""), false)
            }
            Disconnect::Closed(code, text) => {
                let said = format!("{code} {text}");
                self.back_off("closed", format!("Signal closed the connection ({})", said.trim_end()), true, rng)
            }
            Disconnect::Lost(why) => self.back_off("lost", format!("connection lost: {why}"), true, rng),
            Disconnect::KeepaliveTimeout => self.back_off("keepalive", "Signal did not answer a keepalive", true, rng),
            Disconnect::Silent => {
                let why = "Signal did not announce the end of its queue: not authenticated, or stalled";
                self.back_off("silent", why, false, rng)
            }
            Disconnect::WriteTimeout => self.back_off("write", "Signal stopped reading", true, rng),
            Disconnect::TooLarge => self.back_off("protocol", "Signal sent a message larger than 1 MiB", false, rng),
            Disconnect::Protocol(why) => self.back_off("protocol", format!("protocol error: {why}"), false, rng),
            // All is well: a moment later it is connected again.
            Disconnect::Renewed | Disconnect::Stopped(_) => Step::Retry(Retry {
                after: t.backoff_base.mul_f64(rng.f64()),
                state: State::Connecting,
                trouble: "renewed",
                cause: Cause::new("the connection is renewed, as it is once a day", ""),
                ends_with_outage: false,
            }),
        }
    }

    /// A wait after a connection that was lost.
    fn back_off(
        &mut self,
        trouble: &'static str,
        reason: impl Into<String>,
        ends_with_outage: bool,
        rng: &mut Rng,
    ) -> Step {
        wait(self.backoff.full(rng), trouble, Cause::new(reason, State::Waiting.remedy()), ends_with_outage)
    }
}

fn wait(after: Duration, trouble: &'static str, cause: Cause, ends_with_outage: bool) -> Step {
    Step::Retry(Retry { after, state: State::Waiting, trouble, cause, ends_with_outage })
}

#[cfg(test)]
mod tests;

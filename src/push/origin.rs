//! Push servers that limit several phones within a short time mean this program, not the phones: pushes to such an origin
//! then go out one after the other, first after a pause, then ever closer together as they are accepted. Pure: no clock,
//! no socket. What is owed stays owed meanwhile; other origins notice nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use smol::lock::Mutex;

use crate::backoff::Backoff;
use crate::timings::{Limits, Timings};

/// Origins remembered. Registrations choose the origins, so there must be an end; one that is not remembered is not
/// slowed down, and each phone still waits as long as its own answer said.
const MOST: usize = 1024;

/// Pushes this close together are no burden: the slow-down is over.
const OVER: Duration = Duration::from_millis(50);

/// What an answer changed for its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth telling.
    Nothing,
    /// Pushes to it go out one after the other from now on.
    Slowed,
    /// They go out as they come again.
    Released,
}

/// The origins that limited somebody lately.
#[derive(Debug)]
pub(super) struct Origins {
    known: HashMap<String, Origin>,
    rules: Rules,
}

/// The part of [`Timings`] and [`Limits`] needed here.
#[derive(Debug, Clone, Copy)]
struct Rules {
    endpoints: usize,
    window: Duration,
    floor: Duration,
    hold_cap: Duration,
    hold_base: Duration,
    spacing: Duration,
    spacing_cap: Duration,
}

#[derive(Debug, Default)]
struct Origin {
    /// Hashes of the endpoints that were limited since the last success, each with the time of its last answer. No more
    /// than it takes to slow down.
    limited: Vec<(u64, Instant)>,
    slow: Option<Slow>,
    /// Who waits stands in this line, so that nobody is overtaken.
    line: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Slow {
    /// Nothing goes out before: the server's `Retry-After`, or ours.
    held_until: Instant,
    /// The next one may go out then.
    next: Instant,
    spacing: Duration,
    pauses: Backoff,
}

impl Slow {
    fn due(&self) -> Instant {
        self.held_until.max(self.next)
    }
}

impl Origins {
    pub(super) fn new(timings: &Timings, limits: &Limits) -> Self {
        let rules = Rules {
            endpoints: limits.limited_endpoints.max(1),
            window: timings.push_limited_window,
            floor: timings.retry_after_floor,
            hold_cap: timings.push_hold_cap,
            hold_base: timings.push_limited_base,
            spacing: timings.push_spacing,
            spacing_cap: timings.push_spacing_cap,
        };
        Self { known: HashMap::new(), rules }
    }

    /// The line to stand in before asking for a turn; `None` when there is no need to.
    pub(super) fn line(&self, origin: &str) -> Option<Arc<Mutex<()>>> {
        self.known.get(origin).filter(|known| known.slow.is_some()).map(|known| known.line.clone())
    }

    /// When the first in line may send, if not at once.
    pub(super) fn held_until(&self, origin: &str, now: Instant) -> Option<Instant> {
        let slow = self.known.get(origin)?.slow.as_ref()?;
        Some(slow.due()).filter(|due| *due > now)
    }

    /// Whether nothing may go out now, whoever has a turn: the origin limited somebody since.
    pub(super) fn pauses(&self, origin: &str, now: Instant) -> bool {
        self.known.get(origin).and_then(|known| known.slow.as_ref()).is_some_and(|slow| now < slow.held_until)
    }

    /// Takes a turn: `None` is one; else there is none before that moment.
    pub(super) fn turn(&mut self, origin: &str, now: Instant) -> Option<Instant> {
        let known = self.known.get_mut(origin)?;
        let slow = known.slow.as_mut()?;
        let due = slow.due();
        if now < due {
            return Some(due);
        }
        if now >= due + self.rules.window {
            // Nobody has asked for so long that nothing is known about it any more.
            self.known.remove(origin);
        } else {
            slow.next = now + slow.spacing;
        }
        None
    }

    /// An endpoint of this origin was limited, for so long if the server said so.
    pub(super) fn limited(
        &mut self,
        origin: &str,
        endpoint: &str,
        after: Option<Duration>,
        now: Instant,
        rng: &mut Rng,
    ) -> Change {
        let rules = self.rules;
        if !self.known.contains_key(origin) && !self.make_room(now) {
            return Change::Nothing;
        }
        let known = self.known.entry(origin.to_owned()).or_default();
        // The cap is short of what one phone may be told: a few phones that their server limits for reasons of their own
        // must not hold back everybody else's wake-ups for an hour. One request a minute tells whether it still is so.
        let hold = |pauses: &mut Backoff, rng: &mut Rng| {
            after.unwrap_or_else(|| pauses.spread(rng)).clamp(rules.floor, rules.hold_cap.max(rules.floor))
        };
        if let Some(slow) = &mut known.slow {
            // Answers to what was sent before the pause are no news.
            if now >= slow.held_until {
                slow.spacing = (slow.spacing * 2).min(rules.spacing_cap);
                slow.held_until = now + hold(&mut slow.pauses, rng);
            }
            return Change::Nothing;
        }
        let endpoint = fingerprint(endpoint);
        known.limited.retain(|(other, at)| *other != endpoint && now < *at + rules.window);
        known.limited.push((endpoint, now));
        if known.limited.len() < rules.endpoints {
            return Change::Nothing;
        }
        known.limited.clear();
        let mut pauses = Backoff::new(rules.hold_base, rules.hold_cap);
        let held_until = now + hold(&mut pauses, rng);
        known.slow = Some(Slow { held_until, next: held_until, spacing: rules.spacing, pauses });
        Change::Slowed
    }

    /// This origin accepted a push.
    pub(super) fn accepted(&mut self, origin: &str, now: Instant) -> Change {
        let Some(known) = self.known.get_mut(origin) else {
            return Change::Nothing;
        };
        known.limited.clear();
        if let Some(slow) = &mut known.slow {
            slow.spacing /= 2;
            slow.pauses.reset();
            if slow.spacing >= OVER {
                slow.next = slow.next.min(now + slow.spacing);
                return Change::Nothing;
            }
            self.known.remove(origin);
            return Change::Released;
        }
        self.known.remove(origin);
        Change::Nothing
    }

    /// Whether one more can be remembered.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.known.len() >= MOST {
            let window = self.rules.window;
            self.known.retain(|_, known| match &known.slow {
                Some(slow) => now < slow.due() + window,
                None => known.limited.iter().any(|(_, at)| now < *at + window),
            });
        }
        self.known.len() < MOST
    }
}

/// Tells endpoints apart without keeping them.
fn fingerprint(endpoint: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;

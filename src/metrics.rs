//! Counters for Prometheus (design, section 9). No account, host or endpoint is ever a label.
//!
//! Five families keep the reference's names, so that its dashboards go on working; the rest are ours.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Content type of [`Metrics::render`]: the text format's version is part of it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds, in seconds, for the way of a wake-up. Good ones take milliseconds; a push server that was down makes
/// them hours.
const WAKE_BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// Upper bounds, in seconds, for a keepalive's answer. Later than 15 s the connection is dead.
const RTT_BOUNDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// Statuses with a label of their own; all others share `other`, so that a server cannot invent series.
const REFUSALS: [u16; 10] = [400, 401, 403, 404, 429, 499, 500, 502, 503, 504];

/// Everything that is counted while the program runs. Shared by reference; no locks.
#[derive(Debug, Default)]
pub struct Metrics {
    reconnections: Counter,
    messages: Counter,
    malformed: Counter,
    panics: Counter,
    pushes: [Counter; PushResult::ALL.len()],
    /// One for each of [`REFUSALS`], then `other`.
    refusals: [Counter; REFUSALS.len() + 1],
    wake_latency: Histogram<{ WAKE_BOUNDS.len() + 1 }>,
    keepalive_rtt: Histogram<{ RTT_BOUNDS.len() + 1 }>,
}

/// What is read off the running accounts when the page is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Accounts by state label (`connecting`, `connected`, …), every label present.
    pub states: Vec<(&'static str, usize)>,
    /// Open, working connections to Signal.
    pub connected: usize,
    /// Accounts whose device Signal no longer knows.
    pub forbidden: usize,
    /// Accounts that owe their phone a wake-up.
    pub owed: usize,
}

/// How a push ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushResult {
    /// 2xx.
    Accepted,
    /// 404, 410.
    Gone,
    /// 401, 403.
    Unauthorized,
    /// 429, 503.
    Limited,
    /// Other failures that may pass.
    Failed,
    /// 400, 413 and the like.
    Rejected,
}

impl PushResult {
    const ALL: [Self; 6] =
        [Self::Accepted, Self::Gone, Self::Unauthorized, Self::Limited, Self::Failed, Self::Rejected];

    /// One word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Gone => "gone",
            Self::Unauthorized => "unauthorized",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

impl Metrics {
    /// A connection attempt after the first one of an account.
    pub fn reconnection(&self) {
        self.reconnections.add();
    }

    /// A message from Signal (`PUT /api/v1/message`).
    pub fn message(&self) {
        self.messages.add();
    }

    /// Something from Signal that could not be understood.
    pub fn malformed(&self) {
        self.malformed.add();
    }

    /// A push request that ended.
    pub fn push(&self, result: PushResult) {
        self.pushes[result as usize].add();
    }

    /// From the oldest envelope a wake-up covers to its acceptance.
    pub fn wake_latency(&self, latency: Duration) {
        self.wake_latency.observe(&WAKE_BOUNDS, latency);
    }

    /// From a keepalive to its answer.
    pub fn keepalive_rtt(&self, rtt: Duration) {
        self.keepalive_rtt.observe(&RTT_BOUNDS, rtt);
    }

    /// An upgrade answered with something else than 101.
    pub fn refusal(&self, status: u16) {
        let at = REFUSALS.iter().position(|known| *known == status).unwrap_or(REFUSALS.len());
        self.refusals[at].add();
    }

    /// A panic that was caught: in an account's task or in a request.
    pub fn panic(&self) {
        self.panics.add();
    }

    /// The page in Prometheus' text format.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut page = MetricsPage(String::with_capacity(4096));
        page.one("mollysocket_connections", "gauge", "Open, working connections to Signal.", gauges.connected as u64);
        page.one(
            "mollysocket_forbiddens",
            "gauge",
            "Accounts whose device Signal no longer knows.",
            gauges.forbidden as u64,
        );
        page.one(
            "mollysocket_reconnections",
            "counter",
            "Connection attempts after an account's first.",
            self.reconnections.get(),
        );
        page.one("mollysocket_messages", "counter", "Messages from Signal.", self.messages.get());
        page.one(
            "mollysocket_pushs",
            "counter",
            "Push requests a push server accepted.",
            self.pushes[PushResult::Accepted as usize].get(),
        );
        page.family("mollysocket_pushes_total", "counter", "Push requests by result.");
        for result in PushResult::ALL {
            page.labelled("mollysocket_pushes_total", "result", result.label(), self.pushes[result as usize].get());
        }
        page.histogram(
            "mollysocket_wake_latency_seconds",
            "From the oldest envelope a wake-up covers to its acceptance by the push server.",
            &WAKE_BOUNDS,
            &self.wake_latency,
        );
        page.one("mollysocket_owed_wakeups", "gauge", "Accounts that owe their phone a wake-up.", gauges.owed as u64);
        page.family("mollysocket_accounts", "gauge", "Accounts by state.");
        for (state, count) in &gauges.states {
            page.labelled("mollysocket_accounts", "state", state, *count as u64);
        }
        page.histogram(
            "mollysocket_keepalive_rtt_seconds",
            "From a keepalive to Signal's answer.",
            &RTT_BOUNDS,
            &self.keepalive_rtt,
        );
        page.family(
            "mollysocket_handshake_refusals_total",
            "counter",
            "Upgrades Signal answered with something else than 101, by status.",
        );
        for (status, counter) in REFUSALS.iter().zip(&self.refusals) {
            page.labelled("mollysocket_handshake_refusals_total", "status", status, counter.get());
        }
        page.labelled("mollysocket_handshake_refusals_total", "status", "other", self.refusals[REFUSALS.len()].get());
        page.one("mollysocket_panics_total", "counter", "Panics that were caught.", self.panics.get());
        page.one(
            "mollysocket_malformed_total",
            "counter",
            "Messages from Signal that could not be understood.",
            self.malformed.get(),
        );
        page.family("mollysocket_build_info", "gauge", "The running version.");
        page.labelled("mollysocket_build_info", "version", env!("CARGO_PKG_VERSION"), 1);
        page.0
    }
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `N` is the number of bounds and one more, for what lies beyond the last.
#[derive(Debug)]
struct Histogram<const N: usize> {
    /// How many observations fell into each bucket alone; the page adds them up.
    buckets: [Counter; N],
    /// Sum of all observations in microseconds: half a million years fit.
    micros: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), micros: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[f64], value: Duration) {
        let seconds = value.as_secs_f64();
        let at = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        self.buckets[at].add();
        self.micros.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The text format, line by line. Writing to a `String` cannot fail, hence the ignored results.
struct MetricsPage(String);

impl MetricsPage {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, label_value: impl Display, value: u64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{label_value}\"}} {value}");
    }

    fn histogram<const N: usize>(&mut self, name: &str, help: &str, bounds: &[f64], histogram: &Histogram<N>) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut sum = 0;
        for (at, counter) in histogram.buckets.iter().enumerate() {
            sum += counter.get();
            match bounds.get(at) {
                Some(bound) => self.labelled(&bucket, "le", bound, sum),
                None => self.labelled(&bucket, "le", "+Inf", sum),
            }
        }
        let seconds = histogram.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(self.0, "{name}_sum {seconds}\n{name}_count {sum}");
    }
}

#[cfg(test)]
mod tests;

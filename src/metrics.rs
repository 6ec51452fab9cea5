//! Counters for Prometheus (design, section 9). No account, host or endpoint is ever a label.

use std::time::Duration;

/// Everything that is counted while the program runs. Shared by reference; no locks.
#[derive(Debug, Default)]
pub struct Metrics {
    _todo: (),
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

impl Metrics {
    /// A connection attempt after the first one of an account.
    pub fn reconnection(&self) {}
    /// A message from Signal (`PUT /api/v1/message`).
    pub fn message(&self) {}
    /// Something from Signal that could not be understood.
    pub fn malformed(&self) {}
    /// A push request that ended.
    pub fn push(&self, _result: PushResult) {}
    /// From the oldest envelope a wake-up covers to its acceptance.
    pub fn wake_latency(&self, _latency: Duration) {}
    /// From a keepalive to its answer.
    pub fn keepalive_rtt(&self, _rtt: Duration) {}
    /// An upgrade answered with something else than 101.
    pub fn refusal(&self, _status: u16) {}
    /// A panic in an account's task.
    pub fn panic(&self) {}
    /// The page in Prometheus' text format.
    pub fn render(&self, _gauges: &Gauges) -> String {
        unimplemented!()
    }
}

//! The push request (RFC 8030) and what its answer means (design, sections 3 and 7).

use std::sync::Arc;
use std::time::Duration;

use crate::account::Endpoint;
use crate::config::AllowedEndpoints;
use crate::net::Net;
use crate::vapid::Vapid;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{"urgent":true}`: fetch messages.
    Wake,
    /// `{"test":true}`: show the test notification.
    Test,
}

/// What an answer, or its absence, means for the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Accepted,
    /// 404, 410: the endpoint is no more.
    Gone,
    /// 401, 403: the server does not accept our key or an access list says no.
    Unauthorized,
    /// 429, 503, with `Retry-After` if there was one (unclamped).
    Limited(Option<Duration>),
    /// Any other failure that may pass: 5xx, 507, 3xx, DNS, TCP, TLS, time-out, a private address.
    Failed,
    /// 400, 413 and other 4xx: our request is wrong.
    Rejected,
}

/// One push, told in full.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What it means.
    pub outcome: Outcome,
    /// For people: status or error with an explanation where we know one. Never holds the endpoint's path or a secret.
    pub reason: String,
}

/// Sends pushes.
pub struct Pusher {
    _todo: (),
}

impl Pusher {
    /// A sender over `net`, restricted by `allowed`.
    pub fn new(_net: Arc<Net>, _vapid: Arc<Vapid>, _allowed: AllowedEndpoints) -> Self {
        unimplemented!()
    }

    /// Sends one push and waits for the head of the answer, within the push deadline.
    pub async fn send(&self, _endpoint: &Endpoint, _kind: Kind) -> Delivery {
        unimplemented!()
    }
}

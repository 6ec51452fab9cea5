//! The push request (RFC 8030) and what its answer means (design, sections 3 and 7).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use surf::http::{Method, Url};

use crate::account::Endpoint;
use crate::config::{AllowedEndpoints, Permission, Reloadable};
use crate::metrics::PushResult;
use crate::net::http::{self, HttpStatus, Route};
use crate::net::{AGENT, DialError, Lane, Net, Permit, Reach, Server, Stage, remedy};
use crate::status::{Cause, PushState};
use crate::vapid::Vapid;

mod answer;
#[cfg(fuzzing)]
pub mod fuzzing;

/// How long a push server may keep a message for a phone that is away, in seconds (RFC 8030 section 5.2): 30 days,
/// the most that is accepted anywhere.
const TTL: &str = "2592000";

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// `{"urgent":true}`: fetch messages.
    Wake,
    /// `{"test":true}`: show the test notification.
    Test,
}

impl PushKind {
    /// The body, in the clear: Molly sends no keys to encrypt it with. It holds nothing about anybody. Molly looks for
    /// these very strings.
    fn body(self) -> &'static str {
        match self {
            Self::Wake => r#"{"urgent":true}"#,
            Self::Test => r#"{"test":true}"#,
        }
    }

    /// A message replaces an undelivered one of the same topic (RFC 8030 section 5.4), so a wake-up never replaces a
    /// test.
    fn topic(self) -> &'static str {
        match self {
            Self::Wake => "mollysocket",
            Self::Test => "test",
        }
    }
}

/// What an accepted test push comes to. A push server accepts it as well for a phone that is off, and stores it; Molly,
/// while it is locked, shows nothing.
pub const SHOWS: &str = "the phone shows a notification once it is online, unless Molly is locked";

/// What an answer, or its absence, means for the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Accepted,
    /// 404, 410: the server does not know the endpoint. One such answer proves nothing.
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

impl Outcome {
    /// The state of the push side it means, whichever push met it.
    pub fn state(&self) -> PushState {
        match self {
            Self::Accepted => PushState::Ok,
            Self::Unauthorized => PushState::Unauthorized,
            Self::Gone | Self::Limited(_) | Self::Failed | Self::Rejected => PushState::Retrying,
        }
    }

    /// How it is counted.
    pub fn result(&self) -> PushResult {
        match self {
            Self::Accepted => PushResult::Accepted,
            Self::Gone => PushResult::Gone,
            Self::Unauthorized => PushResult::Unauthorized,
            Self::Limited(_) => PushResult::Limited,
            Self::Failed => PushResult::Failed,
            Self::Rejected => PushResult::Rejected,
        }
    }
}

/// One push, told in full.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What it means.
    pub outcome: Outcome,
    /// For people: status or error with an explanation where we know one. Never holds the endpoint's path or a secret.
    pub reason: String,
    /// What people can do; empty when there is nothing to do.
    pub remedy: &'static str,
}

impl Delivery {
    /// Why it ended so, and what people can do.
    pub fn cause(&self) -> Cause {
        Cause::new(self.reason.clone(), self.remedy)
    }

    /// There was no answer.
    fn failed(reason: String, remedy: &'static str) -> Self {
        Self { outcome: Outcome::Failed, reason, remedy }
    }
}

/// Sends pushes.
pub struct Pusher {
    net: Arc<Net>,
    client: surf::Client,
    vapid: Arc<Vapid>,
    allowed: Reloadable<AllowedEndpoints>,
}

impl Pusher {
    /// A sender over `net`, restricted by `allowed`.
    pub fn new(net: Arc<Net>, vapid: Arc<Vapid>, allowed: impl Into<Reloadable<AllowedEndpoints>>) -> Self {
        Self { client: http::client(net.clone()), net, vapid, allowed: allowed.into() }
    }

    /// Waits until one more push may be in flight to the server of `endpoint`. Thousands of accounts may wait at the same
    /// time, so nothing is made yet that the push itself needs.
    pub async fn permit(&self, endpoint: &Endpoint, lane: Lane) -> Permit {
        self.net.push_permit(&endpoint.origin(), lane).await
    }

    /// Sends one push that somebody waits for, once there is a permit for it, and waits for the head of the answer, within
    /// the push deadline.
    pub async fn send(&self, endpoint: &Endpoint, kind: PushKind) -> Delivery {
        let permit = self.permit(endpoint, Lane::Normal).await;
        Box::pin(self.send_with(permit, endpoint, kind)).await
    }

    /// The same with a permit that was waited for. A token that was made for an earlier push and is refused is replaced at once.
    pub async fn send_with(&self, _permit: Permit, endpoint: &Endpoint, kind: PushKind) -> Delivery {
        let origin = endpoint.origin();
        let reach = match self.allowed.get().permits(endpoint) {
            Permission::Listed => Reach::Anywhere,
            Permission::IfPublic => Reach::Public,
            Permission::No => {
                let reason = format!("{origin} is not in allowed_endpoints any more");
                let remedy = "add it to allowed_endpoints, or choose another push server on the phone";
                return Delivery::failed(reason, remedy);
            }
        };
        let kept = self.vapid.kept(&origin, SystemTime::now());
        let mut delivery = self.attempt(endpoint, kind, reach).await;
        if delivery.outcome == Outcome::Unauthorized && kept.is_some() {
            // One of the clocks may have been set since that token was made.
            self.vapid.forget(&origin);
            delivery = self.attempt(endpoint, kind, reach).await;
        }
        if delivery.outcome == Outcome::Unauthorized {
            self.vapid.forget(&origin);
        }
        delivery
    }

    async fn attempt(&self, endpoint: &Endpoint, kind: PushKind, reach: Reach) -> Delivery {
        let origin = endpoint.origin();
        match self.client.send(self.request(endpoint, kind, reach)).await {
            Ok(answer) => {
                let mut answer: surf::http::Response = answer.into();
                let body = answer.body_bytes().await.unwrap_or_default();
                let (target, token) = (endpoint.target(), self.vapid.authorization(&origin, SystemTime::now()));
                let told = answer::reason(&body, &secrets(&target, &token));
                judge(&origin, &answer, told.as_deref(), SystemTime::now())
            }
            Err(error) => {
                // What says where it failed names the server as well.
                let (reason, stage) = match error.downcast_ref::<DialError>() {
                    Some(error) => (error.reason.clone(), error.stage),
                    None => (format!("{origin}: {error}"), Stage::Tcp),
                };
                Delivery::failed(reason, remedy(Server::Push, stage))
            }
        }
    }

    fn request(&self, endpoint: &Endpoint, kind: PushKind, reach: Reach) -> surf::Request {
        let origin = endpoint.origin();
        let mut request = surf::Request::new(Method::Post, without_user_info(endpoint.url()));
        request.set_body(kind.body());
        // Web firewalls refuse who has neither of these two.
        request.insert_header("user-agent", AGENT);
        request.insert_header("accept", "*/*");
        request.insert_header("ttl", TTL);
        request.insert_header("urgency", "high");
        // Push servers insist on it and do not look inside (RFC 8291 section 4).
        request.insert_header("content-encoding", "aes128gcm");
        request.insert_header("content-type", "application/json");
        request.insert_header("topic", kind.topic());
        request.insert_header("authorization", self.vapid.authorization(&origin, SystemTime::now()));
        request.set_ext(Route { target: endpoint.target(), reach });
        request
    }
}

/// What an answer that arrived at `now`, and gives this reason, means.
fn judge(origin: &str, answer: &surf::http::Response, reason: Option<&str>, now: SystemTime) -> Delivery {
    let status = answer.ext().get::<HttpStatus>().map_or_else(|| answer.status().into(), |status| status.0);
    let author = answer::author(status, |name| header(answer, name));
    let (retry_after, date) = (header(answer, "retry-after"), header(answer, "date"));
    answer::judge(origin, &answer::Answer { status, retry_after, date, author, reason }, now)
}

/// The parts of a request that nobody else may see, in case the answer repeats them: of the target what is long enough to
/// be a token, and the VAPID token.
fn secrets<'a>(target: &'a str, authorization: &'a str) -> Vec<&'a str> {
    let parts = target.split(['/', '?', '&', '=']).chain(authorization.split(['=', ',']));
    parts.filter(|part| part.len() >= 8).collect()
}

fn header<'a>(answer: &'a surf::http::Response, name: &str) -> Option<&'a str> {
    answer.header(name).map(|values| values.last().as_str())
}

/// The one `Authorization` header is VAPID's, so a password in the URL cannot be used; nor may it show up anywhere.
fn without_user_info(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which no endpoint is.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").finish_non_exhaustive()
    }
}

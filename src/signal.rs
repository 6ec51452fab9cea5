//! Signal's side: one account's life, and the question whether credentials are good.

use std::sync::Arc;
use std::time::Instant;

use futures_lite::FutureExt;
use smol::Timer;
use url::Url;

use crate::account::{Credentials, ServerTime};
use crate::account_state::{AccountState, StopReason};
use crate::metrics::Metrics;
use crate::net::Net;
use crate::runtime::timeout;
use crate::status::{Cause, State};
use crate::timings::{Limits, Timings};

pub mod circuit_breaker;
pub mod connect;
pub mod keepalive;
pub mod policy;
pub mod session;
mod upgrade;
pub mod wire;

use circuit_breaker::CircuitBreaker;
use connect::{ConnectError, ConnectPurpose, Open};
use policy::{Policy, Retry, Step};

/// The way to Signal, shared by all accounts.
pub struct Signal {
    /// The way out.
    pub net: Arc<Net>,
    /// Signal's WebSocket.
    pub url: Url,
    /// User-Agents, tried in turn on 499. Never empty.
    pub user_agents: Vec<String>,
    /// The one door to the host.
    pub breaker: CircuitBreaker,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Deadlines.
    pub timings: Timings,
    /// Limits.
    pub limits: Limits,
}

impl Signal {
    /// One attempt, through the circuit breaker. What an attempt needs is on the heap only once it is its turn: after an
    /// outage all accounts wait for the circuit breaker at the same time.
    pub(crate) async fn attempt(
        &self,
        credentials: Option<&Credentials>,
        agent: usize,
        purpose: ConnectPurpose,
    ) -> Result<Open, ConnectError> {
        let _permit = self.breaker.enter().await;
        Box::pin(self.admitted(credentials, agent, purpose)).await
    }

    /// One attempt that the circuit breaker let through.
    async fn admitted(
        &self,
        credentials: Option<&Credentials>,
        agent: usize,
        purpose: ConnectPurpose,
    ) -> Result<Open, ConnectError> {
        let agent = self.user_agents.get(agent).map_or("", String::as_str);
        let open =
            connect::connect(&self.net, &self.url, credentials, agent, purpose, &self.timings, &self.limits).await;
        let failed = |reason: String| {
            if let Some(credentials) = credentials {
                self.breaker.record_failure(credentials.id, &reason);
            }
        };
        match &open {
            Err(ConnectError::Refused(refusal)) => {
                self.metrics.refusal(refusal.status);
                if refusal.status >= 500 { failed(refusal.to_string()) } else { self.breaker.record_success() }
            }
            Err(error) => failed(error.to_string()),
            Ok(_) => self.breaker.record_success(),
        }
        open
    }
}

/// Why an account's life on Signal's side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountExit {
    /// Signal confirmed that the device is not linked any more.
    Unlinked,
    /// It was told to end.
    Stopped(StopReason),
}

/// Keeps one account connected until its device is unlinked or it is told to end.
pub async fn keep_connected(signal: &Signal, account_state: &AccountState, credentials: &Credentials) -> AccountExit {
    let mut rng = fastrand::Rng::new();
    let mut policy = Policy::new(&signal.timings, signal.user_agents.len());
    let mut first = true;
    loop {
        account_state.enter(State::Connecting, "", Cause::default(), None);
        if !std::mem::take(&mut first) {
            signal.metrics.reconnection();
        }
        // In one expression: a future that is named first and moved then takes room twice.
        let open = async { Ok(signal.attempt(Some(credentials), policy.agent(), ConnectPurpose::Messages).await) }
            .or(async { Err(account_state.stopped().await) })
            .await;
        let step = match open {
            Err(stop_reason) => return AccountExit::Stopped(stop_reason),
            Ok(Err(error)) => policy.failed(&error, &mut rng),
            Ok(Ok(mut open)) => {
                policy.accepted();
                account_state.note_server_time(open.server_time, Instant::now());
                account_state.note_alert(open.alert);
                let (disconnect, connected) =
                    session::run(&mut *open.socket, account_state, &signal.metrics, &signal.timings, &mut rng).await;
                if matches!(disconnect, session::Disconnect::TooLarge | session::Disconnect::Protocol(_)) {
                    Box::pin(connect::linger(open.socket)).await;
                }
                if let session::Disconnect::Stopped(stop_reason) = disconnect {
                    return AccountExit::Stopped(stop_reason);
                }
                policy.ended(&disconnect, connected, &mut rng)
            }
        };
        match step {
            Step::Unlinked => return AccountExit::Unlinked,
            Step::Retry(retry) => {
                if let Some(stop_reason) = Box::pin(wait(signal, account_state, &retry)).await {
                    return AccountExit::Stopped(stop_reason);
                }
            }
        }
    }
}

/// Waits as the policy says. Ends early when the outage is over or the account is told to end.
async fn wait(signal: &Signal, account_state: &AccountState, retry: &Retry) -> Option<StopReason> {
    let until = Instant::now().checked_add(retry.after);
    account_state.enter(retry.state, retry.trouble, retry.cause.clone(), until);
    let stopped = async { Some(account_state.stopped().await) };
    let released = async {
        if !retry.ends_with_outage {
            futures_lite::future::pending::<()>().await;
        }
        signal.breaker.outage_over().await;
        None
    };
    timeout(retry.after, stopped.or(released)).await.flatten()
}

/// What Signal says of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialVerdict {
    /// They work.
    Accepted,
    /// Refused twice, by Signal itself (403 with `X-Signal-Timestamp`).
    Refused,
    /// Signal asks for fewer requests (429), so it was not really asked; the text says so.
    Limited(String),
    /// No answer that decides it; the text says why.
    Undecided(String),
}

/// Asks Signal about credentials without disturbing a live connection.
#[derive(Clone)]
pub struct Checker {
    signal: Arc<Signal>,
}

impl Checker {
    /// Asks the Signal that `signal` leads to.
    pub fn new(signal: Arc<Signal>) -> Self {
        Self { signal }
    }

    /// Asks, within the check deadline. Sends `X-Signal-Disable-Messages: true`, which displaces nobody (protocol note,
    /// section 2.1).
    pub async fn ask(&self, credentials: &Credentials) -> CredentialVerdict {
        match self.examine(Some(credentials)).await {
            Ok(_) => CredentialVerdict::Accepted,
            Err(Denial::Refused) => CredentialVerdict::Refused,
            Err(Denial::Failed(ConnectError::Refused(r))) if r.status == 429 => {
                CredentialVerdict::Limited(r.to_string())
            }
            Err(other) => CredentialVerdict::Undecided(other.to_string()),
        }
    }

    /// The same in full; without credentials it asks whether Signal serves anybody.
    ///
    /// # Errors
    /// Why Signal does not.
    pub async fn examine(&self, credentials: Option<&Credentials>) -> Result<Answered, Denial> {
        timeout(self.signal.timings.check, Box::pin(self.ask_twice(credentials))).await.unwrap_or(Err(Denial::Late))
    }

    async fn ask_twice(&self, credentials: Option<&Credentials>) -> Result<Answered, Denial> {
        let mut refused = 0;
        let mut agent = 0;
        loop {
            match self.signal.attempt(credentials, agent, ConnectPurpose::Check).await {
                Ok(open) => return Ok(Answered { server_time: open.server_time, agent, notice: open.alert }),
                Err(ConnectError::Refused(r)) if r.status == 403 && r.by_signal => {
                    refused += 1;
                    if refused == 2 {
                        return Err(Denial::Refused);
                    }
                    Timer::after(self.signal.timings.confirm_check).await;
                }
                Err(ConnectError::Refused(r)) if r.status == 499 && agent + 1 < self.signal.user_agents.len() => {
                    agent += 1;
                }
                Err(error) => return Err(Denial::Failed(error)),
            }
        }
    }
}

/// What Signal said when it accepted.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Its clock.
    pub server_time: Option<ServerTime>,
    /// Index of the User-Agent it accepted.
    pub agent: usize,
    /// Its notice, such as `idle-primary-device`.
    pub notice: Option<String>,
}

/// Why Signal did not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denial {
    /// It refused the login twice, itself (403 with `X-Signal-Timestamp`).
    #[error("Signal refuses the login (403): the device is not linked")]
    Refused,
    /// The attempt failed.
    #[error(transparent)]
    Failed(#[from] ConnectError),
    /// No answer within the deadline.
    #[error("Signal did not answer in time")]
    Late,
}

impl Denial {
    /// What people can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused => State::Unlinked.remedy(),
            Self::Failed(error) => error.remedy(),
            Self::Late => ConnectError::Timeout("").remedy(),
        }
    }
}

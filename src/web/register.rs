//! What becomes of a registration: the decision table of the design's section 6, as pure functions. `apply` gathers
//! the facts and carries out the plan.

use std::fmt::Display;

use log::Level;

use crate::account::{Account, AccountId, Credentials, Endpoint};
use crate::push::{Delivery, Outcome};
use crate::signal::CredentialVerdict;
use crate::status::State;
use crate::store::{Known, StoreError};
use crate::supervisor::TestPush;

use super::body::Body;

/// What the phone is told. Molly knows exactly these five, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegistrationStatus {
    /// Registered.
    Ok,
    /// Signal does not know this device, or not any more.
    Forbidden,
    /// This account may not use this server.
    InvalidUuid,
    /// This endpoint cannot be used.
    InvalidEndpoint,
    /// The server could not do it now.
    InternalError,
}

impl RegistrationStatus {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Forbidden => "forbidden",
            Self::InvalidUuid => "invalid_uuid",
            Self::InvalidEndpoint => "invalid_endpoint",
            Self::InternalError => "internal_error",
        }
    }
}

/// Why a registration was not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What the phone is told.
    pub(crate) status: RegistrationStatus,
    /// How loudly the operator is told: errors need them, warnings may, the rest is between the phone and Signal.
    pub(crate) level: Level,
    /// What the operator is told.
    pub(crate) why: String,
}

impl Refused {
    fn new(status: RegistrationStatus, level: Level, why: impl Display) -> Self {
        Self { status, level, why: why.to_string() }
    }

    /// The endpoint cannot be used.
    pub(crate) fn endpoint(level: Level, why: impl Display) -> Self {
        Self::new(RegistrationStatus::InvalidEndpoint, level, why)
    }

    /// The server could not do it now; a later try may do better.
    pub(crate) fn for_now(why: impl Display) -> Self {
        Self::new(RegistrationStatus::InternalError, Level::Warn, why)
    }

    /// There are as many accounts as there may be.
    pub(crate) fn full(most: usize) -> Self {
        let remedy = "raise it, or remove some with `mollysocket connection remove`";
        Self::for_now(format_args!("there are as many accounts as max_accounts allows ({most}); {remedy}"))
    }

    /// The program is at fault.
    pub(crate) fn panicked() -> Self {
        let why = "saving it made the program panic; please report this";
        Self::new(RegistrationStatus::InternalError, Level::Error, why)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let why = format_args!("the database failed, so nothing was promised to the phone: {error}");
        Self::new(RegistrationStatus::InternalError, Level::Error, why)
    }
}

/// A registration whose account may use this server and whose endpoint has the form of one.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Who, and with which password.
    pub(crate) credentials: Credentials,
    /// Where to wake it.
    pub(crate) endpoint: Endpoint,
    /// Whether the phone asks for a test push.
    pub(crate) test: TestPush,
}

/// The first rows of the table: the account, then the form of the endpoint.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn claim(body: Body, permits: impl FnOnce(AccountId) -> bool) -> Result<Claim, Refused> {
    let id = AccountId::parse(&body.uuid)
        .map_err(|error| Refused::new(RegistrationStatus::InvalidUuid, Level::Info, error))?;
    if !permits(id) {
        let why = "the account is not in allowed_uuids; add it there if it should be";
        return Err(Refused::new(RegistrationStatus::InvalidUuid, Level::Warn, why));
    }
    let endpoint = Endpoint::parse(&body.endpoint).map_err(|error| Refused::endpoint(Level::Info, error))?;
    let credentials = Credentials { id, device: body.device, password: body.password };
    Ok(Claim { credentials, endpoint, test: body.test })
}

/// What the decision comes to.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Ask Signal about the credentials, then decide again.
    Ask(Asked),
    /// Nothing is left to find out.
    Do(Work),
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Send one test push, then [`after_probe`].
    Probe,
    /// Note that the phone was here; refresh only for a test push.
    Touch,
    /// Save the account and refresh it.
    Save(Box<Saved>),
}

/// Why Signal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody knows the account: junk must not fill the database.
    New,
    /// The credentials would replace others.
    Replacement,
    /// They are the stored ones, which Signal refused before.
    Resumption,
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The row.
    pub(crate) account: Account,
    /// Whether the phone gets a test push once it is written.
    pub(crate) test: TestPush,
    /// For the log.
    pub(crate) change: &'static str,
}

/// The decision, from what is stored and what Signal said of the credentials, if it was asked. `now` is in seconds since
/// 1970. Nothing that is stored changes unless the credentials are the stored ones or Signal accepted them.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn decide(
    claim: &Claim,
    known: &Known,
    verdict: Option<&CredentialVerdict>,
    max_accounts: usize,
    now: u64,
) -> Result<Plan, Refused> {
    let stored = match known {
        Known::No { accounts } if *accounts >= max_accounts => return Err(Refused::full(max_accounts)),
        Known::No { .. } => {
            let change = match verdict {
                None => return Ok(Plan::Ask(Asked::New)),
                Some(CredentialVerdict::Accepted) => "new account",
                // The session finds out. Refusing would lock phones out whenever Signal has trouble.
                Some(CredentialVerdict::Undecided(_)) => "new account, not confirmed by Signal yet",
                // Storing what it was not really asked about would let strangers in by asking too much.
                Some(CredentialVerdict::Limited(reason)) => {
                    let why =
                        format_args!("Signal could not be asked about it ({reason}); the phone has to try again later");
                    return Err(Refused::for_now(why));
                }
                Some(CredentialVerdict::Refused) => {
                    let why = "Signal does not know this device or its password";
                    return Err(Refused::new(RegistrationStatus::Forbidden, Level::Info, why));
                }
            };
            return Ok(Plan::save(fresh(claim, false, now, change)));
        }
        Known::Unreadable => None,
        Known::Yes(stored) => Some(stored),
    };
    let same_credentials = stored.is_some_and(|stored| stored.credentials == claim.credentials);
    match (stored, verdict) {
        (Some(stored), _) if same_credentials && !stored.forbidden => Ok(seen_again(claim, stored, now)),
        (_, None) => Ok(Plan::Ask(if same_credentials { Asked::Resumption } else { Asked::Replacement })),
        (_, Some(CredentialVerdict::Accepted)) => {
            let change = if same_credentials { "Signal accepts it again" } else { "new credentials" };
            // What the operator paused stays paused, whatever the phone sends.
            Ok(Plan::save(fresh(claim, stored.is_some_and(|stored| stored.paused), now, change)))
        }
        (_, Some(_)) if same_credentials => {
            let why = format_args!("Signal has unlinked this device; {}", State::Unlinked.remedy());
            Err(Refused::new(RegistrationStatus::Forbidden, Level::Info, why))
        }
        (_, Some(CredentialVerdict::Refused)) => {
            let why = "Signal refuses the new credentials; the account goes on with the ones it has";
            Err(Refused::new(RegistrationStatus::InternalError, Level::Info, why))
        }
        (_, Some(CredentialVerdict::Undecided(reason) | CredentialVerdict::Limited(reason))) => {
            let kept = "the account goes on with the ones it has";
            Err(Refused::for_now(format_args!(
                "Signal could not be asked about the new credentials ({reason}); {kept}"
            )))
        }
    }
}

/// The stored credentials, and nothing against them.
fn seen_again(claim: &Claim, stored: &Account, now: u64) -> Plan {
    if stored.endpoint != claim.endpoint {
        let endpoint = claim.endpoint.clone();
        let account = Account { endpoint, endpoint_gone: false, last_registration: now, ..stored.clone() };
        Plan::save(Saved { account, test: claim.test, change: "new endpoint" })
    } else if stored.endpoint_gone {
        Plan::Do(Work::Probe)
    } else {
        Plan::Do(Work::Touch)
    }
}

/// What the answer to the test push says about an endpoint that was gone. `Ok` resumes the account.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn after_probe(delivery: Delivery) -> Result<(), Refused> {
    match delivery.outcome {
        Outcome::Accepted => Ok(()),
        Outcome::Gone | Outcome::Unauthorized | Outcome::Rejected => {
            let why = format_args!("the push server still refuses the endpoint: {}", delivery.cause());
            Err(Refused::endpoint(Level::Warn, why))
        }
        Outcome::Limited(_) | Outcome::Failed => Err(Refused::for_now(format_args!(
            "the push server could not be asked whether the endpoint is back: {}",
            delivery.cause()
        ))),
    }
}

impl Plan {
    fn save(saved: Saved) -> Self {
        Self::Do(Work::Save(Box::new(saved)))
    }
}

/// An account as if registered for the first time. The queue of a new device starts empty, so nothing is fetched.
fn fresh(claim: &Claim, paused: bool, now: u64, change: &'static str) -> Saved {
    let account = Account {
        credentials: claim.credentials.clone(),
        endpoint: claim.endpoint.clone(),
        forbidden: false,
        endpoint_gone: false,
        paused,
        last_registration: now,
        fetched_until: None,
    };
    Saved { account, test: TestPush::Send, change }
}

#[cfg(test)]
mod tests;

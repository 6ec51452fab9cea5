//! The ways into the web server, for the fuzz targets (`fuzz/README.md`). Built with `--cfg fuzzing` only.

use std::sync::Arc;

use futures_lite::{AsyncRead, AsyncWrite};
use smol::channel;

use super::body::{Body, BodyError};
use super::connection::{self, Bounds, ConnectionContext};
use super::connection_limit::ConnectionLimit;
use super::page;
use super::public_url::{self, Hints};
use super::register::{self, Claim, Plan, Refused, RegistrationStatus, Saved, Work};
use crate::account::{Account, Credentials, Endpoint};
use crate::metrics::Metrics;
use crate::push::{Delivery, Outcome};
use crate::signal::CredentialVerdict;
use crate::store::Known;
use crate::supervisor::TestPush;
use crate::timings::{Limits, Timings};

/// Runs one connection of the web server with `app` behind it.
pub async fn connection<T>(app: tide::Server<()>, stream: T)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let bounds = Bounds::new(&Limits::default(), &Timings::default(), Vec::new());
    let (_running, stopping) = channel::bounded(1);
    let shared = ConnectionContext::new(app, bounds, Arc::new(Metrics::default()), stopping);
    if let Ok((admitted, _)) = ConnectionLimit::new(1, 1).admit(None) {
        connection::run(&shared, stream, None, admitted).await;
    }
}

/// What decides a registration beside its body.
#[derive(Debug)]
pub struct World {
    /// Whether the operator allows the account.
    pub allowed: bool,
    /// Rows in the database.
    pub accounts: usize,
    /// Most rows there may be.
    pub max_accounts: usize,
    /// What Signal says when it is asked.
    pub signal: CredentialVerdict,
    /// How a test push ends.
    pub push: Outcome,
}

/// What became of a registration.
#[derive(Debug, Default)]
pub struct Registered {
    /// What the phone is told.
    pub status: &'static str,
    /// What the body says, when that is in order.
    pub claim: Option<(Credentials, Endpoint)>,
    /// Whether the body asks for a test push.
    pub ping: bool,
    /// The row that was written.
    pub saved: Option<Account>,
    /// Whether Signal was asked.
    pub asked: bool,
    /// Whether a test push was sent.
    pub tested: bool,
}

/// Registers as the web server does, but for the look-up of the endpoint's host. `stored` is asked for the account's
/// row.
///
/// # Errors
/// The HTTP status of a body that is no registration, and why it is none.
pub fn register(
    body: &[u8],
    world: &World,
    stored: impl FnOnce(&Credentials, &Endpoint) -> Option<Account>,
) -> Result<Registered, (u16, String)> {
    let body = Body::parse(body).map_err(|error: BodyError| (error.status(), error.to_string()))?;
    let mut done = Registered { ping: body.test == TestPush::Send, ..Registered::default() };
    let status = match decide(body, world, stored, &mut done) {
        Ok(()) => RegistrationStatus::Ok,
        Err(refused) => refused.status,
    };
    done.status = status.as_str();
    Ok(done)
}

fn decide(
    body: Body,
    world: &World,
    stored: impl FnOnce(&Credentials, &Endpoint) -> Option<Account>,
    done: &mut Registered,
) -> Result<(), Refused> {
    let now = 1_800_000_000;
    let claim = register::claim(body, |_| world.allowed)?;
    let Claim { credentials, endpoint, .. } = &claim;
    done.claim = Some((credentials.clone(), endpoint.clone()));
    let known = match stored(credentials, endpoint) {
        Some(account) => Known::Yes(Box::new(account)),
        None => Known::No { accounts: world.accounts },
    };
    let decide = |verdict| register::decide(&claim, &known, verdict, world.max_accounts, now);
    let mut plan = decide(None)?;
    if let Plan::Ask(_) = plan {
        done.asked = true;
        plan = decide(Some(&world.signal))?;
    }
    let Plan::Do(work) = plan else { unreachable!("Signal is asked once") };
    match work {
        Work::Touch => done.tested = claim.test == TestPush::Send,
        Work::Save(saved) => {
            let Saved { account, test, .. } = *saved;
            done.tested = test == TestPush::Send;
            done.saved = Some(account);
        }
        Work::Probe => {
            done.tested = true;
            register::after_probe(Delivery { outcome: world.push.clone(), reason: String::new(), remedy: "" })?;
        }
    }
    Ok(())
}

/// The page for a request with these headers.
pub fn page(host: Option<&str>, original_url: Option<&str>, forwarded_prefix: Option<&str>, vapid: &str) -> String {
    let hints = Hints { host, original_url, forwarded_prefix, forwarded_host: host };
    page::webserver(public_url::public_url(None, hints), vapid)
}

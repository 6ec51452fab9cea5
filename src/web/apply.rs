//! Carries out what `register` decides, with the real parts, under one deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_lite::FutureExt;
use smol::{Executor, Timer, channel};

use super::App;
use super::asks::Asks;
use super::body::Body;
use super::client::Client;
use super::locks::{Guard, Locks};
use super::register::{self, Asked, Claim, Known, Plan, Refused, Saved, Status, Work};
use crate::account::AccountId;
use crate::net::Checked;
use crate::push::Kind;
use crate::signal::Verdict;
use crate::supervisor::TestPush;

/// Registers phones.
#[derive(Clone)]
pub(crate) struct Registrar {
    app: Arc<App>,
    executor: Arc<Executor<'static>>,
    locks: Locks,
    asks: Arc<Asks>,
}

/// What is going on, for the log line of a registration that hung.
#[derive(Default)]
struct Progress(Mutex<&'static str>);

impl Progress {
    fn enter(&self, step: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn step(&self) -> &'static str {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registrar {
    pub(crate) fn new(app: Arc<App>, executor: Arc<Executor<'static>>) -> Self {
        let asks = Arc::new(Asks::new(&app.timings, &app.limits));
        Self { app, executor, locks: Locks::default(), asks }
    }

    /// Decides and carries out one registration; always answers within `timings.answer`. Refusals are logged here,
    /// with short id, origin and reason. `client` is only for the log.
    pub(crate) async fn register(&self, body: Body, client: Client) -> Status {
        let progress = Progress::default();
        let mut subject = Subject { account: None, client };
        let decided = self.decide_and_apply(body, &progress, &mut subject);
        let late = async {
            Timer::after(self.app.timings.answer).await;
            None
        };
        let refused = match async { Some(decided.await) }.or(late).await {
            Some(Ok(())) => return Status::Ok,
            Some(Err(refused)) => refused,
            None => Refused::Late(progress.step()),
        };
        subject.log_refusal(&refused);
        refused.status()
    }

    async fn decide_and_apply(&self, body: Body, progress: &Progress, subject: &mut Subject) -> Result<(), Refused> {
        let app = &self.app;
        let claim = register::claim(body, |id| app.allowed_uuids.get().permits(id))?;
        let id = claim.credentials.id;
        subject.account = Some((id, claim.endpoint.origin()));
        let known = matches!(app.store.get(id).await, Ok(Some(account)) if account.credentials == claim.credentials);
        let _place = if known { None } else { Some(self.asks.stranger()?) };
        progress.enter("looking up the endpoint's host");
        let allowed = app.net.check_endpoint(&app.allowed_endpoints.get(), &claim.endpoint).await;
        if let Checked::Unknown(why) = allowed.map_err(|refusal| Refused::EndpointNotAllowed(refusal.to_string()))? {
            log::debug!("web: registration of {}: {why}; each push will look again", id.short());
        }
        progress.enter("waiting for another registration of the same account");
        let guard = self.locks.lock(id).await;
        progress.enter("reading the database");
        let known = match app.store.get(id).await? {
            Some(account) => Known::Yes(Box::new(account)),
            None => Known::No { accounts: app.store.count().await? },
        };
        let now = seconds_since_1970();
        let work = match register::decide(&claim, &known, app.config.max_accounts, now)? {
            Plan::Do(work) => work,
            Plan::Ask(asked) => {
                progress.enter("waiting for its turn to ask Signal about the credentials");
                let turn = self.asks.turn(asked).await?;
                progress.enter("asking Signal about the credentials");
                let verdict = app.checker.ask(&claim.credentials).await;
                drop(turn);
                if let (Asked::New, Verdict::Undecided(_)) = (asked, &verdict) {
                    self.asks.store_unconfirmed()?;
                }
                Work::Save(Box::new(register::after_ask(asked, verdict, &claim, now)?))
            }
        };
        let work = register::keep_paused(work, &known);
        progress.enter(if matches!(work, Work::Probe) { "sending a test push" } else { "saving it" });
        // From here on a task of its own: what is saved must also be put to work, even if the phone hangs up.
        let (done, outcome) = channel::bounded(1);
        let carried_out = carry_out(app.clone(), guard, claim, work, now);
        let subject = subject.clone();
        let task = async move {
            let result = carried_out.await;
            if let Err(late) = done.try_send(result) {
                match late.into_inner() {
                    Ok(()) => log::info!("{subject}: done after all, after the phone was told to try again"),
                    Err(refused) => subject.log_refusal(&refused),
                }
            }
        };
        self.executor.spawn(task).detach();
        outcome.recv().await.unwrap_or(Err(Refused::Panicked))
    }
}

/// Commits the work, then makes what runs agree with it. Holds the account's lock until both are done.
async fn carry_out(app: Arc<App>, guard: Guard, claim: Claim, work: Work, now: u64) -> Result<(), Refused> {
    let id = claim.credentials.id;
    let what = match work {
        Work::Touch => {
            app.store.touch(id, now).await?;
            if claim.test == TestPush::Send {
                app.supervisor.refresh(id, TestPush::Send).await;
            }
            "seen again"
        }
        Work::Save(saved) => {
            let Saved { account, test, change } = *saved;
            // Others may have registered since the places were counted.
            let most = app.config.max_accounts;
            if !app.store.put_within(account, most).await? {
                return Err(Refused::Full(most));
            }
            app.supervisor.refresh(id, test).await;
            change
        }
        Work::Probe => {
            // The one test push of this registration, whether the phone asked for one or not.
            let delivery = app.pusher.send(&claim.endpoint, Kind::Test).await;
            app.metrics.push(delivery.outcome.result());
            register::after_probe(delivery)?;
            if !app.store.set_endpoint_gone(id, claim.endpoint.clone(), false).await? {
                return Err(Refused::EndpointUndecided("the account was changed by another program meanwhile".into()));
            }
            app.supervisor.refresh(id, TestPush::Skip).await;
            "endpoint works again"
        }
    };
    drop(guard);
    let device = claim.credentials.device;
    log::info!("account {} registered: {what} (device {device}, push server {})", id.short(), claim.endpoint.origin());
    Ok(())
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Whose registration it is, as far as it is known and may be logged.
#[derive(Clone)]
struct Subject {
    account: Option<(AccountId, String)>,
    client: Client,
}

impl Subject {
    fn log_refusal(&self, refused: &Refused) {
        log::log!(refused.level(), "{self}: {} ({refused})", refused.status().as_str());
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("registration")?;
        if let Some((id, origin)) = &self.account {
            write!(f, " of {} at {origin}", id.short())?;
        }
        write!(f, " from {}", self.client)
    }
}

//! Carries out what `register` decides, with the real parts, under one deadline.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use smol::{Executor, channel};

use super::App;
use super::body::Body;
use super::client::Client;
use super::credential_check::{CredentialCheckLimiter, InProgress, Shows};
use super::register::{self, Asked, Claim, Plan, Refused, RegistrationStatus, Saved, Work};
use crate::account::AccountId;
use crate::net::{Checked, Net};
use crate::push::PushKind;
use crate::runtime::{lock, timeout};
use crate::signal::CredentialVerdict;
use crate::store::{Known, Put};
use crate::supervisor::TestPush;

/// Registers phones.
#[derive(Clone)]
pub(crate) struct Registrar {
    app: Arc<App>,
    executor: Arc<Executor<'static>>,
    limiter: Arc<CredentialCheckLimiter>,
}

/// What is going on, for the log line of a registration that hung.
type RegistrationProgress = Mutex<&'static str>;

impl Registrar {
    pub(crate) fn new(app: Arc<App>, executor: Arc<Executor<'static>>) -> Self {
        let limiter = Arc::new(CredentialCheckLimiter::new(&app.timings, &app.limits));
        Self { app, executor, limiter }
    }

    /// Decides and carries out one registration; always answers within `timings.answer`. Refusals are logged here,
    /// with short id, origin and reason. `client` is only for the log.
    pub(crate) async fn register(&self, body: Body, client: Client) -> RegistrationStatus {
        let progress = RegistrationProgress::default();
        let mut subject = Subject { account: None, client };
        let decided = self.decide_and_apply(body, &progress, &mut subject);
        let refused = match timeout(self.app.timings.answer, decided).await {
            Some(Ok(())) => return RegistrationStatus::Ok,
            Some(Err(refused)) => refused,
            None => Refused::for_now(format_args!("no decision in time; it was still {}", lock(&progress))),
        };
        subject.log_refusal(&refused);
        refused.status
    }

    /// Reads the row, decides, asks Signal if need be, and begins again when the row changed meanwhile. Nothing is held
    /// while Signal is asked: other registrations of the account do not wait for it.
    async fn decide_and_apply(
        &self,
        body: Body,
        progress: &RegistrationProgress,
        subject: &mut Subject,
    ) -> Result<(), Refused> {
        let app = &self.app;
        let claim = register::claim(body, |id| app.allowed_uuids.get().permits(id))?;
        let id = claim.credentials.id;
        subject.account = Some((id, claim.endpoint.origin()));
        let (mut in_progress, mut verdict) = (None, None);
        loop {
            *lock(progress) = "reading the database";
            let known = app.store.look(id).await?;
            if in_progress.is_none() {
                let same = matches!(&known, Known::Yes(account) if account.credentials == claim.credentials);
                in_progress = Some(Arc::new(self.limiter.begin(id, if same { Shows::Stored } else { Shows::Others })?));
            }
            let now = seconds_since_1970();
            match register::decide(&claim, &known, verdict.as_ref(), app.config.max_accounts, now)? {
                Plan::Ask(asked) => verdict = Some(self.ask(asked, &claim, progress).await?),
                Plan::Do(work) => {
                    *lock(progress) = "looking up the endpoint's host";
                    self.check_endpoint(&claim, verdict.as_ref()).await?;
                    *lock(progress) = if matches!(work, Work::Probe) { "sending a test push" } else { "saving it" };
                    let carried_out = carry_out(app.clone(), in_progress.clone(), claim.clone(), known, work, now);
                    if self.see_through(carried_out, subject).await? == Done::Yes {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What Signal says of the credentials. Of those that may be stored without its word, only so many are.
    async fn ask(
        &self,
        asked: Asked,
        claim: &Claim,
        progress: &RegistrationProgress,
    ) -> Result<CredentialVerdict, Refused> {
        *lock(progress) = "waiting for its turn to ask Signal about the credentials";
        let _turn = self.limiter.turn(asked).await?;
        *lock(progress) = "asking Signal about the credentials";
        let verdict = self.app.checker.ask(&claim.credentials).await;
        if let (Asked::New, CredentialVerdict::Undecided(_)) = (asked, &verdict) {
            self.limiter.store_unconfirmed()?;
        }
        Ok(verdict)
    }

    /// Whether the endpoint may be used. What a look-up finds is told only to those whose credentials are good: others
    /// could find out that way which names there are in this network.
    async fn check_endpoint(&self, claim: &Claim, verdict: Option<&CredentialVerdict>) -> Result<(), Refused> {
        let (app, endpoint) = (&self.app, &claim.endpoint);
        let allowed = app.allowed_endpoints.get();
        let checked = match verdict {
            Some(CredentialVerdict::Undecided(_)) => {
                Net::check_without_look_up(&allowed, endpoint).map(|()| Checked::Fine)
            }
            _ => app.net.check_endpoint(&allowed, endpoint).await,
        };
        if let Checked::Unknown(why) = checked.map_err(|refusal| Refused::endpoint(log::Level::Warn, refusal))? {
            log::debug!("web: registration of {}: {why}; each push will look again", claim.credentials.id.short());
        }
        Ok(())
    }

    /// Runs it as a task of its own: what is saved must also be put to work, even if the phone hangs up.
    async fn see_through(
        &self,
        work: impl Future<Output = Result<Done, Refused>> + Send + 'static,
        subject: &Subject,
    ) -> Result<Done, Refused> {
        let (done, outcome) = channel::bounded(1);
        let subject = subject.clone();
        let task = async move {
            if let Err(late) = done.try_send(work.await) {
                match late.into_inner() {
                    Ok(Done::Yes) => log::info!("{subject}: done after all, after the phone was told to try again"),
                    Ok(Done::Changed) => {}
                    Err(refused) => subject.log_refusal(&refused),
                }
            }
        };
        self.executor.spawn(task).detach();
        outcome.recv().await.unwrap_or_else(|_| Err(Refused::panicked()))
    }
}

/// Whether the work was done.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Yes,
    /// Not, because the row is not any more what the decision was made from.
    Changed,
}

/// Commits the work, then makes what runs agree with it. It counts as in progress until both are done.
async fn carry_out(
    app: Arc<App>,
    in_progress: Option<Arc<InProgress>>,
    claim: Claim,
    known: Known,
    work: Work,
    now: u64,
) -> Result<Done, Refused> {
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
            let most = app.config.max_accounts;
            match app.store.put_if(known, account, most).await? {
                Put::Stored => {}
                Put::Changed => return Ok(Done::Changed),
                Put::Full => return Err(Refused::full(most)),
            }
            app.supervisor.refresh(id, test).await;
            change
        }
        Work::Probe => {
            // The one test push of this registration, whether the phone asked for one or not.
            let delivery = app.pusher.send(&claim.endpoint, PushKind::Test).await;
            app.metrics.push(delivery.outcome.result());
            register::after_probe(delivery)?;
            if !app.store.set_endpoint_gone(id, claim.endpoint.clone(), false).await? {
                return Ok(Done::Changed);
            }
            app.supervisor.refresh(id, TestPush::Skip).await;
            "endpoint works again"
        }
    };
    drop(in_progress);
    let device = claim.credentials.device;
    log::info!("account {} registered: {what} (device {device}, push server {})", id.short(), claim.endpoint.origin());
    Ok(Done::Yes)
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
        log::log!(refused.level, "{self}: {} ({})", refused.status.as_str(), refused.why);
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

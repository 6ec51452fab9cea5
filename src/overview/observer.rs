//! Looks at the running server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fit::Settings;
use super::{AccountView, Moment, Now, Overview, Server};
use crate::runtime::timeout;
use crate::signal::Signal;
use crate::status::State;
use crate::store::{Listing, Store, StoreError};
use crate::supervisor::{Snapshot, Supervisor};

/// What it takes to tell how the server is.
pub struct Observer {
    supervisor: Supervisor,
    store: Store,
    signal: Arc<Signal>,
    since: Instant,
    database: PathBuf,
    web: Option<String>,
    settings: Settings,
}

/// Whether the server does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The database works and, where accounts need it, Signal answers.
    pub ready: bool,
    /// The same for people: one line.
    pub line: String,
}

impl Observer {
    /// Looks at these parts of a server that starts now. `web` is where the web server listens.
    pub fn new(
        supervisor: Supervisor,
        store: Store,
        signal: Arc<Signal>,
        database: &Path,
        web: Option<String>,
        settings: Settings,
    ) -> Self {
        let database = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
        Self { supervisor, store, signal, since: Instant::now(), database, web, settings }
    }

    /// Every account as it is now.
    pub fn accounts(&self) -> Vec<AccountView> {
        self.accounts_at(Now::read())
    }

    fn accounts_at(&self, now: Now) -> Vec<AccountView> {
        let grace = self.signal.timings.attention;
        self.supervisor.snapshots().iter().map(|snapshot| AccountView::of(snapshot, now, grace)).collect()
    }

    /// Everything as it is now.
    pub async fn look(&self) -> Overview {
        let (listing, database_problem) = match self.in_time(self.store.list()).await {
            Ok(listing) => (listing, None),
            Err(problem) => (Listing::default(), Some(problem)),
        };
        let signal_reachable = self.signal_reachable(&self.supervisor.snapshots());
        let now = Now::read();
        let accounts = self.accounts_at(now);
        let misfits = self.settings.misfits(&listing);
        let healthy = database_problem.is_none()
            && signal_reachable != Some(false)
            && !misfits.iter().any(|misfit| misfit.silences)
            && !accounts.iter().any(|account| account.needs_attention);
        Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Moment(now.date),
            healthy,
            server: Some(Server {
                pid: std::process::id(),
                since: now.date_of(self.since),
                database: self.database.display().to_string(),
                database_problem,
                web: self.web.clone(),
                signal_reachable,
            }),
            accounts,
            unreadable: listing.unreadable.iter().map(ToString::to_string).collect(),
            warnings: misfits.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether the server does its work.
    pub async fn readiness(&self) -> Readiness {
        if let Err(problem) = self.in_time(self.store.count()).await {
            return Readiness { ready: false, line: problem };
        }
        let snapshots = self.supervisor.snapshots();
        let accounts = snapshots.len();
        let plural = if accounts == 1 { "account" } else { "accounts" };
        let (ready, signal) = match self.signal_reachable(&snapshots) {
            None => (true, "not needed"),
            Some(true) => (true, "reachable"),
            Some(false) => (false, "not reachable; `mollysocket status` says why"),
        };
        Readiness { ready, line: format!("{accounts} {plural}, Signal {signal}") }
    }

    /// Whether Signal answers; `None` when no account needs it.
    fn signal_reachable(&self, accounts: &[Snapshot]) -> Option<bool> {
        let at_rest = |state| matches!(state, State::Unlinked | State::EndpointGone | State::Paused);
        let mut states = accounts.iter().map(|account| account.status.signal.state).filter(|&state| !at_rest(state));
        let first = states.next()?;
        let connected = first == State::Connected || states.any(|state| state == State::Connected);
        Some(connected || self.signal.breaker.answered() == Some(true))
    }

    /// What the database says within the time it has.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
        let limit: Duration = self.signal.timings.status;
        match timeout(limit, work).await {
            Some(done) => done.map_err(|error| error.to_string()),
            None => Err(format!("the database {} did not answer within {limit:?}", self.database.display())),
        }
    }
}

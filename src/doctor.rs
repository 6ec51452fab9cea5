//! Why does nothing arrive? Checks everything between Signal and the phone, in the order a message takes, by the same
//! parts the server uses. Never logs in where messages would come, so a running server keeps its connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use smol::Executor;

use crate::account::{Account, AccountId};
use crate::config::Config;
use crate::net::resolve::{Resolve, SystemResolver};
use crate::net::{Net, NetError, NetOptions};
use crate::push::Pusher;
use crate::signal::circuit_breaker::CircuitBreaker;
use crate::signal::{Checker, Signal};
use crate::store::Listing;
use crate::timings::{Limits, Timings};
use crate::vapid::Vapid;
use shown::Shown;

mod clock;
mod login;
mod machine;
mod public;
mod push;
mod shown;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Not checked, or worth knowing.
    Note,
    /// It works, but somebody should look.
    Warning,
    /// It keeps wake-ups from phones, or will.
    Failure,
}

impl Severity {
    /// Its name in output.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it went.
    pub verdict: Severity,
    /// What was found; one line. No password, key or path of an endpoint.
    pub what: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

impl Check {
    /// As it should be.
    pub fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Severity::Ok, what, "")
    }

    /// Not checked, or worth knowing.
    pub fn note(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Severity::Note, what, "")
    }

    /// It works, but somebody should look.
    pub fn warning(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Severity::Warning, what, remedy)
    }

    /// It keeps wake-ups from phones.
    pub fn failure(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(name, Severity::Failure, what, remedy)
    }

    fn new(name: impl Into<String>, verdict: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict, what: what.into(), remedy: remedy.into() }
    }
}

/// Accounts that are looked at when none is named.
const MOST_ACCOUNTS: usize = 20;

/// What is checked, and what was found out on the way.
pub struct Doctor<'a> {
    config: &'a Config,
    only: Option<AccountId>,
    timings: Timings,
    resolver: Arc<dyn Resolve>,
    tell: &'a mut dyn FnMut(Check),
    /// Who showed which clock.
    clocks: Vec<clock::Heard>,
    /// Whether each push server that was asked can be reached.
    origins: HashMap<String, bool>,
    /// What the database holds, where it can be read.
    stored: Listing,
    /// The public VAPID key.
    key: Option<String>,
    shown: Shown,
    /// Phones may be linked: there are accounts or a server, or it cannot be told.
    in_use: bool,
}

/// What reaches Signal and push servers.
struct Clients {
    net: Arc<Net>,
    /// The same as phones have it: only public authorities are trusted (SSL_CERT_FILE names others).
    public: Arc<Net>,
    checker: Checker,
    pusher: Option<Pusher>,
}

impl<'a> Doctor<'a> {
    /// Will check what `config` says, of the accounts perhaps only one, and tell of each check as it is done.
    pub fn new(config: &'a Config, only: Option<AccountId>, tell: &'a mut dyn FnMut(Check)) -> Self {
        // Nobody waits for an answer here as a phone does.
        let timings = Timings { check: Duration::from_secs(30), ..Timings::default() };
        let resolver = Arc::new(SystemResolver);
        Self {
            config,
            only,
            timings,
            resolver,
            tell,
            clocks: Vec::new(),
            origins: HashMap::new(),
            stored: Listing::default(),
            key: None,
            shown: Shown::default(),
            in_use: false,
        }
    }

    /// The same for a report that everybody may read: no check names an account, a directory, a host or an address.
    #[must_use]
    pub fn for_everybody(mut self) -> Self {
        self.shown.report = true;
        self
    }

    /// The same with another resolver, for tests.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Checks everything. Look-ups run as tasks of `executor`, which must run meanwhile.
    pub async fn examine(mut self, executor: Arc<Executor<'static>>) {
        self.configuration();
        let accounts = self.database();
        self.server().await;
        let vapid = self.vapid_key();
        if let Some(clients) = self.clients(vapid, executor) {
            let reachable = self.signal(&clients).await;
            let accounts = self.chosen(accounts);
            for account in &accounts {
                self.account(&clients, account, reachable).await;
            }
            self.listed_push_servers(&clients).await;
            self.public_url(&clients).await;
            self.clock();
        }
    }

    fn add(&mut self, check: Check) {
        (self.tell)(check);
    }

    fn clients(&mut self, vapid: Option<Vapid>, executor: Arc<Executor<'static>>) -> Option<Clients> {
        let config = self.config;
        let options =
            NetOptions { signal_ca_file: config.signal_ca_file.clone(), push_ca_file: config.push_ca_file.clone() };
        let limits = Limits::default();
        let as_phones = NetOptions { push_ca_file: None, ..options.clone() };
        let net = |options| {
            let net = Net::new(options, self.timings.clone(), limits.clone(), executor.clone())?;
            Ok::<_, NetError>(Arc::new(net.with_resolver(self.resolver.clone())))
        };
        let (net, public) = match net(&options).and_then(|ours| Ok((ours, net(&as_phones)?))) {
            Ok(both) => both,
            Err(error) => {
                let remedy = "let it hold certificates in PEM form, or remove the setting";
                let what = self.shown.text(error);
                self.add(Check::failure("certificates", what, remedy));
                return None;
            }
        };
        let signal = Signal {
            net: net.clone(),
            url: config.signal_url.clone(),
            user_agents: config.user_agents.clone(),
            breaker: CircuitBreaker::new(&limits),
            metrics: Arc::default(),
            timings: self.timings.clone(),
            limits,
        };
        let pusher = vapid.map(|vapid| Pusher::new(net.clone(), Arc::new(vapid), config.allowed_endpoints.clone()));
        Some(Clients { net, public, checker: Checker::new(Arc::new(signal)), pusher })
    }

    /// The accounts to look at.
    fn chosen(&mut self, accounts: Vec<Account>) -> Vec<Account> {
        let all = accounts.len();
        let Some(only) = self.only else {
            if all > MOST_ACCOUNTS {
                let what =
                    format!("{MOST_ACCOUNTS} of {all} are checked; `mollysocket doctor UUID` checks a certain one");
                self.add(Check::note("accounts", what));
            }
            return accounts.into_iter().take(MOST_ACCOUNTS).collect();
        };
        let chosen: Vec<Account> = accounts.into_iter().filter(|account| account.id() == only).collect();
        if chosen.is_empty() {
            let what = format!("{} is not in {}", self.shown.account(only), self.shown.path(&self.config.db));
            let remedy = "register it from Molly; `mollysocket connection list` shows which accounts there are";
            self.add(Check::failure("account", what, remedy));
        }
        chosen
    }
}

/// Splits what went wrong from what to do, in messages that say both in this order with a colon between.
fn split_remedy(text: &str) -> (String, String) {
    match text.rsplit_once(": ") {
        Some((what, remedy)) => (what.to_owned(), remedy.to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

//! The daemon as a service: tells the service manager how it goes, and reads the allow lists again when asked to.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use smol::channel::Receiver;
use smol::{Executor, Task, Timer};

use super::bulletin::Bulletin;

use crate::config::{AllowedEndpoints, AllowedUuids, Config, ConfigError, Reloadable};
use crate::supervisor::{Supervisor, Tally};
use crate::systemd::Service;
use crate::timings::Timings;

/// How the daemon is looked after from outside.
pub struct Hooks {
    /// The service manager.
    pub service: Arc<Service>,
    /// One message for each time the configuration is to be read again.
    pub reloads: Receiver<()>,
    /// Reads the configuration again.
    pub reread: Box<dyn Fn() -> Result<Config, ConfigError>>,
}

/// What a reload changes, and what it is compared with.
pub(super) struct Reload {
    pub(super) running: Arc<Config>,
    pub(super) uuids: Reloadable<AllowedUuids>,
    pub(super) endpoints: Reloadable<AllowedEndpoints>,
}

impl Reload {
    /// Follows the requests. Resolves never.
    pub(super) async fn follow(&self, hooks: &Hooks, counts: &Counts) {
        while hooks.reloads.recv().await.is_ok() {
            hooks.service.reloading().await;
            let outcome = self.apply((hooks.reread)());
            hooks.service.ready(&format!("{}; {outcome}", counts.line())).await;
        }
        futures_lite::future::pending().await
    }

    /// Takes the allow lists over, or nothing when the configuration cannot be used. What happened, for people.
    fn apply(&self, read: Result<Config, ConfigError>) -> &'static str {
        let new = match read {
            Ok(new) => new,
            Err(error) => {
                log::error!("the configuration is not reloaded, the old one stays in force: {error}");
                return "the last reload failed, see the log";
            }
        };
        for warning in &new.warnings {
            log::warn!("{warning}");
        }
        for key in self.running.needing_restart(&new) {
            log::warn!("{key} has changed: restart needed");
        }
        let (uuids, endpoints) = (new.allowed_uuids.to_string(), new.allowed_endpoints.to_string());
        self.uuids.set(new.allowed_uuids);
        self.endpoints.set(new.allowed_endpoints);
        log::info!("allow lists reloaded: accounts: {uuids}; push servers: {endpoints}");
        "allow lists reloaded"
    }
}

/// The accounts in numbers, for the manager.
pub(super) struct Counts {
    bulletin: RefCell<Bulletin>,
    supervisor: Supervisor,
    timings: Timings,
}

impl Counts {
    pub(super) fn new(supervisor: Supervisor, web: Option<SocketAddr>, timings: Timings) -> Self {
        Self { bulletin: RefCell::new(Bulletin::new(web, timings.bulletin)), supervisor, timings }
    }

    fn tally(&self) -> Tally {
        self.supervisor.tally(Instant::now(), self.timings.attention)
    }

    /// The line to tell at a reload.
    fn line(&self) -> String {
        self.bulletin.borrow_mut().tell(self.tally())
    }

    /// Tells that the daemon is ready with so many `accounts`, of which none can be connected yet.
    pub(super) async fn ready(&self, service: &Service, accounts: usize) {
        let line = self.bulletin.borrow_mut().tell(Tally { accounts, connected: 0, in_trouble: 0 });
        service.ready(&line).await;
    }

    /// Tells the manager what changes. Resolves never.
    pub(super) async fn follow(&self, service: &Service) {
        if !service.is_managed() {
            return futures_lite::future::pending().await;
        }
        loop {
            Timer::after(self.timings.bulletin_poll).await;
            let news = self.bulletin.borrow_mut().look(self.tally(), Instant::now());
            if let Some(line) = news {
                service.status(&line).await;
            }
        }
    }
}

/// Signs of life for the manager, from a task on the executor that does the work and through the supervisor: when
/// either stands still, they end. The database has no part in it: a restart does not mend a disk.
pub(super) fn watchdog(service: &Arc<Service>, supervisor: Supervisor, executor: &Executor<'static>) -> Task<()> {
    let service = service.clone();
    executor.spawn(async move { service.watch(|| supervisor.alive()).await })
}

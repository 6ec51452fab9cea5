//! The daemon as a service: tells the service manager how it goes, and reads the allow lists again when asked to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::Receiver;

use crate::config::{AllowedEndpoints, AllowedUuids, Config, ConfigError, Reloadable};
use crate::supervisor::{Supervisor, Tally};
use crate::systemd::Service;

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
    pub(super) async fn follow(&self, hooks: &Hooks, status: &StatusLine) {
        while hooks.reloads.recv().await.is_ok() {
            hooks.service.reloading().await;
            let outcome = self.apply((hooks.reread)());
            hooks.service.ready(&format!("{}; {outcome}", status.now())).await;
        }
        futures_lite::future::pending().await
    }

    /// Takes the allow lists over, or nothing when the configuration cannot be used. What happened, for people.
    fn apply(&self, read: Result<Config, ConfigError>) -> &'static str {
        let told = |new: &Config| new.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let new = match read.inspect(told).and_then(|new| self.same_file(new)) {
            Ok(new) => new,
            Err(error) => {
                log::error!("the configuration is not reloaded, the old one stays in force: {error}");
                return "the last reload failed, see the log";
            }
        };
        for key in self.running.needing_restart(&new) {
            log::warn!("{key} has changed: restart needed");
        }
        let (uuids, endpoints) = (new.allowed_uuids.to_string(), new.allowed_endpoints.to_string());
        self.uuids.set(new.allowed_uuids);
        self.endpoints.set(new.allowed_endpoints);
        log::info!("allow lists reloaded: accounts: {uuids}; push servers: {endpoints}");
        "allow lists reloaded"
    }

    /// A file that was removed, or that other users may write now, must not open the lists it held.
    fn same_file(&self, new: Config) -> Result<Config, ConfigError> {
        match &self.running.file {
            Some(file) if new.file.as_ref() != Some(file) => {
                Err(ConfigError(format!("{} is not used any more; put it right, or restart", file.display())))
            }
            _ => Ok(new),
        }
    }
}

/// What the service manager shows of the daemon (`systemctl status`).
pub(super) struct StatusLine {
    pub(super) web: Option<SocketAddr>,
    pub(super) supervisor: Supervisor,
    /// For how long trouble may pass by itself.
    pub(super) grace: Duration,
}

impl StatusLine {
    /// The accounts as they are now.
    pub(super) fn now(&self) -> String {
        self.of(Tally::of(&self.supervisor.snapshots(), Instant::now(), self.grace))
    }

    /// The line for these counts.
    pub(super) fn of(&self, Tally { accounts, connected, in_trouble }: Tally) -> String {
        let mut line = counted(accounts);
        if accounts > 0 {
            line += &format!(", {connected} connected");
        }
        if in_trouble > 0 {
            line += &format!(", {in_trouble} in trouble (see `mollysocket status`)");
        }
        match self.web {
            Some(addr) => line + &format!(", listening on http://{addr}/"),
            None => line + ", no web server",
        }
    }
}

/// So many accounts, in words.
pub(super) fn counted(accounts: usize) -> String {
    format!("{accounts} {}", if accounts == 1 { "account" } else { "accounts" })
}

/// Signs of life for the manager, from a task on the executor that does the work and through the supervisor, which `ask`
/// asks for one: when either stands still, they end. The database has no part in it: a restart does not mend a disk. Each
/// brings the `status` with it if it is another one than `told`, so that a machine at rest is woken for both at once.
pub(super) async fn report(
    service: Arc<Service>,
    unwatched: Duration,
    mut told: String,
    ask: impl Fn() -> Receiver<()>,
    status: impl Fn() -> String,
) {
    let Some(period) = service.period(unwatched) else { return };
    loop {
        let answer = ask();
        Timer::after(period).await;
        let alive = answer.try_recv().is_ok();
        if !alive {
            log::error!("the accounts are not looked after any more; the service manager will restart the program");
        }
        let line = status();
        service.alive(alive, (line != told).then_some(line.as_str())).await;
        told = line;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use futures_lite::FutureExt as _;
    use smol::channel;

    use super::*;
    use crate::config::Env;

    /// What the manager is told while `ask` is asked and the status is one after the other of `lines`, then stays.
    fn told(ask: impl Fn() -> Receiver<()>, mut lines: Vec<&str>) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000")];
        let env = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let (last, over) = channel::bounded(1);
        lines.reverse();
        let lines = std::cell::RefCell::new(lines);
        let status = || {
            let mut lines = lines.borrow_mut();
            if lines.len() == 1 {
                let _ = last.try_send(());
            }
            lines.pop().unwrap_or("end").to_owned()
        };
        let report = report(Arc::new(Service::from_env(&env).0), Duration::from_secs(60), "a".to_owned(), ask, status);
        smol::block_on(report.or(async { over.recv().await.unwrap() }));
        let mut bytes = [0; 100];
        std::iter::from_fn(|| manager.recv(&mut bytes).ok().map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned()))
            .collect()
    }

    #[test]
    fn a_status_is_told_once_and_with_a_sign_of_life() {
        let alive = || {
            let (answer, answered) = channel::bounded(1);
            answer.try_send(()).unwrap();
            answered
        };
        let signs = ["WATCHDOG=1", "WATCHDOG=1\nSTATUS=b", "WATCHDOG=1", "WATCHDOG=1\nSTATUS=a"];
        assert_eq!(told(alive, vec!["a", "b", "b", "a", "a"])[..4], signs);
    }

    #[test]
    fn no_sign_of_life_is_given_for_work_that_stands_still() {
        let still = || channel::bounded(1).1;
        assert_eq!(told(still, vec!["a", "b", "b", "b"]), ["STATUS=b"]);
    }

    #[test]
    fn a_file_that_is_gone_does_not_open_its_allow_lists() {
        let config = |file| Config::from_text(file, &Env::new()).unwrap();
        let named = |text| Some((Path::new("conf.toml"), text));
        let running = config(named("allowed_uuids = []\nallowed_endpoints = []"));
        let reload = Reload {
            uuids: running.allowed_uuids.clone().into(),
            endpoints: running.allowed_endpoints.clone().into(),
            running: Arc::new(running),
        };
        for gone in [None, Some((Path::new("other.toml"), ""))] {
            assert_eq!(reload.apply(Ok(config(gone))), "the last reload failed, see the log");
            assert!(reload.uuids.get().to_string() == "0 accounts" && reload.endpoints.get().is_empty());
        }
        assert_eq!(reload.apply(Ok(config(named("")))), "allow lists reloaded");
        assert!(!reload.endpoints.get().is_empty());
    }
}

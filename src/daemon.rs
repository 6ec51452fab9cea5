//! The composition root: builds everything, runs it, ends it in order.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use futures_lite::FutureExt as _;
use futures_lite::future::block_on;
use smol::{Executor, channel};

use crate::alerts::Alerts;
use crate::config::{Config, Reloadable};
use crate::metrics::Metrics;
use crate::net::{Net, NetOptions};
use crate::overview::Observer;
use crate::overview::fit::{Settings, beginning};
use crate::push::Pusher;
use crate::signal::circuit_breaker::CircuitBreaker;
use crate::signal::{Checker, Signal};
use crate::store::{DaemonLock, IfMissing, Listing, Store, StoreError};
use crate::supervisor::{Runner, Supervisor, Tally, Tools};
use crate::systemd;
use crate::timings::{Limits, Timings};
use crate::vapid::{Create, Vapid, VapidError, VapidKey};
use crate::web;

mod service;

pub use service::Hooks;
use service::{Reload, StatusLine, counted};

/// Threads beside the main one that run tasks. Two keep a second core busy with TLS; more only cost memory.
const EXTRA_THREADS: usize = 1;

/// New connections the kernel keeps for the web server. When they are too many it drops them, and a good client among
/// them tries again only after a second.
const BACKLOG: i32 = 1024;

/// Why the daemon could not start: one line that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is at fault.
    #[error("{0}")]
    Configuration(String),
    /// Something the program needs is.
    #[error("{0}")]
    Failed(String),
}

/// A daemon that is built and listening.
pub struct Daemon {
    config: Arc<Config>,
    executor: Arc<Executor<'static>>,
    listener: Option<(smol::net::TcpListener, SocketAddr)>,
    admin: Option<UnixListener>,
    app: Arc<web::App>,
    observer: Arc<Observer>,
    supervisor: Supervisor,
    runner: Runner,
    report: String,
    /// Accounts at the start.
    accounts: usize,
    /// Held until the daemon ends: no second one may use the database.
    _lock: DaemonLock,
}

impl Daemon {
    /// Builds everything: key, database, network, listener. Nothing runs yet.
    ///
    /// # Errors
    /// One line: what is wrong, where, what to do.
    pub fn new(config: Config, timings: Timings, limits: Limits) -> Result<Self, StartError> {
        Self::with_listener(config, timings, limits, None)
    }

    /// The same, and the web server listens on a socket that is there already. `host` and `port` do not count then.
    ///
    /// # Errors
    /// One line: what is wrong, where, what to do.
    pub fn with_listener(
        config: Config,
        timings: Timings,
        limits: Limits,
        inherited: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let executor = Arc::new(Executor::new());
        let metrics = Arc::new(Metrics::default());
        let failed = |error: &dyn std::fmt::Display| StartError::Failed(error.to_string());

        // Before anything is made: a start that fails, because another server has the port, leaves nothing behind.
        let listener = if config.webserver { Some(listen(&config, inherited)?) } else { None };
        let options =
            NetOptions { signal_ca_file: config.signal_ca_file.clone(), push_ca_file: config.push_ca_file.clone() };
        let net = Net::new(&options, timings.clone(), limits.clone(), executor.clone())
            .map_err(|e| StartError::Configuration(e.to_string()))?;

        // The lock first: opening may migrate, and must not under another daemon.
        let mut lock = Store::lock_for_daemon(&config.db).map_err(|e| failed(&e))?;
        let store = Store::open(&config.db, IfMissing::Create).map_err(|e| failed(&e))?;
        let (listing, writable) = smol::block_on(async { Ok((store.list().await?, store.writable().await?)) })
            .map_err(|e: StoreError| failed(&e))?;
        let accounts = listing.accounts.len();
        // Phones gave their endpoints for the key they were linked with, and push servers refuse every other.
        let create = if accounts == 0 { Create::Yes } else { Create::No };
        let (key, key_origin) = VapidKey::load(&config.vapid, create).map_err(|error| {
            StartError::Configuration(match error {
                VapidError::Missing(file) => key_is_elsewhere(&config, &listing, &file),
                error => error.to_string(),
            })
        })?;
        let vapid = Arc::new(Vapid::new(key, config.vapid_contact.clone()));
        let store = store.with_key(vapid.public());
        if writable && listing.keys.len() < accounts {
            smol::block_on(store.adopt()).map_err(|e| failed(&e))?;
        }
        let net = Arc::new(net.with_own_address(listener.as_ref().map(|(_, addr)| *addr)));
        let allowed_uuids = Reloadable::from(config.allowed_uuids.clone());
        let allowed_endpoints = Reloadable::from(config.allowed_endpoints.clone());
        let settings =
            Settings::new(&config, vapid.public()).with_lists(allowed_uuids.clone(), allowed_endpoints.clone());
        let pusher = Arc::new(Pusher::new(net.clone(), vapid.clone(), allowed_endpoints.clone()));
        let signal = Arc::new(Signal {
            net: net.clone(),
            url: config.signal_url.clone(),
            user_agents: config.user_agents.clone(),
            breaker: CircuitBreaker::new(&limits),
            metrics: metrics.clone(),
            timings: timings.clone(),
            limits: limits.clone(),
        });
        let tools = Tools {
            signal: signal.clone(),
            pusher: pusher.clone(),
            store: store.clone(),
            wake_for_own_sync: config.wake_for_own_sync,
        };
        let (supervisor, runner) = Runner::new(tools, executor.clone());
        // Without it accounts are served all the same.
        let admin = web::admin::bind(&config.admin_socket);
        if admin.is_ok() {
            lock.note_socket(&config.admin_socket);
        }
        let mut database = counted(accounts);
        match listing.unreadable.len() {
            0 => {}
            n => {
                let rows = if n == 1 { "row" } else { "rows" };
                let _ = write!(database, "; {n} {rows} cannot be understood, see `mollysocket connection list`");
            }
        }
        if !writable {
            let error = StoreError::ReadOnly(config.db.clone());
            let _ = write!(database, "; {error}");
        }
        let mut report =
            report(&config, &database, &key_origin, listener.as_ref().map(|(_, addr)| *addr), admin.as_ref().err());
        for misfit in settings.misfits(&listing) {
            // Writing to a String cannot fail.
            let _ = writeln!(report, "  {:<18} {misfit}", "warning");
        }
        let site = listener.as_ref().map(|(_, addr)| format!("http://{addr}/"));
        let observer =
            Arc::new(Observer::new(supervisor.clone(), store.clone(), signal.clone(), &config.db, site, settings));
        let app = Arc::new(web::App {
            config: config.clone(),
            allowed_uuids,
            allowed_endpoints,
            timings,
            limits,
            net,
            store,
            supervisor: supervisor.clone(),
            checker: Checker::new(signal),
            pusher,
            vapid,
            metrics,
        });
        let admin = admin.ok();
        Ok(Self { config, executor, listener, admin, app, observer, supervisor, runner, report, accounts, _lock: lock })
    }

    /// Where the web server listens, if it runs.
    pub fn web_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(|(_, addr)| *addr)
    }

    /// What the operator should see at start, whatever the log level.
    pub fn report(&self) -> &str {
        &self.report
    }

    /// The public VAPID key, as in links.
    pub fn vapid_public(&self) -> &str {
        self.app.vapid.public()
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A handle to the running accounts.
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// Runs until `stop` resolves, then ends in order: no new requests, answers and pushes in flight finish, Close
    /// frames go out. Blocks the calling thread.
    pub fn run(self, stop: impl Future<Output = ()>) {
        let (_never, reloads) = channel::bounded(1);
        let unchanged = self.config.clone();
        let reread = Box::new(move || Ok((*unchanged).clone()));
        self.run_as_service(&Hooks { service: Arc::default(), reloads, reread }, stop);
    }

    /// The same, looked after by a service manager.
    pub fn run_as_service(self, hooks: &Hooks, stop: impl Future<Output = ()>) {
        let executor = self.executor;
        let (stopping, stopped) = channel::bounded::<()>(1);
        let (ending, ended) = channel::bounded::<()>(1);
        let (runner_stop, stopped_too) = (stopped.clone(), stopped.clone());
        let mut runner = executor.spawn(self.runner.run(async move {
            let _ = runner_stop.recv().await;
        }));
        let reload = Reload {
            running: self.config,
            uuids: self.app.allowed_uuids.clone(),
            endpoints: self.app.allowed_endpoints.clone(),
        };
        let web = self.listener.as_ref().map(|(_, addr)| *addr);
        let status = StatusLine { web, supervisor: self.supervisor, grace: self.app.timings.attention };
        let (app, tasks, listener) = (self.app.clone(), executor.clone(), self.listener);
        let mut web = executor.spawn(async move {
            let stopped = async move {
                let _ = stopped.recv().await;
            };
            match listener {
                Some((listener, _)) => web::serve(app, listener, tasks, stopped).await,
                None => stopped.await,
            }
        });
        let admin_stop = stopped_too;
        let mut admin = self.admin.map(|listener| {
            let (app, observer, tasks) = (self.app.clone(), self.observer.clone(), executor.clone());
            executor.spawn(async move {
                let stopped = async move {
                    let _ = admin_stop.recv().await;
                };
                if let Err(error) = web::admin::serve(app, observer, listener, tasks, stopped).await {
                    log::warn!("the admin socket: {error}");
                }
            })
        });
        let alerts = Alerts::new(
            &self.app.config,
            self.observer,
            self.app.net.clone(),
            self.app.timings.clone(),
            self.app.limits.clone(),
        );
        let mut alerts = alerts.map(|alerts| executor.spawn(alerts.run()));
        let work = async {
            // None can be connected yet.
            let ready = status.of(Tally { accounts: self.accounts, connected: 0, in_trouble: 0 });
            hooks.service.ready(&ready).await;
            let (status, unwatched) = (Arc::new(status), self.app.timings.service_status);
            let (asked, shown) = (status.clone(), status.clone());
            let (ask, show) = (move || asked.supervisor.ask(), move || shown.now());
            let report = executor.spawn(service::report(hooks.service.clone(), unwatched, ready, ask, show));
            // No task ends before it is told to, unless it panicked: awaiting it passes the panic on, and the program ends
            // rather than live on as a part of itself.
            let beside = panic_of(&mut alerts).or(panic_of(&mut admin));
            stop.or(reload.follow(hooks, &status)).or(&mut runner).or(&mut web).or(beside).await;
            hooks.service.stopping().await;
            report.cancel().await;
            if let Some(alerts) = alerts {
                alerts.cancel().await;
            }
            drop(stopping);
            web.await;
            runner.await;
            if let Some(admin) = admin {
                admin.await;
            }
        };
        // Not smol's, which would let these threads and the one for I/O take turns at the latter: an idle machine would be
        // woken some ten times for each event.
        std::thread::scope(|scope| {
            for _ in 0..EXTRA_THREADS {
                let (executor, ended) = (executor.clone(), ended.clone());
                scope.spawn(move || {
                    block_on(executor.run(async {
                        let _ = ended.recv().await;
                    }));
                });
            }
            block_on(executor.run(work));
            drop(ending);
        });
    }
}

/// Never ends but by the panic of a task that may also be missing, or end for a reason of its own.
async fn panic_of(task: &mut Option<smol::Task<()>>) {
    if let Some(running) = task {
        running.await;
        *task = None;
    }
    std::future::pending().await
}

fn listen(config: &Config, inherited: Option<TcpListener>) -> Result<(smol::net::TcpListener, SocketAddr), StartError> {
    let ready = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok((smol::net::TcpListener::try_from(listener)?, addr))
    };
    if let Some(listener) = inherited {
        let cannot = |error| format!("the socket passed by the service manager cannot be used: {error}");
        return ready(listener).map_err(|error: std::io::Error| StartError::Failed(cannot(error)));
    }
    let bound = TcpListener::bind((config.host.as_str(), config.port)).and_then(|listener| {
        rustix::net::listen(&listener, BACKLOG)?;
        ready(listener)
    });
    bound.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program uses it, perhaps a server that runs already: stop that one or set another `port`"
            }
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: set a higher `port`",
            _ => "set `host` to an address of this machine",
        };
        let service = systemd::service_hint(&config.db);
        StartError::Failed(format!("cannot listen on {} port {}: {error}; {remedy}{service}", config.host, config.port))
    })
}

/// Why a key is not made where accounts are, and what to do.
fn key_is_elsewhere(config: &Config, listing: &Listing, file: &Path) -> String {
    let db = std::path::absolute(&config.db).unwrap_or_else(|_| config.db.clone());
    let (db, accounts, file) = (db.display(), counted(listing.accounts.len()), file.display());
    let where_it_is = match listing.keys.values().next() {
        Some(key) => format!(
            "Theirs begins with {}…: restore {file} from a backup, or hand the key on by vapid_privkey or vapid_key_file",
            beginning(key)
        ),
        None => "Hand that one on: version 1.x has it in vapid_privkey (MOLLY_VAPID_PRIVKEY), in the file of vapid_key_file \
             (MOLLY_VAPID_KEY_FILE), or sealed as a credential of its systemd unit (/etc/mollysocket/vapid.key or \
             SetCredentialEncrypted=ms_vapid); docs/migration.md says how for each"
            .to_owned(),
    };
    format!(
        "{db} holds {accounts}, but there is no VAPID key ({file} is not there), and no phone can be woken with another than \
         the one it was linked with. {where_it_is}. If there never was one, or to start anew and link every phone again: \
         `mollysocket vapid generate > FILE`, and set vapid_key_file to FILE",
    )
}

fn report(
    config: &Config,
    database: &str,
    key_origin: &str,
    web: Option<SocketAddr>,
    no_admin: Option<&io::Error>,
) -> String {
    let db = std::path::absolute(&config.db).unwrap_or_else(|_| config.db.clone());
    let mut text = format!("MollySocket {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<18} {value}");
    };
    match &config.file {
        Some(file) => line("configuration", &file.display()),
        None => line("configuration", &"no file; defaults and environment"),
    }
    for file in &config.ignored {
        line("ignored", &format_args!("{}: only the first configuration file counts", file.display()));
    }
    match web {
        Some(addr) => line("listening on", &format_args!("http://{addr}/")),
        None => line("listening on", &"nothing (webserver = false)"),
    }
    match no_admin {
        None => line("admin socket", &config.admin_socket.display()),
        Some(error) => line("admin socket", &format_args!("none: {}: {error}", config.admin_socket.display())),
    }
    line("database", &format_args!("{} ({database})", db.display()));
    line("VAPID key", &key_origin);
    line("allowed accounts", &config.allowed_uuids);
    line("push servers", &config.allowed_endpoints);
    text
}

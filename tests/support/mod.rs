//! A small world for the tests: a simulated Signal, a simulated push server and the real daemon between them.
#![allow(dead_code, unused_imports, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::Duration;

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use mollysocket::config::Config;
use mollysocket::daemon::Daemon;
use mollysocket::store::{IfMissing, Store};
use mollysocket::supervisor::Supervisor;
use mollysocket::timings::{Limits, Timings};
use mollysocket::vapid::VapidKey;
use sim::pki::Pki;
use sim::push::PushServer;
use sim::signal::{DeviceAddress, Queues, SignalServer};

mod requests;

pub use requests::{get, http, post, register};

pub const DEVICE: u8 = 2;
/// How long anything may take on a busy machine. Reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for something forbidden to happen.
pub const MOMENT: Duration = Duration::from_millis(300);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The program's timings at test speed.
pub fn fast() -> Timings {
    Timings {
        dns: ms(2000),
        tcp: ms(2000),
        tls: ms(3000),
        upgrade: ms(3000),
        connect: ms(5000),
        keepalive: ms(300),
        keepalive_answer: ms(700),
        queue_empty: ms(1000),
        shared_wake_up: ms(1),
        write: ms(1000),
        backoff_base: ms(20),
        backoff_cap: ms(150),
        not_found_cap: ms(300),
        backoff_reset: ms(2000),
        confirm: ms(60),
        confirm_check: ms(30),
        reauthenticate: ms(60),
        displaced_base: ms(200),
        displaced_cap: ms(1600),
        displaced_reset: ms(60_000),
        refused: ms(400),
        // OpenSSL takes 50 ms of processor time for each connection.
        push: ms(if cfg!(feature = "native-tls") { 3000 } else { 1000 }),
        quiet_base: ms(40),
        quiet_cap: ms(160),
        quiet_reset: ms(400),
        push_retry_base: ms(30),
        push_retry_cap: ms(150),
        push_limited_base: ms(60),
        push_gone_base: ms(20),
        push_gone_cap: ms(40),
        push_gone: ms(100),
        push_unauthorized_base: ms(100),
        push_slow_cap: ms(1500),
        push_rejected: ms(300),
        retry_after_floor: ms(10),
        fetched_write: ms(100),
        store_poll: ms(60),
        store_retry: ms(60),
        check: ms(1500),
        check_endpoint: ms(500),
        answer: ms(4000),
        shutdown: ms(1000),
        ..Timings::default()
    }
}

/// Limits that do not slow a test down.
pub fn limits() -> Limits {
    Limits { connects_per_second: 2000, breaker_probes_per_second: 50, ..Limits::default() }
}

/// One phone's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone {
    pub uuid: String,
    pub device: u8,
    pub password: String,
    /// Path of its endpoint.
    pub token: String,
}

impl Phone {
    pub fn number(n: u32) -> Self {
        Self {
            uuid: format!("{n:08x}-2222-4333-8444-555555555555"),
            device: DEVICE,
            password: format!("pass+word/{n}=="),
            token: format!("up{n:012}"),
        }
    }

    pub fn id(&self) -> AccountId {
        AccountId::parse(&self.uuid).unwrap()
    }

    pub fn credentials(&self) -> Credentials {
        Credentials {
            id: self.id(),
            device: DeviceId::new(u64::from(self.device)).unwrap(),
            password: Secret::password(&self.password).unwrap(),
        }
    }
}

/// A daemon running in this process.
pub struct Running {
    pub addr: Option<SocketAddr>,
    pub supervisor: Supervisor,
    pub report: String,
    stop: Option<smol::channel::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(config: Config, timings: Timings, limits: Limits) -> Self {
        let daemon = Daemon::new(config, timings, limits).unwrap();
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let (addr, supervisor, report) = (daemon.web_addr(), daemon.supervisor(), daemon.report().to_owned());
        let thread = std::thread::spawn(move || {
            daemon.run(async move {
                let _ = stopped.recv().await;
            });
        });
        Self { addr, supervisor, report, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the daemon panicked");
        }
    }
}

/// Everything a test needs. Fields drop in this order: the daemon first.
pub struct World {
    pub daemon: Option<Running>,
    pub signal: Option<SignalServer>,
    pub push: PushServer,
    pub pki: Pki,
    pub dir: tempfile::TempDir,
    pub timings: Timings,
    pub limits: Limits,
    /// More lines for the configuration file.
    pub settings: String,
    signal_addr: SocketAddr,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The servers run, the daemon does not.
    pub fn new() -> Self {
        log_to_stderr();
        let pki = Pki::new();
        let signal = SignalServer::start(&pki);
        let push = PushServer::start(&pki);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), pki.ca_pem()).unwrap();
        let signal_addr = signal.addr();
        Self {
            daemon: None,
            signal: Some(signal),
            push,
            pki,
            dir,
            timings: fast(),
            limits: limits(),
            settings: String::new(),
            signal_addr,
        }
    }

    /// One phone is stored and known to Signal, and its daemon is connected.
    pub fn connected() -> (Self, Phone) {
        let mut world = Self::new();
        let phone = world.phone(1);
        world.store_phone(&phone);
        world.start();
        assert!(world.signal().wait_connected(&phone.uuid, phone.device, PATIENCE), "never connected");
        world.wait_state(&phone, "connected");
        (world, phone)
    }

    pub fn signal(&self) -> &SignalServer {
        self.signal.as_ref().unwrap()
    }

    pub fn web(&self) -> SocketAddr {
        self.daemon.as_ref().unwrap().addr.unwrap()
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("db.sqlite")
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A phone that Signal knows.
    pub fn phone(&self, n: u32) -> Phone {
        let phone = Phone::number(n);
        self.signal().add_device(&phone.uuid, phone.device, &phone.password);
        phone
    }

    pub fn endpoint(&self, phone: &Phone) -> String {
        self.push.endpoint(&phone.token)
    }

    pub fn config(&self) -> Config {
        let file = self.dir.path().join("config.toml");
        let text = format!(
            "port = 0\ndb = {:?}\nsignal_url = {:?}\nsignal_ca_file = {:?}\npush_ca_file = {:?}\n{}{}",
            self.db(),
            format!("wss://localhost:{}/v1/websocket/", self.signal_addr.port()),
            self.ca(),
            self.ca(),
            if self.settings.contains("allowed_endpoints") {
                String::new()
            } else {
                format!("allowed_endpoints = [\"https://localhost:{}\"]\n", self.push.addr().port())
            },
            self.settings
        );
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), &BTreeMap::new()).unwrap()
    }

    pub fn start(&mut self) {
        self.stop();
        self.daemon = Some(Running::start(self.config(), self.timings.clone(), self.limits.clone()));
    }

    pub fn stop(&mut self) {
        if self.daemon.take().is_some() {
            let lock = self.dir.path().join("db.sqlite.lock");
            // A child that another test starts just now shares it until it runs its own program.
            let free = || std::fs::File::open(&lock).map_or(true, |file| file.try_lock().is_ok());
            eventually("the lock of the database is free", free);
        }
    }

    /// The daemon has ended without having been asked to.
    pub fn has_ended(&self) -> bool {
        self.daemon.as_ref().and_then(|daemon| daemon.thread.as_ref()).is_some_and(JoinHandle::is_finished)
    }

    /// Signal goes away, with all sockets; its queues are kept.
    pub fn stop_signal(&mut self) -> Queues {
        self.signal.take().unwrap().stop()
    }

    /// Signal comes back at the same address.
    pub fn start_signal(&mut self, queues: Queues) {
        self.signal = Some(SignalServer::start_with(&self.pki, self.signal_addr, queues).unwrap());
    }

    pub fn store(&self) -> Store {
        self.keyed();
        Store::open(&self.db(), IfMissing::Create).unwrap()
    }

    pub fn row(&self, phone: &Phone) -> Option<Account> {
        smol::block_on(self.store().get(phone.id())).unwrap()
    }

    pub fn account(&self, phone: &Phone) -> Account {
        Account {
            credentials: phone.credentials(),
            endpoint: Endpoint::parse(&self.endpoint(phone)).unwrap(),
            forbidden: false,
            endpoint_gone: false,
            paused: false,
            last_registration: 1_700_000_000,
            fetched_until: None,
        }
    }

    pub fn store_phone(&self, phone: &Phone) {
        smol::block_on(self.store().put(self.account(phone))).unwrap();
    }

    /// A row that was never registered with this program; with a device above 127 nobody can read it.
    pub fn store_row(&self, uuid: &str, device: u32) {
        let row = "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration)
                   VALUES (?1, ?2, 'p', 'https://h/a', 0, 1)";
        rusqlite::Connection::open(self.db()).unwrap().execute(row, (uuid, device)).unwrap();
    }

    /// A key as an earlier start made it: without one no server starts where accounts are.
    pub fn keyed(&self) {
        let file = self.dir.path().join("db.sqlite.vapid");
        if !file.exists() {
            std::fs::write(file, VapidKey::generate().to_private().expose()).unwrap();
        }
    }

    /// Many phones in one transaction.
    pub fn store_phones(&self, phones: &[Phone]) {
        drop(self.store());
        let mut db = rusqlite::Connection::open(self.db()).unwrap();
        let rows = db.transaction().unwrap();
        for phone in phones {
            let insert = "INSERT INTO connections(uuid, device_id, password, endpoint, forbidden, last_registration) \
                          VALUES (?1, ?2, ?3, ?4, 0, 1)";
            rows.execute(insert, (&phone.uuid, phone.device, &phone.password, self.endpoint(phone))).unwrap();
        }
        rows.commit().unwrap();
    }

    /// Registers as Molly does. The status word of the answer.
    pub fn register(&self, phone: &Phone, ping: bool) -> String {
        let endpoint = self.endpoint(phone);
        register(self.web(), &phone.uuid, u64::from(phone.device), &phone.password, &endpoint, ping)
    }

    /// The state and the push state of an account.
    pub fn state(&self, phone: &Phone) -> (String, String) {
        let accounts = self.daemon.as_ref().unwrap().supervisor.snapshots();
        let status = accounts.into_iter().find(|account| account.id == phone.id()).map(|account| account.status);
        status.map_or((String::new(), String::new()), |s| {
            (s.signal.state.label().to_owned(), s.push.state.label().to_owned())
        })
    }

    pub fn wait_state(&self, phone: &Phone, state: &str) {
        eventually(&format!("state {state}"), || self.state(phone).0 == state);
    }

    pub fn wait_push_state(&self, phone: &Phone, state: &str) {
        eventually(&format!("push state {state}"), || self.state(phone).1 == state);
    }

    /// Sockets to Signal that receive messages.
    pub fn sockets(&self, phone: &Phone) -> usize {
        self.signal().with_state(|s| usize::from(s.is_connected(&phone.uuid, phone.device)))
    }

    /// Never, at any time, were there two sockets of one device.
    pub fn assert_one_socket_each(&self) {
        let records = self.signal().records();
        for (device, counters) in &records.devices {
            assert!(counters.max_open <= 1, "{device:?}: {} sockets at a time", counters.max_open);
        }
    }
}

pub fn address(phone: &Phone) -> DeviceAddress {
    DeviceAddress::new(&phone.uuid, phone.device)
}

/// Waits until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(ms(5));
    }
}

/// `MOLLYSOCKET_TEST_LOG=debug cargo test …` shows what the daemon says.
fn log_to_stderr() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        if let Ok(level) = std::env::var("MOLLYSOCKET_TEST_LOG") {
            let _ = env_logger::Builder::new().parse_filters(&format!("mollysocket={level}")).try_init();
        }
    });
}

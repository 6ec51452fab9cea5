//! The simulated servers and the accounts.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sim::pki::{Pki, ServerConfig};
use sim::push::{Answer, PushServer};
use sim::signal::{Envelope, Guid, Queues, Records, SignalServer};

use crate::check::Checker;
use crate::daemon::Setup;

/// Signal's name where it has several addresses. Nobody else has it (RFC 6761 section 6.2).
const SIGNAL: &str = "signal.test";
/// The linked device of every account.
pub(crate) const DEVICE: u8 = 2;
/// Content of a message with a few words, bytes. It is padded before it is encrypted.
const TEXT: usize = 700;
/// How often the servers are looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// Everything but the daemon.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) accounts: usize,
    /// `None` only while it is being restarted.
    signal: Option<SignalServer>,
    tls: Arc<ServerConfig>,
    /// Addresses of Signal beside its first.
    also: Vec<IpAddr>,
    pub(crate) pushes: Vec<PushServer>,
    pub(crate) check: Checker,
    /// Messages sent one by one so far.
    sent: usize,
}

impl World {
    /// Starts the servers and links the devices. The database is not there yet.
    pub(crate) fn start(dir: &Path, accounts: usize, origins: usize, addresses: usize) -> Result<Self> {
        let pki = Pki::new();
        // Kept over restarts, as a load balancer keeps its keys: a client that comes back may resume its TLS session.
        let tls = pki.resuming_server_config(&["localhost", SIGNAL]);
        let also: Vec<IpAddr> = (2..=addresses).map(|n| [127, 0, 0, n as u8].into()).collect();
        let signal = SignalServer::start_tls_on(tls.clone(), ([127, 0, 0, 1], 0).into(), &also, Queues::default())?;
        let pushes: Vec<_> = (0..origins).map(|_| PushServer::start(&pki)).collect();
        let allowed: Vec<_> = pushes.iter().map(|p| format!("\"https://localhost:{}\"", p.addr().port())).collect();
        let (signal_url, hosts) = if also.is_empty() {
            (signal.url(), None)
        } else {
            let hosts = dir.join("hosts");
            let lines = (1..=addresses).map(|n| format!("127.0.0.{n} {SIGNAL}\n"));
            fs::write(&hosts, format!("127.0.0.1 localhost\n{}", lines.collect::<String>()))?;
            (signal.url().replace("localhost", SIGNAL), Some(hosts))
        };
        let setup = Setup {
            dir: dir.to_owned(),
            db: dir.join("db.sqlite"),
            signal_url,
            hosts,
            ca_file: dir.join("ca.pem"),
            allowed_endpoints: format!("[{}]", allowed.join(", ")),
        };
        fs::write(&setup.ca_file, pki.ca_pem())?;
        // A key for tests only: where accounts are, none is made.
        fs::write(dir.join("db.sqlite.vapid"), "3biZg-StP9bhvUuTo12BOkxEEej1Rcb0kePk-3Wb-nk")?;
        for n in 0..accounts {
            signal.add_device(&uuid(n), DEVICE, &password(n));
        }
        Ok(Self { setup, accounts, signal: Some(signal), tls, also, pushes, check: Checker::default(), sent: 0 })
    }

    /// Writes all accounts into a database of the reference's layout, which any build opens.
    pub(crate) fn fill_database(&self) -> Result<()> {
        let db = &self.setup.db;
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", db.display()));
        }
        let mut sql = rusqlite::Connection::open(db)?;
        sql.execute_batch(
            "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, password TEXT,
             endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0, 1)), last_registration INTEGER)",
        )?;
        let rows = sql.transaction()?;
        for n in 0..self.accounts {
            rows.execute(
                "INSERT INTO connections VALUES (?1, ?2, ?3, ?4, 0, unixepoch())",
                rusqlite::params![uuid(n), DEVICE, password(n), self.endpoint(n, "")],
            )?;
        }
        rows.commit()?;
        Ok(())
    }

    /// The endpoint of account `n`; another one for each `suffix`.
    pub(crate) fn endpoint(&self, n: usize, suffix: &str) -> String {
        self.pushes[n % self.pushes.len()].endpoint(&format!("up{n:05}{suffix}"))
    }

    pub(crate) fn signal(&self) -> &SignalServer {
        self.signal.as_ref().expect("it is away only within restart_signal")
    }

    /// Sends an urgent message to account `n`.
    pub(crate) fn send(&mut self, n: usize) -> Guid {
        self.sent += 1;
        let message = Envelope::new().content_size(content(self.sent));
        let at = Instant::now();
        let guid = self.signal().send(&uuid(n), DEVICE, message);
        self.check.sent(guid, n, at);
        guid
    }

    /// Sends many to one account at once.
    pub(crate) fn send_burst(&mut self, n: usize, many: usize) {
        let at = Instant::now();
        for guid in self.signal().send_burst(&uuid(n), DEVICE, many, Envelope::new().content_size(TEXT)) {
            self.check.sent(guid, n, at);
        }
    }

    /// Stops Signal, which ends all connections; starts it again after `away`.
    pub(crate) fn restart_signal(&mut self, away: Duration) -> Result<()> {
        let signal = self.signal.take().context("it runs")?;
        let addr = signal.addr();
        let (queues, records) = signal.stop_with_records();
        self.check.saw(&records, &[]);
        std::thread::sleep(away);
        self.signal = Some(SignalServer::start_tls_on(self.tls.clone(), addr, &self.also, queues)?);
        Ok(())
    }

    pub(crate) fn connected(&self) -> usize {
        self.signal().with_state(sim::signal::State::open_sockets)
    }

    /// Waits until `reached` says so much of `all` is there; how long that took.
    pub(crate) fn wait(
        &self,
        what: &str,
        all: usize,
        patience: Duration,
        mut reached: impl FnMut(&Self) -> usize,
        mut tell: impl FnMut(usize),
    ) -> Result<Duration> {
        let since = Instant::now();
        let mut told = since;
        loop {
            let now = reached(self);
            if now >= all {
                return Ok(since.elapsed());
            }
            if since.elapsed() > patience {
                bail!("only {now} of {all} {what} within {patience:?}");
            }
            if told.elapsed() > Duration::from_millis(100) {
                told = Instant::now();
                tell(now);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until every message sent so far is acked; false when that does not happen in time.
    pub(crate) fn settle(&mut self, patience: Duration) -> bool {
        let since = Instant::now();
        loop {
            let done = self.signal().with_state(|s| s.records().acks.len()) >= self.check.open();
            if done {
                self.fold();
                if self.check.open() == 0 {
                    return true;
                }
            }
            if since.elapsed() > patience {
                self.fold();
                return self.check.open() == 0;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Hands what the servers saw to the checker.
    pub(crate) fn fold(&mut self) -> Records {
        // Acks first: the pushes they stand for are then there.
        let records = self.signal().take_records();
        let pushes: Vec<_> = self.pushes.iter().enumerate().map(|(n, p)| (n, p.take_progress())).collect();
        self.check.saw(&records, &pushes);
        records
    }

    /// How every push server answers from now on.
    pub(crate) fn answer(&self, answer: &Answer) {
        self.pushes.iter().for_each(|push| push.set_default(answer.clone()));
    }

    /// Connections the push servers have accepted so far.
    pub(crate) fn push_connections(&self) -> usize {
        self.pushes.iter().map(PushServer::connections).sum()
    }
}

/// Bytes of content of the nth message: mostly a few words, now and then a long text, seldom what leaves large buffers
/// behind.
fn content(n: usize) -> usize {
    match n {
        n if n.is_multiple_of(200) => 20 * 1024,
        n if n.is_multiple_of(10) => 3 * 1024,
        _ => TEXT,
    }
}

/// The account's identifier.
pub(crate) fn uuid(n: usize) -> String {
    format!("{:08x}-2222-4333-8444-{n:012x}", n.wrapping_mul(0x9e37_79b1) & 0xffff_ffff)
}

/// Its device's password.
pub(crate) fn password(n: usize) -> String {
    format!("pass+word/{n:08}==")
}

//! The simulated servers, the phones, and what they and the daemon have done so far.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use mollysocket::store::{IfMissing, Store};
use sim::pki::Pki;
use sim::push::{PushServer, Step};
use sim::signal::{DeviceAddress, Envelope, Guid, Queues, Records, SignalServer};

use crate::check::{Checker, Needs};
use crate::daemon::Setup;
use crate::http::Registration;
use crate::plan::Message;

/// The linked device of every account.
pub(crate) const DEVICE: u8 = 2;
/// Paths of endpoints nobody owns begin so.
const JUNK: &str = "/push/junk";
/// How long Signal may take to see that a client had gone while the path was silent.
const SILENT_GRACE: Duration = Duration::from_secs(5);

/// Where a phone is woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) origin: usize,
    pub(crate) path: String,
}

/// One account.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) uuid: String,
    pub(crate) password: String,
    /// The endpoint registered last.
    pub(crate) place: Place,
    /// Signal knows the device.
    pub(crate) linked: bool,
    /// Its row is in the database.
    pub(crate) stored: bool,
    /// The path to its device is silent, or was until then.
    pub(crate) silent: Option<Option<Instant>>,
}

/// Everything but the daemon.
pub(crate) struct World {
    pki: Pki,
    pub(crate) setup: Setup,
    signal: Option<SignalServer>,
    signal_addr: SocketAddr,
    /// Of Signal, while it is away.
    queues: Option<Queues>,
    pub(crate) pushes: Vec<PushServer>,
    pub(crate) phones: Vec<Phone>,
    numbers: HashMap<DeviceAddress, usize>,
    /// By push server and path: whose, and since when no more.
    places: HashMap<(usize, String), (usize, Option<Instant>)>,
    serial: u32,
    pub(crate) store: Store,
    pub(crate) check: Checker,
}

impl World {
    /// Starts the servers and links the devices. Every other account is in the database.
    pub(crate) fn start(dir: &Path, accounts: usize, origins: usize) -> Result<Self> {
        let pki = Pki::new();
        let signal = SignalServer::start(&pki);
        let pushes: Vec<_> = (0..origins).map(|_| PushServer::start(&pki)).collect();
        let allowed: Vec<_> = pushes.iter().map(|p| format!("\"https://localhost:{}\"", p.addr().port())).collect();
        let setup = Setup {
            dir: dir.to_owned(),
            db: dir.join("db.sqlite"),
            log: dir.join("daemon.log"),
            signal_url: signal.url(),
            ca_file: dir.join("ca.pem"),
            allowed_endpoints: format!("[{}]", allowed.join(", ")),
        };
        fs::write(&setup.ca_file, pki.ca_pem())?;
        // A key for tests only: where accounts are, none is made.
        fs::write(dir.join("db.sqlite.vapid"), "3biZg-StP9bhvUuTo12BOkxEEej1Rcb0kePk-3Wb-nk")?;
        let store = Store::open(&setup.db, IfMissing::Create)?;
        let signal_addr = signal.addr();
        let mut world = Self {
            pki,
            setup,
            signal: Some(signal),
            signal_addr,
            queues: None,
            pushes,
            phones: Vec::new(),
            numbers: HashMap::new(),
            places: HashMap::new(),
            serial: 0,
            store,
            check: Checker::new(accounts),
        };
        for n in 0..accounts {
            let uuid = format!("{:08x}-2222-4333-8444-{n:012x}", n.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
            let place = world.new_place(n);
            let password = format!("pass+word/{n}==");
            world.numbers.insert(DeviceAddress::new(&uuid, DEVICE), n);
            world.phones.push(Phone { uuid, password, place, linked: false, stored: false, silent: None });
            world.link(n);
            if n % 2 == 0 {
                world.put(n)?;
            }
        }
        Ok(world)
    }

    // Signal.

    pub(crate) fn signal(&self) -> Option<&SignalServer> {
        self.signal.as_ref()
    }

    pub(crate) fn link(&mut self, n: usize) {
        let phone = &mut self.phones[n];
        if let Some(signal) = &self.signal {
            signal.add_device(&phone.uuid, DEVICE, &phone.password);
            phone.linked = true;
        }
    }

    pub(crate) fn unlink(&mut self, n: usize) {
        self.fold();
        let phone = &mut self.phones[n];
        if let Some(signal) = &self.signal {
            signal.unlink(&phone.uuid, DEVICE);
            phone.linked = false;
            self.check.unlinked(n);
        }
    }

    pub(crate) fn stop_signal(&mut self) {
        if let Some(signal) = self.signal.take() {
            let (queues, records) = signal.stop_with_records();
            self.queues = Some(queues);
            self.fold_with(records);
        }
    }

    /// False when the port is not free yet.
    pub(crate) fn start_signal(&mut self) -> bool {
        let Some(queues) = self.queues.take() else { return true };
        // Given back when it does not start; the queues would be lost with it.
        if std::net::TcpListener::bind(self.signal_addr).is_err() {
            self.queues = Some(queues);
            return false;
        }
        self.signal = SignalServer::start_with(&self.pki, self.signal_addr, queues).ok();
        self.signal.is_some()
    }

    pub(crate) fn send(&mut self, n: usize, message: Message) {
        let phone = &self.phones[n];
        let Some(signal) = self.signal.as_ref().filter(|_| phone.linked) else { return };
        let urgent = Envelope::new;
        let quiet = || Envelope::new().urgent(false);
        let other = "0f2b1a3c-1111-4222-8333-444455556666";
        let batches: Vec<(usize, Envelope, Needs)> = match message {
            Message::Urgent => vec![(1, urgent(), Needs::Wake)],
            Message::Untagged => vec![(1, urgent().no_urgent_tag(), Needs::Wake)],
            Message::Identified => vec![(1, urgent().source(other, 1), Needs::Wake)],
            Message::Large => vec![(1, urgent().content_size(94_000), Needs::Wake)],
            Message::Unreadable => vec![(1, urgent().raw_body([0xff; 12]), Needs::WakeUnread)],
            Message::Empty => vec![(1, urgent().missing_body(), Needs::WakeUnread)],
            Message::Quiet => vec![(1, quiet(), Needs::Nothing)],
            Message::OwnEcho => vec![(1, urgent().source(&phone.uuid, 1), Needs::Nothing)],
            Message::Burst(many) => vec![(many, urgent(), Needs::Wake)],
            Message::QuietBurst(many) => vec![(many, quiet(), Needs::Nothing), (1, urgent(), Needs::Wake)],
        };
        for (many, envelope, needs) in batches {
            let sent = Instant::now();
            let guids: Vec<Guid> = signal.send_burst(&phone.uuid, DEVICE, many, envelope);
            for guid in guids {
                self.check.sent(n, guid, needs, sent);
            }
        }
    }

    // Endpoints and rows.

    /// An endpoint nobody had before.
    pub(crate) fn new_place(&mut self, n: usize) -> Place {
        self.serial += 1;
        let origin = (n + self.serial as usize) % self.pushes.len();
        let path = format!("/push/up{n:05}x{:06}", self.serial);
        self.places.insert((origin, path.clone()), (n, None));
        Place { origin, path }
    }

    pub(crate) fn endpoint(&self, place: &Place) -> String {
        self.pushes[place.origin].endpoint(place.path.trim_start_matches("/push/"))
    }

    pub(crate) fn junk_endpoint(&self, origin: usize, n: u64) -> String {
        self.pushes[origin % self.pushes.len()].endpoint(&format!("junk{n}"))
    }

    /// The daemon knows of this endpoint now.
    pub(crate) fn moved(&mut self, n: usize, place: Place) {
        let old = std::mem::replace(&mut self.phones[n].place, place);
        if old != self.phones[n].place
            && let Some((_, since)) = self.places.get_mut(&(old.origin, old.path))
        {
            *since = Some(Instant::now());
        }
    }

    pub(crate) fn registration(&self, n: usize, place: &Place, ping: bool) -> Registration {
        let phone = &self.phones[n];
        Registration {
            uuid: phone.uuid.clone(),
            device: DEVICE,
            password: phone.password.clone(),
            endpoint: self.endpoint(place),
            ping,
        }
    }

    pub(crate) fn id(&self, n: usize) -> Result<AccountId> {
        Ok(AccountId::parse(&self.phones[n].uuid)?)
    }

    /// Writes the account's row as the command line does.
    pub(crate) fn put(&mut self, n: usize) -> Result<()> {
        let phone = &self.phones[n];
        let account = Account {
            credentials: Credentials {
                id: self.id(n)?,
                device: DeviceId::new(u64::from(DEVICE))?,
                password: Secret::password(&phone.password)?,
            },
            endpoint: Endpoint::parse(&self.endpoint(&phone.place))?,
            forbidden: false,
            endpoint_gone: false,
            paused: false,
            last_registration: 1_700_000_000,
            fetched_until: None,
        };
        smol::block_on(self.store.put(account)).context("the database beside the daemon")?;
        self.phones[n].stored = true;
        Ok(())
    }

    pub(crate) fn remove(&mut self, n: usize) -> Result<()> {
        smol::block_on(self.store.remove(self.id(n)?)).context("the database beside the daemon")?;
        self.phones[n].stored = false;
        Ok(())
    }

    // Records.

    /// Takes all records in.
    pub(crate) fn fold(&mut self) {
        if let Some(records) = self.signal.as_ref().map(SignalServer::take_records) {
            self.fold_with(records);
        }
    }

    /// Pushes first: the answer that allowed an ack was recorded before it.
    fn fold_with(&mut self, records: Records) {
        self.fold_pushes();
        for ack in records.acks.iter().filter(|ack| ack.is_success()) {
            if let Some(n) = self.numbers.get(&ack.device) {
                self.check.acked(*n, ack.guid, ack.delivered_at, ack.at);
            }
        }
        for ack in records.acks.iter().filter(|ack| !ack.is_success()) {
            self.check.problem(format!("a message was answered with {}", ack.status));
        }
        for (device, counters) in &records.devices {
            let Some(n) = self.numbers.get(device) else { continue };
            let excused = match self.phones[*n].silent {
                None => false,
                Some(None) => true,
                Some(Some(until)) => until.elapsed() < SILENT_GRACE,
            };
            self.check.sockets(*n, counters.max_open, excused);
        }
        self.check.prune();
    }

    fn fold_pushes(&mut self) {
        for origin in 0..self.pushes.len() {
            for progress in self.pushes[origin].take_progress() {
                let id = (origin, progress.request);
                match progress.step {
                    Step::Received { path, body } => match self.places.get(&(origin, path.clone())) {
                        Some((n, moved)) => {
                            self.check.push_received(id, *n, body == br#"{"urgent":true}"#, *moved, progress.at);
                        }
                        None if path.starts_with(JUNK) => {}
                        None => self.check.problem(format!("a push went to {path}, which is nobody's endpoint")),
                    },
                    Step::Answered(status) => self.check.push_answered(id, status, progress.at),
                    Step::Ended => self.check.push_ended(id, progress.at),
                }
            }
        }
    }

    // Looking.

    pub(crate) fn sockets(&self) -> usize {
        self.signal.as_ref().map_or(0, |s| s.with_state(sim::signal::State::open_sockets))
    }

    pub(crate) fn connected(&self, n: usize) -> bool {
        self.signal.as_ref().is_some_and(|s| s.with_state(|s| s.is_connected(&self.phones[n].uuid, DEVICE)))
    }

    /// Pushes that are being answered.
    pub(crate) fn open_pushes(&self) -> usize {
        self.pushes.iter().map(PushServer::open_connections).sum()
    }
}

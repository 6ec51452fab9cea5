//! Accounts, queues and sockets: what the server knows, changed only under its lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Event;
use uuid::Uuid;

use super::Guid;
use super::delivery::{Delivery, Entry, Queue};
use super::envelope::Envelope;
use super::mode::{Handshake, Keepalive, Mode};
use super::records::{DeviceAddress, DeviceCounters, Records};

/// Idle timeout of Signal-Server's chat servlet (`WhisperServerService`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Jetty fragments larger outgoing messages.
const FRAGMENT_SIZE: usize = 64 * 1024;

/// Switches; unset ones fall back to the server's, then to the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) handshake: Option<Handshake>,
    pub(crate) next_handshakes: VecDeque<Handshake>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) lose_acks: u32,
    pub(crate) displace_both: u32,
    pub(crate) never_read: Option<bool>,
    pub(crate) silent: Option<bool>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) alert: Option<Option<String>>,
    pub(crate) timestamp_header: Option<bool>,
    pub(crate) fragment_size: Option<usize>,
}

impl Settings {
    fn set(&mut self, mode: Mode) {
        match mode {
            Mode::Handshake(handshake) => self.handshake = Some(handshake),
            Mode::Keepalive(keepalive) => self.keepalive = Some(keepalive),
            Mode::LoseAcks(n) => self.lose_acks = n,
            Mode::DisplaceBoth(n) => self.displace_both = n,
            Mode::NeverRead(on) => self.never_read = Some(on),
            Mode::Silent(on) => self.silent = Some(on),
            Mode::IdleTimeout(timeout) => self.idle_timeout = Some(timeout),
            Mode::Alert(alert) => self.alert = Some(alert),
            Mode::TimestampHeader(on) => self.timestamp_header = Some(on),
            Mode::FragmentSize(size) => self.fragment_size = Some(size.max(1)),
            Mode::ClockOffset(_) => unreachable!("the clock belongs to the server"),
        }
    }
}

/// One device of an account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Device {
    pub(crate) password: String,
    pub(crate) spqr: bool,
    pub(crate) queue: Queue,
    /// The socket that gets the messages.
    pub(crate) message_socket: Option<u64>,
    pub(crate) settings: Settings,
}

/// Something to write to a socket.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    /// A serialised `WebSocketMessage`, or arbitrary binary bytes.
    Binary(Vec<u8>),
    Text(String),
    /// Bytes for the TLS stream, past the WebSocket framing.
    Wire(Vec<u8>),
    /// The same over and over, until the connection ends.
    Endless(Vec<u8>),
    /// A binary message in n frames.
    Fragments(Vec<u8>, usize),
    Ping,
    Close(u16, String),
}

/// How to end a socket without a Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    Cut,
    Reset,
}

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// `None` if anonymous.
    pub(crate) device: Option<DeviceAddress>,
    /// Whether it gets messages.
    pub(crate) messages: bool,
    pub(crate) delivery: Delivery,
    pub(crate) outbox: VecDeque<Out>,
    /// Keepalives to answer later: (when, request id).
    pub(crate) delayed: Vec<(Instant, u64)>,
    /// Ids of `queue/empty` and of raw requests.
    pub(crate) raw_requests: Vec<u64>,
    pub(crate) kill: Option<Kill>,
    /// A Close frame is on its way: what comes in is no longer processed.
    pub(crate) closing: bool,
    pub(crate) wake: Arc<Event>,
}

/// The server's state, as seen by `wait_until` conditions.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) records: Records,
    pub(crate) devices: HashMap<DeviceAddress, Device>,
    pub(crate) sockets: HashMap<u64, Socket>,
    pub(crate) settings: Settings,
    pub(crate) clock_offset: i64,
    next_socket: u64,
}

impl State {
    /// What the server saw and did.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Messages stored for a device.
    pub fn queue_len(&self, aci: &str, device: u8) -> usize {
        self.devices.get(&DeviceAddress::new(aci, device)).map_or(0, |d| d.queue.len())
    }

    /// Messages sent on the current message socket that were not acknowledged with 2xx. More than 0 means that
    /// this socket gets nothing new.
    pub fn unacked(&self, aci: &str, device: u8) -> usize {
        self.message_socket(DeviceAddress::new(aci, device)).map_or(0, |s| s.delivery.unacknowledged())
    }

    /// Whether the device has a message socket.
    pub fn is_connected(&self, aci: &str, device: u8) -> bool {
        self.message_socket(DeviceAddress::new(aci, device)).is_some()
    }

    /// Sockets open now, of all kinds.
    pub fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The server's clock, ms since the epoch.
    pub fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        (now + self.clock_offset).max(0) as u64
    }

    fn message_socket(&self, address: DeviceAddress) -> Option<&Socket> {
        self.sockets.get(&self.devices.get(&address)?.message_socket?)
    }

    pub(crate) fn message_socket_mut(&mut self, address: DeviceAddress) -> Option<&mut Socket> {
        self.sockets.get_mut(&self.devices.get(&address)?.message_socket?)
    }

    pub(crate) fn device_mut(&mut self, address: DeviceAddress) -> &mut Device {
        self.devices.get_mut(&address).unwrap_or_else(|| panic!("{address:?} was never added"))
    }

    pub(crate) fn counters(&mut self, address: DeviceAddress) -> &mut DeviceCounters {
        self.records.devices.entry(address).or_default()
    }

    pub(crate) fn set_mode(&mut self, address: Option<DeviceAddress>, mode: Mode) {
        match (mode, address) {
            (Mode::ClockOffset(ms), None) => self.clock_offset = ms,
            (Mode::ClockOffset(_), Some(_)) => panic!("the clock belongs to the server, not to a device"),
            (mode, None) => self.settings.set(mode),
            (mode, Some(address)) => self.device_mut(address).settings.set(mode),
        }
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        for socket in self.sockets.values() {
            socket.wake.notify(usize::MAX);
        }
    }

    /// A setting of the device, else of the server.
    pub(crate) fn setting<T>(&self, address: Option<DeviceAddress>, get: impl Fn(&Settings) -> Option<T>) -> Option<T> {
        let device = address.and_then(|a| self.devices.get(&a)).and_then(|d| get(&d.settings));
        device.or_else(|| get(&self.settings))
    }

    pub(crate) fn idle_timeout(&self, address: Option<DeviceAddress>) -> Duration {
        self.setting(address, |s| s.idle_timeout).unwrap_or(IDLE_TIMEOUT)
    }

    /// Whether the server shall not look at what the client of this socket sends.
    pub(crate) fn is_deaf(&self, id: u64) -> bool {
        let device = self.sockets.get(&id).and_then(|s| s.device);
        self.setting(device, |s| s.silent).unwrap_or(false) || self.setting(device, |s| s.never_read).unwrap_or(false)
    }

    pub(crate) fn fragment_size(&self, address: Option<DeviceAddress>) -> usize {
        self.setting(address, |s| s.fragment_size).unwrap_or(FRAGMENT_SIZE)
    }

    /// Whether one more of a counted fault is due, which it then takes.
    pub(crate) fn take_fault(&mut self, address: DeviceAddress, counter: impl Fn(&mut Settings) -> &mut u32) -> bool {
        let device = self.devices.get_mut(&address).map(|d| &mut d.settings);
        for settings in device.into_iter().chain([&mut self.settings]) {
            let left = counter(settings);
            if *left > 0 {
                *left -= 1;
                return true;
            }
        }
        false
    }

    /// Stores a message and wakes the device's socket.
    pub(crate) fn enqueue(&mut self, address: DeviceAddress, envelope: Envelope) -> Guid {
        let now = self.now_ms();
        let random = || uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
        let guid = envelope.guid.unwrap_or_else(random);
        let client_ms = envelope.client_timestamp.unwrap_or(now);
        let server_ms = envelope.server_timestamp.unwrap_or(now);
        let entry = Entry { guid, envelope, client_ms, server_ms, deliveries: 0 };
        self.device_mut(address).queue.push(entry);
        self.wake(address);
        guid
    }

    pub(crate) fn wake(&self, address: DeviceAddress) {
        if let Some(socket) = self.message_socket(address) {
            socket.wake.notify(usize::MAX);
        }
    }

    /// Registers an upgraded socket. A message socket displaces the older one of its device at once.
    pub(crate) fn open(&mut self, device: Option<DeviceAddress>, messages: bool, stories: bool) -> (u64, Arc<Event>) {
        let id = self.next_socket;
        self.next_socket += 1;
        let wake = Arc::new(Event::new());
        let socket = Socket {
            device,
            messages,
            delivery: Delivery::new(stories),
            outbox: VecDeque::new(),
            delayed: Vec::new(),
            raw_requests: Vec::new(),
            kill: None,
            closing: false,
            wake: wake.clone(),
        };
        self.sockets.insert(id, socket);
        self.records.connects += 1;
        self.records.connect_times.push((device, Instant::now()));
        let Some(address) = device else { return (id, wake) };
        self.counters(address).connects += 1;
        if !messages {
            return (id, wake);
        }
        let counters = self.counters(address);
        counters.open += 1;
        counters.max_open = counters.max_open.max(counters.open);
        if let Some(old) = self.device_mut(address).message_socket.replace(id) {
            self.displace(old, address);
            // Two server instances may each displace the other's socket.
            if self.take_fault(address, |s| &mut s.displace_both) {
                self.device_mut(address).message_socket = None;
                self.displace(id, address);
            }
        }
        (id, wake)
    }

    fn displace(&mut self, id: u64, address: DeviceAddress) {
        self.counters(address).displaced += 1;
        self.counters(address).open -= 1;
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.messages = false;
        }
        self.close(id, 4409, "Connected elsewhere");
    }

    /// Sends Close in place of whatever was still to be written.
    pub(crate) fn close(&mut self, id: u64, code: u16, reason: &str) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.closing {
            return;
        }
        socket.closing = true;
        socket.outbox.clear();
        socket.outbox.push_back(Out::Close(code, reason.to_owned()));
        socket.wake.notify(usize::MAX);
    }

    /// Closes all sockets of a device with 4401, those without messages too.
    pub(crate) fn disconnect(&mut self, address: DeviceAddress) {
        let ids: Vec<u64> = self.sockets.iter().filter(|(_, s)| s.device == Some(address)).map(|(id, _)| *id).collect();
        for id in ids {
            self.close(id, 4401, "Reauthentication required");
        }
    }

    /// Forgets a socket that has ended.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        let Some(address) = socket.device else { return };
        if let Some(device) = self.devices.get_mut(&address)
            && device.message_socket == Some(id)
        {
            device.message_socket = None;
        }
        self.records.stories_dropped += socket.delivery.stories_dropped;
        self.records.ephemeral_dropped += socket.delivery.ephemeral_dropped;
        let counters = self.counters(address);
        counters.unanswered += socket.delivery.unanswered() as u64;
        if socket.messages {
            counters.open -= 1;
        }
    }

    /// Whether the account and device exist with this password.
    pub(crate) fn authenticate(&self, aci: Uuid, device: u8, password: &str) -> Option<DeviceAddress> {
        let address = DeviceAddress { aci, device };
        self.devices.get(&address).filter(|d| d.password == password).map(|_| address)
    }
}

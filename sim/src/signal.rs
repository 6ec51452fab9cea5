//! Signal's chat server, as a linked device without keys sees it.
//!
//! The rules come from Signal-Server v20260820.3.0 and from measurements of Jetty 12; see `README.md` for the
//! list of rules and the tests that cover them.

mod delivery;
mod envelope;
mod frames;
mod mode;
mod records;
mod session;
mod state;
mod traffic;
mod upgrade;
mod wait;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use event_listener::Event;
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::ServerConfig;
use prost::Message as _;

pub use envelope::{Envelope, kind};
pub use mode::{Handshake, Keepalive, Mode, UaRule};
pub use records::{
    AckRecord, CloseRecord, DeviceAddress, DeviceCounters, KeepaliveRecord, Receipt, Records, UpgradeRequest,
};
pub use state::State;

use crate::host::Host;
use crate::pki::Pki;
use crate::wire;
use state::{Device, Kill, Out};

/// `server_guid` of an envelope.
pub type Guid = uuid::Uuid;

/// What control calls and connection tasks share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// As `changed`, for asynchronous waiting.
    changed_event: Event,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking condition must not hide itself behind a poisoned lock in every other thread.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes those who wait for a condition.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        self.changed_event.notify(usize::MAX);
        result
    }
}

/// Accounts and their queues, to start the next server with.
#[derive(Debug, Default)]
pub struct Queues(HashMap<DeviceAddress, Device>);

/// A running chat server. Dropping it cuts all connections and frees the port.
pub struct SignalServer {
    /// One for each address, at the same port. The first is the one that is told.
    hosts: Vec<Host>,
    shared: Arc<Shared>,
}

/// Starting and stopping.
impl SignalServer {
    /// Starts on a free loopback port.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start(pki: &Pki) -> Self {
        Self::start_at(pki, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port is free")
    }

    /// Starts on the given address.
    pub fn start_at(pki: &Pki, addr: SocketAddr) -> io::Result<Self> {
        Self::start_with(pki, addr, Queues::default())
    }

    /// Starts with the accounts and queues of a stopped server. Modes and records start afresh.
    pub fn start_with(pki: &Pki, addr: SocketAddr, queues: Queues) -> io::Result<Self> {
        Self::start_tls(pki.server_config(&[]), addr, queues)
    }

    /// Starts with any TLS configuration, for instance one with an expired certificate or wrong names.
    pub fn start_tls(config: Arc<ServerConfig>, addr: SocketAddr, queues: Queues) -> io::Result<Self> {
        Self::start_tls_on(config, addr, &[], queues)
    }

    /// The same, at other addresses too: to one address a machine has only as many connections as it has ports.
    pub fn start_tls_on(
        config: Arc<ServerConfig>,
        addr: SocketAddr,
        also: &[IpAddr],
        queues: Queues,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.lock().devices = queues.0;
        let acceptor = TlsAcceptor::from(config);
        let serve = {
            let shared = shared.clone();
            move |tcp, peer| session::serve(shared.clone(), acceptor.clone(), tcp, peer)
        };
        let mut hosts = vec![Host::start("sim-signal", addr, serve.clone())?];
        let port = hosts[0].addr().port();
        for ip in also {
            hosts.push(Host::start("sim-signal", SocketAddr::new(*ip, port), serve.clone())?);
        }
        Ok(Self { hosts, shared })
    }

    /// Stops, and hands out what the next server needs to go on.
    pub fn stop(self) -> Queues {
        self.stop_with_records().0
    }

    /// As `stop`, with the records up to the very end.
    pub fn stop_with_records(self) -> (Queues, Records) {
        let Self { hosts, shared } = self;
        if hosts.len() > 1 {
            // At once: who is cut off at one must not be served by the next.
            hosts.iter().for_each(|host| host.refuse(true));
        }
        drop(hosts);
        let mut devices = std::mem::take(&mut shared.lock().devices);
        devices.values_mut().for_each(|d| d.message_socket = None);
        let records = shared.lock().records.take();
        (Queues(devices), records)
    }

    /// The address it listens on; the first, if there are several.
    pub fn addr(&self) -> SocketAddr {
        self.hosts[0].addr()
    }

    /// `wss://localhost:PORT/v1/websocket/`
    pub fn url(&self) -> String {
        format!("wss://localhost:{}/v1/websocket/", self.addr().port())
    }
}

/// Accounts.
impl SignalServer {
    /// Links a device, with the `spqr` capability. A known device keeps its queue.
    pub fn add_device(&self, aci: &str, device: u8, password: &str) {
        let address = DeviceAddress::new(aci, device);
        self.shared.update(|s| {
            let entry = s.devices.entry(address).or_default();
            entry.password = password.to_owned();
            entry.spqr = true;
        });
    }

    /// Sets or clears the `spqr` capability of a device, see [`UaRule`].
    pub fn set_spqr(&self, aci: &str, device: u8, spqr: bool) {
        self.shared.update(|s| s.device_mut(DeviceAddress::new(aci, device)).spqr = spqr);
    }

    /// Unlinks a device: its sockets get Close 4401, its queue is gone, later upgrades get 403.
    pub fn unlink(&self, aci: &str, device: u8) {
        let address = DeviceAddress::new(aci, device);
        self.shared.update(|s| {
            s.disconnect(address);
            s.devices.remove(&address);
        });
    }

    /// Asks all sockets of a device to authenticate again: Close 4401. The device stays linked.
    pub fn disconnect(&self, aci: &str, device: u8) {
        self.shared.update(|s| s.disconnect(DeviceAddress::new(aci, device)));
    }

    /// Changes the password. Open sockets stay.
    pub fn change_password(&self, aci: &str, device: u8, password: &str) {
        self.shared.update(|s| s.device_mut(DeviceAddress::new(aci, device)).password = password.to_owned());
    }
}

/// Messages and raw frames.
impl SignalServer {
    /// Stores a message for a device; it is delivered as soon as the rules allow.
    pub fn send(&self, aci: &str, device: u8, envelope: Envelope) -> Guid {
        self.shared.update(|s| s.enqueue(DeviceAddress::new(aci, device), envelope))
    }

    /// Stores n copies of a message, each with its own guid, at once.
    pub fn send_burst(&self, aci: &str, device: u8, n: usize, envelope: Envelope) -> Vec<Guid> {
        let address = DeviceAddress::new(aci, device);
        self.shared.update(|s| (0..n).map(|_| s.enqueue(address, envelope.clone())).collect())
    }

    /// Empties a queue.
    pub fn clear_queue(&self, aci: &str, device: u8) {
        self.shared.update(|s| s.device_mut(DeviceAddress::new(aci, device)).queue.clear());
    }

    /// Sends any request on the message socket. Returns its id; `None` if there is no socket.
    pub fn send_request(&self, aci: &str, device: u8, verb: &str, path: &str, body: Option<Vec<u8>>) -> Option<u64> {
        let id = delivery::random_request_id();
        let (verb, path) = (Some(verb.to_owned()), Some(path.to_owned()));
        let request = wire::Request { verb, path, body, id: Some(id), headers: Vec::new() };
        let bytes = wire::WebSocketMessage::request(request).encode_to_vec();
        let sent = self.with_socket(aci, device, |socket| {
            socket.raw_requests.push(id);
            socket.outbox.push_back(Out::Binary(bytes));
        });
        sent.then_some(id)
    }

    /// Sends a binary message of any bytes. False if there is no message socket; so below.
    pub fn send_binary(&self, aci: &str, device: u8, bytes: impl Into<Vec<u8>>) -> bool {
        self.write(aci, device, Out::Binary(bytes.into()))
    }

    /// Sends a binary message in n frames.
    pub fn send_fragmented(&self, aci: &str, device: u8, bytes: impl Into<Vec<u8>>, n: usize) -> bool {
        self.write(aci, device, Out::Fragments(bytes.into(), n))
    }

    /// Sends a text message. The real server never does.
    pub fn send_text(&self, aci: &str, device: u8, text: &str) -> bool {
        self.write(aci, device, Out::Text(text.to_owned()))
    }

    /// Writes bytes past the WebSocket framing: invalid frames, a fragment without end, a Close without code.
    pub fn send_wire(&self, aci: &str, device: u8, bytes: impl Into<Vec<u8>>) -> bool {
        self.write(aci, device, Out::Wire(bytes.into()))
    }

    /// Writes bytes past the WebSocket framing over and over and reads nothing meanwhile, until the connection ends.
    pub fn flood(&self, aci: &str, device: u8, bytes: impl Into<Vec<u8>>) -> bool {
        self.write(aci, device, Out::Endless(bytes.into()))
    }

    /// Sends a WebSocket ping. The real server never does.
    pub fn send_ping(&self, aci: &str, device: u8) -> bool {
        self.write(aci, device, Out::Ping)
    }

    /// Sends Close and shuts the sending side.
    pub fn close(&self, aci: &str, device: u8, code: u16, reason: &str) -> bool {
        let written = self.write(aci, device, Out::Close(code, reason.to_owned()));
        self.shared.update(|s| s.message_socket_mut(DeviceAddress::new(aci, device)).map(|s| s.closing = true));
        written
    }

    /// Ends the message socket with a plain EOF, at once: no Close frame, no TLS `close_notify`.
    pub fn cut(&self, aci: &str, device: u8) -> bool {
        self.kill(aci, device, Kill::Cut)
    }

    /// Ends the message socket with a TCP RST, at once.
    pub fn reset(&self, aci: &str, device: u8) -> bool {
        self.kill(aci, device, Kill::Reset)
    }

    /// Cuts every socket, as a deploy of the server does.
    pub fn cut_all(&self) {
        self.shared.update(|s| {
            s.sockets.values_mut().for_each(|s| s.kill = Some(Kill::Cut));
            s.wake_all();
        });
    }

    fn write(&self, aci: &str, device: u8, out: Out) -> bool {
        self.with_socket(aci, device, |socket| socket.outbox.push_back(out))
    }

    fn kill(&self, aci: &str, device: u8, kill: Kill) -> bool {
        self.with_socket(aci, device, |socket| socket.kill = Some(kill))
    }

    fn with_socket(&self, aci: &str, device: u8, change: impl FnOnce(&mut state::Socket)) -> bool {
        let address = DeviceAddress::new(aci, device);
        self.shared.update(|s| {
            let Some(socket) = s.message_socket_mut(address).filter(|s| !s.closing) else { return false };
            change(socket);
            socket.wake.notify(usize::MAX);
            true
        })
    }
}

/// Modes.
impl SignalServer {
    /// Sets a mode of the server.
    pub fn set_mode(&self, mode: Mode) {
        let refuse = match &mode {
            Mode::Handshake(handshake) => Some(*handshake == Handshake::RefuseTcp),
            _ => None,
        };
        self.shared.update(|s| s.set_mode(None, mode));
        if let Some(refuse) = refuse {
            self.hosts.iter().for_each(|host| host.refuse(refuse));
        }
    }

    /// Sets a mode of one device; it wins over the server's.
    ///
    /// # Panics
    /// If the device is unknown, and for `Mode::ClockOffset`.
    pub fn set_mode_for(&self, aci: &str, device: u8, mode: Mode) {
        self.shared.update(|s| s.set_mode(Some(DeviceAddress::new(aci, device)), mode));
    }

    /// Drops all modes of one device, so that the server's hold for it again.
    pub fn clear_modes_for(&self, aci: &str, device: u8) {
        self.shared.update(|s| {
            s.device_mut(DeviceAddress::new(aci, device)).settings = state::Settings::default();
            s.wake_all();
        });
    }

    /// Treats the next n TCP connections like this, then goes on with the mode that was set.
    pub fn for_next(&self, n: usize, handshake: Handshake) {
        self.shared.update(|s| s.settings.next_handshakes.extend(std::iter::repeat_n(handshake, n)));
    }

    /// Treats the next n upgrade requests of a device like this.
    pub fn for_next_of(&self, aci: &str, device: u8, n: usize, handshake: Handshake) {
        let address = DeviceAddress::new(aci, device);
        let next = std::iter::repeat_n(handshake, n);
        self.shared.update(|s| s.device_mut(address).settings.next_handshakes.extend(next));
    }
}

//! A push server: records every request and answers as told.

mod answer;
mod serve;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;
use futures_lite::FutureExt;
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::ServerConfig;
use smol::Timer;

pub use answer::{Answer, Behaviour};

use crate::host::Host;
use crate::pki::Pki;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header fields in the order they came.
    pub headers: Vec<(String, String)>,
    /// Body, without transfer coding.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
    /// Which connection, counted from 0 over the life of the server.
    pub connection: u64,
    /// The name in the TLS client hello.
    pub sni: Option<String>,
}

impl PushRequest {
    /// The first value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::http::header(&self.headers, name)
    }

    /// The body as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One step of a request's life.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Which request, counted from 0 over the life of the server.
    pub request: u64,
    /// When.
    pub at: Instant,
    /// What happened.
    pub step: Step,
}

/// See [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The request was complete.
    Received {
        /// Path without query.
        path: String,
        /// Body, without transfer coding.
        body: Vec<u8>,
    },
    /// A complete head with this status is about to be written: from now on the client may know it.
    Answered(u16),
    /// The answer ended, or the client has gone.
    Ended,
}

/// The server's state, as seen by `wait_until` conditions.
#[derive(Debug, Default)]
pub struct PushState {
    requests: Vec<PushRequest>,
    received: u64,
    progress: Vec<Progress>,
    default: Answer,
    script: VecDeque<Answer>,
    script_for: HashMap<String, VecDeque<Answer>>,
    default_for: HashMap<String, Answer>,
    /// Beginning of a User-Agent, and the answer to it.
    agent: Option<(String, Answer)>,
    in_flight: usize,
    max_in_flight: usize,
    connections: u64,
    open: usize,
    tls_failures: usize,
    tls_silent: bool,
}

impl PushState {
    /// Requests in the order they were complete.
    pub fn requests(&self) -> &[PushRequest] {
        &self.requests
    }

    /// Requests that are being answered now. One whose client has gone no longer counts.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open
    }

    /// That for the User-Agent goes first, then the path's own answers, then the script, then the path's default, then
    /// the default.
    fn answer(&mut self, target: &str, agent: &str) -> Answer {
        if let Some((_, answer)) = self.agent.as_ref().filter(|(begin, _)| agent.starts_with(begin)) {
            return answer.clone();
        }
        let path = target.split('?').next().unwrap_or_default();
        let of_path = self.script_for.get_mut(path).and_then(VecDeque::pop_front);
        let scripted = of_path.or_else(|| self.script.pop_front());
        scripted.unwrap_or_else(|| self.default_for.get(path).unwrap_or(&self.default).clone())
    }
}

/// What control calls and connection tasks share.
#[derive(Default)]
struct Shared {
    state: Mutex<PushState>,
    changed: Condvar,
    /// As `changed`, for asynchronous waiting.
    changed_event: Event,
    /// Notified to make all connections end.
    cut: Event,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PushState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut PushState) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        self.changed_event.notify(usize::MAX);
        result
    }
}

/// A running push server. Dropping it closes all connections and frees the port.
///
/// The default answer is 201.
pub struct PushServer {
    host: Host,
    shared: Arc<Shared>,
    tls: bool,
}

/// Starting.
impl PushServer {
    /// Starts with TLS on a free loopback port.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start(pki: &Pki) -> Self {
        Self::start_at(Some(pki), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port is free")
    }

    /// Starts without TLS on a free loopback port.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start_plain() -> Self {
        Self::start_at(None, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port is free")
    }

    /// Starts on the given address, with TLS if there is a `pki`.
    pub fn start_at(pki: Option<&Pki>, addr: SocketAddr) -> io::Result<Self> {
        Self::start_tls(pki.map(|p| p.server_config(&[])), addr)
    }

    /// Starts with any TLS configuration, for instance one with an expired certificate or wrong names.
    pub fn start_tls(config: Option<Arc<ServerConfig>>, addr: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let acceptor = config.map(TlsAcceptor::from);
        let tls = acceptor.is_some();
        let serve = {
            let shared = shared.clone();
            move |tcp, _peer| serve::connection(shared.clone(), acceptor.clone(), tcp)
        };
        Ok(Self { host: Host::start("sim-push", addr, serve)?, shared, tls })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.host.addr()
    }

    /// `https://localhost:PORT/push/<token>`
    pub fn endpoint(&self, token: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}/push/{token}", self.addr().port())
    }
}

/// Telling it how to answer.
impl PushServer {
    /// The answer when no script is left.
    pub fn set_default(&self, answer: Answer) {
        self.shared.update(|s| s.default = answer);
    }

    /// The answer for one path, such as `/push/up1`, when no script is left.
    pub fn set_default_for(&self, path: &str, answer: Answer) {
        self.shared.update(|s| s.default_for.insert(path.to_owned(), answer));
    }

    /// Takes back what `set_default_for` said.
    pub fn unset_default_for(&self, path: &str) {
        self.shared.update(|s| s.default_for.remove(path));
    }

    /// The answer to everybody whose User-Agent begins like this.
    pub fn set_for_agent(&self, begin: &str, answer: Answer) {
        self.shared.update(|s| s.agent = Some((begin.to_owned(), answer)));
    }

    /// Answers to the next requests, in turn; added behind those still left.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.update(|s| s.script.extend(answers));
    }

    /// Answers to the next requests for one path, such as `/push/up1`; they go before the common script.
    pub fn script_for(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.shared.update(|s| s.script_for.entry(path.to_owned()).or_default().extend(answers));
    }

    /// Refuses TCP connections (`ECONNREFUSED`). Open connections stay.
    pub fn refuse(&self, refuse: bool) {
        self.host.refuse(refuse);
    }

    /// Accepts TCP and then says nothing: a stalled TLS handshake, or with plain HTTP a hung server.
    pub fn set_tls_silent(&self, silent: bool) {
        self.shared.update(|s| s.tls_silent = silent);
    }

    /// Ends all open connections with a plain EOF.
    pub fn cut_all(&self) {
        self.shared.cut.notify(usize::MAX);
    }
}

/// Looking and waiting.
impl PushServer {
    /// Requests in the order they were complete.
    pub fn requests(&self) -> Vec<PushRequest> {
        self.shared.lock().requests.clone()
    }

    /// Requests for one path, such as `/push/up1`.
    pub fn requests_for(&self, path: &str) -> Vec<PushRequest> {
        let of_path = |r: &&PushRequest| r.target.split('?').next() == Some(path);
        self.shared.lock().requests.iter().filter(of_path).cloned().collect()
    }

    /// Takes out what happened since the last time, in order, and forgets the requests: for long runs. A step that a
    /// client may have acted on is there.
    pub fn take_progress(&self) -> Vec<Progress> {
        self.shared.update(|s| {
            s.requests.clear();
            std::mem::take(&mut s.progress)
        })
    }

    /// Most requests ever in flight at once.
    pub fn max_in_flight(&self) -> usize {
        self.shared.lock().max_in_flight
    }

    /// TCP connections accepted since the start.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections as usize
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open
    }

    /// TLS handshakes that failed, for instance because the client refused the certificate.
    pub fn tls_failures(&self) -> usize {
        self.shared.lock().tls_failures
    }

    /// Forgets requests and scripts, and what was the most in flight. The defaults stay.
    pub fn clear(&self) {
        self.shared.update(|s| {
            s.requests.clear();
            s.progress.clear();
            s.script.clear();
            s.script_for.clear();
            s.max_in_flight = s.in_flight;
        });
    }

    /// Waits until n requests were complete, since the start or `clear`. False after `timeout`.
    pub fn wait_requests(&self, n: usize, timeout: Duration) -> bool {
        self.wait_until(timeout, |s| s.requests.len() >= n)
    }

    /// Waits until the condition holds. False after `timeout`.
    pub fn wait_until(&self, timeout: Duration, mut condition: impl FnMut(&PushState) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if condition(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As `wait_until`, for asynchronous code that must not block its thread.
    pub async fn until(&self, timeout: Duration, mut condition: impl FnMut(&PushState) -> bool) -> bool {
        let held = async {
            loop {
                let changed = self.shared.changed_event.listen();
                if condition(&self.shared.lock()) {
                    return true;
                }
                changed.await;
            }
        };
        let timer = async {
            Timer::after(timeout).await;
            false
        };
        held.or(timer).await
    }
}

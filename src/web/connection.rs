//! One connection, one request: its head is checked here, `exchange` has it answered.
//!
//! Connections are not kept alive. A few requests a day per phone gain nothing from it, and without it there are no
//! idle connections to bound, no request can be smuggled behind another, and no proxy can lose a registration on a
//! connection that is just being closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future, io};
use smol::channel::Receiver;

use super::client::{self, Client};
use super::client_rate_limit::ClientRateLimit;
use super::connection_limit::{Admitted, Full};
use super::error_response::ErrorResponse;
use super::exchange::{self, Request};
use super::head::{self, HeadError};
use super::log_throttle::LogThrottle;
use crate::config::Network;
use crate::metrics::Metrics;
use crate::runtime::timeout;
use crate::timings::{Limits, Rate, Timings};

/// How long the client may take to notice that we are done. Closing at once, with bytes of its request unread, would
/// reset the connection and could take our answer with it.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes read and thrown away meanwhile.
const LINGER_BYTES: u64 = 256 * 1024;

/// What a connection may use.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// The same, of one client.
    pub(crate) connections_per_client: usize,
    /// Requests of one client.
    pub(crate) requests: Rate,
    /// Clients whose requests are remembered.
    pub(crate) clients: usize,
    /// Proxies that are believed when they say whose request it is.
    pub(crate) trusted: Vec<Network>,
    /// The path of `public_url`, without the slash at its end: requests are answered with and without it.
    pub(crate) prefix: String,
    /// Request line and headers, in bytes.
    pub(crate) head_bytes: usize,
    /// Request body, in bytes.
    pub(crate) body_bytes: usize,
    /// From the connection to the end of the head.
    pub(crate) head: Duration,
    /// From the connection to the end of the answer.
    pub(crate) request: Duration,
    /// What requests in flight get once the server stops.
    pub(crate) shutdown: Duration,
}

/// What all connections of a listener share.
pub(super) struct ConnectionContext<S> {
    pub(super) app: tide::Server<S>,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    /// Requests by client.
    requests: ClientRateLimit,
    /// Closed when the server stops: who has not sent a whole head by then is not in flight.
    pub(super) stopping: Receiver<()>,
    /// Things for the operator to correct, so they are worth a line: a proxy that speaks HTTP/2, TLS or the PROXY protocol
    /// to us,
    http_2: LogThrottle,
    tls: LogThrottle,
    proxy_protocol: LogThrottle,
    /// and clients that are turned away.
    pub(super) turned_away: LogThrottle,
}

impl Bounds {
    /// From the program's limits and deadlines. `trusted`: proxies that are believed.
    pub(crate) fn new(limits: &Limits, timings: &Timings, trusted: Vec<Network>) -> Self {
        Self {
            connections: limits.web_connections,
            connections_per_client: limits.web_connections_per_client,
            requests: limits.web_requests,
            clients: limits.web_clients,
            trusted,
            prefix: String::new(),
            head_bytes: limits.web_head,
            body_bytes: limits.web_body,
            head: timings.web_head,
            request: timings.web_request,
            shutdown: timings.shutdown,
        }
    }
}

impl<S> ConnectionContext<S> {
    pub(super) fn new(app: tide::Server<S>, bounds: Bounds, metrics: Arc<Metrics>, stopping: Receiver<()>) -> Self {
        let requests = ClientRateLimit::new("requests", bounds.requests, bounds.clients);
        let new = LogThrottle::default;
        let (http_2, tls, proxy_protocol, turned_away) = (new(), new(), new(), new());
        Self { app, bounds, metrics, requests, stopping, http_2, tls, proxy_protocol, turned_away }
    }

    /// Logs why a head was refused: once a minute where the operator has to correct something.
    fn log_refused(&self, peer: Option<IpAddr>, error: HeadError) {
        let throttle = match error {
            HeadError::Version => Some(&self.http_2),
            HeadError::Tls => Some(&self.tls),
            HeadError::ProxyProtocol => Some(&self.proxy_protocol),
            _ => None,
        };
        let due = throttle.is_some_and(|throttle| throttle.due(Instant::now()));
        let level = if due { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "web: request from {} refused: {error}", Client::by_peer(peer, &self.bounds.trusted));
    }

    /// Whether this client may have a request answered now.
    fn admit(&self, client: Client, connection: &Admitted) -> Result<(), ErrorResponse> {
        let Some(key) = client.key() else { return Ok(()) };
        if let Err(full) = connection.belongs_to(key) {
            self.turned_away.warn_turned_away(client, full);
            return Err(full.into());
        }
        self.requests.admit(client, Instant::now()).map_err(ErrorResponse::too_often)
    }
}

/// Reads one request, answers it, closes. Never fails: what goes wrong is the client's to see.
pub(super) async fn run<S, T>(shared: &ConnectionContext<S>, mut stream: T, peer: Option<IpAddr>, connection: Admitted)
where
    S: Clone + Send + Sync + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let deadline = Instant::now() + shared.bounds.request;
    let begun = AtomicBool::new(false);
    let answered = async {
        serve(shared, &mut stream, peer, &connection, &begun, deadline).await;
        None
    };
    let evicted = async { Some(connection.evicted().await) };
    // A client that does not read its answer must not stay either.
    let evicted = timeout(shared.bounds.request + LINGER, future::or(answered, evicted)).await;
    if let Some(Some(full)) = evicted
        && !begun.load(Ordering::Relaxed)
    {
        say(&mut stream, full).await;
    }
}

/// Answers a connection nobody has time for, as far as that takes no time.
pub(super) async fn say<T: AsyncWrite + Unpin>(stream: &mut T, full: Full) {
    future::poll_once(std::pin::pin!(send(stream, full.into()))).await;
}

async fn send<T: AsyncWrite + Unpin>(stream: &mut T, answer: ErrorResponse) {
    let _ = stream.write_all(&answer.bytes()).await;
    let _ = stream.close().await;
}

async fn serve<S, T>(
    shared: &ConnectionContext<S>,
    stream: &mut T,
    peer: Option<IpAddr>,
    connection: &Admitted,
    begun: &AtomicBool,
    deadline: Instant,
) where
    S: Clone + Send + Sync + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let head = async { Some(read_head(stream, &shared.bounds).await) };
    let stopped = async {
        let _ = shared.stopping.recv().await;
        None
    };
    let refused = match future::or(head, stopped).await {
        None | Some(Ok(None)) => return,
        Some(Err(error)) => {
            shared.log_refused(peer, error);
            if let HeadError::Tls | HeadError::ProxyProtocol = error {
                return;
            }
            Err(error.into())
        }
        Some(Ok(Some(Head { bytes, end }))) => {
            let client = client::of(peer, &bytes[..end], &shared.bounds.trusted);
            match shared.admit(client, connection) {
                Ok(()) => {
                    let request = Request { bytes: &bytes, client, connection, begun, deadline };
                    exchange::exchange(shared, stream, request).await
                }
                Err(refused) => Err(refused),
            }
        }
    };
    if let Err(answer) = refused {
        begun.store(true, Ordering::Relaxed);
        send(stream, answer).await;
    }
    drain(stream).await;
}

/// A complete and checked head.
struct Head {
    /// All that was read so far; begins with the head.
    bytes: Vec<u8>,
    /// Length of the head.
    end: usize,
}

/// The head; `None` when the client went away or never said anything.
async fn read_head<T: AsyncRead + Unpin>(stream: &mut T, bounds: &Bounds) -> Result<Option<Head>, HeadError> {
    let mut bytes = Vec::new();
    let whole = async {
        loop {
            let (seen, mut part) = (bytes.len(), [0; 2048]);
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
            if let Some(end) = head::length(&bytes, seen, bounds.head_bytes)? {
                head::check(&bytes[..end])?;
                return Ok(Some(end));
            }
        }
    };
    match timeout(bounds.head, whole).await.unwrap_or(Err(HeadError::TooSlow)) {
        Err(HeadError::TooSlow) if bytes.is_empty() => Ok(None),
        read => Ok(read?.map(|end| Head { bytes, end })),
    }
}

/// Reads what the client still sends, so that it gets to read our answer.
pub(super) async fn drain<T: AsyncRead + Unpin>(stream: &mut T) {
    let _ = timeout(LINGER, io::copy(stream.take(LINGER_BYTES), io::sink())).await;
}

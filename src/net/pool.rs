//! Connections to push servers that wait for the next push, so that it costs no TCP and TLS handshake.
//!
//! Worth its lines where many accounts share a push server: at 5,000 accounts with 8 push servers a message costs 0.21 ms of
//! processor time instead of 0.93 ms, 5,476 pushes a second go out instead of 1,244, and a request is there after
//! 0.41 ms (p50) instead of 1.50 ms. A household of ten gains 0.8 ms a message (1.6 instead of 2.4 ms) and, on a real
//! network, the two round trips of the handshakes. Measured with `load` on loopback, two cores, one release build
//! without LTO.
//!
//! The guard judges every push all the same: whoever takes a connection says which addresses may be used now, and one to
//! any other address is closed. Only what ended well is kept: an answer of 2xx whose body was read to its end. A server
//! may close a connection at any moment, or vanish; the sender then dials (`super::http`).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite};
use http_body_util::{BodyExt as _, Full};
use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use smol::{Executor, Task};
use smol_hyper::rt::FuturesIo;

use crate::bounded::{Bounded, Budget};
use crate::runtime::{lock, timeout};

/// The smallest buffer hyper takes.
const LEAST_HEAD: usize = 8 * 1024;
/// Room for interim answers before the head that counts, in heads: a server may send them for ever.
const HEADS: usize = 4;
/// A body up to this size is read and dropped, in bytes. Push servers answer with a line or nothing.
const BODY: usize = 4 * 1024;
/// A body that takes longer is not worth waiting for.
const DRAIN: Duration = Duration::from_secs(1);

/// A connection with HTTP/1.1 on it. Dropping it closes the socket.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    peer: SocketAddr,
    /// What may be read for one answer, and how much that is.
    budget: Budget,
    answer: usize,
    /// Reads and writes the socket; also while nothing is asked, so that its end is seen.
    _driver: Task<()>,
}

impl Connection {
    /// Puts HTTP on a stream to `peer`. Heads of answers may have `limit` bytes.
    pub(super) async fn open<S>(
        stream: S,
        peer: SocketAddr,
        limit: usize,
        executor: &Executor<'static>,
    ) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let answer = answer_bytes(limit);
        let budget = Budget::of(answer);
        let (sender, driver) = handshake(Bounded::new(stream, budget.clone()), limit).await?;
        Ok(Self { sender, peer, budget, answer, _driver: executor.spawn(driver) })
    }

    /// Sends a request and waits for the head of the final answer (RFC 9110 section 15.2).
    pub(super) async fn send(
        &mut self,
        request: hyper::Request<Full<Bytes>>,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        self.sender.ready().await?;
        self.budget.refill(self.answer);
        self.sender.send_request(request).await
    }
}

/// How many bytes are read for one answer whose head may have `limit` of them.
pub(super) fn answer_bytes(limit: usize) -> usize {
    HEADS * limit.max(LEAST_HEAD) + BODY
}

/// The sender of requests on a stream, and what must be polled for it to work.
pub(super) async fn handshake<S>(
    stream: S,
    limit: usize,
) -> hyper::Result<(SendRequest<Full<Bytes>>, impl Future<Output = ()> + Send + 'static)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limit.max(LEAST_HEAD));
    let (sender, connection) = builder.handshake(FuturesIo::new(stream)).await?;
    let driver = async {
        // Whoever waits for an answer is told of an error.
        let _ = connection.await;
    };
    Ok((sender, driver))
}

/// One that waits.
struct Idle {
    origin: String,
    since: Instant,
    connection: Connection,
}

/// The connections that wait, the one used last at the end. To one origin there are no more than pushes were in flight at
/// once, because whoever takes one dials only when there is none.
pub(super) struct Pool {
    idle_ttl: Duration,
    most: usize,
    idle: Mutex<Vec<Idle>>,
    executor: Arc<Executor<'static>>,
}

impl Pool {
    /// Keeps at most `most` connections, each usable for `idle_ttl` after its last answer. None when that is zero.
    pub(super) fn new(idle_ttl: Duration, most: usize, executor: Arc<Executor<'static>>) -> Self {
        Self { idle_ttl, most, idle: Mutex::default(), executor }
    }

    /// The executor that drives the connections.
    pub(super) fn executor(&self) -> &Executor<'static> {
        &self.executor
    }

    /// A connection to `origin` at one of `addresses`. Connections to other addresses are closed: the name moved, or the
    /// guard does not allow them any more. So are all that have waited too long.
    pub(super) fn take(&self, origin: &str, addresses: &[IpAddr]) -> Option<Connection> {
        let mut waiting = lock(&self.idle);
        waiting.retain(|idle| {
            let usable = idle.origin != origin || addresses.contains(&idle.connection.peer.ip());
            usable && !idle.connection.sender.is_closed() && idle.since.elapsed() < self.idle_ttl
        });
        let at = waiting.iter().rposition(|idle| idle.origin == origin)?;
        Some(waiting.remove(at).connection)
    }

    /// Keeps a connection, if the answer it brought allows that.
    pub(super) fn give_back(
        self: &Arc<Self>,
        origin: String,
        mut connection: Connection,
        status: StatusCode,
        body: Incoming,
    ) {
        // Another connection may lead to a machine that is well.
        if !status.is_success() || self.idle_ttl.is_zero() {
            return;
        }
        if body.is_end_stream() {
            return self.put(origin, connection);
        }
        let pool = self.clone();
        let drain = async move {
            let end = async { read_to_end(body).await && connection.sender.ready().await.is_ok() };
            if timeout(DRAIN, end).await == Some(true) {
                pool.put(origin, connection);
            }
        };
        self.executor.spawn(drain).detach();
    }

    /// Closes what waits for `origin`: something went wrong there.
    pub(super) fn forget(&self, origin: &str) {
        lock(&self.idle).retain(|idle| idle.origin != origin);
    }

    fn put(&self, origin: String, connection: Connection) {
        let mut waiting = lock(&self.idle);
        if waiting.len() >= self.most {
            waiting.remove(0);
        }
        waiting.push(Idle { origin, since: Instant::now(), connection });
    }
}

/// Whether the body ended as it should, within the bound.
async fn read_to_end(mut body: Incoming) -> bool {
    if body.size_hint().lower() > BODY as u64 {
        return false;
    }
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BODY {
            return false;
        }
    }
    true
}

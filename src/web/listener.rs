//! Accepts connections or turns them away, and ends them in order. Works on any kind of listening socket.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite, future};
use smol::lock::Semaphore;
use smol::{Executor, Timer, channel};

use super::client::Client;
use super::connection::{self, Bounds, ConnectionContext};
use super::connection_limit::ConnectionLimit;
use super::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use crate::runtime::timeout;

/// Pause after a failed accept. Out of descriptors, accept fails at once for ever: without a pause it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Rejected connections that get a moment to read why. Without it some clients would see only a reset.
const REJECTED_BACKLOG: usize = 64;

/// A listening socket.
pub(crate) trait Accept: Send {
    /// An accepted connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and, where there is one, the address of its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<IpAddr>)>> + Send;
}

impl Accept for smol::net::TcpListener {
    type Stream = smol::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<IpAddr>)> {
        let (stream, peer) = Self::accept(self).await?;
        // Answers are written at once; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer.ip())))
    }
}

#[cfg(unix)]
impl Accept for smol::net::unix::UnixListener {
    type Stream = smol::net::unix::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<IpAddr>)> {
        Ok((Self::accept(self).await?.0, None))
    }
}

/// Serves `app` until `stop` resolves; then accepts nothing more, lets requests in flight finish within
/// `bounds.shutdown` and cuts what is left. Connections are tasks of `executor`.
pub(crate) async fn serve<S, L>(
    app: tide::Server<S>,
    listener: L,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    executor: Arc<Executor<'static>>,
    stop: impl Future<Output = ()> + Send,
) where
    S: Clone + Send + Sync + 'static,
    L: Accept,
{
    let (running, stopping) = channel::bounded::<()>(1);
    let (not_cut, cut) = channel::bounded::<()>(1);
    let (open, all_closed) = channel::bounded::<()>(1);
    let grace = bounds.shutdown;
    let limit = ConnectionLimit::new(bounds.connections, bounds.connections_per_client);
    let backlog = Arc::new(Semaphore::new(REJECTED_BACKLOG));
    let shared = Arc::new(ConnectionContext::new(app, bounds, metrics, stopping));
    let complaint = LogThrottle::default();
    let accept = async {
        loop {
            let (mut stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if complaint.due(Instant::now()) {
                        log::warn!("web: cannot accept connections: {error}; trying again every 100 ms");
                    }
                    // Accounts and pushes need descriptors, too: who keeps us waiting makes room for them.
                    limit.shed();
                    Timer::after(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let client = Client::by_peer(peer, &shared.bounds.trusted);
            match limit.admit(client.key()) {
                Ok((connection, evicted)) => {
                    if let Some(evicted) = evicted {
                        evicted.gone().await;
                    }
                    let (shared, cut, open) = (shared.clone(), cut.clone(), open.clone());
                    let task = async move {
                        let run = async {
                            connection::run(&shared, stream, peer, connection).await;
                            Ok(())
                        };
                        let _ = future::or(run, cut.recv()).await;
                        drop(open);
                    };
                    executor.spawn(task).detach();
                }
                Err(full) => {
                    shared.turned_away.warn_turned_away(client, full);
                    connection::say(&mut stream, full).await;
                    if let Some(place) = backlog.try_acquire_arc() {
                        let task = async move {
                            connection::drain(&mut stream).await;
                            drop(place);
                        };
                        executor.spawn(task).detach();
                    }
                }
            }
        }
    };
    future::or(accept, stop).await;
    drop((listener, running, open));
    let _ = timeout(grace, all_closed.recv()).await;
    drop(not_cut);
}

#[cfg(test)]
mod tests;

//! A server thread: one executor, one listener, one task per connection.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_listener::{Event, Listener as _};
use futures_lite::{AsyncReadExt, FutureExt};
use rustix::net::sockopt;
use smol::net::TcpStream;
use smol::{Async, Executor, Timer};

/// Connections the kernel queues for us. A load driver opens thousands at once.
const BACKLOG: i32 = 4096;

/// A running server. Dropping it closes every socket and joins the thread.
pub(crate) struct Host {
    addr: SocketAddr,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

/// What the control side tells the accept loop.
#[derive(Default)]
struct Gate {
    stop: AtomicBool,
    refuse: AtomicBool,
    changed: Event,
    /// Notified when the listener has opened or closed.
    applied: Event,
    listening: AtomicBool,
}

impl Host {
    /// Binds `addr` and serves each connection with `serve`.
    ///
    /// The port can be taken again at once: the socket is bound with `SO_REUSEADDR`.
    pub(crate) fn start<F, S>(name: &str, addr: SocketAddr, mut serve: F) -> io::Result<Self>
    where
        F: FnMut(TcpStream, SocketAddr) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let socket = hold_port(addr)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr()?;
        let gate = Arc::new(Gate::default());
        gate.listening.store(true, Ordering::SeqCst);
        let shared = gate.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let executor = Executor::new();
            smol::block_on(executor.run(accept_loop(&executor, listener, addr, &shared, &mut serve)));
        })?;
        Ok(Self { addr, gate, thread: Some(thread) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the listener (connections are refused by the kernel) or opens it again. Returns when it is done.
    pub(crate) fn refuse(&self, refuse: bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        self.gate.refuse.store(refuse, Ordering::SeqCst);
        self.gate.changed.notify(usize::MAX);
        loop {
            let applied = self.gate.applied.listen();
            if self.gate.listening.load(Ordering::SeqCst) != refuse {
                return;
            }
            assert!(applied.wait_deadline(deadline).is_some(), "the accept loop does not answer");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.gate.stop.store(true, Ordering::SeqCst);
        self.gate.changed.notify(usize::MAX);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if result.is_err() && !std::thread::panicking() {
                panic!("the server thread panicked");
            }
        }
    }
}

/// A bound socket that does not listen: it keeps the port ours while connections are refused.
fn hold_port(addr: SocketAddr) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &addr)?;
    Ok(socket)
}

/// Stops listening, so that the port can be bound again at once. Closing alone is not enough: a process that another
/// test is just starting holds a copy of the socket until its `exec`.
fn close(listener: Async<TcpListener>) {
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
}

async fn accept_loop<'a, F, S>(
    executor: &Executor<'a>,
    listener: TcpListener,
    addr: SocketAddr,
    gate: &Gate,
    serve: &mut F,
) where
    F: FnMut(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'a,
{
    let mut listener = Some(Async::new(listener).expect("the listener registers"));
    let mut held: Option<OwnedFd> = None;
    loop {
        let changed = gate.changed.listen();
        if gate.stop.load(Ordering::SeqCst) {
            if let Some(listener) = listener {
                close(listener);
            }
            return;
        }
        if gate.refuse.load(Ordering::SeqCst) {
            if let Some(listener) = listener.take() {
                close(listener);
                held = Some(hold_port(addr).expect("the port is still ours"));
            }
        } else if let Some(socket) = held.take() {
            rustix::net::listen(&socket, BACKLOG).expect("the held port listens");
            listener = Some(Async::new(TcpListener::from(socket)).expect("the listener registers"));
        }
        gate.listening.store(listener.is_some(), Ordering::SeqCst);
        gate.applied.notify(usize::MAX);
        let Some(listener) = &listener else {
            changed.await;
            continue;
        };
        let accepted = async { Some(listener.accept().await) }
            .or(async {
                changed.await;
                None
            })
            .await;
        match accepted {
            Some(Ok((stream, peer))) => {
                let stream = TcpStream::from(stream);
                let _ = stream.set_nodelay(true);
                executor.spawn(serve(stream, peer)).detach();
            }
            // Out of file descriptors: wait for some to come back instead of spinning.
            Some(Err(_)) => drop(Timer::after(Duration::from_millis(20)).await),
            None => {}
        }
    }
}

/// Closes the connection with a TCP RST: the peer sees `ECONNRESET`. The caller must drop its own clones.
pub(crate) fn reset(tcp: &TcpStream) {
    let _ = sockopt::set_socket_linger(tcp, Some(Duration::ZERO));
}

/// Makes the receive window small, so that a peer that writes soon blocks.
pub(crate) fn shrink_window(tcp: &TcpStream) {
    let _ = sockopt::set_socket_recv_buffer_size(tcp, 4096);
}

/// Sends FIN without a TLS `close_notify`, then waits for the peer to go.
pub(crate) async fn cut(tcp: TcpStream) {
    let _ = tcp.shutdown(std::net::Shutdown::Write);
    linger(tcp).await;
}

/// Reads and drops what still arrives, up to 5 s. Closing with unread data would send RST and destroy
/// what we sent last.
pub(crate) async fn linger(mut tcp: TcpStream) {
    let drain = async {
        let mut buffer = [0; 4096];
        while matches!(tcp.read(&mut buffer).await, Ok(n) if n > 0) {}
    };
    drain
        .or(async {
            Timer::after(Duration::from_secs(5)).await;
        })
        .await;
}

/// Reads and drops until the peer closes.
pub(crate) async fn swallow(stream: &mut (impl futures_lite::AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
}

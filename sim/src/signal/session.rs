//! The task of one connection: TLS, upgrade, then frames until the end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use event_listener::Event;
use futures_lite::{AsyncWriteExt, FutureExt, StreamExt, future};
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::HandshakeKind;
use futures_rustls::server::TlsStream;
use futures_util::SinkExt;
use smol::Timer;
use smol::net::TcpStream;

use super::Shared;
use super::frames::{close, thousands, write_all};
use super::mode::Handshake;
use super::records::{CloseRecord, UpgradeRequest};
use super::state::{Kill, Out};
use super::upgrade::{Decision, decide};
use crate::host;
use crate::http::read_head;

/// Limit of client messages on the real server; one byte more is Close 1009.
const MAX_MESSAGE: usize = 512 * 1024;
/// A client that takes longer to send its request is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the WebSocket runs over.
pub(super) type Tls = TlsStream<TcpStream>;

/// How a WebSocket ends.
enum End {
    /// We send this Close frame first.
    Close(u16, String),
    /// The peer sent a Close frame.
    PeerClosed,
    Kill(Kill),
    /// EOF or an error.
    Gone,
}

/// Serves one TCP connection.
pub(super) async fn serve(shared: Arc<Shared>, acceptor: TlsAcceptor, tcp: TcpStream, _peer: SocketAddr) {
    let (forced, mode) = shared.update(|s| {
        s.records.tcp_accepts += 1;
        let forced = s.settings.next_handshakes.pop_front();
        (forced.clone(), forced.or_else(|| s.settings.handshake.clone()))
    });
    match mode {
        Some(Handshake::AcceptTcpOnly) => return host::swallow(&mut tcp.clone()).await,
        Some(Handshake::RefuseTcp) => return host::reset(&tcp),
        _ => {}
    }
    if let Some(Handshake::Late(delay)) = mode {
        Timer::after(delay).await;
    }
    if let Some(session) = upgrade(&shared, &acceptor, tcp, forced).await {
        session.run().await;
    }
}

/// TLS and upgrade. `None` if it did not become a WebSocket.
async fn upgrade(
    shared: &Arc<Shared>,
    acceptor: &TlsAcceptor,
    tcp: TcpStream,
    forced: Option<Handshake>,
) -> Option<Session> {
    let mut rest = Vec::new();
    let request = async {
        let Ok(mut tls) = acceptor.accept(tcp.clone()).await else {
            shared.update(|s| s.records.tls_failures += 1);
            return None;
        };
        let head = read_head(&mut tls, &mut rest).await.ok()??;
        Some((tls, head))
    };
    let timeout = async {
        Timer::after(HANDSHAKE_TIMEOUT).await;
        None
    };
    let (mut tls, head) = request.or(timeout).await?;
    let sni = tls.get_ref().1.server_name().map(str::to_owned);
    let resumed = matches!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    // The socket is open, and an older one displaced, before the client can see the 101.
    let (decision, opened) = shared.update(|s| {
        s.records.tls_resumed += u64::from(resumed);
        let decision = decide(s, &head, forced);
        let status = match &decision {
            Decision::Answer { status, .. } => Some(*status),
            Decision::Upgrade { .. } => Some(101),
            Decision::Silent | Decision::Reset | Decision::EndlessHead => None,
        };
        let (method, target, headers) = (head.method, head.target, head.headers);
        s.records.upgrades.push(UpgradeRequest { method, target, headers, sni, at: Instant::now(), status });
        let opened = match &decision {
            Decision::Upgrade { device, messages, stories, .. } => Some(s.open(*device, *messages, *stories)),
            _ => None,
        };
        (decision, opened)
    });
    match decision {
        Decision::Silent => host::swallow(&mut tls).await,
        Decision::Reset => host::reset(&tcp),
        Decision::EndlessHead => {
            let mut bytes: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nX-Endless: ";
            while tls.write_all(bytes).await.is_ok() {
                bytes = &[b'a'; 4096];
            }
        }
        Decision::Answer { response, .. } => {
            let _ = tls.write_all(response.as_bytes()).await;
            let _ = tls.close().await;
            host::linger(tcp).await;
        }
        Decision::Upgrade { response, .. } => {
            let (id, wake) = opened?;
            let guard = Registration { shared: shared.clone(), id };
            tls.write_all(response.as_bytes()).await.ok()?;
            tls.flush().await.ok()?;
            let config = WebSocketConfig::default()
                .read_buffer_size(4096)
                .write_buffer_size(4096)
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_MESSAGE));
            let ws = WebSocketStream::from_partially_read(tls, rest, Role::Server, Some(config)).await;
            return Some(Session { registration: guard, wake, ws, tcp });
        }
    }
    None
}

/// Removes the socket from the state, however the task ends.
struct Registration {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.update(|s| s.remove(self.id));
    }
}

struct Session {
    registration: Registration,
    wake: Arc<Event>,
    ws: WebSocketStream<Tls>,
    tcp: TcpStream,
}

impl Session {
    async fn run(mut self) {
        let end = self.pump().await;
        let Self { registration, ws, tcp, .. } = self;
        if let End::Close(code, reason) = &end {
            let id = registration.id;
            registration.shared.update(|s| {
                let device = s.sockets.get(&id).and_then(|s| s.device);
                let (code, reason) = (Some(*code), reason.clone());
                s.records.server_closes.push(CloseRecord { device, socket: id, code, reason });
            });
        }
        // Before the peer can see the end, so that its next connect does not meet this socket.
        drop(registration);
        match end {
            End::Close(code, reason) => close(ws.into_inner(), tcp, code, &reason).await,
            End::PeerClosed => {
                let _ = ws.into_inner().close().await;
                host::linger(tcp).await;
            }
            End::Kill(Kill::Cut) => host::cut(tcp).await,
            End::Kill(Kill::Reset) => host::reset(&tcp),
            End::Gone => {}
        }
    }

    async fn pump(&mut self) -> End {
        let id = self.registration.id;
        let shared = self.registration.shared.clone();
        let mut last_frame = Instant::now();
        let mut timer = Timer::never();
        let mut armed: Option<Instant> = None;
        let mut shrunk = false;
        let mut held = None;
        loop {
            let woken = self.wake.listen();
            let (batch, kill) = shared.update(|s| (s.take_batch(id), s.sockets.get(&id).and_then(|s| s.kill)));
            if let Some(kill) = kill {
                return End::Kill(kill);
            }
            if batch.silent {
                woken.await;
                last_frame = Instant::now();
                continue;
            }
            if !batch.out.is_empty() {
                if let Some(end) = self.write(batch.out, batch.fragment_size).await {
                    return end;
                }
                last_frame = Instant::now();
                continue;
            }
            if batch.never_read && !shrunk {
                host::shrink_window(&self.tcp);
                shrunk = true;
            }
            let idle_at = last_frame + batch.idle_timeout;
            if !batch.never_read && Instant::now() >= idle_at {
                return End::Close(1001, "Connection Idle Timeout".to_owned());
            }
            let wake_at = batch.wake_at.map_or(idle_at, |at| at.min(idle_at));
            // Setting a timer costs more than looking once too early, so an earlier one is left alone.
            if armed.is_none_or(|at| at > wake_at) {
                timer.set_at(wake_at);
                armed = Some(wake_at);
            }
            // Orders of the control side go first, so that a mode holds from the moment it is set.
            let event = async {
                woken.await;
                Input::Woken
            }
            .or(async {
                if batch.never_read {
                    return future::pending().await;
                }
                Input::Frame(match held.take() {
                    Some(frame) => frame,
                    None => self.ws.next().await,
                })
            })
            .or(async {
                (&mut timer).await;
                Input::Timer
            })
            .await;
            match event {
                Input::Woken => {}
                Input::Timer => armed = None,
                // The mode changed while the frame was being read.
                Input::Frame(frame) if shared.lock().is_deaf(id) => held = Some(frame),
                Input::Frame(frame) => {
                    last_frame = Instant::now();
                    if let Some(end) = self.on_frame(&shared, frame).await {
                        return end;
                    }
                }
            }
        }
    }

    async fn on_frame(&mut self, shared: &Shared, frame: Option<Result<Message, Error>>) -> Option<End> {
        let id = self.registration.id;
        match frame {
            Some(Ok(Message::Binary(bytes))) => shared.update(|s| s.on_binary(id, &bytes)).map(End::Kill),
            Some(Ok(Message::Text(_))) => {
                shared.update(|s| s.records.texts += 1);
                None
            }
            Some(Ok(Message::Ping(_))) => {
                shared.update(|s| s.records.pings += 1);
                // Sends the pong tungstenite has queued.
                self.ws.flush().await.err().map(|_| End::Gone)
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map(|f| (u16::from(f.code), f.reason.to_string())).unzip();
                let reason = reason.unwrap_or_default();
                shared.update(|s| {
                    let device = s.sockets.get(&id).and_then(|s| s.device);
                    s.records.client_closes.push(CloseRecord { device, socket: id, code, reason });
                });
                let _ = self.ws.flush().await;
                Some(End::PeerClosed)
            }
            Some(Ok(_)) => None,
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
                let reason = format!("Binary message too large: {} > {}", thousands(size), thousands(max_size));
                Some(End::Close(1009, reason))
            }
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Some(End::Gone),
            Some(Err(Error::Protocol(e))) => Some(End::Close(1002, e.to_string())),
            Some(Err(Error::Utf8(e))) => Some(End::Close(1007, e)),
            Some(Err(_)) | None => Some(End::Gone),
        }
    }

    /// Writes and flushes. A cut or reset interrupts it; the peer may not be reading.
    async fn write(&mut self, out: Vec<Out>, fragment_size: usize) -> Option<End> {
        let Self { registration, wake, ws, .. } = self;
        let mut write = pin!(write_all(ws, out, fragment_size));
        loop {
            let woken = wake.listen();
            let id = registration.id;
            if let Some(kill) = registration.shared.update(|s| s.sockets.get(&id).and_then(|s| s.kill)) {
                return Some(End::Kill(kill));
            }
            let written = async { Some(write.as_mut().await) }.or(async {
                woken.await;
                None
            });
            match written.await {
                Some(Ok(close)) => return close.map(|(code, reason)| End::Close(code, reason)),
                Some(Err(_)) => return Some(End::Gone),
                None => {}
            }
        }
    }
}

/// What the task waits for.
enum Input {
    Frame(Option<Result<Message, Error>>),
    Woken,
    Timer,
}

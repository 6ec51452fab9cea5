//! A raw WebSocket client: it does only what a test tells it to.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use base64::Engine as _;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::{ClientConfig, RootCertStore};
use prost::Message as _;
use sim::pki::Pki;
use sim::signal::SignalServer;
use sim::wire::{EnvelopeMessage, Request, Response, WebSocketMessage};
use smol::Timer;
use smol::net::TcpStream;

pub const ACI: &str = "11111111-2222-4333-8444-555555555555";
pub const PASSWORD: &str = "pass:wo+rd/";
/// Long enough for a busy machine; only failing tests wait for it.
pub const LONG: Duration = Duration::from_secs(10);
/// How long a test watches that nothing happens.
pub const SHORT: Duration = Duration::from_millis(100);

pub type Tls = TlsStream<TcpStream>;

/// A server with device 2 of [`ACI`], and its authority.
pub fn server() -> (Pki, SignalServer) {
    let pki = Pki::new();
    let server = SignalServer::start(&pki);
    server.add_device(ACI, 2, PASSWORD);
    (pki, server)
}

pub fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}")))
}

pub fn connector(pki: &Pki) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Opens TLS to a loopback port.
pub async fn tls(pki: &Pki, port: u16) -> std::io::Result<Tls> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    connector(pki).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

/// The head of an HTTP response; what follows is the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub rest: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Reads a response head.
pub async fn read_answer(stream: &mut (impl futures_lite::AsyncRead + Unpin)) -> std::io::Result<Answer> {
    let mut buffer = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        buffer.push(byte[0]);
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        if response.parse(&buffer).map_err(std::io::Error::other)?.is_complete() {
            let status = response.code.unwrap();
            let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
            let headers = response.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
            return Ok(Answer { status, headers, rest: Vec::new() });
        }
    }
}

/// Sends an upgrade request with these extra header lines.
pub async fn upgrade(pki: &Pki, server: &SignalServer, path: &str, lines: &[String]) -> std::io::Result<(Answer, Tls)> {
    let mut tls = tls(pki, server.addr().port()).await?;
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in lines {
        request.push_str(&format!("{line}\r\n"));
    }
    request.push_str("\r\n");
    tls.write_all(request.as_bytes()).await?;
    let answer = read_answer(&mut tls).await?;
    Ok((answer, tls))
}

/// The status of an upgrade with these credentials.
pub async fn status(pki: &Pki, server: &SignalServer, authorization: &str) -> Answer {
    let lines = [format!("Authorization: {authorization}")];
    upgrade(pki, server, "/v1/websocket/", &lines).await.unwrap().0
}

/// What the client received.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    /// `PUT /api/v1/message`: request id and request.
    Message(u64, Request),
    QueueEmpty(Request),
    /// Any other request.
    Request(Request),
    Response(Response),
    Text(String),
    Pong,
    Ping,
    /// Bytes that are not a `WebSocketMessage`.
    Junk(Vec<u8>),
    Close(u16, String),
    /// The end, with or without an error.
    Eof,
}

pub struct Client {
    pub ws: WebSocketStream<Tls>,
    pub answer: Answer,
}

impl Client {
    /// Connects device 2 of [`ACI`].
    pub async fn connect(pki: &Pki, server: &SignalServer) -> Self {
        Self::connect_with(pki, server, &[auth()]).await
    }

    /// Connects with these header lines.
    pub async fn connect_with(pki: &Pki, server: &SignalServer, lines: &[String]) -> Self {
        let (answer, tls) = upgrade(pki, server, "/v1/websocket/", lines).await.unwrap();
        assert_eq!(answer.status, 101);
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let ws = WebSocketStream::from_raw_socket(tls, Role::Client, Some(config)).await;
        Self { ws, answer }
    }

    /// The next thing that comes in; fails after [`LONG`].
    pub async fn got(&mut self) -> Got {
        self.got_within(LONG).await.expect("something comes in")
    }

    /// The next thing that comes in within this time.
    pub async fn got_within(&mut self, time: Duration) -> Option<Got> {
        let next = async { Some(self.ws.next().await) };
        let timer = async {
            Timer::after(time).await;
            None
        };
        Some(match next.or(timer).await? {
            Some(Ok(Message::Binary(bytes))) => classify(&bytes),
            Some(Ok(Message::Text(text))) => Got::Text(text.to_string()),
            Some(Ok(Message::Pong(_))) => Got::Pong,
            Some(Ok(Message::Ping(_))) => Got::Ping,
            Some(Ok(Message::Close(Some(frame)))) => Got::Close(frame.code.into(), frame.reason.to_string()),
            // RFC 6455: a Close frame without a code counts as 1005.
            Some(Ok(Message::Close(None))) => Got::Close(1005, String::new()),
            Some(Ok(other)) => panic!("unexpected {other:?}"),
            Some(Err(_)) | None => Got::Eof,
        })
    }

    /// Checks that nothing comes in for a while.
    pub async fn nothing(&mut self) {
        assert_eq!(self.got_within(SHORT).await, None);
    }

    /// The next message: request id and request.
    pub async fn message(&mut self) -> (u64, Request) {
        match self.got().await {
            Got::Message(id, request) => (id, request),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    pub async fn queue_empty(&mut self) {
        let got = self.got().await;
        assert!(matches!(got, Got::QueueEmpty(_)), "{got:?}");
    }

    pub async fn response(&mut self) -> Response {
        match self.got().await {
            Got::Response(response) => response,
            other => panic!("expected a response, got {other:?}"),
        }
    }

    /// Expects this Close frame and then the end.
    pub async fn closed(&mut self, code: u16, reason: &str) {
        assert_eq!(self.got().await, Got::Close(code, reason.to_owned()));
        assert_eq!(self.got().await, Got::Eof);
    }

    pub async fn send(&mut self, message: WebSocketMessage) {
        self.send_raw(message.encode_to_vec()).await;
    }

    pub async fn send_raw(&mut self, bytes: Vec<u8>) {
        self.ws.send(Message::binary(bytes)).await.unwrap();
    }

    pub async fn ack(&mut self, id: u64) {
        self.respond(id, 200).await;
    }

    pub async fn respond(&mut self, id: u64, status: u32) {
        let message = Some("OK".to_owned());
        let response = Response { id: Some(id), status: Some(status), message, ..Default::default() };
        self.send(WebSocketMessage::response(response)).await;
    }

    pub async fn request(&mut self, verb: &str, path: &str, id: Option<u64>) {
        let (verb, path) = (Some(verb.to_owned()), Some(path.to_owned()));
        self.send(WebSocketMessage::request(Request { verb, path, id, ..Default::default() })).await;
    }

    pub async fn keepalive(&mut self, id: u64) {
        self.request("GET", "/v1/keepalive", Some(id)).await;
    }
}

pub fn auth() -> String {
    format!("Authorization: {}", basic(&format!("{ACI}.2"), PASSWORD))
}

pub fn envelope(request: &Request) -> EnvelopeMessage {
    EnvelopeMessage::decode(request.body.as_deref().unwrap()).unwrap()
}

fn classify(bytes: &[u8]) -> Got {
    match WebSocketMessage::decode(bytes) {
        Ok(WebSocketMessage { request: Some(request), .. }) => match request.path.as_deref() {
            Some("/api/v1/message") => Got::Message(request.id.unwrap(), request),
            Some("/api/v1/queue/empty") => Got::QueueEmpty(request),
            _ => Got::Request(request),
        },
        Ok(WebSocketMessage { response: Some(response), .. }) => Got::Response(response),
        _ => Got::Junk(bytes.to_vec()),
    }
}

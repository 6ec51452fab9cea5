//! From credentials to an open WebSocket: TCP, TLS and the upgrade, each under its deadline. Nothing outside this file
//! assumes one TLS connection per account.

use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue};
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{self};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_lite::AsyncReadExt;
use url::Url;

use crate::account::{Credentials, ServerTime};
use crate::net::{DialError, Net, Server, remedy, tls};
use crate::paced::Paced;
use crate::retry_after;
use crate::runtime::timeout;
use crate::signal::session::FAREWELL;
use crate::signal::upgrade::upgrade;
use crate::status::State;
use crate::timings::{Limits, Timings};

/// What a connection reads with before it got a message that needs more, in bytes.
const READ_BUFFER: usize = 1024;

/// An open connection.
pub type Socket = WebSocketStream<Paced<tls::Stream>>;

/// Why there is none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The host could not be reached.
    #[error("Signal could not be reached: {0}")]
    Dial(#[from] DialError),
    /// A stage took too long.
    #[error("Signal did not answer in time ({0})")]
    Timeout(&'static str),
    /// Signal, or something on the way, answered with another status than 101.
    #[error("{0}")]
    Refused(UpgradeRefusal),
    /// The answer was no WebSocket upgrade.
    #[error("the WebSocket handshake failed: {0}")]
    Handshake(String),
}

/// An upgrade answered with another status than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The answer carries `X-Signal-Timestamp`: it comes from Signal's service, not from a proxy (protocol note, 2.3).
    pub by_signal: bool,
    /// How long Signal asks to wait.
    pub retry_after: Option<Duration>,
}

impl UpgradeRefusal {
    /// Name of the kind of trouble: each is logged once.
    pub fn label(&self) -> &'static str {
        match self.status {
            403 => "403",
            401 => "401",
            404 => "404",
            429 => "429",
            500..=599 => "5xx",
            _ => "status",
        }
    }
}

impl std::fmt::Display for UpgradeRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status;
        match (status, self.by_signal) {
            (403, true) => f.write_str("Signal refuses the login (403): the device is not linked"),
            (403, false) => f.write_str("403 that does not come from Signal: a proxy or firewall is in the way"),
            (499, _) => f.write_str("Signal refuses this client (499)"),
            (404, _) => f.write_str("404: the address of Signal is wrong (`signal_url`)"),
            (429, _) => f.write_str("Signal asks for fewer requests (429)"),
            _ => write!(f, "Signal answered {status}"),
        }
    }
}

impl UpgradeRefusal {
    /// What people can do.
    pub fn remedy(&self) -> &'static str {
        match (self.status, self.by_signal) {
            (403, true) => State::Unlinked.remedy(),
            (200..=399, _) | (403, false) => {
                "look for a proxy, a firewall or a captive portal between this machine and Signal; check signal_url"
            }
            (404, _) => "correct signal_url, or remove it",
            (429, _) => "wait; it is a limit for this address",
            (499, _) => State::Refused.remedy(),
            _ => State::Waiting.remedy(),
        }
    }
}

impl ConnectError {
    /// What people can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Dial(error) => remedy(Server::Signal, error.stage),
            Self::Timeout(_) => "check the network: something on the way swallows packets or is very slow",
            Self::Refused(refusal) => refusal.remedy(),
            Self::Handshake(_) => "something on the way is no WebSocket server: look for a proxy; check signal_url",
        }
    }
}

/// What the connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectPurpose {
    /// To receive messages.
    Messages,
    /// Only to see whether the credentials work. Gets no messages and displaces nobody.
    Check,
}

/// An open connection and what its handshake told.
#[derive(Debug)]
pub struct Open {
    /// The WebSocket. On the heap, because it is large and every future it is moved through would hold a copy's room.
    pub socket: Box<Socket>,
    /// Signal's clock.
    pub server_time: Option<ServerTime>,
    /// `X-Signal-Alert`, such as `idle-primary-device`.
    pub alert: Option<String>,
}

/// Connects; without credentials Signal takes the connection for that of somebody who is not logged in. Box the future:
/// its state is large, and the caller lives much longer than the handshake.
///
/// # Errors
/// Says what failed; its kind decides what to do next ([`crate::signal::policy`]).
pub async fn connect(
    net: &Net,
    url: &Url,
    credentials: Option<&Credentials>,
    user_agent: &str,
    purpose: ConnectPurpose,
    timings: &Timings,
    limits: &Limits,
) -> Result<Open, ConnectError> {
    let whole = async {
        let host = url.host().map(|h| h.to_owned());
        let host = host.ok_or_else(|| ConnectError::Handshake("`signal_url` has no host".into()))?;
        let stream = net.dial_signal(&host, url.port_or_known_default().unwrap_or(443)).await?;
        let logged_in = timeout(timings.upgrade, log_in(stream, url, credentials, user_agent, purpose, limits)).await;
        logged_in.unwrap_or(Err(ConnectError::Timeout("upgrade")))
    };
    timeout(timings.connect, whole).await.unwrap_or(Err(ConnectError::Timeout("connecting")))
}

async fn log_in(
    stream: tls::Stream,
    url: &Url,
    credentials: Option<&Credentials>,
    user_agent: &str,
    purpose: ConnectPurpose,
    limits: &Limits,
) -> Result<Open, ConnectError> {
    let mut request = url.as_str().into_client_request().map_err(|e| ConnectError::Handshake(e.to_string()))?;
    let headers = request.headers_mut();
    if let Some(credentials) = credentials {
        headers.insert("authorization", authorization(credentials)?);
    }
    let agent = HeaderValue::from_str(user_agent)
        .map_err(|_| ConnectError::Handshake("the User-Agent cannot be sent in a header".into()))?;
    headers.insert("user-agent", agent);
    if purpose == ConnectPurpose::Check {
        headers.insert("x-signal-disable-messages", HeaderValue::from_static("true"));
    }
    // No permessage-deflate: everything is ciphertext. Small buffers: thousands of connections idle, and the one to read
    // with grows to what a message needs.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(limits.signal_message))
        .max_frame_size(Some(limits.signal_message));
    match upgrade(request, Paced::new(stream), config).await {
        Ok((socket, answer)) => Ok(Open {
            socket: Box::new(socket),
            server_time: text(answer.headers(), "x-signal-timestamp").and_then(|t| t.parse().ok()).map(ServerTime),
            alert: text(answer.headers(), "x-signal-alert").map(str::to_owned),
        }),
        Err(tungstenite::Error::Http(answer)) => {
            let headers = answer.headers();
            Err(ConnectError::Refused(UpgradeRefusal {
                status: answer.status().as_u16(),
                by_signal: headers.contains_key("x-signal-timestamp"),
                retry_after: text(headers, "retry-after")
                    .and_then(|value| retry_after::parse(value, text(headers, "date"), std::time::SystemTime::now())),
            }))
        }
        Err(error) => Err(ConnectError::Handshake(error.to_string())),
    }
}

/// Reads and drops what still arrives after our Close frame, for a moment: closing a socket with unread data in it
/// resets the connection, and the peer would not get to know why.
pub(super) async fn linger(mut socket: Box<Socket>) {
    let stream = socket.get_mut();
    let discard = async {
        let mut scratch = [0; 4096];
        while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
    };
    timeout(FAREWELL, discard).await;
}

/// `Basic base64("<account>.<device>:<password>")`: the only place Signal reads credentials from (protocol note, 2.1).
fn authorization(credentials: &Credentials) -> Result<HeaderValue, ConnectError> {
    let login = format!("{}.{}:{}", credentials.id, credentials.device, credentials.password.expose());
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login)))
        .map_err(|_| ConnectError::Handshake("the credentials cannot be sent in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok())
}

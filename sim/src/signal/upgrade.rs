//! The HTTP side of a handshake: which answer an upgrade request gets.

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use uuid::Uuid;

use super::mode::Handshake;
use super::records::DeviceAddress;
use super::state::State;
use crate::http::Head;

/// The servlet's path; the trailing slash is required (`WhisperServerService`).
const PATH: &str = "/v1/websocket/";

/// Java's basic decoder: standard alphabet, padding optional, nothing else.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What to do with an upgrade request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Write this response and close.
    Answer { status: u16, response: String },
    /// Write this 101 and go on as a WebSocket.
    Upgrade { response: String, device: Option<DeviceAddress>, messages: bool, stories: bool },
    /// Never answer.
    Silent,
    /// Reset the connection.
    Reset,
    /// Write a response head without end.
    EndlessHead,
}

/// Decides. `forced` is a mode that was taken for this very handshake.
pub(crate) fn decide(state: &mut State, head: &Head, forced: Option<Handshake>) -> Decision {
    let credentials = head.header("authorization").map(parse_basic);
    let address = credentials.as_ref().and_then(Option::as_ref).map(|c| DeviceAddress { aci: c.aci, device: c.device });
    let known = address.filter(|a| state.devices.contains_key(a));
    let for_device = known.and_then(|a| state.device_mut(a).settings.next_handshakes.pop_front());
    let mode = forced.or(for_device).or_else(|| state.setting(known, |s| s.handshake.clone()));
    let mode = mode.unwrap_or(Handshake::Accept);
    let wrong_accept = mode == Handshake::WrongAccept;
    match mode {
        Handshake::Accept | Handshake::Late(_) | Handshake::WrongAccept => {}
        Handshake::EndlessHead => return Decision::EndlessHead,
        Handshake::TlsThenSilent | Handshake::AcceptTcpOnly => return Decision::Silent,
        Handshake::RefuseTcp => return Decision::Reset,
        Handshake::Status { code, timestamp_header, retry_after } => {
            let mut headers = Vec::new();
            if timestamp_header {
                headers.push(timestamp(state));
            }
            if let Some(value) = retry_after {
                headers.push(format!("Retry-After: {value}"));
            }
            return answer(code, &headers);
        }
        // The deprecation filter runs before the timestamp filter, so 499 has no timestamp.
        Handshake::UserAgent(rule) => {
            let spqr = known.map(|a| state.device_mut(a).spqr);
            if !rule.allows(head.header("user-agent"), spqr) {
                return answer(499, &[]);
            }
        }
    }
    let mut headers = Vec::new();
    if state.setting(known, |s| s.timestamp_header).unwrap_or(true) {
        headers.push(timestamp(state));
    }
    if head.target.split('?').next() != Some(PATH) {
        return answer(404, &headers);
    }
    let Some(key) = head.header("sec-websocket-key").filter(|_| is_upgrade(head)) else {
        return answer(400, &headers);
    };
    if head.header("sec-websocket-version") != Some("13") {
        headers.push("Sec-WebSocket-Version: 13".to_owned());
        return answer(426, &headers);
    }
    // No Authorization header at all: an anonymous socket. A bad one: 403, whatever is wrong with it.
    let device = match credentials {
        None => None,
        Some(credentials) => {
            let device = credentials.and_then(|c| state.authenticate(c.aci, c.device, &c.password));
            let Some(device) = device else { return answer(403, &headers) };
            Some(device)
        }
    };
    if let Some(alert) = device.and_then(|a| state.setting(Some(a), |s| s.alert.clone())).flatten() {
        headers.push(format!("X-Signal-Alert: {alert}"));
    }
    let is_true = |name| head.header(name) == Some("true");
    let accept = derive_accept_key(if wrong_accept { b"" } else { key.as_bytes() });
    let mut response = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    for header in &headers {
        response.push_str(&format!("{header}\r\n"));
    }
    // Jetty writes "WebSocket"; clients must compare without regard to case.
    response.push_str(&format!("Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"));
    let messages = device.is_some() && !is_true("x-signal-disable-messages");
    Decision::Upgrade { response, device, messages, stories: is_true("x-signal-receive-stories") }
}

fn is_upgrade(head: &Head) -> bool {
    let has = |name, token: &str| {
        head.header(name).is_some_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    head.method == "GET" && has("upgrade", "websocket") && has("connection", "upgrade")
}

fn timestamp(state: &State) -> String {
    format!("X-Signal-Timestamp: {}", state.now_ms())
}

/// Jersey answers 404 in JSON; Jetty the rest with its page, in which 403 is called "Unauthorized" (protocol note, 0.1).
fn answer(status: u16, headers: &[String]) -> Decision {
    let reason = crate::http::reason(status);
    let message = if status == 403 { "Unauthorized" } else { reason };
    let (content, body) = match status {
        404 => ("application/json", format!("{{\"code\":404,\"message\":\"HTTP 404 {reason}\"}}")),
        _ => (
            "text/html;charset=iso-8859-1",
            format!(
                "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n\
                 <title>Error {status} {message}</title>\n</head>\n<body><h2>HTTP ERROR {status} {message}</h2>\n\
                 <table>\n<tr><th>URI:</th><td>{PATH}</td></tr>\n<tr><th>STATUS:</th><td>{status}</td></tr>\n\
                 <tr><th>MESSAGE:</th><td>{message}</td></tr>\n</table>\n\n</body>\n</html>\n"
            ),
        ),
    };
    let mut response = format!("HTTP/1.1 {status} {reason}\r\n");
    for header in headers {
        response.push_str(&format!("{header}\r\n"));
    }
    response.push_str(&format!("Content-Type: {content}\r\nConnection: close\r\n"));
    response.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Decision::Answer { status, response }
}

struct Credentials {
    aci: Uuid,
    device: u8,
    password: String,
}

/// `Basic base64("<aci>.<device>:<password>")`; without `.` the device is 1 (`AccountAuthenticator`).
fn parse_basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (login, password) = decoded.split_once(':')?;
    let (aci, device) = match login.split_once('.') {
        Some((aci, device)) => (aci, device.parse::<i8>().ok()?),
        None => (login, 1),
    };
    let aci = Uuid::parse_str(aci).ok().filter(|_| aci.len() == 36)?;
    let device = u8::try_from(device).ok().filter(|d| *d > 0)?;
    Some(Credentials { aci, device, password: password.to_owned() })
}

//! How the server misbehaves.

use std::time::Duration;

/// A switch of the server, or of one device (which then wins over the server's).
#[derive(Debug, Clone)]
pub enum Mode {
    /// What happens to handshakes from now on.
    Handshake(Handshake),
    /// What happens to `GET /v1/keepalive`.
    Keepalive(Keepalive),
    /// The next n acks are lost: the connection is cut when the ack arrives, before it is processed.
    LoseAcks(u32),
    /// The next n displacements close both sockets with 4409, as two server instances may do.
    DisplaceBoth(u32),
    /// Never read from the sockets: the client's writes block once the window is full.
    NeverRead(bool),
    /// Neither read nor write, and no idle timeout: a path that drops every packet.
    Silent(bool),
    /// Close with 1001 after this long without a frame in either direction. Default 90 s.
    IdleTimeout(Duration),
    /// Value of `X-Signal-Alert` on the 101, such as `idle-primary-device`.
    Alert(Option<String>),
    /// Whether `X-Signal-Timestamp` is sent on the 101, 403, 404 and 500. Default true.
    TimestampHeader(bool),
    /// Added to the server's clock, in ms: all timestamps move.
    ClockOffset(i64),
    /// Binary messages larger than this many bytes are sent in fragments of this size. Default 64 KiB, as Jetty.
    FragmentSize(usize),
}

/// What the server does with a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// Check path and credentials.
    Accept,
    /// Answer with this status, whatever the request.
    Status {
        /// HTTP status code.
        code: u16,
        /// Whether `X-Signal-Timestamp` is sent. A proxy in front of the server does not send it.
        timestamp_header: bool,
        /// Value of `Retry-After`: seconds, or a date, or nonsense.
        retry_after: Option<String>,
    },
    /// Apply the User-Agent rule first; a refusal is 499 without `X-Signal-Timestamp`.
    UserAgent(UaRule),
    /// Accept TCP and never answer the TLS handshake.
    AcceptTcpOnly,
    /// Complete TLS and never answer the upgrade.
    TlsThenSilent,
    /// Accept TCP, start TLS only after this long, and then check path and credentials. Not for one device.
    Late(Duration),
    /// 101 with a `Sec-WebSocket-Accept` that does not fit the key.
    WrongAccept,
    /// A response head without end.
    EndlessHead,
    /// Refuse TCP. As a server-wide mode the port does not listen (`ECONNREFUSED`); for a limited number of
    /// handshakes, or for one device, the connection is reset instead.
    RefuseTcp,
}

impl Handshake {
    /// A status as Signal's own service sends it: with the timestamp header on 403, 404 and 500, not on 499.
    pub fn status(code: u16) -> Self {
        Self::Status { code, timestamp_header: matches!(code, 403 | 404 | 500), retry_after: None }
    }

    /// A status as a proxy in front of the service sends it: without the timestamp header.
    pub fn proxy_status(code: u16) -> Self {
        Self::Status { code, timestamp_header: false, retry_after: None }
    }

    /// A status with `Retry-After`, without the timestamp header.
    pub fn retry_after(code: u16, value: impl Into<String>) -> Self {
        Self::Status { code, timestamp_header: false, retry_after: Some(value.into()) }
    }
}

/// `RemoteDeprecationFilter`: which clients are too old.
///
/// A User-Agent is recognised if it matches `^Signal-(Android|Desktop|iOS)/([^ ]+)( (.+))?$` without regard to
/// case and the version is a semantic version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UaRule {
    /// Minimum version per platform ("android", "desktop", "ios").
    pub minimum: Vec<(String, (u64, u64, u64))>,
    /// Refuse unrecognised clients whose device lacks the `spqr` capability.
    pub require_spqr: bool,
}

impl UaRule {
    /// Refuse versions of `platform` below `version`; do not ask for `spqr`.
    pub fn minimum(platform: &str, version: (u64, u64, u64)) -> Self {
        Self { minimum: vec![(platform.to_lowercase(), version)], require_spqr: false }
    }

    /// Refuse unrecognised clients without `spqr`.
    pub fn require_spqr() -> Self {
        Self { minimum: Vec::new(), require_spqr: true }
    }

    /// Whether a client passes. `spqr` is the device's capability, `None` if the device is not known.
    pub fn allows(&self, user_agent: Option<&str>, spqr: Option<bool>) -> bool {
        match user_agent.and_then(recognise) {
            Some((platform, version)) => self.minimum.iter().all(|(p, min)| *p != platform || version >= *min),
            None => !(self.require_spqr && spqr == Some(false)),
        }
    }
}

/// Platform in lower case and version (major, minor, patch).
fn recognise(user_agent: &str) -> Option<(String, (u64, u64, u64))> {
    let (product, rest) = match user_agent.split_once(' ') {
        Some((product, rest)) => (product, Some(rest)),
        None => (user_agent, None),
    };
    if rest == Some("") {
        return None;
    }
    let (platform, version) = product.split_once('/')?;
    let platform = platform.to_lowercase();
    let platform = platform.strip_prefix("signal-").filter(|p| matches!(*p, "android" | "desktop" | "ios"))?;
    let core = version.split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|n| n.parse::<u64>().ok());
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then(|| (platform.to_owned(), version))
}

/// What the server does with `GET /v1/keepalive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keepalive {
    /// 200.
    Answer,
    /// No answer, the socket stays open.
    BlackHole,
    /// 200 after this long.
    Delay(Duration),
    /// "No local listener": Close 1000 `OK` and no response.
    NotLocallyPresent,
}

#[cfg(test)]
mod tests {
    use super::UaRule;

    #[test]
    fn old_versions_of_a_recognised_client_are_refused() {
        let rule = UaRule::minimum("Android", (8, 3, 4));
        assert!(rule.allows(Some("Signal-Android/8.3.4 Android/36"), None));
        assert!(rule.allows(Some("signal-android/8.10.0-beta.1"), None));
        assert!(!rule.allows(Some("Signal-Android/8.3.3 Android/36"), None));
        assert!(rule.allows(Some("Signal-iOS/1.0.0"), None));
    }

    #[test]
    fn unrecognised_clients_need_spqr() {
        let rule = UaRule::require_spqr();
        for agent in [None, Some(""), Some("MollySocket/2.0"), Some("Signal-Android/8"), Some("xSignal-Android/8.3.4")]
        {
            assert!(!rule.allows(agent, Some(false)), "{agent:?}");
            assert!(rule.allows(agent, Some(true)), "{agent:?}");
            assert!(rule.allows(agent, None), "{agent:?}");
        }
        assert!(rule.allows(Some("Signal-Android/0.0.1"), Some(false)));
    }
}

//! Who an account is: identifiers, credentials and the push endpoint, parsed once and redacted in every log.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use hyper::http::uri::PathAndQuery;
use url::{Host, Url};
use uuid::Uuid;

/// Longest endpoint accepted, in bytes. UnifiedPush (AND_3) allows distributors 1000; some leave the rule aside.
pub const MAX_ENDPOINT_BYTES: usize = 2048;

/// Longest password accepted, in bytes. Molly sends 24 characters.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// Why a value that describes an account was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The account identifier is not a UUID.
    #[error("the account id is not a UUID")]
    Uuid,
    /// Signal's device numbers are 1 to 127.
    #[error("the device id must be a number from 1 to 127")]
    Device,
    /// Empty, too long, or with control characters.
    #[error("the password must be 1 to {MAX_PASSWORD_BYTES} printable characters")]
    Password,
    /// Not a usable push endpoint; the text says which rule it breaks.
    #[error("the endpoint is not usable: {0}")]
    Endpoint(&'static str),
}

/// A Signal account (its ACI). Compared as a UUID, whatever the spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Uuid);

impl AccountId {
    /// Reads any spelling of a UUID; surrounding white space is ignored.
    ///
    /// # Errors
    /// [`AccountError::Uuid`] when it is none.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        Uuid::try_parse(text.trim()).map(Self).map_err(|_| AccountError::Uuid)
    }

    /// The first eight hexadecimal digits: enough to tell accounts apart in a log, useless to anybody else.
    pub fn short(&self) -> String {
        self.digits()[..8].to_owned()
    }

    /// All 32 hexadecimal digits, in lower case and without hyphens.
    pub fn digits(&self) -> String {
        self.0.simple().to_string()
    }

    /// The sixteen bytes Signal uses for it in an envelope (big endian).
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({}…)", self.short())
    }
}

/// The number of a device linked to an account: 1 (the phone) to 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(u8);

impl DeviceId {
    /// Accepts 1 to 127, the numbers Signal's login takes (`Byte.parseByte`; protocol note, section 2.1).
    ///
    /// # Errors
    /// [`AccountError::Device`] otherwise.
    pub fn new(number: u64) -> Result<Self, AccountError> {
        match u8::try_from(number) {
            Ok(n @ 1..=127) => Ok(Self(n)),
            _ => Err(AccountError::Device),
        }
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that must never be printed. `Debug` shows only that it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a device password.
    ///
    /// # Errors
    /// [`AccountError::Password`] when it is empty, too long or holds control characters.
    pub fn password(text: &str) -> Result<Self, AccountError> {
        let fits = !text.is_empty() && text.len() <= MAX_PASSWORD_BYTES;
        if fits && !text.chars().any(char::is_control) { Ok(Self::new(text)) } else { Err(AccountError::Password) }
    }

    /// The text itself. Every use is a place where it leaves our hands; keep them few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A push resource (RFC 8030 section 2): the URL that wakes one phone. Whoever knows it can use it, so only its origin
/// is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Parts>);

/// Shared, because the row of each account and what runs for it both hold its endpoint all the time.
#[derive(PartialEq, Eq)]
struct Parts {
    raw: Box<str>,
    url: Url,
    target_at: usize,
}

impl Endpoint {
    /// Checks the form of an endpoint. Whether it may be used is the allow list's and the guard's business. An
    /// international host name is taken in its ASCII form (`xn--…`), everything else as it stands.
    ///
    /// # Errors
    /// [`AccountError::Endpoint`] naming the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, AccountError> {
        let too_long = || AccountError::Endpoint("it is longer than 2048 bytes");
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(too_long());
        }
        let text = &*with_ascii_host(text);
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(too_long());
        }
        if !text.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
            return Err(AccountError::Endpoint(
                "it holds spaces, control characters or, after the host, non-ASCII ones",
            ));
        }
        if text.contains('\\') {
            return Err(AccountError::Endpoint("it holds a backslash"));
        }
        let url = Url::parse(text).map_err(|_| AccountError::Endpoint("it is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AccountError::Endpoint("it is not an https URL"));
        }
        if !url.has_host() || url.port() == Some(0) {
            return Err(AccountError::Endpoint("it has no usable host and port"));
        }
        if url.fragment().is_some() {
            return Err(AccountError::Endpoint("it has a fragment"));
        }
        // The parser forgives `https:host`; what it reads must be what is sent.
        let authority_at = url.scheme().len() + "://".len();
        if text.get(url.scheme().len()..authority_at) != Some("://") {
            return Err(AccountError::Endpoint("it does not begin with https://"));
        }
        let target_at = text[authority_at..].find(['/', '?']).map_or(text.len(), |at| authority_at + at);
        if target_at == authority_at {
            return Err(AccountError::Endpoint("it has no host"));
        }
        let endpoint = Self(Arc::new(Parts { raw: text.into(), url, target_at }));
        if PathAndQuery::try_from(endpoint.target()).is_err() {
            return Err(AccountError::Endpoint("its path holds characters no HTTP request may carry"));
        }
        Ok(endpoint)
    }

    /// The endpoint as the phone gave it, with the host in ASCII. A capability: never log it.
    pub fn as_str(&self) -> &str {
        &self.0.raw
    }

    /// Path and query exactly as given (RFC 8030: the push resource is opaque). Starts with `/`.
    pub fn target(&self) -> String {
        let tail = &self.0.raw[self.0.target_at..];
        if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") }
    }

    /// The parsed form, for the host, port and user info. Its path may be spelt differently from [`Self::target`].
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The host without brackets.
    pub fn host(&self) -> Host<String> {
        self.0.url.host().map_or_else(|| Host::Domain(String::new()), |h| h.to_owned())
    }

    /// The port, the scheme's own when the URL names none.
    pub fn port(&self) -> u16 {
        self.0.url.port_or_known_default().unwrap_or(443)
    }

    /// ASCII serialisation of the origin: scheme, host and a port that is not the scheme's own. Safe to show.
    pub fn origin(&self) -> String {
        self.0.url.origin().ascii_serialization()
    }
}

/// The URL with its host in ASCII (UTS 46, as browsers do it). Unchanged if that is no URL, or nothing is to be done.
fn with_ascii_host(text: &str) -> Cow<'_, str> {
    let replaced = || {
        let url = Url::parse(text).ok().filter(|_| !text.contains(char::is_whitespace))?;
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
        let host = rest[start..end].split(':').next()?;
        let (user, tail) = (&rest[..start], &rest[start + host.len()..]);
        (!host.is_ascii()).then(|| Some(format!("{scheme}://{user}{}{tail}", url.host_str()?)))?
    };
    if text.is_ascii() { Cow::Borrowed(text) } else { replaced().map_or(Cow::Borrowed(text), Cow::Owned) }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}/…)", self.origin())
    }
}

/// What a device logs in to Signal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub id: AccountId,
    /// The linked device.
    pub device: DeviceId,
    /// The device's password.
    pub password: Secret,
}

/// A moment on Signal's clock, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerTime(pub u64);

/// One row of the database: an account and how to wake its phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// How it logs in.
    pub credentials: Credentials,
    /// Where its phone is woken.
    pub endpoint: Endpoint,
    /// Signal confirmed that the device is not linked any more (state `unlinked`). Never connects.
    pub forbidden: bool,
    /// The push server said the endpoint no longer exists (state `endpoint_gone`). Does not connect until it changes.
    pub endpoint_gone: bool,
    /// The operator paused it (state `paused`). Does not connect until the operator resumes it.
    pub paused: bool,
    /// Last registration, in seconds since 1970; 0 when unknown.
    pub last_registration: u64,
    /// Envelopes Signal took in before this moment are already fetched: a wake-up sent later was accepted. Column
    /// `covered_until`.
    pub fetched_until: Option<ServerTime>,
}

impl Account {
    /// The key everything about this account is filed under.
    pub fn id(&self) -> AccountId {
        self.credentials.id
    }
}

/// An account for tests that runs as soon as it is known.
#[cfg(test)]
pub(crate) fn sample() -> Account {
    Account {
        credentials: Credentials {
            id: AccountId::parse("11111111-2222-4333-8444-555555555555").unwrap(),
            device: DeviceId::new(2).unwrap(),
            password: Secret::new("x"),
        },
        endpoint: Endpoint::parse("https://push.example/x").unwrap(),
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 0,
        fetched_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_as_uuids_whatever_the_spelling() {
        let a = AccountId::parse("0F2B1A3C-1111-4222-8333-444455556666").unwrap();
        assert_eq!(a, AccountId::parse(" 0f2b1a3c-1111-4222-8333-444455556666\n").unwrap());
        assert_eq!(a.to_string(), "0f2b1a3c-1111-4222-8333-444455556666");
        for bad in
            ["", "*", "anything", "0f2b1a3c-1111-4222-8333-44445555666", "PNI:0f2b1a3c-1111-4222-8333-444455556666"]
        {
            assert_eq!(AccountId::parse(bad), Err(AccountError::Uuid), "{bad}");
        }
    }

    #[test]
    fn device_ids_are_what_signal_can_parse() {
        for n in [1, 2, 127] {
            assert_eq!(DeviceId::new(n).map(|d| u64::from(d.get())), Ok(n));
        }
        for n in [0, 128, 256, u64::MAX] {
            assert_eq!(DeviceId::new(n), Err(AccountError::Device));
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let e = Endpoint::parse("https://push.example:8443/upSECRET?up=1").unwrap();
        let c = Credentials {
            id: AccountId::parse("0f2b1a3c-1111-4222-8333-444455556666").unwrap(),
            device: DeviceId::new(2).unwrap(),
            password: Secret::password("hunter2+/").unwrap(),
        };
        let shown = format!("{e:?} {c:?}");
        assert!(shown.contains("https://push.example:8443"));
        for secret in ["SECRET", "hunter2", "4222"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn endpoints_keep_their_path_byte_for_byte() {
        for (text, target, origin) in [
            ("https://h/a/../b?x=%7e&y='", "/a/../b?x=%7e&y='", "https://h"),
            ("https://H:443/A%2fb", "/A%2fb", "https://h"),
            ("https://h:8443", "/", "https://h:8443"),
            ("http://h?up=1", "/?up=1", "http://h"),
            ("https://fcm.googleapis.com/fcm/send/a:b-c_d", "/fcm/send/a:b-c_d", "https://fcm.googleapis.com"),
        ] {
            let e = Endpoint::parse(text).unwrap();
            assert_eq!((e.target().as_str(), e.origin().as_str(), e.as_str()), (target, origin, text));
        }
    }

    #[test]
    fn an_international_host_is_taken_in_ascii_and_the_rest_byte_for_byte() {
        for (text, ascii) in [
            ("https://b\u{fc}cher.example.org/up%7e?x='", "https://xn--bcher-kva.example.org/up%7e?x='"),
            ("https://B\u{dc}CHER.example:8443", "https://xn--bcher-kva.example:8443"),
            ("https://bu\u{308}cher.example?up=1", "https://xn--bcher-kva.example?up=1"),
            ("https://me:pw@\u{4f8b}\u{3048}.jp/x", "https://me:pw@xn--r8jz45g.jp/x"),
            // Full stops and digits of other scripts: what a careless reader would take for a name is an address.
            ("http://127\u{3002}0\u{3002}0\u{3002}1/x", "http://127.0.0.1/x"),
            ("http://\u{ff11}0.0.0.1:80/x", "http://10.0.0.1:80/x"),
        ] {
            let (e, same) = (Endpoint::parse(text).unwrap(), Endpoint::parse(ascii).unwrap());
            assert_eq!((e.as_str(), e.origin(), e.target()), (ascii, same.origin(), same.target()), "{text}");
            assert_eq!(e, same, "{text}");
        }
    }

    #[test]
    fn malformed_endpoints_are_refused_with_a_reason() {
        for bad in [
            "",
            "push.example/x",
            "ftp://h/x",
            "https:///x",
            "https://",
            "https://h:0/x",
            "https://h/ x",
            "https://h/\u{e9}",
            "https://b\u{fc}cher.example/\u{e9}",
            "https://b\u{fc}cher.example/x y",
            "https://b\u{fc}\tcher.example/x",
            "https://\u{fc}:pw@h/x",
            "https:b\u{fc}cher.example/x",
            "https://b\u{fc}cher\u{ff0f}evil.example/x",
            "https://b\u{fc}cher\u{ff1a}80/x",
            "https://\u{fc} .example/x",
            "https://h/x#frag",
            "https://h\\@evil/x",
            "https:h/x",
            "https:h//://x",
            "https:/h/x",
            "https://h/a\nb",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://h/<x>",
        ] {
            assert!(matches!(Endpoint::parse(bad), Err(AccountError::Endpoint(_))), "{bad:?}");
        }
        assert!(Endpoint::parse(&format!("https://h/{}", "a".repeat(3000))).is_err());
    }
}

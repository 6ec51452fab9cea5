//! What the listener itself answers, without asking the application; and the headers that every answer has.

use std::fmt;
use std::time::Duration;

use http_body_util::Full as Body;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::connection_limit::Full;
use super::head::HeadError;

/// When to come again after an overload: slow clients are gone by then.
const SOON: Duration = Duration::from_secs(5);

/// Keeps browsers from doing more with an answer than show it. The page sets a policy of its own.
const HARDENING: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the headers every answer has, where the application has not set them.
pub(super) fn harden(headers: &mut HeaderMap) {
    for (name, value) in HARDENING {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The value of `Retry-After` (RFC 9110 section 10.2.3): whole seconds, never too early.
pub(crate) fn retry_after(wait: Duration) -> String {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1).to_string()
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorResponse {
    pub(super) status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
}

impl ErrorResponse {
    /// 429: this client asks too often. There is a next time after `wait`.
    pub(super) fn too_often(wait: Duration) -> Self {
        let text = "too many requests from one address".to_owned();
        Self { status: StatusCode::TOO_MANY_REQUESTS, text, retry_after: Some(wait) }
    }

    pub(super) fn response(&self) -> Response<Body<Bytes>> {
        let mut response = Response::new(Body::new(Bytes::from(format!("{}\n", self.text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(value) = self.retry_after.and_then(|wait| HeaderValue::from_str(&retry_after(wait)).ok()) {
            headers.insert(header::RETRY_AFTER, value);
        }
        harden(headers);
        response
    }

    /// The same, as it goes over the wire when no request was parsed.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {}\r\nconnection: close\r\n", self.status).into_bytes();
        bytes.extend(format!("content-length: {}\r\n", self.text.len() + 1).bytes());
        for (name, value) in self.response().headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(format!("\r\n{}\n", self.text).bytes());
        bytes
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<StatusCode> for ErrorResponse {
    fn from(status: StatusCode) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON);
        Self { status, text: status.canonical_reason().unwrap_or("error").to_owned(), retry_after }
    }
}

impl From<HeadError> for ErrorResponse {
    fn from(error: HeadError) -> Self {
        Self { text: error.to_string(), ..Self::from(error.status()) }
    }
}

impl From<Full> for ErrorResponse {
    fn from(full: Full) -> Self {
        let status = match full {
            Full::Client => StatusCode::TOO_MANY_REQUESTS,
            Full::All => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, text: full.to_string(), retry_after: Some(SOON) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_whole_hardened_and_says_when_to_come_again_after_an_overload() {
        let refusals: [ErrorResponse; 5] = [
            Full::Client.into(),
            Full::All.into(),
            ErrorResponse::too_often(Duration::from_millis(1)),
            HeadError::TooSlow.into(),
            StatusCode::SERVICE_UNAVAILABLE.into(),
        ];
        for refusal in refusals {
            let text = String::from_utf8(refusal.bytes()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status.as_u16())), "{text}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{text}");
            for (name, value) in HARDENING {
                assert!(head.contains(&format!("\r\n{name}: {value}")), "{name}: {text}");
            }
            let overload = [429, 503].contains(&refusal.status.as_u16());
            assert_eq!(head.contains("\r\nretry-after: "), overload, "{text}");
        }
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_too_early() {
        for (ms, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (5000, "5")] {
            assert_eq!(retry_after(Duration::from_millis(ms)), seconds, "{ms} ms");
        }
    }

    #[test]
    fn the_application_s_own_policy_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("mine"));
        harden(&mut headers);
        assert_eq!(headers.len(), HARDENING.len());
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "mine");
    }
}

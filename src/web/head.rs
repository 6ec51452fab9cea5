//! The first look at a request: bounds its head before anything is parsed, tells other protocols by name, and refuses what
//! hyper takes but another HTTP implementation could read differently (RFC 9112 sections 2.2, 3.2, 6.1 and 6.3). The rest
//! is refused by hyper. Pure: bytes in, verdict out.

use std::borrow::Cow;

use hyper::StatusCode;

/// How version 2 of the PROXY protocol begins (HAProxy's proxy-protocol.txt, section 2.2).
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why a request is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// The head is longer than the limit.
    #[error("the request line and headers are too large")]
    TooLarge,
    /// The head took too long.
    #[error("the request took too long to arrive")]
    TooSlow,
    /// A line that does not end in CR LF, a control character, or no text where the request line should be.
    #[error("the head has a malformed line or a control character")]
    Line,
    /// HTTP/2 or something unknown.
    #[error("this server speaks HTTP/1.1 only; a reverse proxy must forward to it with http://, not h2c://")]
    Version,
    /// The first byte of a TLS handshake (RFC 8446 section 5.1).
    #[error("this port speaks plain HTTP, not TLS; a reverse proxy must forward to it with http://, not https://")]
    Tls,
    /// The PROXY protocol, version 1 or 2.
    #[error(
        "this port does not understand the PROXY protocol; switch it off in the proxy (HAProxy: send-proxy), and let the \
         proxy send X-Forwarded-For instead"
    )]
    ProxyProtocol,
    /// None, or more than one.
    #[error("there must be exactly one Host header")]
    Host,
    /// Not one decimal number, or there is a Transfer-Encoding as well: the classic ways to smuggle a request past a proxy.
    #[error("the length of the body is malformed or contradicts itself")]
    Length,
    /// Anything but `chunked` alone, or in HTTP/1.0.
    #[error("the Transfer-Encoding is not supported")]
    TransferEncoding,
}

impl HeadError {
    /// The status that answers it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Line | Self::Tls | Self::ProxyProtocol | Self::Host | Self::Length => StatusCode::BAD_REQUEST,
        }
    }
}

/// Length of the head at the start of `bytes`, its blank line included; `None` while it is incomplete. The first `seen`
/// bytes were looked at before.
///
/// # Errors
/// When it can no longer become a good one of at most `limit` bytes.
pub(crate) fn length(bytes: &[u8], seen: usize, limit: usize) -> Result<Option<usize>, HeadError> {
    match bytes {
        [0x16, ..] => return Err(HeadError::Tls),
        _ if bytes.starts_with(b"PROXY TCP") || bytes.starts_with(b"PROXY UNKNOWN") || bytes.starts_with(PROXY_V2) => {
            return Err(HeadError::ProxyProtocol);
        }
        _ if PROXY_V2.starts_with(bytes) => return Ok(None),
        [b'\r', ..] => return Err(HeadError::Line),
        _ => {}
    }
    for at in seen..bytes.len().min(limit) {
        let lone_line_feed = bytes[at] == b'\n' && !bytes[..at].ends_with(b"\r");
        if lone_line_feed || (bytes[at].is_ascii_control() && !b"\t\r\n".contains(&bytes[at])) {
            return Err(HeadError::Line);
        }
        if bytes[..=at].ends_with(b"\r\n\r\n") {
            return Ok(Some(at + 1));
        }
    }
    if bytes.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// Checks a complete head, blank line included.
///
/// # Errors
/// Names the rule it breaks.
pub(crate) fn check(head: &[u8]) -> Result<(), HeadError> {
    let request_line = lines(head).next().unwrap_or_default();
    if !request_line.is_ascii() {
        return Err(HeadError::Line);
    }
    let version = request_line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    let http_11 = version == b"HTTP/1.1";
    if version.starts_with(b"HTTP/") && !http_11 && version != b"HTTP/1.0" {
        return Err(HeadError::Version);
    }
    let hosts = values(head, "Host").len();
    if hosts > 1 || (http_11 && hosts == 0) {
        return Err(HeadError::Host);
    }
    let decimal = |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match (&*values(head, "Content-Length"), &*values(head, "Transfer-Encoding")) {
        ([], []) => Ok(()),
        ([length], []) if decimal(length) => Ok(()),
        ([], [coding]) if http_11 && coding.eq_ignore_ascii_case("chunked") => Ok(()),
        ([], _) => Err(HeadError::TransferEncoding),
        _ => Err(HeadError::Length),
    }
}

/// The values of all headers called `name` in a complete head. Bytes that are no text are replaced, so that a header that
/// is there never seems not to be.
pub(crate) fn values<'a>(head: &'a [u8], name: &str) -> Vec<Cow<'a, str>> {
    let named = |line: &'a [u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        let value = line[colon + 1..].trim_ascii();
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| String::from_utf8_lossy(value))
    };
    lines(head).skip(1).filter_map(named).collect()
}

/// The lines of a head in which each line feed ends one.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), HeadError> {
        match length(text.as_bytes(), 0, 8192)? {
            Some(end) => check(&text.as_bytes()[..end]),
            None => panic!("incomplete: {text:?}"),
        }
    }

    #[test]
    fn ordinary_requests_pass() {
        for good in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST /?a=%20b HTTP/1.1\r\nhost:h\r\nContent-Length: 5\r\n\r\nhello\nbare line feeds in a body are fine",
            "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding:\tChunked \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX-Name: caf\u{e9}\r\nEmpty:\r\n\r\n",
            "BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
            "PROXY / HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(verdict(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn values_are_found_by_name_in_any_case_and_in_order() {
        let head = b"GET /x-a: HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:\t2 \r\nX-AB: 3\r\nX-A:\r\nX-a: \xff:4\r\n\r\n";
        assert_eq!(values(head, "x-a"), ["1", "2", "", "\u{fffd}:4"]);
        assert!(values(head, "x-b").is_empty());
    }

    #[test]
    fn what_two_parsers_may_read_differently_is_refused() {
        for (head, error) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::Length),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::Length),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::Length),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::Length),
            ("Content-Length: 5, 5\r\n", HeadError::Length),
            ("Content-Length: +5\r\n", HeadError::Length),
            ("Content-Length:\r\n", HeadError::Length),
            ("Content-Length: 99999999999999999999\r\n", HeadError::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: identity\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::TransferEncoding),
            ("Host: other\r\n", HeadError::Host),
            ("X: a\nContent-Length: 5\r\n", HeadError::Line),
            ("X: a\0b\r\n", HeadError::Line),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n");
            assert_eq!(verdict(&text), Err(error), "{text:?}");
        }
        for (text, error) in [
            ("PRI * HTTP/2.0\r\n\r\n", HeadError::Version),
            ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", HeadError::Version),
            ("GET / HTTP/1.1\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncoding),
            ("\nGET / HTTP/1.1\r\n", HeadError::Line),
            ("GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Line),
            ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Line),
            ("\u{16}", HeadError::Tls),
            ("PROXY TCP6 ", HeadError::ProxyProtocol),
        ] {
            assert_eq!(verdict(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_head_is_bounded() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(length(head.as_bytes(), 0, head.len()), Ok(Some(head.len())));
        assert_eq!(length(head.as_bytes(), 0, head.len() - 1), Err(HeadError::TooLarge));
        assert_eq!(length(&[b'a'; 99], 0, 100), Ok(None));
        assert_eq!(length(&[b'a'; 100], 0, 100), Err(HeadError::TooLarge));
    }

    #[test]
    fn every_prefix_is_incomplete_and_every_byte_is_survived() {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(length(&head[..end], end.saturating_sub(1), 8192), Ok(None), "{end}");
        }
        for at in 0..head.len() {
            for byte in 0..=255 {
                let mut changed = head.to_vec();
                changed[at] = byte;
                if let Ok(Some(end)) = length(&changed, 0, 8192) {
                    let _ = check(&changed[..end]);
                }
            }
        }
    }
}

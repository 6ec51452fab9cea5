//! The first look at a request: bounds its head before anything is parsed, and refuses what two HTTP implementations
//! could read differently (RFC 9112 sections 2.2, 3.2, 6.1 and 6.3). Pure: bytes in, verdict out.

use std::borrow::Cow;

use hyper::StatusCode;

/// Most header lines in a request: as many as hyper takes. Browsers behind two proxies send about thirty.
const MAX_HEADERS: usize = 100;

/// How version 2 of the PROXY protocol begins.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why a request is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// The head is longer than the limit, or has too many lines.
    #[error("the request line and headers are too large")]
    TooLarge,
    /// The head took too long.
    #[error("the request took too long to arrive")]
    TooSlow,
    /// A line feed or carriage return alone, or another control character.
    #[error("the headers hold a control character")]
    Control,
    /// Not `method target version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// HTTP/2 or something unknown.
    #[error("this server speaks HTTP/1.1 only; a reverse proxy must forward to it with http://, not h2c://")]
    Version,
    /// The first bytes of a TLS connection.
    #[error("this port speaks plain HTTP, not TLS; a reverse proxy must forward to it with http://, not https://")]
    Tls,
    /// The PROXY protocol, version 1 or 2.
    #[error(
        "this port does not understand the PROXY protocol; switch it off in the proxy (HAProxy: send-proxy), and let the \
         proxy send X-Forwarded-For instead"
    )]
    ProxyProtocol,
    /// Not `name: value`.
    #[error("a header line is malformed")]
    HeaderLine,
    /// None, or more than one.
    #[error("there must be exactly one Host header")]
    Host,
    /// Not one decimal number.
    #[error("the Content-Length is malformed")]
    ContentLength,
    /// The two contradict each other: the classic way to smuggle a request past a proxy.
    #[error("Content-Length and Transfer-Encoding must not be used together")]
    BothLengths,
    /// Anything but `chunked` alone.
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
            Self::Control
            | Self::RequestLine
            | Self::HeaderLine
            | Self::Host
            | Self::ContentLength
            | Self::BothLengths
            | Self::Tls
            | Self::ProxyProtocol => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether these first bytes of a connection are another protocol's, one that operators of proxies switch on: a TLS
/// handshake (RFC 8446 section 5.1), or the PROXY protocol (HAProxy's proxy-protocol.txt, section 2).
///
/// # Errors
/// Names the protocol.
pub(crate) fn other_protocol(bytes: &[u8]) -> Result<(), HeadError> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    if begins(b"\x16") {
        Err(HeadError::Tls)
    } else if begins(b"PROXY TCP") || begins(b"PROXY UNKNOWN") || begins(PROXY_V2) {
        Err(HeadError::ProxyProtocol)
    } else {
        Ok(())
    }
}

/// Length of the head at the start of `bytes`, its blank line included; `None` while it is incomplete.
///
/// # Errors
/// When it can no longer become a good one: longer than `limit`, or with a line that does not end in CR LF.
pub(crate) fn length(bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    if PROXY_V2.starts_with(bytes) {
        return Ok(None);
    }
    let mut line_start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if at >= limit {
            return Err(HeadError::TooLarge);
        }
        if *byte != b'\n' {
            continue;
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(HeadError::Control);
        }
        if at - line_start == 1 && line_start > 0 {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    if bytes.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// Checks a complete head, blank line included.
///
/// # Errors
/// Names the rule it breaks.
pub(crate) fn check(head: &[u8]) -> Result<(), HeadError> {
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(HeadError::Control)?;
    let mut lines = lines(text);
    let http_11 = request_line(lines.next().unwrap_or_default())?;
    let mut seen = Framing::default();
    for (number, line) in lines.enumerate() {
        if number >= MAX_HEADERS {
            return Err(HeadError::TooLarge);
        }
        seen.header(line)?;
    }
    seen.verdict(http_11)
}

/// The values of all headers called `name`, of a head that passed [`check`]. Bytes that are no text are replaced, so
/// that a header that is there never seems not to be.
pub(crate) fn values<'a>(head: &'a [u8], name: &str) -> Vec<Cow<'a, str>> {
    let named = |line: &'a [u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        line[..colon]
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| String::from_utf8_lossy(line[colon + 1..].trim_ascii()))
    };
    lines(head).skip(1).filter_map(named).collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let end = current.windows(2).position(|pair| pair == b"\r\n");
        rest = end.map(|at| &current[at + 2..]);
        Some(&current[..end.unwrap_or(current.len())])
    })
}

/// Says whether it is HTTP/1.1 (otherwise 1.0).
fn request_line(line: &[u8]) -> Result<bool, HeadError> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(HeadError::RequestLine);
    }
    if !target.iter().all(u8::is_ascii_graphic) || hyper::Uri::try_from(target).is_err() {
        return Err(HeadError::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        other if other.starts_with(b"HTTP/") => Err(HeadError::Version),
        _ => Err(HeadError::RequestLine),
    }
}

#[derive(Default)]
struct Framing {
    hosts: usize,
    lengths: usize,
    encodings: usize,
}

impl Framing {
    fn header(&mut self, line: &[u8]) -> Result<(), HeadError> {
        // A tab is the one control character a value may hold; values may hold bytes beyond ASCII (RFC 9110, 5.5).
        if line.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(HeadError::Control);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(HeadError::HeaderLine)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Also refuses white space before the colon and folded lines (RFC 9112 sections 5.1 and 5.2).
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(HeadError::HeaderLine);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                return Err(HeadError::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
        }
        Ok(())
    }

    fn verdict(&self, http_11: bool) -> Result<(), HeadError> {
        if self.hosts > 1 || (http_11 && self.hosts == 0) {
            return Err(HeadError::Host);
        }
        if self.lengths > 0 && self.encodings > 0 {
            return Err(HeadError::BothLengths);
        }
        if self.lengths > 1 {
            return Err(HeadError::ContentLength);
        }
        if self.encodings > 1 || (self.encodings == 1 && !http_11) {
            return Err(HeadError::TransferEncoding);
        }
        Ok(())
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), HeadError> {
        match length(text.as_bytes(), 8192)? {
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
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::BothLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::BothLengths),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::ContentLength),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::ContentLength),
            ("Content-Length: 5, 5\r\n", HeadError::ContentLength),
            ("Content-Length: +5\r\n", HeadError::ContentLength),
            ("Content-Length: -1\r\n", HeadError::ContentLength),
            ("Content-Length: 0x5\r\n", HeadError::ContentLength),
            ("Content-Length:\r\n", HeadError::ContentLength),
            ("Content-Length: 99999999999999999999\r\n", HeadError::ContentLength),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: identity\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::TransferEncoding),
            ("Transfer-Encoding : chunked\r\n", HeadError::HeaderLine),
            ("X: a\r\n folded: b\r\n", HeadError::HeaderLine),
            (": no name\r\n", HeadError::HeaderLine),
            ("no colon\r\n", HeadError::HeaderLine),
            ("Host: other\r\n", HeadError::Host),
            ("X: a\nContent-Length: 5\r\n", HeadError::Control),
            ("X: a\rContent-Length: 5\r\n", HeadError::Control),
            ("X: a\0b\r\n", HeadError::Control),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n");
            assert_eq!(verdict(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn malformed_request_lines_are_refused() {
        for (line, error) in [
            ("GET /", HeadError::RequestLine),
            ("GET  / HTTP/1.1", HeadError::RequestLine),
            ("GET / x HTTP/1.1", HeadError::RequestLine),
            ("G\u{e9}T / HTTP/1.1", HeadError::RequestLine),
            ("GET /\u{e9} HTTP/1.1", HeadError::RequestLine),
            (" / HTTP/1.1", HeadError::RequestLine),
            ("GET / http/1.1", HeadError::RequestLine),
            ("PRI * HTTP/2.0", HeadError::Version),
            ("GET / HTTP/3.0", HeadError::Version),
        ] {
            assert_eq!(verdict(&format!("{line}\r\nHost: h\r\n\r\n")), Err(error), "{line:?}");
        }
        assert_eq!(verdict("GET / HTTP/1.1\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(verdict("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(HeadError::TransferEncoding));
        assert_eq!(length(b"\nGET", 100), Err(HeadError::Control));
        assert_eq!(verdict("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), Err(HeadError::RequestLine));
    }

    #[test]
    fn the_head_is_bounded_in_bytes_and_lines() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(length(head.as_bytes(), head.len()), Ok(Some(head.len())));
        assert_eq!(length(head.as_bytes(), head.len() - 1), Err(HeadError::TooLarge));
        assert_eq!(length(&[b'a'; 99], 100), Ok(None));
        assert_eq!(length(&[b'a'; 100], 100), Err(HeadError::TooLarge));
        let many = |n| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(n));
        assert_eq!(verdict(&many(MAX_HEADERS - 1)), Ok(()));
        assert_eq!(verdict(&many(MAX_HEADERS)), Err(HeadError::TooLarge));
    }

    #[test]
    fn every_prefix_is_incomplete_and_every_byte_is_survived() {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(length(&head[..end], 8192), Ok(None), "{end}");
        }
        for at in 0..head.len() {
            for byte in 0..=255 {
                let mut changed = head.to_vec();
                changed[at] = byte;
                if let Ok(Some(end)) = length(&changed, 8192) {
                    let _ = check(&changed[..end]);
                }
            }
        }
    }
}

//! One connection to the web server, through the real connection code and hyper. A strict reader of RFC 9112 reads the
//! same bytes: the application sees the one request that reader sees, or none at all, and the client gets exactly one
//! answer. What arrives in one piece and what arrives in many is the same.
//!
//! Input: the sizes of two pieces, then what the client sends.

#![no_main]

use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use mollysocket::web::fuzzing::connection;
use mollysocket_fuzz::http::{self, Request, Trailers};
use mollysocket_fuzz::pipe::Pipe;
use percent_encoding::percent_decode_str;

fuzz_target!(|data: &[u8]| {
    let [first, second, bytes @ ..] = data else { return };
    let (seen, answer) = converse(bytes, &[]);
    let pieces = [usize::from(*first), usize::from(*second)];
    let (seen_in_pieces, answer_in_pieces) = converse(bytes, &pieces);
    assert_eq!(seen, seen_in_pieces);
    assert_eq!(status(&answer), status(&answer_in_pieces));

    assert!(seen.len() <= 1, "a second request was seen");
    let expected = http::request(bytes);
    let expected = expected.as_ref();
    match (seen.first(), expected) {
        (Some(seen), Some((expected, _))) => {
            let decoded = |target: &str| percent_decode_str(target).collect::<Vec<u8>>();
            // The query may have been encoded further (a `'` is, by the URL standard); decoded it is the same.
            assert_eq!(decoded(&seen.target), decoded(&path(expected)));
            assert_eq!((seen.method.as_str(), &seen.body), (routed(&expected.method), &expected.body));
        }
        (Some(seen), None) => panic!("no strict reader sees {seen:?}"),
        // Answered without asking the application: too large, a path or method nobody knows.
        // The beginning of the PROXY protocol's header, which nobody answers.
        (None, Some(_)) if bytes.starts_with(b"PROXY ") => return,
        (None, Some((request, trailers))) => {
            let status = status(&answer).expect("an answer");
            let odd = status == 400 && (*trailers == Trailers::Odd || !ordinary(&request.target));
            assert!(odd || [404, 405, 413, 431].contains(&status), "{status} to {request:?}");
        }
        (None, None) => {}
    }
    check_answer(&answer, expected.map(|(request, _)| request).or(seen.first()));
});

/// What the application sees and what the client gets.
fn converse(bytes: &[u8], pieces: &[usize]) -> (Vec<Request>, Vec<u8>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let recorder = seen.clone();
    let record = move |mut request: tide::Request<()>| {
        let recorder = recorder.clone();
        async move {
            let body = request.body_bytes().await?;
            let url = request.url();
            let target = url.query().map_or_else(|| url.path().to_owned(), |q| format!("{}?{q}", url.path()));
            recorder.lock().expect("no panic while held").push(Request {
                method: request.method().to_string(),
                target,
                body,
            });
            Ok("seen")
        }
    };
    let mut app = tide::new();
    app.at("/").all(record.clone());
    app.at("*").all(record);
    let (pipe, written) = Pipe::new(bytes, pieces);
    smol::block_on(connection(app, pipe));
    let answer = written.lock().expect("no panic while held").clone();
    let seen = seen.lock().expect("no panic while held").clone();
    (seen, answer)
}

/// The name under which a method reaches the application: one the router has no name for is one that is allowed nowhere.
fn routed(method: &str) -> &str {
    let known = method.parse().is_ok_and(|known: tide::http::Method| known.as_ref() == method);
    if known { method } else { "TRACE" }
}

/// A path of characters every implementation takes (RFC 3986 section 3.3).
fn ordinary(target: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    target.starts_with('/') && target.bytes().all(fine)
}

/// Path and query of the target, which may also be a whole URL (RFC 9112 section 3.2.2).
fn path(request: &Request) -> String {
    let target = request.target.split('#').next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        _ => target.to_owned(),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

/// Exactly one answer, well formed, after which the connection is closed; or none.
fn check_answer(answer: &[u8], request: Option<&Request>) {
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    if answer.is_empty() {
        return assert!(request.is_none(), "a request without an answer");
    }
    let text = std::str::from_utf8(answer).expect("our answers are text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "), "{line}");
    let headers: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').expect("name: value"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let all = |name: &str| headers.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect::<Vec<_>>();
    if line.starts_with("HTTP/1.1 ") {
        assert_eq!(all("connection"), ["close"], "{head}");
    }
    assert!(all("transfer-encoding").is_empty());
    let lengths = all("content-length");
    let [length] = lengths[..] else { panic!("{head}") };
    if !(body.is_empty() && request.is_none_or(|r| r.method == "HEAD")) {
        assert_eq!(length, body.len().to_string(), "{text}");
    }
}

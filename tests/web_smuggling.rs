//! Requests that two HTTP implementations in a row may read differently.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/answers.rs"]
mod answers;
mod support;

use answers::ask;
use support::World;

/// What two HTTP implementations in a row may read differently. Each is refused before the application sees it, or read
/// in the one way RFC 9112 allows; whatever follows is never a request.
#[test]
fn nothing_is_smuggled_past_a_proxy() {
    let mut world = World::new();
    world.start();
    let second = "GET /discover HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = second.len();
    for (lines, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 0\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: 0,5", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: \u{a0}5", 400),
        ("Content-Length:", 400),
        ("Content-Length: 18446744073709551621", 400),
        ("Content-Length: 99999999999999999999999999999999", 400),
        ("Content-Length : 5", 400),
        ("Content-Length\t: 5", 400),
        (" Content-Length: 5", 400),
        ("X: y\r\n Content-Length: 5", 400),
        ("X: y\r\n\tTransfer-Encoding: chunked", 400),
        ("X: y\nContent-Length: 5", 400),
        ("X: y\rContent-Length: 5", 400),
        ("X: y\n\nContent-Length: 5", 400),
        ("X: \0\r\nContent-Length: 5", 400),
        ("Content-Length\0: 5", 400),
        ("Content_Length: 5\r\n: 5", 400),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunked, identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding: chunked;q=1", 501),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501),
        ("Transfer-Encoding:\r\n chunked", 501),
        ("Transfer-Encoding : chunked", 400),
        ("Host: other\r\nContent-Length: 5", 400),
        ("X: a\r\n folded: b", 400),
        (": no name", 400),
        ("no colon", 400),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n0\r\n\r\n{second}");
        let answer = ask(&world, &text);
        assert_eq!(answer.status, status, "{lines:?}: {}", answer.body);
        assert!(!answer.body.contains("HTTP/1.1"), "{lines:?}: one answer only");
    }
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, status) in [
        ("-1\r\n[\r\n0\r\n\r\n", 400),
        ("+1\r\n[\r\n0\r\n\r\n", 400),
        ("0x1\r\n[\r\n0\r\n\r\n", 400),
        (" 1\r\n[\r\n0\r\n\r\n", 400),
        ("\r\n[\r\n0\r\n\r\n", 400),
        ("1g\r\n[\r\n0\r\n\r\n", 400),
        ("1_0\r\n[\r\n0\r\n\r\n", 400),
        ("1\n[\r\n0\r\n\r\n", 400),
        ("1\r[\r\n0\r\n\r\n", 400),
        ("1\r\n[]\r\n0\r\n\r\n", 400),
        ("1\r\n[\n0\r\n\r\n", 400),
        ("1;a\nb\r\n[\r\n0\r\n\r\n", 400),
        ("10000000000000001\r\n[\r\n0\r\n\r\n", 400),
        ("0\n\n", 400),
    ] {
        let answer = ask(&world, format!("{post}{chunks}{second}"));
        // A body of `[` is no registration either: that is 400, too, but with the application's words.
        assert_eq!(answer.status, status, "{chunks:?}: {}", answer.body);
        assert!(!answer.body.contains("JSON"), "{chunks:?} got through: {}", answer.body);
    }
    // What is well-formed counts as what it is, and what follows is thrown away.
    for text in [
        format!("GET / HTTP/1.1\r\nHost: h\r\n\r\n{second}"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{second}{second}"),
        format!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{second}"),
        format!("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n{second}"),
    ] {
        let answer = ask(&world, &text);
        assert!(answer.status == 200 && !answer.body.contains("mollysocket\":{\"version"), "{text}: {}", answer.body);
    }
}

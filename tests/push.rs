//! The push request and what comes back, against the simulated push server and against raw sockets.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/pushing.rs"]
mod pushing;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mollysocket::push::{Outcome, PushKind};
use pushing::{LOOPBACK, Options, SHORT, SLACK, Sender, origin, pair};
use sim::pki::Pki;
use sim::push::{Answer, Behaviour, PushServer};

#[test]
fn the_request_is_exactly_what_push_servers_expect() {
    let (server, sender) = pair();
    let port = server.addr().port();
    for (kind, topic, body) in
        [(PushKind::Wake, "mollysocket", r#"{"urgent":true}"#), (PushKind::Test, "test", r#"{"test":true}"#)]
    {
        server.clear();
        assert_eq!(sender.send(&server.endpoint("up1"), kind).outcome, Outcome::Accepted);
        let [request] = &server.requests()[..] else { panic!("one request") };
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/push/up1"));
        assert_eq!((request.text().as_str(), request.sni.as_deref()), (body, Some("localhost")));
        let authorization = sender.vapid.authorization(&origin(&server), SystemTime::now());
        let mut headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        headers.sort();
        let mut expected = [
            ("accept", "*/*"),
            ("user-agent", concat!("MollySocket/", env!("CARGO_PKG_VERSION"))),
            ("authorization", authorization.as_str()),
            ("content-encoding", "aes128gcm"),
            ("content-length", &body.len().to_string()),
            ("content-type", "application/json"),
            ("host", &format!("localhost:{port}")),
            ("topic", topic),
            ("ttl", "2592000"),
            ("urgency", "high"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        expected.sort();
        assert_eq!(headers, expected, "these and no others, once each");
    }
}

#[test]
fn path_and_query_are_sent_byte_for_byte() {
    let (server, sender) = pair();
    let base = origin(&server);
    for (given, sent) in [
        ("/a/../b/./c", "/a/../b/./c"),
        ("//double//slash", "//double//slash"),
        ("/A%2fb%7E?x=%7e&y='&z=%C3%A9", "/A%2fb%7E?x=%7e&y='&z=%C3%A9"),
        ("/fcm/send/a:b-c_d", "/fcm/send/a:b-c_d"),
        ("/a|b{c}", "/a|b{c}"),
        ("/up?up=1&auth=a+b=", "/up?up=1&auth=a+b="),
        ("?up=1", "/?up=1"),
        ("", "/"),
    ] {
        server.clear();
        let delivery = sender.wake(&format!("{base}{given}"));
        assert_eq!(delivery.outcome, Outcome::Accepted, "{given}: {}", delivery.reason);
        assert_eq!(server.requests()[0].target, sent);
    }
}

#[test]
fn a_name_keeps_its_place_in_sni_and_host_while_the_address_is_pinned() {
    let pki = Pki::new();
    let server = PushServer::start_tls(Some(pki.server_config(&["push.example"])), LOOPBACK.into()).unwrap();
    let port = server.addr().port();
    for name in ["push.example", "push.example."] {
        server.clear();
        let allowed = format!("https://{name}:{port}");
        let sender = Options::new(Some(&pki), &allowed).resolving(&["127.0.0.1"]).build();
        let delivery = sender.wake(&format!("https://{name}:{port}/x"));
        assert_eq!(delivery.outcome, Outcome::Accepted, "{}", delivery.reason);
        let request = &server.requests()[0];
        assert_eq!(request.sni.as_deref(), Some("push.example"));
        assert_eq!(request.header("host"), Some(format!("{name}:{port}").as_str()));
    }
}

#[test]
fn user_info_is_neither_sent_nor_told() {
    let server = PushServer::start_plain();
    let port = server.addr().port();
    let allowed = format!("http://user:hunter2@localhost:{port}");
    let sender = Options::new(None, &allowed).build();
    assert_eq!(sender.wake(&format!("{allowed}/x")).outcome, Outcome::Accepted);
    let request = &server.requests()[0];
    assert_eq!(request.header("host"), Some(format!("localhost:{port}").as_str()));
    assert!(!format!("{:?}", request.headers).contains("hunter2"));
    assert!(request.header("authorization").unwrap().starts_with("vapid t="));
    server.refuse(true);
    let reason = sender.wake(&format!("{allowed}/SECRET")).reason;
    assert!(!reason.contains("hunter2") && !reason.contains("SECRET"), "{reason}");
}

#[test]
fn every_answer_means_what_the_contract_says() {
    let (server, sender) = pair();
    let limited = |seconds| Outcome::Limited(Some(Duration::from_secs(seconds)));
    let table = [
        (Answer::created(), Outcome::Accepted),
        (Answer::ok(), Outcome::Accepted),
        (Answer::status(202), Outcome::Accepted),
        (Answer::status(204), Outcome::Accepted),
        (Answer::status(299), Outcome::Accepted),
        (Answer::status(400), Outcome::Rejected),
        (Answer::status(401), Outcome::Unauthorized),
        (Answer::status(403), Outcome::Unauthorized),
        (Answer::status(404), Outcome::Gone),
        (Answer::status(405), Outcome::Rejected),
        (Answer::status(408), Outcome::Failed),
        (Answer::status(410), Outcome::Gone),
        (Answer::status(413), Outcome::Rejected),
        (Answer::status(429), Outcome::Limited(None)),
        (Answer::retry_after(429, "120"), limited(120)),
        (Answer::retry_after(429, "86400"), limited(86400)),
        (Answer::retry_after(429, "-5"), Outcome::Limited(None)),
        (Answer::retry_after(429, "soon"), Outcome::Limited(None)),
        (Answer::status(500), Outcome::Failed),
        (Answer::status(502), Outcome::Failed),
        (Answer::retry_after(503, "120"), limited(120)),
        (Answer::status(503), Outcome::Limited(None)),
        (Answer::status(507), Outcome::Failed),
        (Answer::status(522), Outcome::Failed),
        (Answer::status(999), Outcome::Failed),
    ];
    for (answer, expected) in table {
        let status = answer.status;
        server.set_default(answer);
        let delivery = sender.wake(&server.endpoint("upSECRET"));
        assert_eq!(delivery.outcome, expected, "{status}");
        assert!(delivery.reason.contains(&status.to_string()), "the number is kept: {}", delivery.reason);
        assert!(!delivery.reason.contains("SECRET"), "{}", delivery.reason);
    }
}

#[test]
fn retry_after_may_be_a_date() {
    let (server, sender) = pair();
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
    for status in [429, 503] {
        server.script([Answer::retry_after(status, &date)]);
        let outcome = sender.wake(&server.endpoint("x")).outcome;
        let Outcome::Limited(Some(delay)) = outcome else { panic!("{outcome:?}") };
        assert!((590..=600).contains(&delay.as_secs()), "{delay:?}");
    }
    // The server's clock counts, whatever ours says.
    let answer =
        Answer::retry_after(429, "Sun, 06 Nov 1994 08:50:07 GMT").header("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    server.script([answer]);
    assert_eq!(sender.wake(&server.endpoint("x")).outcome, Outcome::Limited(Some(Duration::from_secs(30))));
}

/// The tokens of all requests so far.
fn tokens(server: &PushServer) -> Vec<String> {
    let token = |request: &sim::push::PushRequest| request.header("authorization").unwrap().to_owned();
    server.requests().iter().map(token).collect()
}

#[test]
fn a_refused_token_of_an_earlier_push_is_replaced_at_once() {
    for status in [401, 403] {
        let (server, sender) = pair();
        let old = sender.vapid.authorization(&origin(&server), SystemTime::now() - Duration::from_secs(100));
        server.script([Answer::created(), Answer::status(500), Answer::status(status)]);
        let outcomes: Vec<_> = (0..4).map(|_| sender.wake(&server.endpoint("x")).outcome).collect();
        use Outcome::{Accepted, Failed};
        assert_eq!(outcomes, [Accepted, Failed, Accepted, Accepted]);
        let used = tokens(&server);
        assert!(used[..3].iter().all(|token| *token == old), "reused");
        assert!(used.len() == 5 && used[3] != old && used[4] == used[3], "{used:?}");
    }
}

#[test]
fn a_refusal_costs_two_requests_at_most_and_one_where_the_token_was_new() {
    for status in [401, 403] {
        let (server, sender) = pair();
        server.set_default(Answer::status(status));
        sender.vapid.authorization(&origin(&server), SystemTime::now() - Duration::from_secs(100));
        for expected in [2, 3, 4] {
            assert_eq!(sender.wake(&server.endpoint("x")).outcome, Outcome::Unauthorized);
            assert_eq!(server.requests().len(), expected, "{status}");
        }
        let used = tokens(&server);
        assert_ne!(used[0], used[1], "the refused token was used again");
    }
}

#[test]
fn a_proxys_refusal_is_told_as_a_proxys() {
    let (server, sender) = pair();
    let own = Answer::status(403).header("Content-Type", "application/json").body(r#"{"code":40301,"http":403}"#);
    let firewalls = [
        Answer::status(403).header("Content-Type", "text/html").body("<title>403 Forbidden</title><hr>nginx"),
        Answer::status(403).header("Server", "cloudflare").header("CF-RAY", "8a1b").body("error code: 1010"),
        Answer::status(403).header("CF-Mitigated", "challenge"),
        Answer::status(401).header("Content-Type", "text/html; charset=utf-8").header("WWW-Authenticate", "Basic"),
    ];
    for (answers, theirs) in [(vec![own], false), (firewalls.to_vec(), true)] {
        for answer in answers {
            server.set_default(answer);
            let delivery = sender.wake(&server.endpoint("x"));
            assert_eq!(delivery.outcome, Outcome::Unauthorized, "{}", delivery.reason);
            assert_eq!(delivery.reason.contains("proxy or web firewall"), theirs, "{}", delivery.reason);
            assert_ne!(delivery.reason.contains("access list"), theirs, "{}", delivery.reason);
        }
    }
}

#[test]
fn redirects_are_not_followed() {
    let (server, sender) = pair();
    let canary = PushServer::start_plain();
    for status in [301, 302, 303, 307, 308] {
        server.script([Answer::redirect(status, &canary.endpoint("elsewhere"))]);
        let delivery = sender.wake(&server.endpoint("x"));
        assert_eq!(delivery.outcome, Outcome::Failed, "{status}");
        assert!(delivery.reason.contains("redirect"), "{}", delivery.reason);
    }
    assert_eq!((server.requests().len(), canary.connections()), (5, 0));
}

#[test]
fn a_server_that_hangs_costs_one_deadline_at_any_stage() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let sender = Options::new(Some(&pki), &origin(&server)).short().build();
    let step = Duration::from_millis(50);
    let late = |sender: &Sender, stage: &str| {
        let start = Instant::now();
        let delivery = sender.wake(&server.endpoint("x"));
        assert_eq!(delivery.outcome, Outcome::Failed, "{}", delivery.reason);
        assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT + SLACK, "{:?}", start.elapsed());
        assert!(delivery.reason.contains("no answer within") && delivery.reason.contains(stage), "{}", delivery.reason);
        assert!(server.wait_until(SLACK, |s| s.open() == 0), "the connection is gone");
    };
    for behaviour in [Behaviour::Hang, Behaviour::DripHead(1, step)] {
        server.script([Answer::behave(behaviour)]);
        late(&sender, "waiting for the answer");
    }
    server.set_tls_silent(true);
    late(&sender, "TLS");
    late(&Options::new(Some(&pki), &origin(&server)).short().resolving(&[]).build(), "name");
}

#[test]
fn nothing_after_the_head_is_waited_for_or_keeps_the_connection() {
    let (server, sender) = pair();
    let step = Duration::from_millis(200);
    for behaviour in [
        Behaviour::HangAfterHead,
        Behaviour::DripBody(1, step),
        Behaviour::EndlessBody,
        Behaviour::CutMidBody,
        Behaviour::CloseAfter,
        Behaviour::TlsCloseWithoutNotify,
    ] {
        server.script([Answer::created().body("x".repeat(100)).behaviour(behaviour)]);
        let start = Instant::now();
        let delivery = sender.wake(&server.endpoint("x"));
        assert_eq!(delivery.outcome, Outcome::Accepted, "{behaviour:?}: {}", delivery.reason);
        assert!(start.elapsed() < SLACK, "{behaviour:?}");
        assert!(server.wait_until(SLACK, |s| s.open() == 0), "{behaviour:?}: the connection is gone");
    }
}

#[test]
fn answers_that_are_none_are_failures() {
    let (server, sender) = pair();
    for behaviour in [
        Behaviour::CutBeforeAnswer,
        Behaviour::ResetBeforeAnswer,
        Behaviour::CutMidHead,
        Behaviour::EndlessHeader,
        Behaviour::Garbage,
    ] {
        server.script([Answer::behave(behaviour)]);
        let delivery = sender.wake(&server.endpoint("SECRET"));
        assert_eq!(delivery.outcome, Outcome::Failed, "{behaviour:?}");
        assert!(!delivery.reason.contains("SECRET") && !delivery.reason.contains('\n'), "{}", delivery.reason);
    }
    server.refuse(true);
    let delivery = sender.wake(&server.endpoint("x"));
    assert_eq!(delivery.outcome, Outcome::Failed);
    assert!(delivery.reason.contains("refused"), "{}", delivery.reason);
    assert_eq!(delivery.reason.matches("localhost").count(), 1, "once is enough: {}", delivery.reason);
}

/// A server on a raw socket that reads a request and writes these bytes.
fn raw(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"true}") {
            let n = stream.read(&mut piece).unwrap();
            assert_ne!(n, 0);
            request.extend_from_slice(&piece[..n]);
        }
        // The client may hang up in the middle.
        let _ = stream.write_all(&answer);
    });
    address
}

/// A push server that sends `piece` until nobody listens any more.
fn endless(piece: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let block = piece.repeat(1000);
                while stream.write_all(&block).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn interim_answers_without_end_end() {
    let server = endless(b"HTTP/1.1 103 Early Hints\r\n\r\n");
    let sender = Options::new(None, &format!("http://{server}")).build();
    for _ in 0..10 {
        let start = Instant::now();
        let delivery = sender.wake(&format!("http://{server}/x"));
        assert_eq!(delivery.outcome, Outcome::Failed, "{}", delivery.reason);
        assert!(delivery.reason.contains("more bytes than"), "{}", delivery.reason);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn odd_answers_are_understood_and_monstrous_ones_cut() {
    let huge = format!("HTTP/1.1 201 Created\r\nX-Pad: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 201 Created\r\n{}\r\n", "X-Pad: x\r\n".repeat(2000));
    let table: [(&[u8], Outcome); 12] = [
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\n\r\n", Outcome::Accepted),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n", Outcome::Gone),
        (b"HTTP/1.0 200 OK\r\n\r\n", Outcome::Accepted),
        (b"HTTP/1.1 201 \r\nX-Note: \xe9t\xc3\xa9\r\n\r\n", Outcome::Accepted),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: \xe9\r\n\r\n", Outcome::Limited(None)),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", Outcome::Accepted),
        (b"HTTP/1.1 20 x\r\n\r\n", Outcome::Failed),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Outcome::Failed),
        (b"HTTP/2 200\r\n\r\n", Outcome::Failed),
        (b"\0\0\0\0", Outcome::Failed),
        (huge.as_bytes(), Outcome::Failed),
        (many.as_bytes(), Outcome::Failed),
    ];
    for (answer, expected) in table {
        let server = raw(answer.to_vec());
        let sender = Options::new(None, &format!("http://{server}")).build();
        let delivery = sender.wake(&format!("http://{server}/x"));
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        assert_eq!(delivery.outcome, expected, "{shown:?}: {}", delivery.reason);
    }
}

#[test]
fn a_refusal_is_told_with_its_reason_and_a_clock_that_is_wrong() {
    let (server, sender) = pair();
    let away = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(13 * 3600 + 5));
    let body = r#"{"code":401,"errno":109,"error":"Unauthorized","message":"Expired\u001bSignature"}"#;
    let answer = Answer::status(401).header("Content-Type", "application/json").body(body);
    for behaviour in [Behaviour::Normal, Behaviour::CloseAfter, Behaviour::DripBody(40, Duration::from_millis(5))] {
        server.set_default(answer.clone().header("Date", &away).behaviour(behaviour));
        let told = sender.wake(&server.endpoint("upSECRET"));
        assert_eq!(told.outcome, Outcome::Unauthorized);
        assert!(told.reason.contains("(\"ExpiredSignature\")"), "{}", told.reason);
        assert!(told.reason.contains("clock is 13h ahead of"), "{}", told.reason);
        assert!(told.remedy.contains("set this machine's clock"), "{}", told.remedy);
    }
    // What repeats a secret is not told; what never ends costs a moment and changes nothing.
    server.set_default(Answer::status(404).body(r#"{"message":"no endpoint upSECRET0000 here"}"#));
    let told = sender.wake(&server.endpoint("upSECRET0000"));
    assert!(told.outcome == Outcome::Gone && !told.reason.contains("SECRET"), "{}", told.reason);
    for behaviour in [Behaviour::EndlessBody, Behaviour::HangAfterHead, Behaviour::CutMidBody] {
        server.set_default(answer.clone().behaviour(behaviour));
        assert_eq!(sender.wake(&server.endpoint("up")).outcome, Outcome::Unauthorized, "{behaviour:?}");
    }
}

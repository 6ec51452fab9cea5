//! Connections to push servers that serve more than one push: when they do, and when they must not.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/pushing.rs"]
mod pushing;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mollysocket::push::Outcome;
use pushing::{LOOPBACK, Options, SLACK, Sender, origin, pair};
use sim::pki::Pki;
use sim::push::{Answer, Behaviour, PushServer};

/// How long a kept connection may be silent in tests about that. A busy machine answers sooner.
const PATIENCE: Duration = Duration::from_millis(600);

fn accepted(sender: &Sender, to: &str) {
    let delivery = sender.wake(to);
    assert_eq!(delivery.outcome, Outcome::Accepted, "{}", delivery.reason);
}

/// Which connection each request came on.
fn connections(server: &PushServer) -> Vec<u64> {
    server.requests().iter().map(|request| request.connection).collect()
}

/// Until what follows the answer was read. Reading it is not waited for.
fn rest() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn pushes_to_one_origin_share_a_connection_whatever_short_body_answers_have() {
    let (server, sender) = pair();
    for answer in [Answer::created(), Answer::ok(), Answer::status(204), Answer::created().body("x".repeat(4000))] {
        server.script([answer]);
        accepted(&sender, &server.endpoint("a"));
        rest();
    }
    accepted(&sender, &server.endpoint("b"));
    assert_eq!(connections(&server), [0; 5]);
    let other = PushServer::start_plain();
    let sender = Options::new(None, &origin(&other)).build();
    (0..3).for_each(|_| accepted(&sender, &other.endpoint("a")));
    assert_eq!(connections(&other), [0; 3]);
}

#[test]
fn a_body_in_chunks_is_read_when_it_is_short_and_not_when_it_is_long() {
    let head = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, expected) in [(1, 1), (40, 3)] {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let at = listener.local_addr().unwrap();
        let accepted_so_far = Arc::new(AtomicUsize::new(0));
        let count = accepted_so_far.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let body = format!("80\r\n{}\r\n", "x".repeat(128)).repeat(chunks) + "0\r\n\r\n";
                    // Requests are short and arrive one at a time.
                    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                        let _ = stream.write_all(format!("{head}{body}").as_bytes());
                    }
                });
            }
        });
        let sender = Options::new(None, &format!("http://{at}")).build();
        for _ in 0..3 {
            accepted(&sender, &format!("http://{at}/x"));
            rest();
        }
        assert_eq!(accepted_so_far.load(Ordering::SeqCst), expected, "{chunks} chunks");
    }
}

#[test]
fn a_connection_whose_answer_did_not_end_well_is_not_used_again() {
    let (server, sender) = pair();
    let step = Duration::from_millis(300);
    let bad = [
        Answer::behave(Behaviour::HangAfterHead),
        Answer::behave(Behaviour::EndlessBody),
        Answer::created().body("x".repeat(5000)),
        Answer::created().body("x".repeat(10)).behaviour(Behaviour::DripBody(1, step)),
        Answer::created().body("x".repeat(100)).behaviour(Behaviour::CutMidBody),
        Answer::created().header("Connection", "close"),
        Answer::status(500),
        Answer::status(429),
        Answer::status(404),
    ];
    for (n, answer) in (0..).zip(bad) {
        server.script([answer.clone()]);
        sender.wake(&server.endpoint("a"));
        rest();
        assert_eq!(connections(&server).last(), Some(&n), "{answer:?}: not after the one before");
    }
    assert!(server.wait_until(SLACK, |s| s.open() == 0), "none of them is kept");
}

#[test]
fn a_connection_that_the_server_closed_costs_no_wake_up_and_no_delay() {
    let (server, sender) = pair();
    let endpoint = server.endpoint("a");
    // Closed while it waits; closed or reset in place of an answer to the next request.
    accepted(&sender, &endpoint);
    server.cut_all();
    accepted(&sender, &endpoint);
    for behaviour in [Behaviour::CutBeforeAnswer, Behaviour::ResetBeforeAnswer, Behaviour::CutMidHead] {
        server.script([Answer::created(), Answer::behave(behaviour)]);
        accepted(&sender, &endpoint);
        let start = Instant::now();
        accepted(&sender, &endpoint);
        assert!(start.elapsed() < SLACK, "{behaviour:?}");
    }
}

/// A sender that gives a kept connection so much time for an answer, of so much in all.
fn patient(kept: Duration, push: Duration) -> (PushServer, Sender) {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let mut options = Options::new(Some(&pki), &origin(&server));
    (options.timings.reused_response_timeout, options.timings.push) = (kept, push);
    let sender = options.build();
    (server, sender)
}

#[test]
fn a_kept_connection_that_went_silent_costs_one_short_wait() {
    // Where the deadline is short, the wait is a part of it.
    for (kept, push) in [(PATIENCE, Duration::from_secs(60)), (Duration::from_secs(60), 4 * PATIENCE)] {
        let (server, sender) = patient(kept, push);
        // Two that wait, because two pushes are under way at once.
        let slow = Answer::created().delay(PATIENCE / 3);
        server.script([slow.clone(), slow, Answer::hang()]);
        std::thread::scope(|scope| {
            (0..2).for_each(|_| drop(scope.spawn(|| accepted(&sender, &server.endpoint("a")))));
        });
        assert_eq!(server.open_connections(), 2);
        let start = Instant::now();
        accepted(&sender, &server.endpoint("a"));
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        accepted(&sender, &server.endpoint("a"));
        let used = connections(&server);
        assert_eq!(used.len(), 5, "sent again once: {used:?}");
        assert_eq!(used[3..], [2, 2], "on a fresh connection, which is kept");
        assert!(server.wait_until(SLACK, |s| s.open() == 1), "the other old one is not trusted either");
    }
}

#[test]
fn a_server_that_became_slow_is_heard_out_on_a_fresh_connection() {
    let (server, sender) = patient(PATIENCE, Duration::from_secs(60));
    let slow = Answer::created().delay(3 * PATIENCE);
    server.script([Answer::created(), slow.clone(), slow, Answer::created()]);
    (0..4).for_each(|_| accepted(&sender, &server.endpoint("a")));
    // One push is sent twice. A slow connection is not kept, so that this does not happen each time.
    assert_eq!(connections(&server), [0, 0, 1, 2, 2]);
}

#[test]
fn of_a_server_that_is_silent_throughout_one_deadline_is_waited() {
    let push = 4 * PATIENCE;
    let (server, sender) = patient(PATIENCE, push);
    server.script([Answer::created(), Answer::hang(), Answer::hang()]);
    accepted(&sender, &server.endpoint("a"));
    let start = Instant::now();
    let delivery = sender.wake(&server.endpoint("a"));
    assert_eq!(delivery.outcome, Outcome::Failed);
    assert!(delivery.reason.contains("(waiting for the answer)"), "{}", delivery.reason);
    assert!((push..push + SLACK).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(connections(&server), [0, 0, 1]);
}

#[test]
fn of_a_fresh_connection_an_error_is_told() {
    let (server, sender) = pair();
    server.script([Answer::behave(Behaviour::CutBeforeAnswer)]);
    assert_eq!(sender.wake(&server.endpoint("a")).outcome, Outcome::Failed);
    assert_eq!(server.requests().len(), 1, "not tried twice");
    // Nor does a second failure in a row lead to a third attempt.
    server.script([Answer::created(), Answer::behave(Behaviour::CutBeforeAnswer), Answer::behave(Behaviour::Garbage)]);
    accepted(&sender, &server.endpoint("a"));
    assert_eq!(sender.wake(&server.endpoint("a")).outcome, Outcome::Failed);
    assert_eq!(server.requests().len(), 4, "one on the connection that waited, one on a fresh one");
}

#[test]
fn a_connection_that_waited_too_long_is_closed_instead_of_used() {
    let pki = Pki::new();
    let servers = [PushServer::start(&pki), PushServer::start(&pki)];
    let mut options = Options::new(Some(&pki), &origin(&servers[0]));
    options.allowed.push(origin(&servers[1]));
    options.timings.idle_ttl = Duration::from_millis(400);
    let sender = options.build();
    servers.iter().for_each(|server| accepted(&sender, &server.endpoint("a")));
    std::thread::sleep(Duration::from_millis(400));
    accepted(&sender, &servers[0].endpoint("a"));
    assert_eq!(connections(&servers[0]), [0, 1]);
    assert!(servers[1].wait_until(SLACK, |s| s.open() == 0), "any push closes all that have waited too long");
}

#[test]
fn waiting_connections_are_bounded() {
    let pki = Pki::new();
    let servers: Vec<_> = (0..6).map(|_| PushServer::start(&pki)).collect();
    let mut options = Options::new(Some(&pki), &origin(&servers[0]));
    options.allowed.extend(servers[1..].iter().map(origin));
    options.limits.pushes_idle = 4;
    let sender = options.build();
    let open = || servers.iter().map(PushServer::open_connections).sum::<usize>();
    servers.iter().for_each(|server| accepted(&sender, &server.endpoint("a")));
    let until = Instant::now() + SLACK;
    while open() > 4 && Instant::now() < until {
        rest();
    }
    assert_eq!(open(), 4);
    // The ones used last wait.
    accepted(&sender, &servers[5].endpoint("a"));
    assert_eq!(connections(&servers[5]), [0, 0]);
    accepted(&sender, &servers[0].endpoint("a"));
    assert_eq!(connections(&servers[0]), [0, 1]);
}

#[test]
fn the_guard_judges_each_push_also_where_a_connection_waits() {
    let pki = Pki::new();
    let config = pki.server_config(&["push.example"]);
    let server = PushServer::start_tls(Some(config), LOOPBACK.into()).unwrap();
    let name = format!("https://push.example:{}", server.addr().port());
    // The name is listed, so that it may be on loopback: the first push leaves a connection. Then it moves.
    let moved = ["127.0.0.1", "127.0.0.1", "127.0.0.2"];
    let sender = Options::new(Some(&pki), &name).resolving(&moved).build();
    accepted(&sender, &format!("{name}/a"));
    accepted(&sender, &format!("{name}/a"));
    assert_eq!(connections(&server), [0, 0]);
    let delivery = sender.wake(&format!("{name}/a"));
    assert_eq!(delivery.outcome, Outcome::Failed, "nobody listens at 127.0.0.2");
    assert!(delivery.reason.contains("127.0.0.2"), "{}", delivery.reason);
    assert!(server.wait_until(SLACK, |s| s.open() == 0), "the connection to the old address is closed");
    assert_eq!(server.requests().len(), 2);
}

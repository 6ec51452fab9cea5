use std::pin::Pin;
use std::task::{Context, Poll};

use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use prost::Message as _;

use super::*;
use crate::account::{Endpoint, sample};
use crate::notifier::Next;
use crate::push::{Delivery, Outcome, PushKind};
use crate::signal::wire::{Request, WebSocketMessage};

mod invariant;
mod running;
mod year;

const MARGIN_MS: u64 = 3000;

/// Protobuf of an envelope with only the fields that matter: 10 server_timestamp, 14 urgent.
fn envelope(server_ms: u64, urgent: bool) -> Vec<u8> {
    let mut body = Vec::new();
    prost::encoding::uint64::encode(10, &server_ms, &mut body);
    prost::encoding::bool::encode(14, &urgent, &mut body);
    body
}

fn put_message(id: u64, body: Vec<u8>, server_ms: u64) -> Message {
    request(id, "/api/v1/message", Some(body), server_ms)
}

fn request(id: u64, path: &str, body: Option<Vec<u8>>, server_ms: u64) -> Message {
    let request = Request {
        verb: Some(b"PUT".to_vec()),
        path: Some(path.as_bytes().to_vec()),
        body,
        id: Some(id),
        headers: vec![format!("X-Signal-Timestamp:{server_ms}").into_bytes()],
    };
    binary(WebSocketMessage { kind: Some(1), request: Some(request), response: None }.encode_to_vec())
}

struct Bench {
    account_state: AccountState,
    metrics: Metrics,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let account_state = AccountState::new(&sample(), false, &Timings::default());
        Self { account_state, metrics: Metrics::default(), now: Instant::now() }
    }

    fn session(&self) -> Session<'_> {
        let mut rng = fastrand::Rng::with_seed(1);
        Session::new(&self.account_state, &self.metrics, &Timings::default(), self.now, &mut rng)
    }
}

/// Lets time pass while keepalives are answered. How the session ended, and after how many seconds.
fn run_for(session: &mut Session<'_>, start: Instant, seconds: u64) -> Option<(u64, Disconnect)> {
    for s in 0..seconds {
        let now = start + Duration::from_secs(s);
        if let Err(ended) = session.on_time(now) {
            return Some((s, ended));
        }
        for message in session.take_outgoing() {
            let Message::Binary(bytes) = message else { continue };
            if let Some(request) = WebSocketMessage::decode(&bytes[..]).unwrap().request {
                let answer = wire::answer(request.id.unwrap(), 200, "OK");
                session.on_frame(binary(answer), now).unwrap();
            }
        }
    }
    None
}

#[test]
fn what_is_due_is_put_off_to_the_next_shared_moment_and_no_further() {
    let shared = Duration::from_millis(250);
    for (at, expected) in [(0, 0), (1, 249), (249, 1), (250, 0), (1_000_000_001, 249)] {
        assert_eq!(put_off(Duration::from_millis(at), shared), Duration::from_millis(expected), "{at} ms");
    }
    assert_eq!(put_off(Duration::from_nanos(1), shared), shared - Duration::from_nanos(1));
    assert_eq!(put_off(Duration::from_millis(7), Duration::ZERO), Duration::ZERO);
}

#[test]
fn a_socket_that_never_announces_the_end_of_the_queue_is_given_up_after_a_minute() {
    let bench = Bench::new();
    let mut session = bench.session();
    assert_eq!(run_for(&mut session, bench.now, 600), Some((60, Disconnect::Silent)), "an anonymous socket");
}

#[test]
fn the_end_of_the_queue_may_take_any_time_while_a_wake_up_is_owed() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(put_message(1, envelope(5, true), 9), bench.now).unwrap();
    assert_eq!(run_for(&mut session, bench.now, 600), None);
    assert_eq!(session.owed(), 1);
}

#[test]
fn a_socket_that_announced_it_lives_until_its_renewal() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    let (seconds, ended) = run_for(&mut session, bench.now, 25 * 3600).unwrap();
    assert_eq!(ended, Disconnect::Renewed);
    assert!((18 * 3600..=24 * 3600).contains(&seconds), "{seconds}");
}

#[test]
fn accounts_that_connect_in_one_moment_ask_in_different_ones() {
    let (bench, timings) = (Bench::new(), Timings::default());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut in_second = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let session = Session::new(&bench.account_state, &bench.metrics, &timings, bench.now, &mut rng);
        let first = session.keepalive.deadline() - bench.now;
        assert!(first >= timings.keepalive / 2 && first <= timings.keepalive, "{first:?}");
        *in_second.entry(first.as_secs()).or_insert(0) += 1;
    }
    // Over 15 seconds: each has some 67 of them.
    assert!(in_second.values().all(|&n| n < 120), "{in_second:?}");
}

#[test]
fn a_peer_whose_keepalive_answers_get_lost_lives_while_anything_else_comes() {
    type Sends = fn(u64) -> Message;
    let kinds: [Sends; 4] = [
        |n| put_message(n, envelope(n, false), n),
        |n| request(n, "/api/v1/unknown", None, n),
        |_| Message::Ping(Vec::new().into()),
        |_| Message::Pong(Vec::new().into()),
    ];
    for sends in kinds {
        let bench = Bench::new();
        let mut session = bench.session();
        session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
        for n in 2..120 {
            let now = bench.now + Duration::from_secs(5 * n);
            session.on_time(now).expect("it lives");
            session.on_frame(sends(n), now).unwrap();
        }
        let silent = bench.now + Duration::from_secs(5 * 119 + 45);
        let mut ended = session.on_time(silent - Duration::from_secs(15));
        ended = ended.and_then(|()| session.on_time(silent));
        assert_eq!(ended, Err(Disconnect::KeepaliveTimeout), "45 s of silence are its end");
    }
}

#[test]
fn an_unanswered_keepalive_ends_the_session_within_45_seconds() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    let ended = (0..100).find_map(|s| session.on_time(bench.now + Duration::from_secs(s)).err().map(|e| (s, e)));
    let (seconds, ended) = ended.unwrap();
    assert!(ended == Disconnect::KeepaliveTimeout && seconds <= 45, "{ended:?} after {seconds} s");
}

#[test]
fn the_account_counts_as_connected_only_when_signal_delivers() {
    let bench = Bench::new();
    bench.account_state.enter(State::Connecting, "", Cause::default(), None);
    let mut session = bench.session();
    let answer = binary(wire::answer(1, 200, "OK"));
    session.on_frame(answer, bench.now).unwrap();
    assert_eq!(bench.account_state.status().signal.state, State::Connecting, "a keepalive's answer proves nothing");
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    assert_eq!(bench.account_state.status().signal.state, State::Connected);
}

#[test]
fn close_codes_are_kept() {
    let bench = Bench::new();
    let mut session = bench.session();
    let frame = CloseFrame { code: CloseCode::from(4409), reason: "Connected elsewhere".into() };
    let ended = session.on_frame(Message::Close(Some(frame)), bench.now).unwrap_err();
    assert_eq!(ended, Disconnect::Closed(4409, "Connected elsewhere".into()));
}

#[test]
fn a_peer_with_an_endless_window_is_not_served() {
    let bench = Bench::new();
    let mut session = bench.session();
    let ended = (0..10_000).find_map(|n| session.on_frame(put_message(n, envelope(5, true), 9), bench.now).err());
    assert!(matches!(ended, Some(Disconnect::Protocol(_))));
}

/// A socket whose peer reads nothing: what is written never gets flushed.
struct Deaf;

impl Stream for Deaf {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Sink<Message> for Deaf {
    type Error = tungstenite::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Self::Error> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }
}

#[test]
fn a_peer_that_reads_nothing_is_given_up() {
    let bench = Bench::new();
    let ms = Duration::from_millis;
    let timings = Timings { keepalive: ms(20), keepalive_answer: ms(60_000), write: ms(60), ..Timings::default() };
    let mut rng = fastrand::Rng::with_seed(1);
    let start = Instant::now();
    let session = run(Deaf, &bench.account_state, &bench.metrics, &timings, &mut rng);
    let (ended, connected) = smol::block_on(session);
    assert_eq!((ended, connected), (Disconnect::WriteTimeout, Duration::ZERO));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_cannot_be_answered_is_followed_by_a_new_connection_soon() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    session.on_frame(binary(vec![0xff; 9]), bench.now).unwrap();
    assert_eq!(run_for(&mut session, bench.now, 600), Some((60, Disconnect::Renewed)), "it may have been a message");
}

#[test]
fn a_connection_that_just_ends_is_told_in_plain_words() {
    let text = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/";
    let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text);
    assert_eq!(lost(&tungstenite::Error::Io(error)), Disconnect::Lost("it ended without a goodbye".into()));
}

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use crate::notifier::Next;
use crate::push::{Delivery, Kind, Outcome};
use crate::signal::wire::{Request, WebSocketMessage};

const MARGIN_MS: u64 = 3000;

fn account() -> Account {
    Account {
        credentials: Credentials {
            id: AccountId::parse("11111111-2222-4333-8444-555555555555").unwrap(),
            device: DeviceId::new(2).unwrap(),
            password: Secret::new("x"),
        },
        endpoint: Endpoint::parse("https://push.example/x").unwrap(),
        forbidden: false,
        endpoint_gone: false,
        last_registration: 0,
        covered_until: None,
    }
}

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

/// What the test does next.
#[derive(Debug, Clone)]
enum Act {
    /// A message enters Signal's queue, this old, urgent or not, readable or not.
    Send { age_ms: u64, urgent: bool, readable: bool },
    /// Time passes.
    Pass(u64),
    /// The push loop gets a turn.
    PushTurn,
    /// The push on its way ends like this.
    PushEnds(Outcome),
    /// The connection breaks, and with it the acks not yet on the wire; a new one opens.
    Reconnect,
    /// The phone gets a new endpoint.
    NewEndpoint,
    /// The account was suspended or restarted and goes on.
    Resume,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (prop_oneof![Just(0u64), 0u64..20_000], any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(age_ms, urgent, readable)| Act::Send { age_ms, urgent, readable }),
        3 => (1u64..30_000).prop_map(Act::Pass),
        4 => Just(Act::PushTurn),
        2 => Just(Act::PushEnds(Outcome::Accepted)),
        1 => prop_oneof![
            Just(Outcome::Failed), Just(Outcome::Unauthorized), Just(Outcome::Rejected),
            Just(Outcome::Limited(None)), Just(Outcome::Limited(Some(Duration::from_secs(9)))), Just(Outcome::Gone)
        ].prop_map(Act::PushEnds),
        1 => Just(Act::Reconnect),
        1 => Just(Act::NewEndpoint),
        1 => Just(Act::Resume),
    ]
}

/// A message in Signal's queue.
struct Queued {
    server_ms: u64,
    urgent: bool,
    body: Vec<u8>,
}

/// Signal, the push server and the clock around one session.
struct World<'a> {
    live: &'a Live,
    metrics: &'a Metrics,
    session: Session<'a>,
    timings: Timings,
    start: Instant,
    elapsed_ms: u64,
    rng: fastrand::Rng,
    queue: BTreeMap<u64, Queued>,
    next_message: u64,
    /// Request id to message, for the requests of this connection, with the time of arrival.
    sent: BTreeMap<u64, (u64, u64)>,
    next_request: u64,
    acked_requests: BTreeSet<u64>,
    /// When the push on its way was sent.
    push: Option<(Kind, u64, u64)>,
    /// When each accepted wake-up had been sent.
    accepted: Vec<u64>,
}

impl<'a> World<'a> {
    fn new(live: &'a Live, metrics: &'a Metrics) -> Self {
        let timings = Timings::default();
        let start = Instant::now();
        let mut rng = fastrand::Rng::with_seed(4);
        let session = Session::new(live, metrics, &timings, start, &mut rng);
        Self {
            live,
            metrics,
            session,
            timings,
            start,
            elapsed_ms: 0,
            rng,
            queue: BTreeMap::new(),
            next_message: 0,
            sent: BTreeMap::new(),
            next_request: 1000,
            acked_requests: BTreeSet::new(),
            push: None,
            accepted: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.elapsed_ms)
    }

    /// Signal's clock runs a day ahead of nothing in particular.
    fn server_ms(&self) -> u64 {
        86_400_000 + self.elapsed_ms
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Send { age_ms, urgent, readable } => {
                let server_ms = self.server_ms() - age_ms;
                let body = if readable { envelope(server_ms, urgent) } else { vec![0xff; 5] };
                let urgent = urgent || !readable;
                self.queue.insert(
                    self.next_message,
                    Queued { server_ms: if readable { server_ms } else { u64::MAX }, urgent, body },
                );
                self.deliver(self.next_message);
                self.next_message += 1;
            }
            Act::Pass(ms) => self.elapsed_ms += ms,
            Act::PushTurn => {
                if self.push.is_none()
                    && let Next::Send(kind) = self.live.next_push(self.now())
                {
                    let (_, generation) = self.live.push_started(kind, self.now());
                    self.push = Some((kind, generation, self.elapsed_ms));
                }
            }
            Act::PushEnds(outcome) => {
                if let Some((kind, generation, sent)) = self.push.take() {
                    let delivery = Delivery { outcome: outcome.clone(), reason: String::new() };
                    let now = self.now();
                    let told = self.live.push_finished(kind, generation, &delivery, now, &mut self.rng);
                    if outcome == Outcome::Accepted && told.is_some() {
                        self.accepted.push(sent);
                    }
                }
            }
            Act::Reconnect => {
                self.session.take_outgoing();
                self.session = Session::new(self.live, self.metrics, &self.timings, self.now(), &mut self.rng);
                self.sent.clear();
                self.acked_requests.clear();
                for message in self.queue.keys().copied().collect::<Vec<_>>() {
                    self.deliver(message);
                }
            }
            Act::NewEndpoint => {
                self.live.set_endpoint(Endpoint::parse("https://push.example/y").unwrap());
                // The push loop gives up the push on its way.
                self.push = None;
            }
            Act::Resume => self.resume(),
        }
        self.session.on_accepted(self.now());
        self.read_acks();
    }

    fn resume(&mut self) {
        self.live.resume();
        self.push = None;
    }

    fn deliver(&mut self, message: u64) {
        let body = self.queue[&message].body.clone();
        let frame = put_message(self.next_request, body, self.server_ms());
        self.sent.insert(self.next_request, (message, self.elapsed_ms));
        self.next_request += 1;
        let now = self.now();
        self.session.on_frame(frame, now).expect("the session lives");
    }

    /// Reads what the session sends, and checks each ack against the promise.
    fn read_acks(&mut self) {
        for message in self.session.take_outgoing() {
            let Message::Binary(bytes) = message else { panic!("not binary: {message:?}") };
            let response = WebSocketMessage::decode(&bytes[..]).unwrap().response.expect("only answers here");
            assert_eq!((response.status, response.message.as_deref()), (Some(200), Some(&b"OK"[..])));
            let id = response.id.unwrap();
            assert!(self.acked_requests.insert(id), "acked twice");
            let (message, arrived) = self.sent[&id];
            let queued = self.queue.remove(&message).expect("acked a message that was not queued");
            if queued.urgent {
                let covered = |sent: &u64| {
                    let sent_server = 86_400_000 + *sent;
                    *sent >= arrived || queued.server_ms < sent_server - MARGIN_MS
                };
                assert!(self.accepted.iter().any(covered), "acked without a wake-up that covers it");
            }
        }
    }

    /// All is well from now on: everything must be acked, on this connection.
    fn settle(&mut self) {
        self.resume();
        for _ in 0..200 {
            if self.queue.is_empty() {
                break;
            }
            self.act(Act::PushEnds(Outcome::Accepted));
            self.act(Act::PushTurn);
            self.act(Act::PushEnds(Outcome::Accepted));
            self.act(Act::Pass(60_000));
        }
        assert!(self.queue.is_empty(), "{} messages were never acked", self.queue.len());
        assert_eq!(self.session.owed(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    /// The invariant of the design, section 2, under any order of events.
    #[test]
    fn every_message_is_acked_once_and_never_before_a_wake_up_covers_it(
        acts in prop::collection::vec(act(), 1..80)
    ) {
        let timings = Timings::default();
        let metrics = Metrics::default();
        let live = Live::new(&account(), false, &timings);
        let mut world = World::new(&live, &metrics);
        for act in acts {
            world.act(act);
        }
        world.settle();
    }

    /// Whatever bytes come, the session neither panics nor ends.
    #[test]
    fn arbitrary_frames_do_not_end_a_session(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..20)) {
        let timings = Timings::default();
        let metrics = Metrics::default();
        let live = Live::new(&account(), false, &timings);
        let now = Instant::now();
        let mut session = Session::new(&live, &metrics, &timings, now, &mut fastrand::Rng::with_seed(1));
        for bytes in frames {
            prop_assert!(session.on_frame(binary(bytes), now).is_ok());
        }
    }
}

struct Bench {
    live: Live,
    metrics: Metrics,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let live = Live::new(&account(), false, &Timings::default());
        Self { live, metrics: Metrics::default(), now: Instant::now() }
    }

    fn session(&self) -> Session<'_> {
        let mut rng = fastrand::Rng::with_seed(1);
        Session::new(&self.live, &self.metrics, &Timings::default(), self.now, &mut rng)
    }
}

/// Lets time pass while keepalives are answered. How the session ended, and after how many seconds.
fn run_for(session: &mut Session<'_>, start: Instant, seconds: u64) -> Option<(u64, Ended)> {
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
fn a_socket_that_never_announces_the_end_of_the_queue_is_given_up_after_a_minute() {
    let bench = Bench::new();
    let mut session = bench.session();
    assert_eq!(run_for(&mut session, bench.now, 600), Some((60, Ended::Silent)), "an anonymous socket");
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
    assert_eq!(ended, Ended::Renewed);
    assert!((18 * 3600..=24 * 3600).contains(&seconds), "{seconds}");
}

#[test]
fn an_unanswered_keepalive_ends_the_session_within_45_seconds() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    let ended = (0..100).find_map(|s| session.on_time(bench.now + Duration::from_secs(s)).err().map(|e| (s, e)));
    let (seconds, ended) = ended.unwrap();
    assert!(ended == Ended::KeepaliveTimeout && seconds <= 45, "{ended:?} after {seconds} s");
}

#[test]
fn the_account_counts_as_connected_only_when_signal_delivers() {
    let bench = Bench::new();
    bench.live.enter(State::Connecting, "", "", None);
    let mut session = bench.session();
    let answer = binary(wire::answer(1, 200, "OK"));
    session.on_frame(answer, bench.now).unwrap();
    assert_eq!(bench.live.status().signal.state, State::Connecting, "a keepalive's answer proves nothing");
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    assert_eq!(bench.live.status().signal.state, State::Connected);
}

#[test]
fn close_codes_are_kept() {
    let bench = Bench::new();
    let mut session = bench.session();
    let frame = CloseFrame { code: CloseCode::from(4409), reason: "Connected elsewhere".into() };
    let ended = session.on_frame(Message::Close(Some(frame)), bench.now).unwrap_err();
    assert_eq!(ended, Ended::Closed(4409, "Connected elsewhere".into()));
}

#[test]
fn a_peer_with_an_endless_window_is_not_served() {
    let bench = Bench::new();
    let mut session = bench.session();
    let ended = (0..10_000).find_map(|n| session.on_frame(put_message(n, envelope(5, true), 9), bench.now).err());
    assert!(matches!(ended, Some(Ended::Protocol(_))));
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
    let (ended, connected) = smol::block_on(run(Deaf, &bench.live, &bench.metrics, &timings, &mut rng));
    assert_eq!((ended, connected), (Ended::WriteTimeout, Duration::ZERO));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_cannot_be_answered_is_followed_by_a_new_connection_soon() {
    let bench = Bench::new();
    let mut session = bench.session();
    session.on_frame(request(1, "/api/v1/queue/empty", None, 9), bench.now).unwrap();
    session.on_frame(binary(vec![0xff; 9]), bench.now).unwrap();
    assert_eq!(run_for(&mut session, bench.now, 600), Some((60, Ended::Renewed)), "it may have been a message");
}

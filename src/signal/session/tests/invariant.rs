//! The invariant of the design, section 2, under any order of events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

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
    account_state: &'a AccountState,
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
    push: Option<(PushKind, u64, u64)>,
    /// When each accepted wake-up had been sent.
    accepted: Vec<u64>,
}

impl<'a> World<'a> {
    fn new(account_state: &'a AccountState, metrics: &'a Metrics) -> Self {
        let timings = Timings::default();
        let start = Instant::now();
        let mut rng = fastrand::Rng::with_seed(4);
        let session = Session::new(account_state, metrics, &timings, start, &mut rng);
        Self {
            account_state,
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
                    && let Next::Send(kind) = self.account_state.next_push(self.now())
                {
                    let (_, generation) = self.account_state.push_started(kind, self.now());
                    self.push = Some((kind, generation, self.elapsed_ms));
                }
            }
            Act::PushEnds(outcome) => {
                if let Some((kind, generation, sent)) = self.push.take() {
                    let delivery = Delivery { outcome: outcome.clone(), reason: String::new(), remedy: "" };
                    let now = self.now();
                    let told = self.account_state.push_finished(kind, generation, &delivery, now, &mut self.rng);
                    if outcome == Outcome::Accepted && told.is_some() {
                        self.accepted.push(sent);
                    }
                }
            }
            Act::Reconnect => {
                self.session.take_outgoing();
                self.session = Session::new(self.account_state, self.metrics, &self.timings, self.now(), &mut self.rng);
                self.sent.clear();
                self.acked_requests.clear();
                for message in self.queue.keys().copied().collect::<Vec<_>>() {
                    self.deliver(message);
                }
            }
            Act::NewEndpoint => {
                self.account_state.set_endpoint(Endpoint::parse("https://push.example/y").unwrap());
                // The push loop gives up the push on its way.
                self.push = None;
            }
            Act::Resume => self.resume(),
        }
        self.session.on_accepted(self.now());
        self.read_acks();
    }

    fn resume(&mut self) {
        self.account_state.resume();
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
        let account_state = AccountState::new(&sample(), false, &timings);
        let mut world = World::new(&account_state, &metrics);
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
        let account_state = AccountState::new(&sample(), false, &timings);
        let now = Instant::now();
        let mut session = Session::new(&account_state, &metrics, &timings, now, &mut fastrand::Rng::with_seed(1));
        for bytes in frames {
            prop_assert!(session.on_frame(binary(bytes), now).is_ok());
        }
    }
}

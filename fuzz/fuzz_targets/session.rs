//! One account's session with Signal, its pushes and the clock, in any order of events. Each ack is checked against the
//! promise: a message that needs a wake-up is acked only when a wake-up that covers it was accepted, nothing is acked
//! twice, and once all is well everything is acked.
//!
//! Input: a program of one-byte instructions with their operands, see `World::step`.

#![no_main]

use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message;
use libfuzzer_sys::fuzz_target;
use mollysocket::account::Endpoint;
use mollysocket::account_state::AccountState;
use mollysocket::metrics::Metrics;
use mollysocket::notifier::Next;
use mollysocket::push::{Delivery, Outcome, PushKind};
use mollysocket::signal::session::Session;
use mollysocket::signal::wire::{Incoming, Request, WebSocketMessage, answer};
use mollysocket::timings::Timings;
use mollysocket_fuzz::{account, account_id};
use prost::Message as _;

/// What the program takes off the moment a wake-up was sent (design, section 2).
const MARGIN_MS: u64 = 3000;

fuzz_target!(|data: &[u8]| {
    let timings = Timings::default();
    let metrics = Metrics::default();
    let account_state = AccountState::new(&account(), false, &timings);
    let mut world = World::new(&account_state, &metrics, &timings);
    // Longer programs only take longer.
    let mut program = &data[..data.len().min(600)];
    while let Some(instruction) = next(&mut program) {
        world.step(instruction, &mut program);
        world.check();
    }
    world.settle();
});

fn next(program: &mut &[u8]) -> Option<u8> {
    let (first, rest) = program.split_first()?;
    *program = rest;
    Some(*first)
}

/// A request of Signal's that is not answered yet.
struct Pending {
    id: u64,
    frame: Vec<u8>,
    /// Number of the event it arrived with.
    arrived: u64,
    needs: Needs,
}

/// What must happen before it is answered.
enum Needs {
    /// Nothing; with this status.
    Answer(u32),
    /// A wake-up sent later, or one that covers this time of Signal's.
    WakeUp(Option<u64>),
}

/// A push on its way.
struct Push {
    kind: PushKind,
    generation: u64,
    sent: u64,
    sent_server_ms: Option<u64>,
}

struct World<'a> {
    account_state: &'a AccountState,
    metrics: &'a Metrics,
    timings: &'a Timings,
    session: Session<'a>,
    rng: fastrand::Rng,
    now: Instant,
    /// Events so far.
    events: u64,
    next_id: u64,
    pending: Vec<Pending>,
    /// Keepalives the session sent and nobody answered.
    asked: Vec<u64>,
    /// Signal's clock as the session heard it last, and when.
    clock: Option<(u64, Instant)>,
    push: Option<Push>,
    /// Of each accepted wake-up: the event it was sent with, and up to when it covers messages.
    accepted: Vec<(u64, Option<u64>)>,
}

impl<'a> World<'a> {
    fn new(account_state: &'a AccountState, metrics: &'a Metrics, timings: &'a Timings) -> Self {
        let now = Instant::now();
        let mut rng = fastrand::Rng::with_seed(4);
        let session = Session::new(account_state, metrics, timings, now, &mut rng);
        Self {
            account_state,
            metrics,
            timings,
            session,
            rng,
            now,
            events: 0,
            next_id: 1000,
            pending: Vec::new(),
            asked: Vec::new(),
            clock: None,
            push: None,
            accepted: Vec::new(),
        }
    }

    fn step(&mut self, instruction: u8, program: &mut &[u8]) {
        self.events += 1;
        let mut operand = || next(program).unwrap_or(0);
        match instruction % 12 {
            // A message so many tenths of a second old; bits: not urgent, unreadable, from the own phone, no time.
            0 | 1 => {
                let (age, flags) = (operand(), operand());
                let frame = self.message(u64::from(age) * 100, flags);
                self.receive(frame);
            }
            2 => self.now += Duration::from_millis(u64::from(operand()) * 20),
            3 => self.now += Duration::from_secs(u64::from(operand()) * 15),
            4 | 5 => self.start_push(),
            6 => self.end_push(outcome(operand())),
            7 => self.reconnect(),
            8 => self.new_endpoint(operand()),
            // Any frame at all: so many bytes of the program.
            9 => {
                let length = usize::from(operand()).min(program.len());
                let (frame, rest) = program.split_at(length);
                *program = rest;
                self.receive(frame.to_vec());
            }
            10 => {
                self.next_id += 1;
                let frame = request(self.next_id, "/api/v1/queue/empty", None, self.server_ms());
                self.receive(frame);
            }
            _ => {
                if let Some(id) = self.asked.pop() {
                    self.receive(answer(id, 200, "OK"));
                }
                self.tick();
            }
        }
    }

    /// Signal's clock, which runs a day ahead of nothing in particular.
    fn server_ms(&self) -> u64 {
        86_400_000 + self.events
    }

    fn message(&mut self, age_ms: u64, flags: u8) -> Vec<u8> {
        let mut body = Vec::new();
        if flags & 4 != 0 {
            prost::encoding::uint32::encode(7, &1, &mut body);
            prost::encoding::bytes::encode(19, &account_id().as_bytes().to_vec(), &mut body);
        }
        if flags & 8 == 0 {
            prost::encoding::uint64::encode(10, &(self.server_ms() - age_ms), &mut body);
        }
        prost::encoding::bool::encode(14, &(flags & 1 == 0), &mut body);
        if flags & 2 != 0 {
            body = vec![0xff; 5];
        }
        self.next_id += 1;
        request(self.next_id, "/api/v1/message", Some(body), self.server_ms())
    }

    /// A frame arrives. What it asks for is read with the program's own reader: that one has a target of its own.
    fn receive(&mut self, frame: Vec<u8>) {
        let (time, pending) = match Incoming::parse(&frame, account_id()) {
            Incoming::Message { id, envelope, server_time } => {
                let needs = match envelope {
                    Some(e) if !e.urgent || e.from_own_phone => Needs::Answer(200),
                    other => Needs::WakeUp(other.and_then(|e| e.server_timestamp).map(|t| t.0)),
                };
                (server_time, id.map(|id| (id, needs)))
            }
            Incoming::QueueEmpty { id, server_time } => (server_time, id.map(|id| (id, Needs::Answer(200)))),
            Incoming::Answer { server_time, .. } => (server_time, None),
            Incoming::Unknown { id } => (None, id.map(|id| (id, Needs::Answer(404)))),
            Incoming::Malformed => (None, None),
        };
        if let Some(time) = time {
            self.clock = Some((time.0, self.now));
        }
        if let Some((id, needs)) = pending {
            self.pending.push(Pending { id, frame: frame.clone(), arrived: self.events, needs });
        }
        self.session.on_frame(Message::Binary(frame.into()), self.now).expect("no frame ends the session");
    }

    fn tick(&mut self) {
        if self.session.on_time(self.now).is_err() {
            return self.reconnect();
        }
        assert!(self.session.deadline() > self.now, "it would be called again at once, for ever");
    }

    fn start_push(&mut self) {
        if self.push.is_some() {
            return;
        }
        match self.account_state.next_push(self.now) {
            Next::Send(kind) => {
                let (_, generation) = self.account_state.push_started(kind, self.now);
                let sent_server_ms = self.clock.and_then(|(time, heard)| {
                    time.checked_add(u64::try_from((self.now - heard).as_millis()).expect("not that late"))
                });
                self.push = Some(Push { kind, generation, sent: self.events, sent_server_ms });
            }
            Next::Wait(until) => assert!(until > self.now, "it would be asked again at once, for ever"),
            Next::Idle => {
                assert!(
                    !self.account_state.owes() || self.account_state.stop_reason().is_some(),
                    "a wake-up is owed and nothing is due"
                )
            }
        }
    }

    fn end_push(&mut self, outcome: Outcome) {
        let Some(push) = self.push.take() else { return };
        let accepted = outcome == Outcome::Accepted && push.kind == PushKind::Wake;
        let delivery = Delivery { outcome, reason: String::new(), remedy: "" };
        let told = self.account_state.push_finished(push.kind, push.generation, &delivery, self.now, &mut self.rng);
        assert!(told.is_some(), "the endpoint is the same");
        if accepted {
            self.accepted.push((push.sent, push.sent_server_ms.map(|ms| ms.saturating_sub(MARGIN_MS))));
        }
    }

    fn new_endpoint(&mut self, how: u8) {
        match how % 4 {
            0 => self.account_state.enqueue_test(),
            1 => self.account_state.resume(),
            _ => self.account_state.set_endpoint(Endpoint::parse("https://push.example/y").expect("an endpoint")),
        }
        if !how.is_multiple_of(4) {
            // The push loop gives up the push on its way; what it says later counts for nothing.
            if let Some(push) = self.push.take() {
                let delivery = Delivery { outcome: Outcome::Accepted, reason: String::new(), remedy: "" };
                let told =
                    self.account_state.push_finished(push.kind, push.generation, &delivery, self.now, &mut self.rng);
                assert!(told.is_none(), "an old endpoint's answer was taken for the new one's");
            }
        }
    }

    /// A new connection: Signal delivers again what was not acked.
    fn reconnect(&mut self) {
        self.check();
        self.session = Session::new(self.account_state, self.metrics, self.timings, self.now, &mut self.rng);
        self.asked.clear();
        for pending in std::mem::take(&mut self.pending) {
            self.receive(pending.frame);
        }
    }

    /// Reads what the session sends and checks each answer.
    fn check(&mut self) {
        self.session.on_accepted(self.now);
        for message in self.session.take_outgoing() {
            let Message::Binary(bytes) = message else { panic!("not binary: {message:?}") };
            let message = WebSocketMessage::decode(&bytes[..]).expect("protobuf");
            if let Some(request) = message.request {
                assert_eq!(request.path.as_deref(), Some(&b"/v1/keepalive"[..]));
                self.asked.push(request.id.expect("an id"));
                continue;
            }
            let response = message.response.expect("a request or an answer");
            let (id, status) = (response.id.expect("an id"), response.status.expect("a status"));
            assert!(response.message.is_some());
            let at = self.pending.iter().position(|p| p.id == id && self.may_answer(p, status));
            let at = at.unwrap_or_else(|| panic!("{id} was answered {status} too early, or more often than it came"));
            self.pending.remove(at);
        }
    }

    fn may_answer(&self, pending: &Pending, status: u32) -> bool {
        match pending.needs {
            Needs::Answer(expected) => status == expected,
            Needs::WakeUp(taken_in) => {
                let covers = |&(sent, until): &(u64, Option<u64>)| {
                    sent >= pending.arrived || matches!((taken_in, until), (Some(at), Some(until)) if at < until)
                };
                status == 200 && self.accepted.iter().any(covers)
            }
        }
    }

    /// All is well from now on: everything must be answered, on this connection.
    fn settle(&mut self) {
        self.events += 1;
        self.new_endpoint(1);
        for _ in 0..8 {
            self.events += 1;
            self.start_push();
            self.events += 1;
            self.end_push(Outcome::Accepted);
            self.check();
            self.now += Duration::from_secs(3600);
        }
        assert!(self.pending.is_empty(), "{} requests were never answered", self.pending.len());
        assert_eq!(self.session.owed(), 0);
        assert!(!self.account_state.owes());
    }
}

fn outcome(byte: u8) -> Outcome {
    match byte % 8 {
        0..=2 => Outcome::Accepted,
        3 => Outcome::Gone,
        4 => Outcome::Unauthorized,
        5 => Outcome::Limited((byte & 8 != 0).then(|| Duration::from_secs(u64::from(byte) * 100))),
        6 => Outcome::Failed,
        _ => Outcome::Rejected,
    }
}

fn request(id: u64, path: &str, body: Option<Vec<u8>>, server_ms: u64) -> Vec<u8> {
    let request = Request {
        verb: Some(b"PUT".to_vec()),
        path: Some(path.as_bytes().to_vec()),
        body,
        id: Some(id),
        headers: vec![format!("X-Signal-Timestamp:{server_ms}").into_bytes()],
    };
    WebSocketMessage { kind: Some(1), request: Some(request), response: None }.encode_to_vec()
}

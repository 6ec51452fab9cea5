//! A message of Signal's: from the bytes to the decision, and to the bytes of its ack.

use std::hint::black_box;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::Message;
use mollysocket::account_state::AccountState;
use mollysocket::metrics::Metrics;
use mollysocket::notifier::Next;
use mollysocket::push::{Delivery, Outcome};
use mollysocket::signal::session::Session;
use mollysocket::signal::wire::{Request, WebSocketMessage};
use mollysocket::timings::Timings;
use prost::Message as _;
use prost::encoding::{bool, bytes, uint32, uint64};

use super::{Once, account};

/// When Signal took the messages in and when it delivered them, in milliseconds since 1970.
const TAKEN_IN: u64 = 1_700_000_000_123;
const DELIVERED: u64 = 1_700_000_000_200;

/// Bytes of a text message of usual length, padded and encrypted.
const CONTENT: usize = 700;

/// The types of Signal's `Envelope` (protocol note, section 7).
const RECEIPT: u32 = 5;
const UNIDENTIFIED: u32 = 6;

/// It asks for a wake-up, which is sent and accepted; then it is acked.
pub(super) fn urgent() -> Once {
    let (account_state, frame) = (account_state(), frame(UNIDENTIFIED, true, CONTENT));
    let timings = Timings::default();
    let mut now = Instant::now();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut session = Session::new(account_state, metrics(), &timings, now, &mut rng);
    Box::new(move || {
        // Past the quiet interval that follows a wake-up.
        now += Duration::from_secs(60);
        session.on_frame(frame.clone(), now).expect("no frame ends the session");
        let Next::Send(kind) = account_state.next_push(now) else { panic!("no wake-up is due") };
        let (_, generation) = account_state.push_started(kind, now);
        let delivery = Delivery { outcome: Outcome::Accepted, reason: String::new(), remedy: "" };
        account_state.push_finished(kind, generation, &delivery, now, &mut rng).expect("the endpoint is the same");
        session.on_accepted(now);
        assert_eq!(black_box(session.take_outgoing()).len(), 1);
    })
}

/// It is acked at once.
pub(super) fn not_urgent() -> Once {
    acked_at_once(frame(UNIDENTIFIED, false, CONTENT))
}

/// Another device has received something: acked at once, and short.
pub(super) fn receipt() -> Once {
    acked_at_once(frame(RECEIPT, false, 0))
}

fn acked_at_once(frame: Message) -> Once {
    let now = Instant::now();
    let timings = Timings::default();
    let mut session = Session::new(account_state(), metrics(), &timings, now, &mut fastrand::Rng::with_seed(1));
    Box::new(move || {
        session.on_frame(frame.clone(), now).expect("no frame ends the session");
        assert_eq!(black_box(session.take_outgoing()).len(), 1);
    })
}

/// A session borrows these; a process prepares a body once or twice.
fn account_state() -> &'static AccountState {
    Box::leak(Box::new(AccountState::new(&account(1), false, &Timings::default())))
}

fn metrics() -> &'static Metrics {
    Box::leak(Box::default())
}

/// `PUT /api/v1/message` as Signal sends it (protocol note, section 3).
fn frame(kind: u32, urgent: bool, content: usize) -> Message {
    let mut envelope = Vec::new();
    uint32::encode(1, &kind, &mut envelope);
    uint64::encode(5, &TAKEN_IN, &mut envelope);
    if content > 0 {
        bytes::encode(8, &vec![0xc5; content], &mut envelope);
    }
    uint64::encode(10, &TAKEN_IN, &mut envelope);
    bool::encode(14, &urgent, &mut envelope);
    bytes::encode(18, &vec![0x11; 16], &mut envelope);
    bytes::encode(20, &vec![0xaa; 16], &mut envelope);
    let request = Request {
        verb: Some(b"PUT".to_vec()),
        path: Some(b"/api/v1/message".to_vec()),
        body: Some(envelope),
        id: Some(1 << 62),
        headers: vec![format!("X-Signal-Timestamp:{DELIVERED}").into_bytes()],
    };
    let message = WebSocketMessage { kind: Some(1), request: Some(request), response: None };
    Message::Binary(message.encode_to_vec().into())
}

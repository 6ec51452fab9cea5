//! Draws the parts of a plan. Durations are chosen by what the daemon's real timings need to recover: see each part.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;

use super::kinds::Busy;
use super::{Fault, Message, Planned, PushFault, Refusal, Size, SocketEnd, What};

/// All sockets must be up before the first fault.
const START: Duration = Duration::from_secs(3);

fn secs(rng: &mut Rng, from: f64, to: f64) -> Duration {
    Duration::from_secs_f64(from + (to - from) * rng.f64())
}

/// Hands out each card once before any comes again, so that a short run sees many kinds.
struct Deck<T> {
    cards: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    fn new(cards: Vec<T>) -> Self {
        Self { cards, left: Vec::new() }
    }

    fn next(&mut self, rng: &mut Rng) -> T {
        if self.left.is_empty() {
            self.left = self.cards.clone();
            rng.shuffle(&mut self.left);
        }
        self.left.pop().expect("a deck has cards")
    }
}

/// Kills and stops, in the first half only: the second is one life of the program, long enough to see it grow.
pub(super) fn program(rng: &mut Rng, size: Size, faults: &mut Vec<Planned>) {
    let end = size.length.mul_f64(0.55);
    let mut kinds = Deck::new(vec![Fault::Killed, Fault::Terminated, Fault::Frozen]);
    let rest = end.as_secs_f64() / 6.0;
    let mut at = START + secs(rng, 1.0, 0.2 * end.as_secs_f64());
    while at < end {
        let (fault, until) = (kinds.next(rng), at + secs(rng, 0.3, 4.0));
        faults.push(Planned { fault, from: at, until });
        at = until + secs(rng, 0.5 * rest, rest).max(Duration::from_secs(5));
    }
}

/// One fault of Signal as a whole after another, with time to recover in between.
pub(super) fn signal(rng: &mut Rng, size: Size, faults: &mut Vec<Planned>) {
    let refusals = |rng: &mut Rng| {
        vec![
            Fault::SignalRestart,
            Fault::SignalCutAll,
            Fault::SignalRefuses(Refusal::Status(*rng.choice(&[500, 502]).expect("two"))),
            Fault::SignalRefuses(Refusal::Status(403)),
            Fault::SignalRefuses(if rng.bool() {
                Refusal::Seconds(rng.u64(1..8))
            } else {
                Refusal::Date(rng.u64(2..8))
            }),
            Fault::SignalRefuses(if rng.bool() { Refusal::TlsThenSilent } else { Refusal::TcpThenSilent }),
            Fault::SignalRefuses(Refusal::Refused),
        ]
    };
    let mut at = START + secs(rng, 0.0, 4.0);
    let rest = (size.length.as_secs_f64() / 40.0).clamp(2.5, 25.0);
    loop {
        let mut round = refusals(rng);
        rng.shuffle(&mut round);
        for fault in round {
            let until = at + secs(rng, 1.0, if size.length.as_secs() < 90 { 5.0 } else { 12.0 });
            if until > size.length.mul_f64(0.92) {
                return;
            }
            faults.push(Planned { fault, from: at, until });
            at = until + secs(rng, rest, 2.0 * rest);
        }
    }
}

fn push_faults(rng: &mut Rng) -> Vec<PushFault> {
    let limited = if rng.bool() { 429 } else { 503 };
    vec![
        PushFault::Status(500),
        PushFault::Status(507),
        PushFault::Seconds(limited, rng.u64(0..10)),
        PushFault::Date(limited, rng.u64(2..10)),
        PushFault::Redirect,
        PushFault::Slow(secs(rng, 0.5, 6.0)),
        PushFault::Hang,
        PushFault::HangAfterHead,
        PushFault::DripHead,
        PushFault::DripBody,
        PushFault::Cut,
        PushFault::Reset,
        PushFault::CutMidHead,
        PushFault::Garbage,
        PushFault::EndlessBody,
        PushFault::EndlessHead,
    ]
}

/// Each push server fails and rests in turn. A wake-up that fails for s seconds is tried again about s seconds later,
/// so the rest is longer than the fault: else waits would grow towards five minutes.
pub(super) fn origins(rng: &mut Rng, size: Size, faults: &mut Vec<Planned>) {
    let mut deck: Vec<PushFault> = Vec::new();
    for origin in 0..size.origins {
        let mut at = START + secs(rng, 0.0, 10.0);
        loop {
            if deck.is_empty() {
                deck = push_faults(rng);
                deck.extend([PushFault::Refused, PushFault::TlsSilent, PushFault::CutAll]);
                rng.shuffle(&mut deck);
            }
            let lasts = secs(rng, 2.0, if size.length.as_secs() < 90 { 6.0 } else { 20.0 });
            let until = at + lasts;
            if until > size.length.mul_f64(0.95) {
                break;
            }
            let fault = deck.pop().expect("just filled");
            faults.push(Planned { fault: Fault::Origin(origin, fault), from: at, until });
            at = until + lasts.mul_f64(1.2) + secs(rng, 3.0, 15.0);
        }
    }
}

/// What only one account can have.
#[derive(Clone, Copy)]
enum Card {
    Socket(SocketEnd),
    Handshakes,
    OldClient,
    KeepaliveHole,
    Silent,
    LostAcks,
    OddFrames,
    Unlink,
    UnlinkForGood,
    Endpoint,
    Gone,
    GoneForGood,
    Unauthorized,
    Rejected,
    NewEndpoint,
    SameAgain,
    WrongPassword,
    Removed,
    Edited,
}

/// Faults of single accounts, several a second in large runs.
pub(super) fn accounts(rng: &mut Rng, size: Size, faults: &mut Vec<Planned>) {
    use Card as C;
    let mut cards = vec![
        C::Socket(SocketEnd::Cut),
        C::Socket(SocketEnd::Reset),
        C::Socket(SocketEnd::Reauthenticate),
        C::Socket(SocketEnd::Displaced),
        C::Socket(SocketEnd::Code(1011)),
        C::Socket(SocketEnd::Code(1001)),
        C::OldClient,
        C::KeepaliveHole,
        C::Silent,
        C::LostAcks,
        C::OddFrames,
        C::Unlink,
        C::UnlinkForGood,
        C::Gone,
        C::GoneForGood,
        C::Unauthorized,
        C::Rejected,
        C::NewEndpoint,
        C::SameAgain,
        C::WrongPassword,
        C::Removed,
        C::Edited,
    ];
    cards.extend([C::Handshakes; 5]);
    cards.extend([C::Endpoint; 8]);
    let mut deck = Deck::new(cards);
    let mut handshakes = Deck::new(handshake_faults());
    let mut pushes = Vec::new();
    let mut busy: HashMap<Busy, Duration> = HashMap::new();
    let mut unlinked = 0;
    let per_second = (size.accounts as f64 / 100.0).clamp(1.2, 3.0);
    let mut at = START;
    loop {
        at += secs(rng, 0.0, 2.0 / per_second);
        if at >= size.length.mul_f64(0.97) {
            return;
        }
        let card = deck.next(rng);
        if let C::UnlinkForGood = card {
            // Those accounts are lost to the run: one in fifty is enough.
            unlinked += 1;
            if unlinked * 50 > size.accounts.max(50) {
                continue;
            }
        }
        if pushes.is_empty() {
            pushes = push_faults(rng);
            rng.shuffle(&mut pushes);
        }
        let refusal = if let C::Handshakes = card { handshakes.next(rng) } else { Refusal::Refused };
        let push = if let C::Endpoint = card { pushes.pop().expect("just filled") } else { PushFault::Cut };
        // Another account when the first choice has its hands full.
        for _ in 0..20 {
            let n = rng.usize(0..size.accounts);
            let (fault, lasts) = match card {
                C::Socket(end) => (Fault::Socket(n, end), Duration::ZERO),
                C::Handshakes => (Fault::Handshakes(n, refusal), secs(rng, 2.0, 20.0)),
                C::OldClient => (Fault::OldClient(n), Duration::ZERO),
                // Detected 45 s after the last answer at the latest.
                C::KeepaliveHole => (Fault::KeepaliveHole(n), secs(rng, 30.0, 70.0)),
                C::Silent => (Fault::Silent(n), secs(rng, 5.0, 60.0)),
                C::LostAcks => (Fault::LostAcks(n, rng.u32(1..4)), secs(rng, 5.0, 30.0)),
                C::OddFrames => (Fault::OddFrames(n), Duration::ZERO),
                C::Unlink => (Fault::Unlink(n), secs(rng, 3.0, 30.0)),
                C::UnlinkForGood => (Fault::UnlinkForGood(n), size.length),
                C::Endpoint => (Fault::Endpoint(n, push), secs(rng, 2.0, 20.0)),
                C::Gone => (Fault::Gone(n, if rng.bool() { 404 } else { 410 }), secs(rng, 3.0, 20.0)),
                C::GoneForGood => (Fault::GoneForGood(n, if rng.bool() { 404 } else { 410 }), secs(rng, 3.0, 20.0)),
                C::Unauthorized => (Fault::Rejected(n, if rng.bool() { 401 } else { 403 }), secs(rng, 5.0, 30.0)),
                C::Rejected => (Fault::Rejected(n, if rng.bool() { 400 } else { 413 }), secs(rng, 5.0, 30.0)),
                C::NewEndpoint => (Fault::NewEndpoint(n), Duration::ZERO),
                C::SameAgain => (Fault::SameAgain(n, rng.bool()), Duration::ZERO),
                C::WrongPassword => (Fault::WrongPassword(n), Duration::ZERO),
                C::Removed => (Fault::Removed(n), secs(rng, 2.5, 12.0)),
                C::Edited => (Fault::Edited(n), Duration::ZERO),
            };
            let (needs, until) = (fault.busy(), at + lasts);
            if needs.iter().any(|need| busy.get(need).is_some_and(|until| at < *until)) {
                continue;
            }
            for need in needs {
                busy.insert(need, until + after(&fault));
            }
            faults.push(Planned { fault, from: at, until });
            break;
        }
    }
}

/// How long an account keeps this side to itself once the fault is over, to recover.
fn after(fault: &Fault) -> Duration {
    Duration::from_secs(match fault {
        // Each one doubles the wait, up to an hour; an hour connected would forget it.
        Fault::Socket(_, SocketEnd::Displaced) => 24 * 3600,
        Fault::Endpoint(..) => 40,
        _ => 15,
    })
}

fn handshake_faults() -> Vec<Refusal> {
    vec![
        Refusal::Status(500),
        Refusal::Status(502),
        Refusal::Status(403),
        Refusal::Seconds(3),
        Refusal::Date(6),
        Refusal::TlsThenSilent,
        Refusal::Refused,
    ]
}

/// Requests nobody needs.
pub(super) fn web(rng: &mut Rng, size: Size, faults: &mut Vec<Planned>) {
    let mut deck = Deck::new(vec![0, 1, 2]);
    let mut at = START;
    loop {
        at += secs(rng, 1.0, 8.0);
        let (fault, lasts) = match deck.next(rng) {
            0 => (Fault::Junk(rng.usize(1..6)), Duration::ZERO),
            1 => (Fault::SlowClients(rng.usize(5..25)), secs(rng, 2.0, 22.0)),
            _ => (Fault::GarbageRequests(rng.usize(1..10)), Duration::ZERO),
        };
        if at + lasts >= size.length {
            return;
        }
        faults.push(Planned { fault, from: at, until: at + lasts });
    }
}

/// Messages, about one per account every 15 seconds.
pub(super) fn messages(rng: &mut Rng, size: Size) -> Vec<(Duration, What)> {
    let per_second = (size.accounts as f64 / 15.0).clamp(5.0, 30.0);
    let mut at = Duration::from_secs(1);
    let mut events = Vec::new();
    while at < size.length {
        let message = match rng.u32(0..100) {
            0..42 => Message::Urgent,
            42..48 => Message::Untagged,
            48..54 => Message::Identified,
            54..58 => Message::Large,
            58..63 => Message::Unreadable,
            63..65 => Message::Empty,
            65..85 => Message::Quiet,
            85..94 => Message::OwnEcho,
            94..98 => Message::Burst(rng.usize(2..400)),
            _ => Message::QuietBurst(rng.usize(2..600)),
        };
        events.push((at, What::Message(rng.usize(0..size.accounts), message)));
        at += secs(rng, 0.0, 2.0 / per_second);
    }
    events
}

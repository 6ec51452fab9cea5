//! A year of one account's life in virtual time: session, keepalive, back-off and the scheduler of wake-ups, between a
//! simulated Signal and a simulated push server that fail in every way they know, and a machine that sleeps and restarts.
//!
//! `YEARS=5000 SEED=1 cargo test --release --lib a_year` tries that many, from that seed on.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::account::{Account, ServerTime};
use crate::signal::connect::{ConnectError, UpgradeRefusal};
use crate::signal::policy::{Policy, Step};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// Signal's clock when the year begins, in its milliseconds.
const EPOCH: u64 = 1_700_000_000_000;

/// Signal sends no more than that many messages without an ack.
const WINDOW: usize = 256;

/// With everything well for this long nothing older may wait: the longest wait of all is an hour, and each kind of failure
/// starts one.
const PATIENCE: u64 = 6 * HOUR;

/// Of both servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Well,
    /// Nothing comes back. A connection that is open stays so.
    Silent,
    /// Nobody is there. Connections end.
    Away,
    /// 5xx, with and without `Retry-After`.
    Overloaded,
    /// 403: of a proxy for Signal, of itself for push servers.
    Forbidden,
    /// 404 of a proxy that restarts, or of a push server that knows the phone no more.
    NotFound,
    /// 400 or 413 of a push server; a page instead of a WebSocket.
    Rejecting,
}

const TROUBLE: [Weather; 6] =
    [Weather::Silent, Weather::Away, Weather::Overloaded, Weather::Forbidden, Weather::NotFound, Weather::Rejecting];

struct Queued {
    at: u64,
    urgent: bool,
    /// It was delivered to the program that runs now.
    delivered: bool,
    body: Vec<u8>,
}

struct Push {
    kind: PushKind,
    generation: u64,
    sent: u64,
    ends: u64,
    outcome: Outcome,
}

/// Why the program that runs ends.
#[derive(Debug, PartialEq, Eq)]
enum YearEnd {
    Restart,
    Suspended,
    Over,
}

/// All that outlives a start of the program, and what is counted.
struct World {
    rng: fastrand::Rng,
    start: Instant,
    /// Milliseconds since the year began, and how many of them the machine slept.
    now: u64,
    slept: u64,
    timings: Timings,
    account: Account,
    queue: BTreeMap<u64, Queued>,
    next_message: u64,
    next_arrival: u64,
    signal: Weather,
    signal_changes: u64,
    push: Weather,
    push_changes: u64,
    well_since: u64,
    next_restart: u64,
    next_sleep: u64,
    next_endpoint: u64,
    next_cut: u64,
    /// When the last accepted wake-up had been sent.
    woken: Option<u64>,
    hour: u64,
    attempts: u32,
    pushes: u32,
    arrivals: u32,
    acked: u64,
    wakes: u64,
    history: VecDeque<(u64, String)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let timings = Timings {
            // A million quiet rounds a year would show nothing.
            keepalive: Duration::from_secs(1800),
            ..Timings::default()
        };
        let mut soon = |days: u64| rng.u64(0..days * DAY);
        let (signal_changes, push_changes) = (soon(20), soon(20));
        let (next_restart, next_sleep, next_endpoint, next_cut) = (soon(20), soon(60), soon(10), soon(3));
        Self {
            rng,
            start: Instant::now(),
            now: 0,
            slept: 0,
            timings,
            account: sample(),
            queue: BTreeMap::new(),
            next_message: 0,
            next_arrival: MINUTE,
            signal: Weather::Well,
            signal_changes,
            push: Weather::Well,
            push_changes,
            well_since: 0,
            next_restart,
            next_sleep,
            next_endpoint,
            next_cut,
            woken: None,
            hour: 0,
            attempts: 0,
            pushes: 0,
            arrivals: 0,
            acked: 0,
            wakes: 0,
            history: VecDeque::new(),
        }
    }

    /// The monotonic clock: it stands while the machine sleeps.
    fn clock(&self) -> Instant {
        self.start + Duration::from_millis(self.now - self.slept)
    }

    /// When that moment comes, if the machine does not sleep.
    fn moment(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        self.slept + u64::try_from(nanos.div_ceil(1_000_000)).unwrap()
    }

    fn note(&mut self, what: impl Into<String>) {
        if self.history.len() == 80 {
            self.history.pop_front();
        }
        self.history.push_back((self.now, what.into()));
    }

    fn bounded(&mut self) {
        let hour = self.now / HOUR;
        if hour != self.hour {
            self.hour = hour;
            (self.attempts, self.pushes, self.arrivals) = (0, 0, 0);
        }
        // With full jitter below a minute one in half a minute on average, and a new start of the back-off now and then.
        assert!(self.attempts <= 300, "{} attempts to connect in an hour", self.attempts);
        let bound = 300 + 2 * self.arrivals;
        assert!(self.pushes <= bound, "{} pushes in an hour, for {} messages", self.pushes, self.arrivals);
    }

    /// What happens outside of the program, up to now.
    fn outside(&mut self) {
        while self.next_arrival <= self.now {
            self.arrives();
        }
        let change = |now: u64, rng: &mut fastrand::Rng, weather: &mut Weather, changes: &mut u64| {
            if *changes > now {
                return false;
            }
            *weather = if *weather == Weather::Well { TROUBLE[rng.usize(0..TROUBLE.len())] } else { Weather::Well };
            let longest = match (*weather, rng.u32(0..4)) {
                (Weather::Well, 0) => HOUR,
                (Weather::Well, _) => 30 * DAY,
                (_, 0) => 10 * MINUTE,
                (_, 1) => DAY,
                _ => 3 * HOUR,
            };
            *changes = now + rng.u64(SECOND..longest);
            true
        };
        let changed = change(self.now, &mut self.rng, &mut self.signal, &mut self.signal_changes);
        if change(self.now, &mut self.rng, &mut self.push, &mut self.push_changes) || changed {
            if self.signal == Weather::Well && self.push == Weather::Well {
                self.well_since = self.now;
            }
            self.note(format!("Signal: {:?}, push server: {:?}", self.signal, self.push));
        }
    }

    fn arrives(&mut self) {
        let at = self.next_arrival;
        let urgent = self.rng.u32(0..3) > 0;
        // The clocks of Signal's servers differ a little.
        let stamp = EPOCH + at + self.rng.u64(0..600) - 300;
        let body = if self.rng.u32(0..500) == 0 { vec![0xff; 5] } else { envelope(stamp, urgent) };
        let urgent = urgent || body.len() == 5;
        self.queue.insert(self.next_message, Queued { at, urgent, delivered: false, body });
        self.next_message += 1;
        self.arrivals += 1;
        // Conversations, hours of nothing, and now and then a crowd.
        let pause = match self.rng.u32(0..20) {
            0 => 20 * HOUR,
            1..=4 => 2 * HOUR,
            5..=14 => 2 * MINUTE,
            _ => 3 * SECOND,
        };
        self.next_arrival = at + 1 + self.rng.u64(0..pause);
    }

    /// Nothing older than this is still waiting where everything has been well for long.
    fn nothing_waits_for_ever(&self) {
        let well = self.signal == Weather::Well && self.push == Weather::Well;
        if well && self.now > self.well_since + PATIENCE {
            let oldest = self.queue.values().next().map_or(self.now, |message| message.at);
            assert!(
                self.now - oldest < PATIENCE,
                "a message waits since {oldest}, all has been well since {}",
                self.well_since
            );
        }
    }

    fn refusal(&mut self) -> ConnectError {
        let refused =
            |status, retry_after| ConnectError::Refused(UpgradeRefusal { status, by_signal: false, retry_after });
        match self.signal {
            Weather::Silent => ConnectError::Timeout("upgrade"),
            Weather::Overloaded => {
                let after = self.rng.bool().then(|| Duration::from_secs(self.rng.u64(0..120)));
                refused(if self.rng.bool() { 503 } else { 429 }, after)
            }
            Weather::Forbidden => refused(403, None),
            Weather::NotFound => refused(404, None),
            Weather::Rejecting => ConnectError::Handshake("a page".into()),
            Weather::Well | Weather::Away => ConnectError::Timeout("connect"),
        }
    }

    fn answer_to_push(&mut self) -> Outcome {
        match self.push {
            Weather::Well => Outcome::Accepted,
            Weather::Silent | Weather::Away => Outcome::Failed,
            Weather::Overloaded => {
                Outcome::Limited(self.rng.bool().then(|| Duration::from_secs(self.rng.u64(0..1000))))
            }
            Weather::Forbidden => Outcome::Unauthorized,
            Weather::NotFound => Outcome::Gone,
            Weather::Rejecting => Outcome::Rejected,
        }
    }

    /// One start of the program until it ends.
    fn run(&mut self, account_state: &AccountState, metrics: &Metrics) -> YearEnd {
        let timings = self.timings.clone();
        let mut policy = Policy::new(&timings, 1);
        let mut rng = self.rng.fork();
        let mut line: Option<Line<'_>> = None;
        let mut connect_at = self.now;
        let mut push: Option<Push> = None;
        let (mut written, mut turns) = (self.now, 0);
        for message in self.queue.values_mut() {
            message.delivered = false;
        }
        loop {
            // The next moment at which anything happens.
            let mut next = self.next_arrival.min(self.signal_changes).min(self.push_changes).min(self.next_restart);
            next = next.min(self.next_sleep).min(self.next_endpoint).min(written + 15 * MINUTE);
            let of_line = |line: &Line<'_>| self.moment(line.session.deadline()).min(self.next_cut);
            next = next.min(line.as_ref().map_or(connect_at, of_line));
            next = next.min(push.as_ref().map_or(u64::MAX, |push| push.ends));
            if push.is_none() {
                match account_state.next_push(self.clock()) {
                    Next::Idle => {}
                    Next::Wait(at) => next = next.min(self.moment(at)),
                    Next::Send(_) => next = self.now,
                }
            }
            // No loop without an end, at no moment.
            turns = if next > self.now { 0 } else { turns + 1 };
            assert!(turns < 1000, "nothing ends");
            self.now = self.now.max(next);
            if self.now >= YEAR {
                return YearEnd::Over;
            }
            self.bounded();
            self.outside();

            if self.now >= self.next_sleep {
                let asleep = self.rng.u64(SECOND..DAY);
                self.note(format!("the machine sleeps for {} s", asleep / SECOND));
                (self.now, self.slept) = (self.now + asleep, self.slept + asleep);
                connect_at += asleep;
                push = push.map(|push| Push { ends: push.ends + asleep, ..push });
                self.next_sleep = self.now + self.rng.u64(DAY..60 * DAY);
                self.well_since = self.now;
                self.outside();
            }
            if self.now >= self.next_restart {
                self.note("the program is started anew");
                self.next_restart = self.now + self.rng.u64(MINUTE..30 * DAY);
                return YearEnd::Restart;
            }
            if self.now >= written + 15 * MINUTE {
                written = self.now;
                if let Some(until) = account_state.unsaved_fetched_until() {
                    self.account.fetched_until = Some(until);
                    account_state.fetched_until_saved(until);
                }
            }
            if self.now >= self.next_endpoint {
                self.next_endpoint = self.now + self.rng.u64(MINUTE..10 * DAY);
                self.note("another endpoint");
                account_state.set_endpoint(Endpoint::parse(&format!("https://push.example/{}", self.now)).unwrap());
                // The push loop gives up the push on its way.
                push = None;
                account_state.enqueue_test();
            }

            // The push loop.
            if push.as_ref().is_some_and(|push| push.ends <= self.now)
                && let Some(ended) = push.take()
            {
                let delivery = Delivery { outcome: ended.outcome.clone(), reason: String::new(), remedy: "" };
                let told = account_state.push_finished(ended.kind, ended.generation, &delivery, self.clock(), &mut rng);
                self.note(format!("the {:?} push of {} ended: {:?}", ended.kind, ended.sent, ended.outcome));
                if told.is_some() && ended.outcome == Outcome::Accepted && ended.kind == PushKind::Wake {
                    self.woken = self.woken.max(Some(ended.sent));
                    self.wakes += 1;
                }
            }
            if push.is_none()
                && let Next::Send(kind) = account_state.next_push(self.clock())
            {
                let (_, generation) = account_state.push_started(kind, self.clock());
                let cause = kind == PushKind::Test || self.queue.values().any(|m| m.urgent && m.delivered);
                assert!(cause, "a wake-up without a message that waits for one");
                self.pushes += 1;
                let outcome = self.answer_to_push();
                let takes = if self.push == Weather::Silent { 30 * SECOND } else { self.rng.u64(20..2000) };
                push = Some(Push { kind, generation, sent: self.now, ends: self.now + takes, outcome });
            }
            if account_state.stop_reason().is_some() {
                self.note("suspended: the endpoint is gone");
                return YearEnd::Suspended;
            }

            // The connection.
            let ended = match &mut line {
                None if connect_at > self.now => continue,
                None => {
                    self.attempts += 1;
                    if self.signal == Weather::Well {
                        self.note("connected");
                        policy.accepted();
                        account_state.note_server_time(Some(ServerTime(EPOCH + self.now)), self.clock());
                        let session = Session::new(account_state, metrics, &timings, self.clock(), &mut rng);
                        line = Some(Line::new(session, self));
                        continue;
                    }
                    let error = self.refusal();
                    let step = policy.failed(&error, &mut rng);
                    self.note(format!("not connected: {error}"));
                    let Step::Retry(retry) = step else { panic!("unlinked by {error}") };
                    connect_at = self.now + retry.after.as_millis() as u64;
                    continue;
                }
                Some(line) => line.turn(self),
            };
            if let Some(ended) = ended
                && let Some(over) = line.take()
            {
                self.note(format!("connection over: {ended:?}"));
                let connected = over.session.connected_for(self.clock());
                let Step::Retry(retry) = policy.ended(&ended, connected, &mut rng) else { panic!("unlinked") };
                connect_at = self.now + retry.after.as_millis() as u64;
            }
            self.nothing_waits_for_ever();
        }
    }
}

/// A connection, with Signal's end of it.
struct Line<'a> {
    session: Session<'a>,
    /// Requests on this connection that were not acked, and their messages.
    unacked: BTreeMap<u64, u64>,
    next_request: u64,
    /// The next message to deliver, and the first that came after the connection opened.
    next_message: u64,
    queue_ends: u64,
    queue_empty: bool,
    /// When all of it gets lost from here on.
    silent: bool,
}

impl<'a> Line<'a> {
    fn new(session: Session<'a>, world: &World) -> Self {
        let first = world.queue.keys().next().copied().unwrap_or(world.next_message);
        Self {
            session,
            unacked: BTreeMap::new(),
            next_request: 1,
            next_message: first,
            queue_ends: world.next_message,
            queue_empty: false,
            silent: false,
        }
    }

    /// What happens on it now. How it ended, if it did.
    fn turn(&mut self, world: &mut World) -> Option<Disconnect> {
        if world.now >= world.next_cut {
            world.next_cut = world.now + world.rng.u64(MINUTE..6 * DAY);
            match world.rng.u32(0..6) {
                0 => return Some(Disconnect::Lost("cut".into())),
                1 => return Some(Disconnect::Closed(1001, String::new())),
                2 => return Some(Disconnect::Closed(4401, String::new())),
                3 => return Some(Disconnect::Closed(4409, String::new())),
                _ => self.silent = true,
            }
        }
        match world.signal {
            Weather::Silent => self.silent = true,
            Weather::Away => return Some(Disconnect::Lost("away".into())),
            _ => {}
        }
        // Each answer makes room for more messages, and each message may ask for an answer.
        loop {
            if let Err(ended) = self.deliver(world) {
                return Some(ended);
            }
            self.session.on_accepted(world.clock());
            let over = self.session.on_time(world.clock()).err();
            let outgoing = self.session.take_outgoing();
            let quiet = outgoing.is_empty();
            for message in outgoing {
                if !self.silent
                    && let Err(ended) = self.receive(world, &message)
                {
                    return Some(ended);
                }
            }
            if over.is_some() || quiet {
                return over;
            }
        }
    }

    fn deliver(&mut self, world: &mut World) -> Result<(), Disconnect> {
        let clock = world.clock();
        while !self.silent && self.unacked.len() < WINDOW {
            let Some((&message, queued)) = world.queue.range_mut(self.next_message..).next() else { break };
            queued.delivered = true;
            let frame = put_message(self.next_request, queued.body.clone(), EPOCH + world.now);
            self.unacked.insert(self.next_request, message);
            self.next_request += 1;
            self.next_message = message + 1;
            self.session.on_frame(frame, clock)?;
        }
        let all = world.queue.range(..self.queue_ends).next_back().is_none_or(|(&last, _)| last < self.next_message);
        if !self.silent && !self.queue_empty && all {
            self.queue_empty = true;
            let frame = request(self.next_request, "/api/v1/queue/empty", None, EPOCH + world.now);
            self.next_request += 1;
            self.session.on_frame(frame, clock)?;
        }
        Ok(())
    }

    /// Signal reads what the program sent.
    fn receive(&mut self, world: &mut World, message: &Message) -> Result<(), Disconnect> {
        let Message::Binary(bytes) = message else { panic!("not binary: {message:?}") };
        let message = WebSocketMessage::decode(&bytes[..]).unwrap();
        if let Some(request) = message.request {
            return self.session.on_frame(binary(wire::answer(request.id.unwrap(), 200, "OK")), world.clock());
        }
        let id = message.response.expect("a request or an answer").id.unwrap();
        let Some(message) = self.unacked.remove(&id) else { return Ok(()) };
        let queued = world.queue.remove(&message).expect("acked a message that was not there");
        world.acked += 1;
        let woken = world.woken.is_some_and(|sent| sent >= queued.at);
        assert!(
            woken || !queued.urgent,
            "acked without a wake-up: arrived {}, last woken {:?}",
            queued.at,
            world.woken
        );
        Ok(())
    }
}

/// Lives a year, and then two days in which all is well.
fn live_a_year(world: &mut World) {
    while world.now < YEAR {
        let account_state = AccountState::new(&world.account, false, &world.timings);
        if world.run(&account_state, &Metrics::default()) == YearEnd::Suspended {
            // Somebody opens Molly, some day: the phone registers another endpoint.
            world.now += world.rng.u64(MINUTE..3 * DAY);
            world.well_since = world.now;
            world.outside();
        }
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn a_year_of_an_account_loses_no_message_and_wakes_for_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (years, first) = (number("YEARS").unwrap_or(10), number("SEED").unwrap_or(1));
    let (mut acked, mut wakes) = (0, 0);
    for seed in first..first + years {
        let mut world = World::new(seed);
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live_a_year(&mut world)));
        if lived.is_err() {
            for (at, what) in &world.history {
                println!("day {:3} {:8} s: {what}", at / DAY, at % DAY / SECOND);
            }
            panic!("SEED={seed}, at {}", world.now);
        }
        (acked, wakes) = (acked + world.acked, wakes + world.wakes);
    }
    assert!(acked > 1000 * years && wakes > 300 * years && wakes < acked, "{acked} acked, {wakes} wake-ups");
}

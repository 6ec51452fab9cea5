//! One open connection to Signal: what each frame asks for, which acks are owed, when it must end.
//!
//! [`Session`] is the pure part: frames, times and accepted sequence numbers in, frames out. [`run`] feeds it from a socket.
//!
//! Two rules carry the promise (design, section 2). An envelope that needs a wake-up is acked only once a wake-up sent
//! after it was accepted; Signal keeps it until then. And every message is acked exactly once or the connection ends,
//! because Signal sends nothing new while one is unacked (protocol note, section 5, the stall rule).

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_tungstenite::tungstenite::{self, Message};
use futures_lite::{FutureExt, StreamExt, future};
use futures_util::{Sink, SinkExt, Stream};
use smol::Timer;

use self::disconnect::{closed, farewell, lost};
use crate::account_state::{AccountState, StopReason};
use crate::metrics::Metrics;
use crate::notifier::WakeSeq;
use crate::runtime::timeout;
use crate::signal::keepalive::{Action, Keepalive};
use crate::signal::wire::{self, Incoming};
use crate::status::{Cause, State};
use crate::timings::Timings;

mod disconnect;

pub use self::disconnect::{Disconnect, FAREWELL};

/// More owed acks than Signal's window of 256 can explain: the peer is not Signal.
const MAX_OWED: usize = 4096;

/// Frames taken in before other tasks have their turn, whether or not the next one is there already.
const TURN: u32 = 32;

/// The state of one connection.
#[derive(Debug)]
pub struct Session<'a> {
    account_state: &'a AccountState,
    metrics: &'a Metrics,
    keepalive: Keepalive,
    /// Messages not acked yet, by the wake-up sequence number they wait for. These only grow.
    owed: VecDeque<(WakeSeq, Option<u64>)>,
    outbox: Vec<Message>,
    queue_empty: bool,
    connected_at: Option<Instant>,
    /// Since when nothing is owed and the end of the queue is awaited.
    idle_since: Instant,
    queue_empty_patience: Duration,
    renew_at: Instant,
}

impl<'a> Session<'a> {
    /// A connection that opened at `now`.
    pub fn new(
        account_state: &'a AccountState,
        metrics: &'a Metrics,
        t: &Timings,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Self {
        // Spread over the interval, so that thousands of accounts do not ask in the same second.
        let first = t.keepalive.mul_f64(0.5 + 0.5 * rng.f64());
        Self {
            account_state,
            metrics,
            keepalive: Keepalive::new(t.keepalive, t.keepalive_answer, first, now),
            owed: VecDeque::new(),
            outbox: Vec::new(),
            queue_empty: false,
            connected_at: None,
            idle_since: now,
            queue_empty_patience: t.queue_empty,
            renew_at: now + t.renew.mul_f64(0.75 + 0.25 * rng.f64()),
        }
    }

    /// A frame arrived.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn on_frame(&mut self, frame: Message, now: Instant) -> Result<(), Disconnect> {
        // Signal never sends text: whoever sends nothing else is not Signal, and not kept for it.
        if !frame.is_text() {
            self.keepalive.heard();
        }
        match frame {
            Message::Binary(bytes) => self.on_binary(&bytes, now),
            Message::Close(frame) => Err(closed(frame)),
            // Text frames mean nothing here; pings are answered by the WebSocket layer.
            _ => Ok(()),
        }
    }

    fn on_binary(&mut self, bytes: &[u8], now: Instant) -> Result<(), Disconnect> {
        match Incoming::parse(bytes, self.account_state.id()) {
            Incoming::Message { id, envelope, server_time } => {
                self.metrics.message();
                if envelope.is_none() {
                    self.metrics.malformed();
                }
                self.account_state.note_server_time(server_time, now);
                self.became_connected(now);
                if id.is_none() {
                    self.cannot_answer(now);
                }
                match self.account_state.on_envelope(envelope, now) {
                    None => self.ack(id),
                    Some(_) if self.owed.len() >= MAX_OWED => {
                        return Err(Disconnect::Protocol("more unacked messages than Signal ever sends".into()));
                    }
                    Some(seq) => self.owed.push_back((seq, id)),
                }
                self.idle_since = now;
            }
            Incoming::QueueEmpty { id, server_time } => {
                self.account_state.note_server_time(server_time, now);
                self.queue_empty = true;
                self.became_connected(now);
                self.ack(id);
            }
            Incoming::Answer { id, server_time } => {
                self.account_state.note_server_time(server_time, now);
                if let Some(rtt) = self.keepalive.answered(id, now) {
                    self.metrics.keepalive_rtt(rtt);
                }
            }
            Incoming::Unknown { id } => {
                self.metrics.malformed();
                if let Some(id) = id {
                    self.outbox.push(binary(wire::answer(id, 404, "Not Found")));
                }
            }
            Incoming::Malformed => {
                self.metrics.malformed();
                // It may have been a message: wake, rather than be silent.
                let _ = self.account_state.on_envelope(None, now);
                self.cannot_answer(now);
            }
        }
        Ok(())
    }

    /// Wake-ups may have been accepted: acks the messages they cover.
    pub fn on_accepted(&mut self, now: Instant) {
        let accepted = self.account_state.accepted();
        while let Some((seq, id)) = self.owed.front().copied()
            && seq <= accepted
        {
            self.owed.pop_front();
            self.ack(id);
            self.idle_since = now;
        }
    }

    /// Time passed.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn on_time(&mut self, now: Instant) -> Result<(), Disconnect> {
        match self.keepalive.poll(now) {
            Action::Send(id) => self.outbox.push(binary(wire::keepalive(id))),
            Action::Dead => return Err(Disconnect::KeepaliveTimeout),
            Action::Wait => {}
        }
        if self.watchdog().is_some_and(|at| now >= at) {
            return Err(Disconnect::Silent);
        }
        if now >= self.renew_at {
            return Err(Disconnect::Renewed);
        }
        Ok(())
    }

    /// When [`Self::on_time`] must be called next.
    pub fn deadline(&self) -> Instant {
        let next = self.keepalive.deadline().min(self.renew_at);
        self.watchdog().map_or(next, |at| next.min(at))
    }

    /// What must be sent, in this order.
    pub fn take_outgoing(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outbox)
    }

    /// How long Signal has been delivering.
    pub fn connected_for(&self, now: Instant) -> Duration {
        self.connected_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Messages received on this connection and not acked yet.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Until when the end of the queue must have been announced. Not while we owe acks: Signal waits for those.
    fn watchdog(&self) -> Option<Instant> {
        (!self.queue_empty && self.owed.is_empty()).then(|| self.idle_since + self.queue_empty_patience)
    }

    fn ack(&mut self, id: Option<u64>) {
        if let Some(id) = id {
            self.outbox.push(binary(wire::answer(id, 200, "OK")));
        }
    }

    /// What arrived may wait for an answer we cannot give. If so, Signal sends nothing more on this connection: a new
    /// one mends that.
    fn cannot_answer(&mut self, now: Instant) {
        self.renew_at = self.renew_at.min(now + self.queue_empty_patience);
    }

    fn became_connected(&mut self, now: Instant) {
        if self.connected_at.is_none() {
            self.connected_at = Some(now);
            self.account_state.enter(State::Connected, "", Cause::default(), None);
        }
    }
}

/// What happened while the session waited.
enum SessionEvent {
    Frame(Option<Result<Message, tungstenite::Error>>),
    Changed,
    Time,
}

/// Runs a session over a WebSocket until it ends. How, and how long Signal had been delivering. Reading never waits for a
/// push: pushes are another loop's work.
pub async fn run<S>(
    mut socket: S,
    account_state: &AccountState,
    metrics: &Metrics,
    timings: &Timings,
    rng: &mut fastrand::Rng,
) -> (Disconnect, Duration)
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let mut session = Session::new(account_state, metrics, timings, Instant::now(), rng);
    let mut stopping_since = None;
    let mut timer = Timer::never();
    let mut armed = None;
    let mut frames = 0_u32;
    let disconnect = loop {
        let changed = account_state.listen();
        let now = Instant::now();
        session.on_accepted(now);
        let over = session.on_time(now).err();
        // Acks first: an old connection that is renewed can still carry them.
        if matches!(over, None | Some(Disconnect::Renewed)) {
            let outgoing = session.take_outgoing();
            // Boxed, so that nothing of it stays while there is nothing to write; so below.
            if !outgoing.is_empty()
                && let Err(disconnect) = Box::pin(flush(&mut socket, outgoing, timings.write)).await
            {
                break disconnect;
            }
        }
        if let Some(disconnect) = over {
            break disconnect;
        }
        let mut deadline = session.deadline();
        if let Some(stop_reason) = account_state.stop_reason() {
            // A wake-up on its way may still be accepted: its acks spare the next start a redelivery.
            let since = *stopping_since.get_or_insert(now);
            let patience = since + timings.shutdown;
            if stop_reason == StopReason::EndpointGone || !account_state.push_in_flight() || now >= patience {
                break Disconnect::Stopped(stop_reason);
            }
            deadline = deadline.min(patience);
        }
        // Only when it moved. Messages do not move it; the answer to a keepalive does, and a timer left behind would wake an
        // idle machine for nothing.
        if armed != Some(deadline) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            timer.set_at(deadline + put_off(wall + deadline.saturating_duration_since(now), timings.shared_wake_up));
            armed = Some(deadline);
        }
        let frame = async { SessionEvent::Frame(socket.next().await) };
        let change = async {
            changed.await;
            SessionEvent::Changed
        };
        let time = async {
            (&mut timer).await;
            SessionEvent::Time
        };
        match frame.or(change).or(time).await {
            SessionEvent::Frame(Some(Ok(frame))) => {
                frames = frames.wrapping_add(1);
                if frames.is_multiple_of(TURN) {
                    future::yield_now().await;
                }
                if let Err(disconnect) = session.on_frame(frame, Instant::now()) {
                    break disconnect;
                }
            }
            SessionEvent::Frame(Some(Err(error))) => break lost(&error),
            SessionEvent::Frame(None) => break Disconnect::Lost("the connection ended".into()),
            SessionEvent::Changed => {}
            SessionEvent::Time => armed = None,
        }
    };
    let connected = session.connected_for(Instant::now());
    Box::pin(farewell(&mut socket, &disconnect, timings)).await;
    (disconnect, connected)
}

/// How long what is due `at` (since any moment that all accounts count from) is put off, to wait for others.
fn put_off(at: Duration, shared: Duration) -> Duration {
    let over = at.as_nanos().checked_rem(shared.as_nanos()).unwrap_or(0);
    if over == 0 { Duration::ZERO } else { shared - Duration::from_nanos(u64::try_from(over).unwrap_or(0)) }
}

async fn flush<S>(socket: &mut S, messages: Vec<Message>, patience: Duration) -> Result<(), Disconnect>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let write = async {
        for message in messages {
            socket.feed(message).await?;
        }
        socket.flush().await
    };
    match timeout(patience, write).await {
        Some(Ok(())) => Ok(()),
        // The peer closed. Its Close frame, if there is one, is still to be read: the code matters more than this error.
        Some(Err(
            tungstenite::Error::ConnectionClosed
            | tungstenite::Error::Protocol(tungstenite::error::ProtocolError::SendAfterClosing),
        )) => Ok(()),
        Some(Err(error)) => Err(lost(&error)),
        None => Err(Disconnect::WriteTimeout),
    }
}

fn binary(bytes: Vec<u8>) -> Message {
    Message::Binary(bytes.into())
}

#[cfg(test)]
mod tests;

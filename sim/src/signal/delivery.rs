//! The delivery rules of one message socket: passes, window, `queue/empty`, and the stall rule.
//!
//! Model of Signal-Server's `RedisDynamoDbMessagePublisher` and `WebSocketConnection#sendMessage`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::Guid;
use super::envelope::Envelope;

/// Most messages sent and not yet responded to, counted from the oldest such message.
pub(crate) const WINDOW: usize = 256;
/// Ephemeral messages older than this are dropped when they are read from the queue, in ms.
const EPHEMERAL_MS: u64 = 10_000;

/// One stored message.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) guid: Guid,
    pub(crate) envelope: Envelope,
    pub(crate) client_ms: u64,
    pub(crate) server_ms: u64,
    /// How often it was sent, over all connections.
    pub(crate) deliveries: u32,
}

/// The messages stored for one device, by sequence number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<u64, Entry>,
    next_seq: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.insert(self.next_seq, entry);
        self.next_seq += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn remove(&mut self, seq: u64) -> Option<Entry> {
        self.entries.remove(&seq)
    }

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&seq)
    }
}

/// A message that was sent on this connection and has no response yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) seq: u64,
    pub(crate) guid: Guid,
    pub(crate) at: Instant,
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Deliver this message with this request id.
    Message { seq: u64, request_id: u64 },
    /// `PUT /api/v1/queue/empty`.
    QueueEmpty,
}

/// Delivery state of one connection.
#[derive(Debug)]
pub(crate) struct Delivery {
    stories: bool,
    /// Next sequence number of the running pass.
    pass: Option<u64>,
    queue_empty_sent: bool,
    /// Request ids in sending order, and whether each was responded to. The first one never was.
    window: VecDeque<(u64, bool)>,
    in_flight: HashMap<u64, InFlight>,
    published: u64,
    acknowledged: u64,
    /// Stories dropped here because the client did not ask for them.
    pub(crate) stories_dropped: u64,
    /// Ephemeral messages dropped because they were too old.
    pub(crate) ephemeral_dropped: u64,
}

impl Delivery {
    pub(crate) fn new(stories: bool) -> Self {
        Self {
            stories,
            pass: Some(0),
            queue_empty_sent: false,
            window: VecDeque::new(),
            in_flight: HashMap::new(),
            published: 0,
            acknowledged: 0,
            stories_dropped: 0,
            ephemeral_dropped: 0,
        }
    }

    /// Decides what to send now, if anything.
    pub(crate) fn next(&mut self, queue: &mut Queue, now_ms: u64, now: Instant) -> Option<Step> {
        loop {
            if let Some(from) = self.pass {
                if self.window.len() >= WINDOW {
                    return None;
                }
                let Some((&seq, entry)) = queue.entries.range(from..).next() else {
                    self.pass = None;
                    continue;
                };
                self.pass = Some(seq + 1);
                if entry.envelope.ephemeral && now_ms.saturating_sub(entry.client_ms) > EPHEMERAL_MS {
                    self.ephemeral_dropped += 1;
                    queue.remove(seq);
                    continue;
                }
                if entry.envelope.story && !self.stories {
                    self.stories_dropped += 1;
                    queue.remove(seq);
                    continue;
                }
                let guid = entry.guid;
                return Some(self.publish(seq, guid, now));
            }
            // `queue/empty` waits behind every message of the first pass; any response will do.
            if !self.queue_empty_sent {
                if !self.window.is_empty() {
                    return None;
                }
                self.queue_empty_sent = true;
                return Some(Step::QueueEmpty);
            }
            // Stall rule: nothing is fetched until every message sent here was acknowledged with 2xx.
            if self.acknowledged < self.published || queue.entries.is_empty() {
                return None;
            }
            self.pass = Some(0);
        }
    }

    fn publish(&mut self, seq: u64, guid: Guid, at: Instant) -> Step {
        let request_id = loop {
            let id = random_request_id();
            if !self.in_flight.contains_key(&id) {
                break id;
            }
        };
        self.published += 1;
        self.window.push_back((request_id, false));
        self.in_flight.insert(request_id, InFlight { seq, guid, at });
        Step::Message { seq, request_id }
    }

    /// Takes a response. `None` if nothing with this id waits for one.
    pub(crate) fn respond(&mut self, request_id: u64, status: u32) -> Option<InFlight> {
        let message = self.in_flight.remove(&request_id)?;
        if let Some(slot) = self.window.iter_mut().find(|(id, _)| *id == request_id) {
            slot.1 = true;
        }
        while self.window.front().is_some_and(|(_, responded)| *responded) {
            self.window.pop_front();
        }
        if (200..300).contains(&status) {
            self.acknowledged += 1;
        }
        Some(message)
    }

    pub(crate) fn is_pending(&self, request_id: u64) -> bool {
        self.in_flight.contains_key(&request_id)
    }

    /// Messages sent on this connection that were not acknowledged with 2xx.
    pub(crate) fn unacknowledged(&self) -> usize {
        (self.published - self.acknowledged) as usize
    }

    /// Messages sent on this connection without any response.
    pub(crate) fn unanswered(&self) -> usize {
        self.in_flight.len()
    }
}

/// Random and 63 bits wide, never sequential: `abs(SecureRandom.nextLong())` in `WebSocketClient`.
pub(crate) fn random_request_id() -> u64 {
    fastrand::u64(..) >> 1
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;

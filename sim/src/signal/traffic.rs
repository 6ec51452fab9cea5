//! What goes over one socket: messages out, requests and responses in.

use std::time::Instant;

use prost::Message as _;

use super::delivery::{Step, random_request_id};
use super::envelope::kind;
use super::mode::Keepalive;
use super::records::{AckRecord, DeviceAddress, KeepaliveRecord, Receipt};
use super::state::{Kill, Out, State};
use crate::wire::{REQUEST, RESPONSE, Request, Response, WebSocketMessage, put_message, put_queue_empty, reply};

/// Most bytes handed to a socket at a time, so that a burst is not copied into memory whole.
const BATCH_BYTES: usize = 256 * 1024;

/// What the socket's task shall do now.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) out: Vec<Out>,
    pub(crate) never_read: bool,
    pub(crate) silent: bool,
    pub(crate) fragment_size: usize,
    pub(crate) idle_timeout: std::time::Duration,
    /// When to look again, for a delayed answer.
    pub(crate) wake_at: Option<Instant>,
}

impl State {
    /// Takes what is to be written to a socket. Messages leave the queue's head here, but stay stored.
    pub(crate) fn take_batch(&mut self, id: u64) -> Batch {
        let (now, now_ms) = (Instant::now(), self.now_ms());
        let Some(socket) = self.sockets.get(&id) else { return Batch::default() };
        let device = socket.device;
        let mut batch = Batch {
            never_read: self.setting(device, |s| s.never_read).unwrap_or(false),
            silent: self.setting(device, |s| s.silent).unwrap_or(false),
            fragment_size: self.fragment_size(device),
            idle_timeout: self.idle_timeout(device),
            ..Batch::default()
        };
        if batch.silent {
            return batch;
        }
        let Some(socket) = self.sockets.get_mut(&id) else { return batch };
        batch.out.extend(socket.outbox.drain(..));
        if socket.closing {
            return batch;
        }
        socket.delayed.retain(|(at, request)| {
            if *at <= now {
                batch.out.push(Out::Binary(reply(*request, 200, "OK", now_ms).encode_to_vec()));
            }
            *at > now
        });
        batch.wake_at = socket.delayed.iter().map(|(at, _)| *at).min();
        if socket.messages
            && let Some(address) = device
        {
            self.deliver(id, address, now, now_ms, &mut batch.out);
        }
        batch
    }

    fn deliver(&mut self, id: u64, address: DeviceAddress, now: Instant, now_ms: u64, out: &mut Vec<Out>) {
        let (Some(device), Some(socket)) = (self.devices.get_mut(&address), self.sockets.get_mut(&id)) else { return };
        let counters = self.records.devices.entry(address).or_default();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(step) = socket.delivery.next(&mut device.queue, now_ms, now) else { break };
            let message = match step {
                Step::QueueEmpty => {
                    counters.queue_empty += 1;
                    let request_id = random_request_id();
                    socket.raw_requests.push(request_id);
                    put_queue_empty(request_id, now_ms)
                }
                Step::Message { seq, request_id } => {
                    let entry = device.queue.get_mut(seq).expect("the pass just read it");
                    entry.deliveries += 1;
                    counters.delivered += 1;
                    counters.duplicates += u64::from(entry.deliveries > 1);
                    let body = entry.envelope.encode(address.aci, entry.guid, entry.client_ms, entry.server_ms);
                    put_message(request_id, body, now_ms)
                }
            };
            let message = message.encode_to_vec();
            bytes += message.len();
            out.push(Out::Binary(message));
        }
    }

    /// Handles one binary message. `Some` ends the socket without a Close frame.
    pub(crate) fn on_binary(&mut self, id: u64, bytes: &[u8]) -> Option<Kill> {
        if self.sockets.get(&id).is_none_or(|s| s.closing) {
            return None;
        }
        // ProtobufWebSocketMessage: the payload has to fit the type.
        let message = WebSocketMessage::decode(bytes).ok();
        match message.map(|m| (m.r#type, m.request, m.response)) {
            Some((Some(REQUEST), Some(request), _)) => self.on_request(id, request),
            Some((
                Some(RESPONSE),
                _,
                Some(Response { id: Some(request), status: Some(status), message: Some(text), .. }),
            )) => {
                return self.on_response(id, request, status, text);
            }
            _ => self.close(id, 1007, "Badly formatted"),
        }
        None
    }

    fn on_request(&mut self, id: u64, request: Request) {
        let (Some(verb), Some(path)) = (request.verb, request.path) else {
            return self.close(id, 1007, "Badly formatted");
        };
        if path.bytes().any(|b| b <= b' ' || b == b'\\' || b == 0x7f) {
            return self.close(id, 1011, &format!("Illegal character in path: {}", path.escape_default()));
        }
        let keepalive = verb == "GET" && path.split('?').next() == Some("/v1/keepalive");
        if keepalive {
            return self.on_keepalive(id, request.id);
        }
        let now_ms = self.now_ms();
        if let Some(request) = request.id {
            self.push(id, Out::Binary(reply(request, 404, "Not Found", now_ms).encode_to_vec()));
        }
    }

    fn on_keepalive(&mut self, id: u64, request: Option<u64>) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let device = socket.device;
        self.records.keepalives.push(KeepaliveRecord { device, socket: id, at: Instant::now() });
        // KeepAliveController: an authenticated caller must have a message listener on this instance.
        let present = device.is_none_or(|a| self.devices.get(&a).is_some_and(|d| d.message_socket.is_some()));
        let mode = self.setting(device, |s| s.keepalive).unwrap_or(Keepalive::Answer);
        let now_ms = self.now_ms();
        match (mode, request) {
            (Keepalive::BlackHole, _) => {}
            (Keepalive::NotLocallyPresent, _) => self.close(id, 1000, "OK"),
            _ if !present => self.close(id, 1000, "OK"),
            (_, None) => {}
            (Keepalive::Answer, Some(request)) => {
                self.push(id, Out::Binary(reply(request, 200, "OK", now_ms).encode_to_vec()));
            }
            (Keepalive::Delay(delay), Some(request)) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.delayed.push((Instant::now() + delay, request));
                }
            }
        }
    }

    fn on_response(&mut self, id: u64, request_id: u64, status: u32, message: String) -> Option<Kill> {
        let socket = self.sockets.get(&id)?;
        let Some(device) = socket.device.filter(|_| socket.delivery.is_pending(request_id)) else {
            // An id that is not pending is ignored: double acks are harmless.
            match socket.raw_requests.contains(&request_id) {
                true => self.records.raw_responses.push((request_id, status)),
                false => self.records.stray_responses += 1,
            }
            return None;
        };
        let success = (200..300).contains(&status);
        if success && self.take_fault(device, |s| &mut s.lose_acks) {
            self.records.lost_acks += 1;
            return Some(Kill::Cut);
        }
        let sent = self.sockets.get_mut(&id)?.delivery.respond(request_id, status)?;
        let (guid, delivered_at, at) = (sent.guid, sent.at, Instant::now());
        self.records.acks.push(AckRecord { device, guid, request_id, status, message, at, delivered_at });
        let counters = self.counters(device);
        if success {
            counters.acked += 1;
            let entry = self.devices.get_mut(&device).and_then(|d| d.queue.remove(sent.seq));
            if let Some(entry) = entry
                && let Some((to, _)) = entry.envelope.source
                && entry.envelope.kind != kind::SERVER_DELIVERY_RECEIPT
                && to != device.aci
            {
                self.records.receipts.push(Receipt { guid, from: device, to });
            }
        } else {
            counters.non_2xx += 1;
        }
        None
    }

    pub(crate) fn push(&mut self, id: u64, out: Out) {
        if let Some(socket) = self.sockets.get_mut(&id)
            && !socket.closing
        {
            socket.outbox.push_back(out);
            socket.wake.notify(usize::MAX);
        }
    }
}

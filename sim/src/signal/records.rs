//! What the server saw and did. Tests assert on it.

use std::collections::HashMap;
use std::time::Instant;

use uuid::Uuid;

use super::Guid;

/// One device of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceAddress {
    /// The account.
    pub aci: Uuid,
    /// 1 is the primary (the phone).
    pub device: u8,
}

impl DeviceAddress {
    /// # Panics
    /// If `aci` is not a UUID.
    pub fn new(aci: &str, device: u8) -> Self {
        Self { aci: Uuid::parse_str(aci).expect("the ACI is a UUID"), device }
    }
}

/// An HTTP request on the chat port.
#[derive(Debug, Clone)]
pub struct UpgradeRequest {
    /// HTTP method.
    pub method: String,
    /// Request target: path and query.
    pub target: String,
    /// Header fields in the order they came.
    pub headers: Vec<(String, String)>,
    /// The name in the TLS client hello.
    pub sni: Option<String>,
    /// When the head was complete.
    pub at: Instant,
    /// The status we answered; `None` if we left it unanswered.
    pub status: Option<u16>,
}

impl UpgradeRequest {
    /// The first value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::http::header(&self.headers, name)
    }

    /// The User-Agent.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// Whether `permessage-deflate` was offered. There is nothing to gain from it.
    pub fn offered_deflate(&self) -> bool {
        self.header("sec-websocket-extensions").is_some_and(|v| v.contains("permessage-deflate"))
    }

    /// Whether an `Origin` was sent. Only browsers do.
    pub fn sent_origin(&self) -> bool {
        self.header("origin").is_some()
    }
}

/// A keepalive request.
#[derive(Debug, Clone, Copy)]
pub struct KeepaliveRecord {
    /// `None` on an anonymous socket.
    pub device: Option<DeviceAddress>,
    /// Which socket, counted over the life of the server.
    pub socket: u64,
    /// When it arrived.
    pub at: Instant,
}

/// A response to `PUT /api/v1/message`.
#[derive(Debug, Clone)]
pub struct AckRecord {
    /// The device that answered.
    pub device: DeviceAddress,
    /// The message.
    pub guid: Guid,
    /// The request it answers.
    pub request_id: u64,
    /// 200 to 299 deletes the message.
    pub status: u32,
    /// Reason phrase.
    pub message: String,
    /// When the response arrived.
    pub at: Instant,
    /// When the message was handed to the socket.
    pub delivered_at: Instant,
}

impl AckRecord {
    /// Whether the message was deleted.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A `SERVER_DELIVERY_RECEIPT` the server would send to the sender of an acknowledged, identified message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The acknowledged message.
    pub guid: Guid,
    /// Who acknowledged.
    pub from: DeviceAddress,
    /// Who sent the message.
    pub to: Uuid,
}

/// A Close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseRecord {
    /// `None` on an anonymous socket.
    pub device: Option<DeviceAddress>,
    /// Which socket.
    pub socket: u64,
    /// `None` if the frame had no code.
    pub code: Option<u16>,
    /// Reason text.
    pub reason: String,
}

/// Counters of one device.
#[derive(Debug, Clone, Default)]
pub struct DeviceCounters {
    /// Successful handshakes, sockets without messages included.
    pub connects: u64,
    /// Message sockets open now.
    pub open: usize,
    /// Most message sockets ever open at once. A socket counts until the server has seen its end; one that is
    /// being displaced still counts at the moment the new one opens.
    pub max_open: usize,
    /// Messages sent, redeliveries included.
    pub delivered: u64,
    /// Messages sent again although they had been sent before.
    pub duplicates: u64,
    /// `queue/empty` requests sent.
    pub queue_empty: u64,
    /// Responses other than 2xx.
    pub non_2xx: u64,
    /// Responses with 2xx.
    pub acked: u64,
    /// Messages that were on a socket without a response when it ended.
    pub unanswered: u64,
    /// Times its socket was displaced.
    pub displaced: u64,
}

/// Everything recorded since the start, or since `clear_records`.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// TCP connections accepted.
    pub tcp_accepts: u64,
    /// TLS handshakes that failed, for instance because the client refused the certificate.
    pub tls_failures: u64,
    /// TLS handshakes that resumed a session.
    pub tls_resumed: u64,
    /// Successful upgrades, anonymous ones included.
    pub connects: u64,
    /// When each successful upgrade happened.
    pub connect_times: Vec<(Option<DeviceAddress>, Instant)>,
    /// Requests on the chat port, answered or not.
    pub upgrades: Vec<UpgradeRequest>,
    /// Keepalive requests.
    pub keepalives: Vec<KeepaliveRecord>,
    /// Responses to messages.
    pub acks: Vec<AckRecord>,
    /// Acks thrown away by `Mode::LoseAcks`.
    pub lost_acks: u64,
    /// Responses nobody waited for.
    pub stray_responses: u64,
    /// Receipts for acknowledged identified messages.
    pub receipts: Vec<Receipt>,
    /// Responses to raw requests and to `queue/empty`: (request id, status).
    pub raw_responses: Vec<(u64, u32)>,
    /// Close frames received.
    pub client_closes: Vec<CloseRecord>,
    /// Close frames sent first by the server.
    pub server_closes: Vec<CloseRecord>,
    /// Text frames received and ignored.
    pub texts: u64,
    /// WebSocket pings received.
    pub pings: u64,
    /// Stories deleted without being sent.
    pub stories_dropped: u64,
    /// Ephemeral messages dropped because of their age.
    pub ephemeral_dropped: u64,
    /// Per device.
    pub devices: HashMap<DeviceAddress, DeviceCounters>,
}

impl Records {
    /// Counters of one device; zeros if it was never seen.
    pub fn device(&self, aci: &str, device: u8) -> DeviceCounters {
        self.devices.get(&DeviceAddress::new(aci, device)).cloned().unwrap_or_default()
    }

    /// Statuses answered to upgrades, in order.
    pub fn statuses(&self) -> Vec<u16> {
        self.upgrades.iter().filter_map(|u| u.status).collect()
    }

    /// 2xx acks of one device, in order.
    pub fn acked(&self, aci: &str, device: u8) -> Vec<AckRecord> {
        let address = DeviceAddress::new(aci, device);
        self.acks.iter().filter(|a| a.device == address && a.is_success()).cloned().collect()
    }

    /// Forgets everything except which sockets are open.
    pub(crate) fn clear(&mut self) {
        self.take();
    }

    /// Hands out everything; what stays is which sockets are open.
    pub(crate) fn take(&mut self) -> Self {
        let open = self.devices.iter().filter(|(_, c)| c.open > 0);
        let keep = |c: &DeviceCounters| DeviceCounters { open: c.open, max_open: c.open, ..Default::default() };
        let devices = open.map(|(address, c)| (*address, keep(c))).collect();
        std::mem::replace(self, Self { devices, ..Self::default() })
    }
}

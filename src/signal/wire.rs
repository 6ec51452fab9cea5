//! The few protobuf messages of Signal's WebSocket we use (protocol note, sections 3 and 7).
//!
//! Text fields are read as bytes: a string that is not UTF-8 must not make a whole message unreadable, because a
//! message we cannot answer silences the connection.

use prost::Message as _;

use crate::account::{AccountId, ServerTime};

/// One binary WebSocket message, in either direction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WebSocketMessage {
    /// 1 request, 2 response.
    #[prost(int32, optional, tag = "1")]
    pub kind: Option<i32>,
    /// Set for kind 1.
    #[prost(message, optional, tag = "2")]
    pub request: Option<Request>,
    /// Set for kind 2.
    #[prost(message, optional, tag = "3")]
    pub response: Option<Response>,
}

/// A request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// `PUT`, `GET`.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub verb: Option<Vec<u8>>,
    /// `/api/v1/message`.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub path: Option<Vec<u8>>,
    /// For messages: an [`Envelope`].
    #[prost(bytes = "vec", optional, tag = "3")]
    pub body: Option<Vec<u8>>,
    /// Chosen by the sender; the answer carries it.
    #[prost(uint64, optional, tag = "4")]
    pub id: Option<u64>,
    /// `Name:value`.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub headers: Vec<Vec<u8>>,
}

/// An answer. Signal closes the socket (1007) when id, status or message is missing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Of the request it answers.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// As in HTTP.
    #[prost(uint32, optional, tag = "2")]
    pub status: Option<u32>,
    /// Text of the status.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub message: Option<Vec<u8>>,
    /// `Name:value`.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub headers: Vec<Vec<u8>>,
}

/// What Signal tells about a message. The content stays encrypted and is not even looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct RawEnvelope {
    #[prost(uint32, optional, tag = "7")]
    source_device: Option<u32>,
    #[prost(uint64, optional, tag = "10")]
    server_timestamp: Option<u64>,
    #[prost(bool, optional, tag = "14")]
    urgent: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "19")]
    source_service_id: Option<Vec<u8>>,
}

/// A [`WebSocketMessage`] of which only the request is looked for.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyMessage {
    #[prost(bytes = "vec", optional, tag = "2")]
    request: Option<Vec<u8>>,
}

/// A [`Request`] of which only the id is looked for.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyRequest {
    #[prost(uint64, optional, tag = "4")]
    id: Option<u64>,
}

/// The part of an envelope that decides whether the phone is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Chosen by the sending client; absent means true.
    pub urgent: bool,
    /// When Signal took it in.
    pub server_timestamp: Option<ServerTime>,
    /// Sent by device 1 of this very account: the phone itself.
    pub from_own_phone: bool,
}

/// A binary message from Signal, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// `PUT /api/v1/message`. The envelope is absent when it cannot be read.
    Message {
        /// To be acked, if there is one.
        id: Option<u64>,
        /// What is known of the message.
        envelope: Option<Envelope>,
        /// Signal's clock at delivery.
        server_time: Option<ServerTime>,
    },
    /// `PUT /api/v1/queue/empty`: all that waited was delivered.
    QueueEmpty {
        /// To be answered.
        id: Option<u64>,
        /// Signal's clock.
        server_time: Option<ServerTime>,
    },
    /// The answer to one of our requests.
    Answer {
        /// Of our request.
        id: u64,
        /// Signal's clock.
        server_time: Option<ServerTime>,
    },
    /// A request this version does not know.
    Unknown {
        /// To be answered.
        id: Option<u64>,
    },
    /// Not even the frame could be read.
    Malformed,
}

impl Incoming {
    /// Reads one binary message sent to `account`'s device.
    pub fn parse(bytes: &[u8], account: AccountId) -> Self {
        let Ok(message) = WebSocketMessage::decode(bytes) else {
            // What can still be answered is taken for a message: unanswered, it would silence the connection.
            return request_id(bytes).map_or(Self::Malformed, |id| Self::Message {
                id: Some(id),
                envelope: None,
                server_time: None,
            });
        };
        match (message.request, message.response) {
            (Some(request), _) => Self::request(&request, account),
            (None, Some(Response { id: Some(id), headers, .. })) => {
                Self::Answer { id, server_time: timestamp(&headers) }
            }
            _ => Self::Malformed,
        }
    }

    fn request(request: &Request, account: AccountId) -> Self {
        let server_time = timestamp(&request.headers);
        let id = request.id;
        match (request.verb.as_deref(), request.path.as_deref()) {
            (Some(b"PUT"), Some(b"/api/v1/message")) => {
                let envelope = request.body.as_deref().and_then(|body| Envelope::parse(body, account));
                Self::Message { id, envelope, server_time }
            }
            (Some(b"PUT"), Some(b"/api/v1/queue/empty")) => Self::QueueEmpty { id, server_time },
            _ => Self::Unknown { id },
        }
    }
}

impl Envelope {
    fn parse(body: &[u8], account: AccountId) -> Option<Self> {
        let raw = RawEnvelope::decode(body).ok()?;
        Some(Self {
            urgent: raw.urgent.unwrap_or(true),
            server_timestamp: raw.server_timestamp.map(ServerTime),
            from_own_phone: raw.source_device == Some(1)
                && raw.source_service_id.as_deref() == Some(account.as_bytes().as_slice()),
        })
    }
}

/// The id of a request that is broken elsewhere.
fn request_id(bytes: &[u8]) -> Option<u64> {
    let request = AnyMessage::decode(bytes).ok()?.request?;
    AnyRequest::decode(&request[..]).ok()?.id
}

/// `X-Signal-Timestamp:<ms>` among headers. Signal writes no space after the colon, others do.
fn timestamp(headers: &[Vec<u8>]) -> Option<ServerTime> {
    headers.iter().find_map(|header| {
        let (name, value) = std::str::from_utf8(header).ok()?.split_once(':')?;
        if !name.trim().eq_ignore_ascii_case("x-signal-timestamp") {
            return None;
        }
        value.trim().parse().ok().map(ServerTime)
    })
}

/// An answer with `id`, `status` and `message`: all three must be there (protocol note, section 3).
pub fn answer(id: u64, status: u32, message: &str) -> Vec<u8> {
    let response = Response {
        id: Some(id),
        status: Some(status),
        message: Some(message.as_bytes().to_vec()),
        headers: Vec::new(),
    };
    WebSocketMessage { kind: Some(2), request: None, response: Some(response) }.encode_to_vec()
}

/// The keepalive request (protocol note, section 8): unlike a ping it makes Signal check that we are still listed.
pub fn keepalive(id: u64) -> Vec<u8> {
    let request = Request {
        verb: Some(b"GET".to_vec()),
        path: Some(b"/v1/keepalive".to_vec()),
        body: None,
        id: Some(id),
        headers: Vec::new(),
    };
    WebSocketMessage { kind: Some(1), request: Some(request), response: None }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "08011282010a03505554120f2f6170692f76312f6d6573736167651a3e08062880d095ffbc3142043361626350fbd095ffbc317001a2011011111111222243338444555555555555aa0110aaaaaaaabbbb4ccc8dddeeeeeeeeeeee208180808080808080402a20582d5369676e616c2d54696d657374616d703a31373030303030303030323030";
    const EMPTY: &str = "0801123e0a0350555412132f6170692f76312f71756575652f656d70747920072a20582d5369676e616c2d54696d657374616d703a31373030303030303030323030";
    const ANSWERED: &str = "08021a3d080110c8011a024f4b2a20582d5369676e616c2d54696d657374616d703a313730303030303030303330302a10436f6e74656e742d4c656e6774683a30";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn account() -> AccountId {
        AccountId::parse("11111111-2222-4333-8444-555555555555").unwrap()
    }

    fn message_with(body: Option<Vec<u8>>) -> Vec<u8> {
        let request = Request {
            verb: Some(b"PUT".to_vec()),
            path: Some(b"/api/v1/message".to_vec()),
            body,
            id: Some(5),
            headers: vec![b"x-signal-TIMESTAMP: 12".to_vec()],
        };
        WebSocketMessage { kind: Some(1), request: Some(request), response: None }.encode_to_vec()
    }

    fn envelope_of(body: Option<Vec<u8>>) -> Option<Envelope> {
        match Incoming::parse(&message_with(body), account()) {
            Incoming::Message { id: Some(5), envelope, server_time: Some(ServerTime(12)) } => envelope,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_golden_bytes_are_read_and_written() {
        assert_eq!(
            Incoming::parse(&hex(MESSAGE), account()),
            Incoming::Message {
                id: Some(4_611_686_018_427_387_905),
                envelope: Some(Envelope {
                    urgent: true,
                    server_timestamp: Some(ServerTime(1_700_000_000_123)),
                    from_own_phone: false
                }),
                server_time: Some(ServerTime(1_700_000_000_200)),
            }
        );
        assert_eq!(
            Incoming::parse(&hex(EMPTY), account()),
            Incoming::QueueEmpty { id: Some(7), server_time: Some(ServerTime(1_700_000_000_200)) }
        );
        assert_eq!(
            Incoming::parse(&hex(ANSWERED), account()),
            Incoming::Answer { id: 1, server_time: Some(ServerTime(1_700_000_000_300)) }
        );
        assert_eq!(answer(4_611_686_018_427_387_905, 200, "OK"), hex("08021a110881808080808080804010c8011a024f4b"));
        assert_eq!(keepalive(1), hex("080112160a03474554120d2f76312f6b656570616c6976652001"));
    }

    #[test]
    fn urgent_is_true_unless_said_otherwise() {
        let with = |urgent| RawEnvelope { urgent, ..Default::default() }.encode_to_vec();
        assert!(envelope_of(Some(with(None))).unwrap().urgent);
        assert!(envelope_of(Some(with(Some(true)))).unwrap().urgent);
        assert!(!envelope_of(Some(with(Some(false)))).unwrap().urgent);
    }

    #[test]
    fn only_device_one_of_the_same_account_is_the_own_phone() {
        let own = account().as_bytes().to_vec();
        let mut pni = vec![1];
        pni.extend(&own);
        for (source, device, expected) in [
            (Some(own.clone()), Some(1), true),
            (Some(own.clone()), Some(2), false),
            (Some(own), None, false),
            (Some(vec![9; 16]), Some(1), false),
            (Some(pni), Some(1), false),
            (None, Some(1), false),
        ] {
            let raw = RawEnvelope { source_device: device, source_service_id: source, ..Default::default() };
            assert_eq!(envelope_of(Some(raw.encode_to_vec())).unwrap().from_own_phone, expected);
        }
    }

    #[test]
    fn unreadable_envelopes_are_messages_without_an_envelope() {
        for body in [None, Some(vec![0xff; 20]), Some(vec![0x72, 0xff])] {
            assert_eq!(envelope_of(body), None);
        }
    }

    #[test]
    fn a_broken_request_can_still_be_answered() {
        // Field 5, the headers, as a number.
        let mut request = vec![0x20, 0x07, 0x28, 0x01];
        let mut bytes = vec![0x08, 0x01, 0x12, request.len() as u8];
        bytes.append(&mut request);
        assert_eq!(
            Incoming::parse(&bytes, account()),
            Incoming::Message { id: Some(7), envelope: None, server_time: None }
        );
    }

    #[test]
    fn strange_frames_are_told_apart_and_never_panic() {
        for bytes in [&[][..], &[0xff; 40], b"Connected elsewhere", &[0x08, 0x01], &[0x1a, 0x00]] {
            assert_eq!(Incoming::parse(bytes, account()), Incoming::Malformed, "{bytes:?}");
        }
        let odd = Request { verb: Some(vec![0xff]), path: None, body: None, id: Some(3), headers: vec![vec![0xfe]] };
        let bytes = WebSocketMessage { kind: None, request: Some(odd), response: None }.encode_to_vec();
        assert_eq!(Incoming::parse(&bytes, account()), Incoming::Unknown { id: Some(3) });
    }
}

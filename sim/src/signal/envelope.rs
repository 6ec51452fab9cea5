//! What a sender hands to the server for one device.

use prost::Message as _;
use uuid::Uuid;

use super::Guid;
use crate::wire::EnvelopeMessage;

/// `Envelope.type` values.
pub mod kind {
    /// Double ratchet, identified sender.
    pub const CIPHERTEXT: i32 = 1;
    /// First message of a session, identified sender.
    pub const PREKEY_BUNDLE: i32 = 3;
    /// Made by the server; no content.
    pub const SERVER_DELIVERY_RECEIPT: i32 = 5;
    /// Sealed sender; the usual one.
    pub const UNIDENTIFIED_SENDER: i32 = 6;
    /// Retry receipts.
    pub const PLAINTEXT_CONTENT: i32 = 8;
}

/// Builder of a message. The default is an urgent sealed-sender message of 4 bytes.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub(crate) kind: i32,
    pub(crate) urgent: Option<bool>,
    pub(crate) source: Option<(Uuid, u8)>,
    pub(crate) ephemeral: bool,
    pub(crate) story: bool,
    pub(crate) client_timestamp: Option<u64>,
    pub(crate) server_timestamp: Option<u64>,
    pub(crate) guid: Option<Guid>,
    content: Option<Vec<u8>>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Envelope,
    Raw(Vec<u8>),
    Missing,
}

impl Default for Envelope {
    fn default() -> Self {
        Self::new()
    }
}

impl Envelope {
    /// An urgent sealed-sender message.
    pub fn new() -> Self {
        Self {
            kind: kind::UNIDENTIFIED_SENDER,
            urgent: Some(true),
            source: None,
            ephemeral: false,
            story: false,
            client_timestamp: None,
            server_timestamp: None,
            guid: None,
            content: Some(b"3abc".to_vec()),
            body: Body::Envelope,
        }
    }

    /// Sets tag 14. The server always writes it, also when it is true.
    pub fn urgent(mut self, urgent: bool) -> Self {
        self.urgent = Some(urgent);
        self
    }

    /// Leaves tag 14 out; by the proto that means urgent.
    pub fn no_urgent_tag(mut self) -> Self {
        self.urgent = None;
        self
    }

    /// Sets tag 1, see [`kind`]; unknown values are allowed.
    pub fn kind(mut self, kind: i32) -> Self {
        self.kind = kind;
        self
    }

    /// An identified sender: tags 7 and 19.
    ///
    /// # Panics
    /// If `aci` is not a UUID.
    pub fn source(mut self, aci: &str, device: u8) -> Self {
        self.source = Some((Uuid::parse_str(aci).expect("the ACI is a UUID"), device));
        self
    }

    /// An `online=true` message such as typing: dropped when older than 10 s, and the flag is never sent.
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }

    /// A story: never sent unless the client asked for stories.
    pub fn story(mut self) -> Self {
        self.story = true;
        self
    }

    /// Overrides tag 5, ms since the epoch (default: the server's clock when the message is sent).
    pub fn client_timestamp(mut self, ms: u64) -> Self {
        self.client_timestamp = Some(ms);
        self
    }

    /// Overrides tag 10, ms since the epoch (default: the server's clock when the message is sent).
    pub fn server_timestamp(mut self, ms: u64) -> Self {
        self.server_timestamp = Some(ms);
        self
    }

    /// Overrides tag 21 (default: random).
    pub fn guid(mut self, guid: Guid) -> Self {
        self.guid = Some(guid);
        self
    }

    /// Sets tag 8.
    pub fn content(mut self, content: Vec<u8>) -> Self {
        self.content = Some(content);
        self
    }

    /// Fills tag 8 with `size` bytes. The real server's limit is 96 KiB.
    pub fn content_size(self, size: usize) -> Self {
        self.content(vec![0x33; size])
    }

    /// Sends these bytes in place of an envelope, for instance bytes that do not parse.
    pub fn raw_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Raw(body.into());
        self
    }

    /// Sends the request without a body.
    pub fn missing_body(mut self) -> Self {
        self.body = Body::Missing;
        self
    }

    /// The request body. Tag 12 (ephemeral) is cleared before delivery.
    pub(crate) fn encode(&self, destination: Uuid, guid: Guid, client_ms: u64, server_ms: u64) -> Option<Vec<u8>> {
        match &self.body {
            Body::Missing => return None,
            Body::Raw(bytes) => return Some(bytes.clone()),
            Body::Envelope => {}
        }
        let is_receipt = self.kind == kind::SERVER_DELIVERY_RECEIPT;
        let message = EnvelopeMessage {
            r#type: Some(self.kind),
            client_timestamp: Some(client_ms),
            source_device: self.source.map(|(_, device)| device.into()),
            content: self.content.clone().filter(|_| !is_receipt),
            server_timestamp: Some(server_ms),
            ephemeral: None,
            urgent: self.urgent,
            story: self.story.then_some(true),
            report_spam_token: None,
            source_service_id: self.source.map(|(aci, _)| aci.as_bytes().to_vec()),
            destination_service_id: Some(destination.as_bytes().to_vec()),
            server_guid: Some(guid.as_bytes().to_vec()),
            updated_pni: None,
        };
        Some(message.encode_to_vec())
    }
}

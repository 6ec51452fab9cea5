//! The protobuf messages on the chat WebSocket, as Signal-Server declares them (proto2, all fields optional).
//!
//! Sources: `websocket-resources/src/main/proto/WebSocketProtocol.proto` and
//! `service/src/main/proto/TextSecure.proto` of Signal-Server v20260820.3.0.

/// `WebSocketMessage.type` of a request.
pub const REQUEST: i32 = 1;
/// `WebSocketMessage.type` of a response.
pub const RESPONSE: i32 = 2;

/// One binary WebSocket message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WebSocketMessage {
    /// [`REQUEST`] or [`RESPONSE`].
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
    /// Present if the type is [`REQUEST`].
    #[prost(message, optional, tag = "2")]
    pub request: Option<Request>,
    /// Present if the type is [`RESPONSE`].
    #[prost(message, optional, tag = "3")]
    pub response: Option<Response>,
}

/// `WebSocketRequestMessage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// HTTP method.
    #[prost(string, optional, tag = "1")]
    pub verb: Option<String>,
    /// Request path.
    #[prost(string, optional, tag = "2")]
    pub path: Option<String>,
    /// Request body.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub body: Option<Vec<u8>>,
    /// Request id; absent if no response is wanted.
    #[prost(uint64, optional, tag = "4")]
    pub id: Option<u64>,
    /// `Name:value` strings.
    #[prost(string, repeated, tag = "5")]
    pub headers: Vec<String>,
}

/// `WebSocketResponseMessage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Id of the request this answers.
    #[prost(uint64, optional, tag = "1")]
    pub id: Option<u64>,
    /// HTTP status.
    #[prost(uint32, optional, tag = "2")]
    pub status: Option<u32>,
    /// Reason phrase. The server closes with 1007 if it is absent.
    #[prost(string, optional, tag = "3")]
    pub message: Option<String>,
    /// Response body.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub body: Option<Vec<u8>>,
    /// `Name:value` strings.
    #[prost(string, repeated, tag = "5")]
    pub headers: Vec<String>,
}

/// `Envelope`: the body of `PUT /api/v1/message`.
///
/// Tags 9, 11, 13 and 15 (string ids) were retired on 2026-06-10; 19 to 22 replace them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvelopeMessage {
    /// 1 ciphertext, 3 pre-key bundle, 5 server delivery receipt, 6 sealed sender, 8 plaintext content.
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
    /// Sender's clock, ms since the epoch.
    #[prost(uint64, optional, tag = "5")]
    pub client_timestamp: Option<u64>,
    /// Identified senders only.
    #[prost(uint32, optional, tag = "7")]
    pub source_device: Option<u32>,
    /// Ciphertext.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub content: Option<Vec<u8>>,
    /// Server's clock when the message came in, ms since the epoch.
    #[prost(uint64, optional, tag = "10")]
    pub server_timestamp: Option<u64>,
    /// Cleared before delivery.
    #[prost(bool, optional, tag = "12")]
    pub ephemeral: Option<bool>,
    /// Absent means true. The server always sets it.
    #[prost(bool, optional, tag = "14")]
    pub urgent: Option<bool>,
    /// Set only when true.
    #[prost(bool, optional, tag = "16")]
    pub story: Option<bool>,
    /// Opaque token.
    #[prost(bytes = "vec", optional, tag = "17")]
    pub report_spam_token: Option<Vec<u8>>,
    /// 16 bytes for an ACI. Absent for a sealed sender.
    #[prost(bytes = "vec", optional, tag = "19")]
    pub source_service_id: Option<Vec<u8>>,
    /// 16 bytes for an ACI.
    #[prost(bytes = "vec", optional, tag = "20")]
    pub destination_service_id: Option<Vec<u8>>,
    /// 16 bytes; the same at every redelivery.
    #[prost(bytes = "vec", optional, tag = "21")]
    pub server_guid: Option<Vec<u8>>,
    /// 16 bytes; change-number synchronisation.
    #[prost(bytes = "vec", optional, tag = "22")]
    pub updated_pni: Option<Vec<u8>>,
}

impl WebSocketMessage {
    /// Wraps a request.
    pub fn request(request: Request) -> Self {
        Self { r#type: Some(REQUEST), request: Some(request), response: None }
    }

    /// Wraps a response.
    pub fn response(response: Response) -> Self {
        Self { r#type: Some(RESPONSE), request: None, response: Some(response) }
    }
}

/// `PUT /api/v1/message`: one delivery of an envelope. The header carries the moment of this delivery, in ms.
pub fn put_message(id: u64, body: Option<Vec<u8>>, now_ms: u64) -> WebSocketMessage {
    server_request(id, "/api/v1/message", body, now_ms)
}

/// `PUT /api/v1/queue/empty`: everything stored was delivered.
pub fn put_queue_empty(id: u64, now_ms: u64) -> WebSocketMessage {
    server_request(id, "/api/v1/queue/empty", None, now_ms)
}

fn server_request(id: u64, path: &str, body: Option<Vec<u8>>, now_ms: u64) -> WebSocketMessage {
    let (verb, path) = (Some("PUT".to_owned()), Some(path.to_owned()));
    WebSocketMessage::request(Request { verb, path, body, id: Some(id), headers: vec![timestamp_header(now_ms)] })
}

/// The server's answer to a client request, without a body.
pub fn reply(id: u64, status: u32, message: &str, now_ms: u64) -> WebSocketMessage {
    WebSocketMessage::response(Response {
        id: Some(id),
        status: Some(status),
        message: Some(message.to_owned()),
        body: None,
        headers: vec![timestamp_header(now_ms), "Content-Length:0".to_owned()],
    })
}

// The server writes no space after the colon; libsignal's own fake writes one.
fn timestamp_header(now_ms: u64) -> String {
    format!("X-Signal-Timestamp:{now_ms}")
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

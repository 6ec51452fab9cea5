//! What the push server answers, and how badly.

use std::time::Duration;

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Header fields besides `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// Response body.
    pub body: Vec<u8>,
    /// Time between the complete request and the first byte of the answer.
    pub delay: Duration,
    /// How the answer is written.
    pub behaviour: Behaviour,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// At once; the connection stays open for the next request.
    #[default]
    Normal,
    /// At once, with `Connection: close`, then the connection is closed.
    CloseAfter,
    /// No answer; the connection stays open.
    Hang,
    /// The head, which announces a body that never comes.
    HangAfterHead,
    /// The head, this many bytes at a time, this long apart.
    DripHead(usize, Duration),
    /// The body, this many bytes at a time, this long apart.
    DripBody(usize, Duration),
    /// EOF in place of an answer.
    CutBeforeAnswer,
    /// TCP RST in place of an answer.
    ResetBeforeAnswer,
    /// Half of the head, then EOF.
    CutMidHead,
    /// The head and half of the body, then EOF.
    CutMidBody,
    /// A body without end.
    EndlessBody,
    /// A header field without end.
    EndlessHeader,
    /// Bytes that are not HTTP.
    Garbage,
    /// A body delimited by the end of the connection, which ends without TLS `close_notify`.
    TlsCloseWithoutNotify,
}

impl Default for Answer {
    fn default() -> Self {
        Self::created()
    }
}

impl Answer {
    /// Any status, without body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO, behaviour: Behaviour::Normal }
    }

    /// 201 as RFC 8030 wants it: with `Location` and `TTL`.
    pub fn created() -> Self {
        Self::status(201).header("Location", "/m/1").header("TTL", "0")
    }

    /// 200 as ntfy answers.
    pub fn ok() -> Self {
        Self::status(200).header("Content-Type", "application/json").body("{\"event\":\"message\"}\n")
    }

    /// The answer to a discovery GET: `{"unifiedpush":{"version":1}}`.
    pub fn discovery() -> Self {
        Self::status(200).header("Content-Type", "application/json").body("{\"unifiedpush\":{\"version\":1}}\n")
    }

    /// A status with `Retry-After`: seconds, or a date, or nonsense.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::status(status).header("Retry-After", value)
    }

    /// A redirect. Push endpoints must not be followed elsewhere.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// 201 written in some special way.
    pub fn behave(behaviour: Behaviour) -> Self {
        Self::created().behaviour(behaviour)
    }

    /// No answer at all.
    pub fn hang() -> Self {
        Self::behave(Behaviour::Hang)
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the delay.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets the behaviour.
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }
}

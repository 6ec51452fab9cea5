//! Signal's frames: `Incoming::parse` against a second protobuf reader. What the two read must be the same, and no
//! bytes may pass for less than a wake-up by mistake.
//!
//! Input: one binary WebSocket message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mollysocket::account::AccountId;
use mollysocket::signal::wire::{Incoming, answer, keepalive};
use mollysocket_fuzz::protobuf::{Field, Fields};
use mollysocket_fuzz::{ACCOUNT, account_id};

fuzz_target!(|data: &[u8]| {
    let account = account_id();
    let got = Incoming::parse(data, account);
    assert_eq!(describe(&got), expected(data, account), "{got:?}");
    if let Incoming::Message { id: Some(id), .. } | Incoming::Unknown { id: Some(id) } = got {
        assert_eq!(Incoming::parse(&answer(id, 200, "OK"), account), Incoming::Answer { id, server_time: None });
        assert_eq!(Incoming::parse(&keepalive(id), account), Incoming::Unknown { id: Some(id) });
    }
});

/// What was understood, in terms both readers share.
#[derive(Debug, PartialEq)]
enum Read {
    Message { id: Option<u64>, envelope: Option<(bool, Option<u64>, bool)>, time: Option<u64> },
    QueueEmpty { id: Option<u64>, time: Option<u64> },
    Answer { id: u64, time: Option<u64> },
    Unknown { id: Option<u64> },
    Malformed,
}

fn describe(incoming: &Incoming) -> Read {
    match incoming {
        Incoming::Message { id, envelope, server_time } => Read::Message {
            id: *id,
            envelope: envelope.map(|e| (e.urgent, e.server_timestamp.map(|t| t.0), e.from_own_phone)),
            time: server_time.map(|t| t.0),
        },
        Incoming::QueueEmpty { id, server_time } => Read::QueueEmpty { id: *id, time: server_time.map(|t| t.0) },
        Incoming::Answer { id, server_time } => Read::Answer { id: *id, time: server_time.map(|t| t.0) },
        Incoming::Unknown { id } => Read::Unknown { id: *id },
        Incoming::Malformed => Read::Malformed,
    }
}

fn expected(data: &[u8], account: AccountId) -> Read {
    const VARINT: u8 = 0;
    const BYTES: u8 = 2;
    let read = || -> Option<Read> {
        let frame = Fields::read(data, &[(1, VARINT), (2, BYTES), (3, BYTES)])?;
        let request = frame
            .message(2)
            .map(|bytes| Fields::read_inner(bytes, &[(1, BYTES), (2, BYTES), (3, BYTES), (4, VARINT), (5, BYTES)]));
        let response = frame
            .message(3)
            .map(|bytes| Fields::read_inner(bytes, &[(1, VARINT), (2, VARINT), (3, BYTES), (5, BYTES)]));
        // Either one unreadable makes the frame unreadable.
        let (request, response) = (transpose(request)?, transpose(response)?);
        if let Some(request) = request {
            let (id, time) = (request.number(4), time(&request));
            if request.bytes(1) != Some(b"PUT") {
                return Some(Read::Unknown { id });
            }
            return Some(match request.bytes(2) {
                Some(b"/api/v1/message") => {
                    let envelope = request.bytes(3).and_then(|body| {
                        let raw = Fields::read(body, &[(7, VARINT), (10, VARINT), (14, VARINT), (19, BYTES)])?;
                        let own = raw.number(7).map(|n| n as u32) == Some(1)
                            && raw.bytes(19) == Some(account.as_bytes().as_slice());
                        Some((raw.number(14).is_none_or(|n| n != 0), raw.number(10), own))
                    });
                    Read::Message { id, envelope, time }
                }
                Some(b"/api/v1/queue/empty") => Read::QueueEmpty { id, time },
                _ => Read::Unknown { id },
            });
        }
        let response = response?;
        Some(Read::Answer { id: response.number(1)?, time: time(&response) })
    };
    assert_eq!(account.to_string(), ACCOUNT);
    // What can still be answered is taken for a message.
    let answerable = || {
        let request = Fields::read(data, &[(2, BYTES)])?.bytes(2)?;
        let id = Fields::read(request, &[(4, VARINT)])?.number(4);
        id.map(|_| Read::Message { id, envelope: None, time: None })
    };
    match read() {
        None => answerable().unwrap_or(Read::Malformed),
        Some(read) => read,
    }
}

/// `Some(None)` for absent, `None` for unreadable.
fn transpose<'a>(field: Option<Option<Fields<'a>>>) -> Option<Option<Fields<'a>>> {
    match field {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// The first header of that name with a number.
fn time(fields: &Fields<'_>) -> Option<u64> {
    fields.all(5).find_map(|field| {
        let Field::Bytes(bytes) = field else { return None };
        let text = std::str::from_utf8(bytes).ok()?;
        let at = text.find(':')?;
        if !text[..at].trim().eq_ignore_ascii_case("x-signal-timestamp") {
            return None;
        }
        let digits = text[at + 1..].trim();
        digits
            .strip_prefix('+')
            .unwrap_or(digits)
            .chars()
            .try_fold(0u64, |sum, c| sum.checked_mul(10)?.checked_add(u64::from(c.to_digit(10)?)))
            .filter(|_| digits.chars().any(|c| c.is_ascii_digit()))
    })
}

//! A push server's answer, through the real client code and hyper, to its meaning. A strict reader of RFC 9112 reads
//! the same bytes: an answer it can read has that status and the meaning of the design's table. Nothing that lacks a
//! 2xx status line is ever taken for an accepted wake-up.
//!
//! Input: the sizes of two pieces, then what the server sends.

#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use mollysocket::push::{Outcome, fuzzing};
use mollysocket_fuzz::http;
use mollysocket_fuzz::pipe::Pipe;

fuzz_target!(|data: &[u8]| {
    let [first, second, bytes @ ..] = data else { return };
    // 2027-01-15, so that dates of either side occur.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let got = smol::block_on(fuzzing::answer(Pipe::answering(bytes, &[]), now));
    let pieces = [usize::from(*first), usize::from(*second)];
    let in_pieces = smol::block_on(fuzzing::answer(Pipe::answering(bytes, &pieces), now));
    assert_eq!(got.as_ref().ok(), in_pieces.as_ref().ok());

    if let Some((status, fields)) = http::answer(bytes) {
        // A value beyond ASCII is no number and no date; the program leaves such headers out.
        let last = |name: &str| fields.iter().rev().find(|(n, v)| n == name && v.is_ascii()).map(|(_, v)| v.as_str());
        if let Ok((seen, outcome)) = &got {
            assert_eq!(*seen, status);
            assert_eq!(*outcome, meaning(status, last("retry-after"), last("date"), now));
        } else {
            let headers = ["content-length", "transfer-encoding"];
            let plain = fields.iter().all(|(name, _)| !headers.contains(&name.as_str())) && fields.len() < 90;
            assert!(!plain || status == 101, "a good answer was not understood: {got:?}");
        }
    }
    if let Ok((_, Outcome::Accepted)) = got {
        let accepted = |line: &[u8]| line.starts_with(b"HTTP/1.1 2") || line.starts_with(b"HTTP/1.0 2");
        assert!(bytes.split(|b| *b == b'\n').any(accepted), "accepted out of nothing");
    }
});

/// The table of the design's section 3.
fn meaning(status: u16, retry_after: Option<&str>, date: Option<&str>, now: SystemTime) -> Outcome {
    match status {
        200..300 => Outcome::Accepted,
        404 | 410 => Outcome::Gone,
        401 | 403 => Outcome::Unauthorized,
        429 | 503 => Outcome::Limited(retry_after.and_then(|text| delay(text, date, now))),
        408 | 421 | 425 => Outcome::Failed,
        400..500 => Outcome::Rejected,
        _ => Outcome::Failed,
    }
}

/// `Retry-After`: digits, or a date compared with the server's own.
fn delay(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let longest = u64::from(u32::MAX);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.bytes().fold(0u64, |sum, b| (sum * 10 + u64::from(b - b'0')).min(longest));
        return Some(Duration::from_secs(seconds));
    }
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let until = seconds(httpdate::parse_http_date(text).ok()?);
    let from = seconds(date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now));
    Some(Duration::from_secs(until.saturating_sub(from).min(longest)))
}

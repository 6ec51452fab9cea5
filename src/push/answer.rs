//! What a push server's answer means (design, section 3), and how to say it to people.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;

use super::Outcome;
use crate::retry_after;

/// The longest `Retry-After` that is told apart: more than a century, and still safe to add to a point in time.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// The meaning of a status. `retry_after` and `date` are the answer's headers of that name.
pub(super) fn outcome(status: u16, retry_after: Option<&str>, date: Option<&str>, now: SystemTime) -> Outcome {
    match status {
        200..=299 => Outcome::Accepted,
        404 | 410 => Outcome::Gone,
        401 | 403 => Outcome::Unauthorized,
        429 | 503 => Outcome::Limited(retry_after.and_then(|value| delay(value, date, now))),
        // Time-outs and misrouted connections (RFC 9110 sections 15.5.9 and 15.5.20, RFC 8470): the request itself is fine.
        408 | 421 | 425 => Outcome::Failed,
        400..=499 => Outcome::Rejected,
        _ => Outcome::Failed,
    }
}

/// `Retry-After`. A date is compared with the server's own clock where it tells us its time, because ours may be wrong.
fn delay(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    retry_after::parse(value, now).map(|delay| delay.min(LONGEST))
}

/// The answer in words: who said what, and what is usually behind it.
pub(super) fn explain(origin: &str, status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let hint = match status {
        200..=299 => "",
        300..=399 => ": push servers must not redirect; check its address and the proxy before it",
        400 => ": it does not understand the request, which is a bug of MollySocket or of the push server",
        401 => ": it does not accept our VAPID key; link the phone again if the key has changed",
        403 => {
            ": its access list forbids the request (ntfy: allow anonymous writing to `up*`), or it knows the phone by \
             another VAPID key"
        }
        404 | 410 => ": the phone's endpoint no longer exists there; open Molly to register a new one",
        413 => ": it finds the request too large, which is a bug of MollySocket or of the push server",
        429 => ": too many requests from this server; it will be tried again",
        503 => ": it is overloaded or in maintenance; it will be tried again",
        507 => ": no phone is subscribed to this topic now (ntfy); open the distributor app on the phone",
        500..=599 => ": it has a fault of its own; it will be tried again",
        _ => ": an answer we do not know",
    };
    format!("{origin} answered {status} {name}").trim_end().to_owned() + hint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        httpdate::parse_http_date(text).unwrap()
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Outcome::Accepted,
                401 | 403 => Outcome::Unauthorized,
                404 | 410 => Outcome::Gone,
                429 | 503 => Outcome::Limited(None),
                408 | 421 | 425 => Outcome::Failed,
                400..=499 => Outcome::Rejected,
                _ => Outcome::Failed,
            };
            assert_eq!(outcome(status, None, None, SystemTime::now()), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_nonsense() {
        let now = at("Sun, 06 Nov 1994 08:49:37 GMT");
        let secs = Duration::from_secs;
        for (value, expected) in [
            ("0", Some(secs(0))),
            ("1", Some(secs(1))),
            (" 120 ", Some(secs(120))),
            ("86400", Some(secs(86400))),
            ("99999999999999999999999999", Some(LONGEST)),
            ("18446744073709551615", Some(LONGEST)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(secs(60))),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(secs(60))),
            ("Sun Nov  6 08:50:37 1994", Some(secs(60))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(secs(0))),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("\u{663}", None),
        ] {
            for status in [429, 503] {
                assert_eq!(outcome(status, Some(value), None, now), Outcome::Limited(expected), "{value:?}");
            }
        }
        assert_eq!(outcome(500, Some("5"), None, now), Outcome::Failed);
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_the_server_that_wrote_it() {
        let ours = at("Mon, 06 Nov 1995 08:49:37 GMT");
        let (date, until) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        let expected = Outcome::Limited(Some(Duration::from_secs(30)));
        assert_eq!(outcome(429, Some(until), Some(date), ours), expected);
        assert_eq!(outcome(429, Some(until), Some("nonsense"), ours), Outcome::Limited(Some(Duration::ZERO)));
    }

    #[test]
    fn longest_delay_can_be_added_to_a_moment() {
        assert!(std::time::Instant::now().checked_add(LONGEST).is_some());
    }

    #[test]
    fn explanations_are_one_line_and_name_the_server() {
        for status in 100..=999 {
            let text = explain("https://push.example", status);
            assert!(text.starts_with(&format!("https://push.example answered {status}")), "{text}");
            assert!(!text.contains('\n') && !text.ends_with(' '), "{text:?}");
        }
        assert!(explain("https://push.example", 507).contains("subscribed"));
        assert!(explain("https://push.example", 403).contains("access list"));
    }
}

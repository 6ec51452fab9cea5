//! What a push server's answer means (design, section 3), and how to say it to people.

use std::time::SystemTime;

use hyper::StatusCode;

use super::Outcome;
use crate::retry_after;

/// The meaning of a status. `after` and `date` are its `Retry-After` and `Date`.
pub(super) fn outcome(status: u16, after: Option<&str>, date: Option<&str>, now: SystemTime) -> Outcome {
    match status {
        200..=299 => Outcome::Accepted,
        404 | 410 => Outcome::Gone,
        401 | 403 => Outcome::Unauthorized,
        429 | 503 => Outcome::Limited(after.and_then(|value| retry_after::parse(value, date, now))),
        // Time-outs and misrouted connections (RFC 9110 sections 15.5.9 and 15.5.20, RFC 8470): the request itself is fine.
        408 | 421 | 425 => Outcome::Failed,
        400..=499 => Outcome::Rejected,
        _ => Outcome::Failed,
    }
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
        404 | 410 => {
            ": it does not know the phone's endpoint, or a proxy before it is restarting; if it stays so, open Molly to register a new one"
        }
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
    use std::time::Duration;

    use super::*;

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
    fn only_429_and_503_say_when() {
        let now = SystemTime::now();
        for status in [429, 503] {
            let expected = Outcome::Limited(Some(Duration::from_secs(5)));
            assert_eq!(outcome(status, Some("5"), None, now), expected);
        }
        assert_eq!(outcome(500, Some("5"), None, now), Outcome::Failed);
    }

    #[test]
    fn explanations_are_one_line_and_name_the_server() {
        for status in 100..=999 {
            let text = explain("https://push.example", status);
            assert!(text.starts_with(&format!("https://push.example answered {status}")), "{text}");
            assert!(!text.contains('\n') && !text.ends_with(' '), "{text:?}");
            let delivery = super::super::Delivery { outcome: Outcome::Failed, reason: text };
            let (what, hint) = delivery.halves();
            assert!(
                what.starts_with("https://push.example answered ") && hint.is_empty() == (200..300).contains(&status),
                "{what:?} {hint:?}"
            );
        }
        assert!(explain("https://push.example", 507).contains("subscribed"));
        assert!(explain("https://push.example", 403).contains("access list"));
    }
}

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

/// Who seems to have written an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Nothing tells that it was not the push server.
    PushServer,
    /// A proxy or web firewall before it, or something in its place.
    Other,
}

/// Headers that web firewalls add to what they refuse.
const REFUSED: [&str; 3] = ["cf-mitigated", "x-amzn-waf-action", "x-sucuri-block"];

/// Headers they add to all answers, so that only those without JSON, in which push servers give their reasons, are theirs.
const PASSED: [&str; 3] = ["cf-ray", "x-iinfo", "x-sucuri-id"];

/// How they name themselves in `Server`, in lower case. Again among all answers.
const FIREWALLS: [&str; 5] = ["akamaighost", "cloudflare", "ddos-guard", "imperva", "sucuri"];

/// Who wrote this answer, as far as its headers tell.
pub(super) fn author<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>) -> Author {
    let lower = |name: &str| header(name).unwrap_or_default().trim().to_ascii_lowercase();
    let (content, server) = (lower("content-type"), lower("server"));
    let page = content.starts_with("text/html") || content.starts_with("application/xhtml");
    let any = |names: &[&str]| names.iter().any(|name| header(name).is_some());
    let passed = any(&PASSED) || FIREWALLS.iter().any(|name| server.contains(name));
    let other = match status {
        // What push servers have to answer (RFC 8030 section 5), and nothing in their place does.
        201 => false,
        200..=299 => page,
        401 | 403 => page || any(&REFUSED) || (passed && !content.contains("json")),
        _ => false,
    };
    if other { Author::Other } else { Author::PushServer }
}

/// The answer in words: who said what, and what is usually behind it.
pub(super) fn explain(origin: &str, status: u16, author: Author) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let hint = match status {
        200..=299 if author == Author::Other => {
            ": that is a web page, as captive portals and login pages send it, and hardly a push server's answer; check \
             the address, and the way there"
        }
        401 | 403 if author == Author::Other => {
            ": a proxy or web firewall in front of the push server refuses the request; let POST requests of MollySocket \
             pass there"
        }
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
            let text = explain("https://push.example", status, Author::PushServer);
            assert!(text.starts_with(&format!("https://push.example answered {status}")), "{text}");
            assert!(!text.contains('\n') && !text.ends_with(' '), "{text:?}");
            let delivery = super::super::Delivery { outcome: Outcome::Failed, reason: text };
            let (what, hint) = delivery.halves();
            assert!(
                what.starts_with("https://push.example answered ") && hint.is_empty() == (200..300).contains(&status),
                "{what:?} {hint:?}"
            );
        }
        assert!(explain("https://push.example", 507, Author::PushServer).contains("subscribed"));
        assert!(explain("https://push.example", 403, Author::PushServer).contains("access list"));
    }

    #[test]
    fn an_answer_of_something_else_is_told_from_the_push_servers_own() {
        let html = ("content-type", "text/html; charset=UTF-8");
        let json = ("content-type", "application/json");
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let table: [(u16, Headers<'_>, Author); 20] = [
            (200, &[html], Author::Other),
            (202, &[("content-type", " Text/HTML")], Author::Other),
            (200, &[("content-type", "application/xhtml+xml")], Author::Other),
            (200, &[json], Author::PushServer),
            (200, &[json, ("cf-ray", "x"), ("server", "cloudflare")], Author::PushServer),
            (200, &[], Author::PushServer),
            (201, &[html], Author::PushServer),
            (403, &[html], Author::Other),
            (401, &[html], Author::Other),
            (403, &[json], Author::PushServer),
            (403, &[], Author::PushServer),
            (403, &[("server", "nginx"), ("content-type", "text/plain")], Author::PushServer),
            (403, &[json, ("cf-ray", "x"), ("server", "cloudflare")], Author::PushServer),
            (403, &[json, ("cf-mitigated", "challenge")], Author::Other),
            (403, &[("content-type", "text/plain"), ("server", "cloudflare")], Author::Other),
            (403, &[("cf-ray", "x")], Author::Other),
            (403, &[("server", "AkamaiGHost")], Author::Other),
            (403, &[("x-sucuri-id", "1")], Author::Other),
            (403, &[("x-amzn-waf-action", "captcha")], Author::Other),
            (500, &[html], Author::PushServer),
        ];
        for (status, headers, expected) in table {
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            assert_eq!(author(status, header), expected, "{status} {headers:?}");
            let text = explain("https://push.example", status, expected);
            let blamed = text.contains("access list") || text.contains("VAPID");
            let other = text.contains("web firewall") || text.contains("web page");
            assert_eq!(other, expected == Author::Other, "{text}");
            assert!(!(blamed && other), "{text}");
        }
    }
}

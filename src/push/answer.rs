//! What a push server's answer means (design, section 3), and how to say it to people: what happened and what to do.
//! The one table of it, whoever sent the push.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;

use super::{Delivery, Outcome};
use crate::printable::printable;
use crate::retry_after;
use crate::status::State;

/// From here on a difference between two clocks is told: a token is good for hours, but a clock that is minutes off is
/// not looked after.
const CLOCKS_DIFFER: Duration = Duration::from_secs(120);

/// So much of a reason is shown, in characters. A sentence fits.
const REASON: usize = 200;

/// What an answer says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// `Retry-After`.
    pub(super) retry_after: Option<&'a str>,
    /// `Date`.
    pub(super) date: Option<&'a str>,
    /// Who wrote it.
    pub(super) author: Author,
    /// The reason in its body ([`reason`]).
    pub(super) reason: Option<&'a str>,
}

/// What an answer of `origin` that arrived at `now` means.
pub(super) fn judge(origin: &str, answer: &Answer<'_>, now: SystemTime) -> Delivery {
    let status = answer.status;
    let name = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let mut told = format!("{origin} answered {status} {name}").trim_end().to_owned();
    if let Some(reason) = answer.reason {
        told += &format!(" (\"{reason}\")");
    }
    let clock = clocks(answer.date, now).filter(|_| matches!(status, 401 | 403));
    let (what, remedy) = cause(answer, clock.is_some());
    if !what.is_empty() {
        told += &format!(": {what}");
    }
    if let Some(clock) = clock {
        told += &format!("; {clock}");
    }
    Delivery { outcome: outcome(status, answer.retry_after, answer.date, now), reason: told, remedy }
}

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

const OPERATOR: &str = "wait a few minutes; if it lasts, tell the push server's operator";
const REPORT: &str = "report it, with the name and version of the push server";
const SET_CLOCK: &str = "set this machine's clock, and let a time service keep it (timedatectl set-ntp true); if it is \
                         right, the push server's is wrong";
const COMPARE_CLOCKS: &str = "compare this machine's clock with the push server's, and set the wrong one";
const LINK_AGAIN: &str = "if the VAPID key has changed, link the phone again in Molly, or bring the old key back";

/// What is usually behind an answer, and what to do. Both are empty when all is well.
fn cause(answer: &Answer<'_>, clocks_differ: bool) -> (&'static str, &'static str) {
    match (answer.status, answer.author) {
        (200..=299, Author::Other) => (
            "that is a web page, as captive portals and login pages send it, and hardly a push server's answer",
            "check the address of the endpoint, and the way there",
        ),
        (200..=299, Author::PushServer) => ("", ""),
        (300..=399, _) => {
            ("push servers must not redirect", "check the endpoint's address and the proxy in front of the push server")
        }
        (400, _) => ("it does not understand the request", REPORT),
        (401 | 403, Author::Other) => (
            "a proxy or web firewall in front of the push server refuses the request",
            "let POST requests of MollySocket pass there",
        ),
        (status @ (401 | 403), Author::PushServer) => refusal(status, answer.reason, clocks_differ),
        (404, _) => (
            "it does not know the phone's endpoint, or a proxy in front of it is restarting",
            State::EndpointGone.remedy(),
        ),
        (408 | 421 | 425, _) => ("it, or a proxy in front of it, could not take the request", OPERATOR),
        (410, _) => ("the phone, or its push server, has given this endpoint up", State::EndpointGone.remedy()),
        (413, _) => ("it finds the request too large", REPORT),
        (429, _) => (
            "it takes no more requests from this server for now",
            "wait a few minutes; if it lasts, ask the push server's operator for a higher limit",
        ),
        (400..=499, _) => ("an answer we do not know", REPORT),
        (502 | 504, _) => ("a proxy does not reach the push server behind it", OPERATOR),
        (503, _) => ("it is overloaded or in maintenance", OPERATOR),
        (507, _) => ("no phone is subscribed to this topic now (ntfy)", "open the distributor app (ntfy) on the phone"),
        (500..=599, _) => ("it has a fault of its own", OPERATOR),
        _ => ("an answer we do not know", OPERATOR),
    }
}

/// The same of 401 and 403 of the push server itself. Mozilla's says 401 to everything that is wrong with a token and
/// gives the reason in words (autopush, `VapidError`).
fn refusal(status: u16, reason: Option<&str>, clocks_differ: bool) -> (&'static str, &'static str) {
    let says = |word: &str| reason.is_some_and(|reason| reason.to_ascii_lowercase().contains(word));
    let remedy_for_clocks = if clocks_differ { SET_CLOCK } else { COMPARE_CLOCKS };
    if says("expir") {
        return ("the time of our token does not fit the push server's clock", remedy_for_clocks);
    }
    if says("audience") || says("aud`") {
        let remedy = "correct the public address in the push server's settings, or the proxy in front of it";
        return ("the push server knows itself by another address than the phone's endpoint", remedy);
    }
    if status == 401 && (says("key") || says("signature")) {
        return ("it knows the phone by another VAPID key", LINK_AGAIN);
    }
    match (status, clocks_differ) {
        (401, true) => ("it does not accept our token, perhaps because of the clocks", remedy_for_clocks),
        (401, false) => ("it does not accept our token (VAPID)", LINK_AGAIN),
        _ => (
            "its access list forbids the request, or it knows the phone by another VAPID key",
            "allow it (ntfy: anonymous writing to `up*`); if the VAPID key has changed, link the phone again",
        ),
    }
}

/// How far the clocks are apart, in words, if that is far enough to be told.
fn clocks(date: Option<&str>, now: SystemTime) -> Option<String> {
    let theirs = httpdate::parse_http_date(date?.trim()).ok()?;
    let (apart, direction) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let rough = humantime::format_duration(Duration::from_secs((apart.as_secs() + 30) / 60 * 60));
    (apart >= CLOCKS_DIFFER).then(|| format!("this machine's clock is {rough} {direction} the push server's"))
}

/// The reason in the body of a refusal, as Mozilla's push server and ntfy give it: `message`, else `error`, of a JSON
/// object. Made safe to show. A text that holds one of `secrets` is not told.
pub(super) fn reason(body: &[u8], secrets: &[&str]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = ["message", "error"].iter().find_map(|field| body.get(field)?.as_str())?;
    let shown: String = printable(text).trim().chars().take(REASON).collect();
    let secret = secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret));
    (!shown.is_empty() && !secret).then_some(shown)
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

#[cfg(test)]
mod tests {
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

    /// A bare answer.
    fn bare(status: u16, author: Author) -> Answer<'static> {
        Answer { status, retry_after: None, date: None, author, reason: None }
    }

    fn told(answer: &Answer<'_>) -> Delivery {
        judge("https://push.example", answer, SystemTime::now())
    }

    #[test]
    fn every_answer_is_one_line_that_names_the_server_and_promises_nothing() {
        for status in 100..=999 {
            let Delivery { reason, remedy, .. } = told(&bare(status, Author::PushServer));
            assert!(reason.starts_with(&format!("https://push.example answered {status}")), "{reason}");
            assert!(!reason.contains('\n') && !reason.ends_with(' '), "{reason:?}");
            assert_eq!(remedy.is_empty(), (200..300).contains(&status), "{status}: {remedy:?}");
            // Nobody tries a test push again.
            assert!(!(reason + remedy).contains("again by itself"), "{status}");
        }
        assert!(told(&bare(507, Author::PushServer)).reason.contains("subscribed"));
        assert!(told(&bare(403, Author::PushServer)).reason.contains("access list"));
        assert!(told(&bare(500, Author::PushServer)).remedy.contains("operator"), "it was reached");
        let [unknown, given_up] = [404, 410].map(|status| told(&bare(status, Author::PushServer)).reason);
        assert!(unknown.contains("does not know") && given_up.contains("given this endpoint up"));
    }

    #[test]
    fn a_refused_token_is_blamed_on_what_its_answer_says() {
        let now = SystemTime::now();
        let hours = |h: u64| Duration::from_secs(h * 3600);
        let (same, before, after) = (now - Duration::from_secs(9), now - hours(13), now + hours(13));
        let [same, before, after] = [same, before, after].map(httpdate::fmt_http_date);
        const KEY: &str = "VAPID key has changed";
        const CLOCK: &str = "clock";
        for (status, reason, date, remedy, says) in [
            (401, Some("ExpiredSignature"), &before, CLOCK, "13h ahead of the push server's"),
            (401, Some("ExpiredSignature"), &after, CLOCK, "13h behind the push server's"),
            (401, Some("ExpiredSignature"), &same, CLOCK, "does not fit the push server's clock"),
            (401, Some("VAPID: the expiration is too long"), &after, CLOCK, "13h behind"),
            (401, Some("The expiration is too long"), &same, CLOCK, "does not fit"),
            (403, Some("ExpiredJwt"), &before, CLOCK, "13h ahead"),
            (401, Some("VAPID public key mismatch"), &same, KEY, "another VAPID key"),
            (401, Some("InvalidSignature"), &same, KEY, "another VAPID key"),
            (401, Some("VAPID public key mismatch"), &after, KEY, "13h behind"),
            (401, Some("Invalid VAPID audience"), &same, "public address", "another address"),
            (401, None, &after, CLOCK, "13h behind"),
            (401, None, &same, KEY, "VAPID"),
            (401, Some("Unauthorized"), &same, KEY, "VAPID"),
            (403, Some("forbidden"), &same, "ntfy", "access list"),
            (403, None, &after, "ntfy", "13h behind"),
        ] {
            let answer = Answer { reason, date: Some(date), ..bare(status, Author::PushServer) };
            let told = judge("https://push.example", &answer, now);
            assert_eq!(told.outcome, Outcome::Unauthorized);
            assert!(told.remedy.contains(remedy) && told.reason.contains(says), "{reason:?} {date}: {told:?}");
            assert!(told.remedy.contains(KEY) == (remedy == KEY) || status == 403, "{told:?}");
            assert!(reason.is_none_or(|reason| told.reason.contains(reason)), "{told:?}");
        }
        // Of all other answers the clock is no matter.
        let answer = Answer { date: Some(&after), ..bare(500, Author::PushServer) };
        assert!(!judge("https://push.example", &answer, now).reason.contains("clock"));
    }

    #[test]
    fn a_reason_is_shown_as_foreign_text_and_holds_no_secret() {
        let body = |text: &str| serde_json::json!({ "code": 401, "message": text, "error": "e" }).to_string();
        let read = |body: &str| reason(body.as_bytes(), &["upTOKENsecret"]);
        assert_eq!(read(&body("ExpiredSignature")).as_deref(), Some("ExpiredSignature"));
        assert_eq!(read(&body("a\n\u{1b}[31mb\u{202e}")).as_deref(), Some("a [31mb"));
        assert_eq!(read(&body("no /push/upTOKENsecret")), None);
        assert_eq!(read(r#"{"code":40301,"http":403,"error":"forbidden"}"#).as_deref(), Some("forbidden"));
        assert_eq!(read(&body(&"x".repeat(900))).map(|text| text.len()), Some(REASON));
        for nothing in ["", "{", "[]", "\"x\"", r#"{"message":7}"#, r#"{"message":" "}"#, "<html>"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        // Cut at the limit of what is read.
        assert_eq!(read(&body(&"x".repeat(9000))[..1024]), None);
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
            let text = told(&bare(status, expected)).reason;
            let blamed = text.contains("access list") || text.contains("VAPID");
            let other = text.contains("web firewall") || text.contains("web page");
            assert_eq!(other, expected == Author::Other, "{text}");
            assert!(!(blamed && other), "{text}");
        }
    }
}

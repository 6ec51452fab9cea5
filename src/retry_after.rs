//! `Retry-After` (RFC 9110 section 10.2.3): seconds or a date.

use std::time::{Duration, SystemTime};

/// The longest wait that is told apart: more than a century, and still safe to add to a point in time.
pub const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// How long to wait from `now`; `None` when it is neither form. A date in the past is no wait. A date is compared with
/// the server's own clock where `date`, its header of that name, tells it, because ours may be wrong.
pub fn parse(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits that overflow mean a very long time all the same.
        return Some(value.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    Some(until.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        httpdate::parse_http_date(text).unwrap()
    }

    #[test]
    fn both_forms_are_read_and_nonsense_is_not() {
        let now = at("Sun, 06 Nov 1994 08:49:37 GMT");
        let secs = Duration::from_secs;
        for (value, expected) in [
            ("0", Some(secs(0))),
            ("1", Some(secs(1))),
            (" 120 ", Some(secs(120))),
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
            assert_eq!(parse(value, None, now), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_the_server_that_wrote_it() {
        let ours = at("Mon, 06 Nov 1995 08:49:37 GMT");
        let (date, until) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(parse(until, Some(date), ours), Some(Duration::from_secs(30)));
        assert_eq!(parse(until, Some("nonsense"), ours), Some(Duration::ZERO));
    }

    #[test]
    fn the_longest_wait_can_be_added_to_a_moment() {
        assert!(std::time::Instant::now().checked_add(LONGEST).is_some());
    }
}

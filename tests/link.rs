//! The link survives both parsers phones have, and the QR codes are what scanners need.

#![allow(clippy::unwrap_used, missing_docs)]

use mollysocket::link::{Link, TooLong, qr_plain, qr_svg, qr_terminal};
use url::Url;

const VAPID: &str = "BOniQ9xHBPNY9gnQW4o-16vHqOb40pEIMifyUdFsxAgyzVkFMguxw0QrdbZcq8hRjN2zpeInRvKVPlkzABvuTnI";

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// `android.net.Uri.getQueryParameter`: splits at `&`, then at the first `=`; `+` is a space; then percent-decodes.
fn android(link: &str, key: &str) -> Option<String> {
    let query = link.split_once('?')?.1;
    let query = query.split('#').next()?;
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (percent_decode(name) == key).then(|| percent_decode(&value.replace('+', " ")))
    })
}

/// The older phones: `java.net.URI`, whose raw query is split at `&` and at *every* `=`; the second piece is kept.
fn java(link: &str, key: &str) -> Option<String> {
    let illegal = |c: char| !c.is_ascii() || c.is_ascii_control() || " \"<>\\^`{|}".contains(c);
    assert!(!link.contains(illegal), "java.net.URI throws: {link}");
    let query = link.split_once('?')?.1;
    query.split('&').find_map(|pair| {
        let pieces: Vec<&str> = pair.split('=').collect();
        (pieces[0] == key).then(|| percent_decode(pieces[1]))
    })
}

#[test]
fn links_round_trip_through_both_parsers() {
    for url in [
        "https://molly.example.org/",
        "https://molly.example.org/path/without/slash",
        "https://molly.example.org:8443/path/",
        "https://molly.example.org/m?x=1&y=2",
        "https://molly.example.org/a+b?c=d+e",
        "https://molly.example.org/a%20b%2Fc?q=%3D%26",
        "https://molly.example.org/?a==b&&c",
        "https://molly.example.org/~user/-._!$'()*,;:@",
        "https://xn--mlly-5qa.example/",
        "https://[2001:db8::1]:444/",
    ] {
        let url = Url::parse(url).unwrap();
        let link = Link::Webserver(url.clone()).to_text(VAPID);
        for parse in [android, java] {
            assert_eq!(parse(&link, "vapid").as_deref(), Some(VAPID));
            assert_eq!(parse(&link, "url").as_deref(), Some(url.as_str()), "{link}");
            assert_eq!(parse(&link, "type").as_deref(), Some("webserver"));
        }
        assert!(link.starts_with("mollysocket://link?"));
    }
}

#[test]
fn a_space_in_a_url_never_becomes_a_plus() {
    let link = Link::Webserver(Url::parse("https://h.example/a b?c d").unwrap()).to_text(VAPID);
    assert!(!link.contains('+') && !link.contains(' '), "{link}");
    assert_eq!(android(&link, "url").unwrap(), "https://h.example/a%20b?c%20d");
}

#[test]
fn only_unreserved_characters_stay_as_they_are() {
    let link = Link::Webserver(Url::parse("https://h.example/~a-b._c!'()*").unwrap()).to_text(VAPID);
    let url = link.split("url=").nth(1).unwrap().split('&').next().unwrap();
    assert_eq!(url, "https%3A%2F%2Fh.example%2F~a-b._c%21%27%28%29%2A");
}

#[test]
fn the_airgapped_link_is_exact() {
    assert_eq!(Link::Airgapped.to_text(VAPID), format!("mollysocket://link?vapid={VAPID}&type=airgapped"));
}

/// Paints what a terminal shows: `true` is dark. `theme` is (foreground dark?, background dark?) where no colour is set.
fn paint(text: &str, theme: (bool, bool)) -> Vec<Vec<bool>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        let (mut fg, mut bg) = theme;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            if c == '\x1b' {
                match chars.by_ref().skip(1).take_while(|&c| c != 'm').collect::<String>().as_str() {
                    "30;107" => (fg, bg) = (true, false),
                    "0" => (fg, bg) = theme,
                    other => panic!("unknown colour {other}"),
                }
                continue;
            }
            let (u, l) = match c {
                '█' => (fg, fg),
                '▀' => (fg, bg),
                '▄' => (bg, fg),
                ' ' => (bg, bg),
                other => panic!("unexpected {other:?}"),
            };
            upper.push(u);
            lower.push(l);
        }
        assert_eq!((fg, bg), theme, "each line ends with the terminal's own colours");
        rows.push(upper);
        rows.push(lower);
    }
    rows
}

/// The modules the crate makes, dark as `true`, with a quiet zone of four on every side.
fn expected(text: &str) -> Vec<Vec<bool>> {
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L).unwrap();
    let (width, side) = (code.width(), code.width() + 8);
    let mut rows = vec![vec![false; side]; side];
    for y in 0..width {
        for x in 0..width {
            rows[y + 4][x + 4] = code[(x, y)] == qrcode::Color::Dark;
        }
    }
    rows
}

const DARK_THEME: (bool, bool) = (false, true);
const LIGHT_THEME: (bool, bool) = (true, false);

#[test]
fn the_terminal_code_is_dark_on_light_on_every_theme() {
    let link = Link::Airgapped.to_text(VAPID);
    let text = qr_terminal(&link).unwrap();
    for theme in [DARK_THEME, LIGHT_THEME] {
        let mut painted = paint(&text, theme);
        let expected = expected(&link);
        let surplus = painted.split_off(expected.len());
        assert!(surplus.iter().flatten().all(|dark| !dark), "an odd last row is filled up with light");
        assert_eq!(painted, expected);
    }
    assert!(text.lines().all(|line| line.chars().filter(|c| "█▀▄ ".contains(*c)).count() <= 80), "fits a terminal");
}

#[test]
fn the_plain_code_is_dark_on_light_on_a_dark_background() {
    let link = Link::Airgapped.to_text(VAPID);
    let text = qr_plain(&link).unwrap();
    assert!(!text.contains('\x1b'));
    let mut painted = paint(&text, DARK_THEME);
    let expected = expected(&link);
    painted.truncate(expected.len());
    assert_eq!(painted, expected);
}

#[test]
fn the_svg_shows_the_same_modules_and_loads_nothing() {
    let link = Link::Webserver(Url::parse("https://molly.example.org/m?x=1").unwrap()).to_text(VAPID);
    let svg = qr_svg(&link).unwrap();
    let expected = expected(&link);
    let side = expected.len();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "can stand inside HTML");
    assert!(svg.contains(&format!("viewBox=\"0 0 {side} {side}\"")));
    let light = svg.find("fill=\"#fff\"").unwrap();
    assert!(light < svg.find("fill=\"#000\"").unwrap(), "light ground below dark modules");
    let mut painted = vec![vec![false; side]; side];
    let dark = svg.split("fill=\"#000\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    for run in dark.split('z').filter(|run| !run.is_empty()) {
        let numbers: Vec<usize> =
            run.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        let [x, y, width, 1, back] = numbers[..] else { panic!("{run}") };
        assert_eq!(width, back);
        painted[y][x..x + width].fill(true);
    }
    assert_eq!(painted, expected);
    let rest = svg.replace("http://www.w3.org/2000/svg", "");
    assert!(!rest.contains("http") && !rest.contains("href") && !rest.contains("<style") && !rest.contains("script"));
}

#[test]
fn too_long_a_link_is_an_error_and_no_panic() {
    let long = "x".repeat(8000);
    assert_eq!(qr_terminal(&long), Err(TooLong));
    assert_eq!(qr_plain(&long), Err(TooLong));
    assert_eq!(qr_svg(&long), Err(TooLong));
}

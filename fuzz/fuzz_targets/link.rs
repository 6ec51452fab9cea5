//! The link phones scan: whatever URL is in it, both parsers phones have read the same URL out of it, and the page
//! around it holds no markup from a request's headers.
//!
//! Input: a URL; or the lines `Host`, `X-Original-URL`, `X-Forwarded-Prefix`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mollysocket::link::{Link, qr_svg, qr_terminal};
use mollysocket::web::fuzzing::page;
use url::Url;

const VAPID: &str = "BOniQ9xHBPNY9gnQW4o-16vHqOb40pEIMifyUdFsxAgyzVkFMguxw0QrdbZcq8hRjN2zpeInRvKVPlkzABvuTnI";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(url) = Url::parse(text)
        && !text.contains('\n')
    {
        let link = Link::Webserver(url.clone()).to_text(VAPID);
        round_trip(&link, &url);
        // Codes are slow to make, and long links are all alike to them.
        if link.len() < 200 && text.len().is_multiple_of(8) {
            assert!(qr_svg(&link).is_ok() && qr_terminal(&link).is_ok());
        }
        return;
    }
    let mut lines = text.split('\n').map(|line| (!line.is_empty()).then_some(line));
    let mut line = || lines.next().flatten();
    check_page(line(), line(), line());
});

fn round_trip(link: &str, url: &Url) {
    assert!(link.bytes().all(|b| b.is_ascii_alphanumeric() || b":/?&=%._~-".contains(&b)), "{link}");
    for (name, parse) in [("android.net.Uri", android as fn(&str, &str) -> Option<String>), ("java.net.URI", java)] {
        assert_eq!(parse(link, "vapid").as_deref(), Some(VAPID), "{name}");
        assert_eq!(parse(link, "url").as_deref(), Some(url.as_str()), "{name}: {link}");
        assert_eq!(parse(link, "type").as_deref(), Some("webserver"), "{name}");
    }
}

fn check_page(host: Option<&str>, original: Option<&str>, prefix: Option<&str>) {
    let html = page(host, original, prefix, VAPID);
    // One script, the page's own.
    assert!(html.matches("<script").count() == 1 && html.contains(include_str!("../../src/web/page.js")));
    // The same page without what came from headers: no request adds a tag or an attribute to it.
    for tag in html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        assert!(TAGS.contains(&name.trim_start_matches('/')), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
    }
    let Some(link) = html.split("class=\"link\" href=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
        return;
    };
    let link = link.replace("&amp;", "&");
    let url = android(&link, "url").expect("a URL");
    let url = Url::parse(&url).expect("a URL");
    assert_eq!(url.scheme(), "https");
    assert!(url.username().is_empty() && url.password().is_none());
    round_trip(&link, &url);
}

const TAGS: [&str; 28] = [
    "!doctype", "!DOCTYPE", "html", "head", "meta", "title", "style", "link", "body", "main", "header", "footer", "h1",
    "h2", "p", "a", "div", "svg", "path", "strong", "code", "ol", "li", "span", "small", "br", "button", "script",
];

fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}

/// `android.net.Uri.getQueryParameter`: splits at `&`, then at the first `=`; `+` is a space; then percent-decodes.
fn android(link: &str, key: &str) -> Option<String> {
    let query = link.split_once('?')?.1.split('#').next()?;
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (percent_decode(name) == key).then(|| percent_decode(&value.replace('+', " ")))
    })
}

/// The older phones: `java.net.URI`, whose raw query is split at `&` and at *every* `=`; the second piece is kept.
fn java(link: &str, key: &str) -> Option<String> {
    let query = link.split_once('?')?.1;
    query.split('&').find_map(|pair| {
        let pieces: Vec<&str> = pair.split('=').collect();
        (pieces[0] == key).then(|| percent_decode(pieces[1]))
    })
}

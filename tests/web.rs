//! What the web server answers to phones, people and strangers, over a real socket to the real daemon.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/answers.rs"]
mod answers;
mod support;

use std::time::{Duration, Instant};

use answers::{Answer, ask};
use support::{Phone, World, get, post};

const MOLLY: &str = "User-Agent: Signal-Android/8.19.2 Android/36\r\n";
const BROWSER: &str = "User-Agent: Mozilla/5.0\r\n";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn fetch(world: &World, method: &str, target: &str, headers: &str) -> Answer {
    ask(world, format!("{method} {target} HTTP/1.1\r\nHost: molly.example\r\n{headers}\r\n"))
}

fn running(settings: &str) -> World {
    let mut world = World::new();
    world.settings = settings.to_owned();
    world.start();
    world
}

#[test]
fn molly_discovers_the_server_by_its_user_agent_or_path() {
    let world = running("");
    let json = format!(r#"{{"mollysocket":{{"version":"{VERSION}"}}}}"#);
    for (target, headers) in [
        ("/", MOLLY),
        ("/", "user-agent: Signal-Android 7.26 (API 34)\r\nAccept-Encoding: gzip\r\n"),
        ("/?airgapped", MOLLY),
        ("/discover", ""),
        ("/discover", BROWSER),
        ("/discover/", ""),
    ] {
        let answer = fetch(&world, "GET", target, headers);
        assert_eq!((answer.status, answer.body.as_str()), (200, json.as_str()), "{target} {headers}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let head = fetch(&world, "HEAD", target, headers);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length"), Some(json.len().to_string().as_str()));
    }
}

#[test]
fn people_get_a_page_with_a_code_and_a_link_that_work() {
    let world = running("");
    let page = fetch(&world, "GET", "/", BROWSER);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.contains(&format!("Version {VERSION}")) && page.body.contains("<svg"));
    let link = link(&page.body).unwrap();
    let (vapid, rest) = link.strip_prefix("mollysocket://link?vapid=").unwrap().split_once('&').unwrap();
    assert_eq!((vapid.len(), rest), (87, "url=https%3A%2F%2Fmolly.example%2F&type=webserver"));
    assert!(!page.body.contains("class=\"warn\""), "nothing to complain about");

    let airgapped = fetch(&world, "GET", "/?airgapped", BROWSER);
    let want = format!("mollysocket://link?vapid={vapid}&type=airgapped");
    assert_eq!(self::link(&airgapped.body), Some(want));
    assert!(airgapped.body.contains(&format!("Version {VERSION}")) && airgapped.body.contains("connection add"));
    assert_eq!(fetch(&world, "HEAD", "/", BROWSER).body, "");
}

/// The link of a page: the address behind it and its visible text must agree.
fn link(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<a class=\"link\" href=\"")?;
    let (href, rest) = rest.split_once("\">").unwrap();
    let (text, _) = rest.split_once("</a>").unwrap();
    assert_eq!(href, text);
    Some(href.replace("&amp;", "&"))
}

#[test]
fn the_link_follows_the_proxy_s_headers_and_public_url_wins() {
    let world = running("");
    let url = |headers: &str| {
        let page = ask(&world, format!("GET / HTTP/1.1\r\n{headers}\r\n"));
        let link = link(&page.body)?;
        Some(link.split_once("&url=").unwrap().1.strip_suffix("&type=webserver").unwrap().to_owned())
    };
    for (headers, want) in [
        ("Host: h.example:8443\r\n", "https%3A%2F%2Fh.example%3A8443%2F"),
        ("Host: h.example\r\nX-Original-URL: /molly\r\n", "https%3A%2F%2Fh.example%2Fmolly"),
        ("Host: h.example\r\nX-Original-URL: /molly/?airgapped\r\n", "https%3A%2F%2Fh.example%2Fmolly%2F"),
        ("Host: h.example\r\nX-Original-URL: https://h.example/molly/\r\n", "https%3A%2F%2Fh.example%2Fmolly%2F"),
        ("Host: h.example\r\nX-Forwarded-Prefix: /molly\r\n", "https%3A%2F%2Fh.example%2Fmolly"),
        ("Host: 127.0.0.1:8020\r\n", "https%3A%2F%2F127.0.0.1%3A8020%2F"),
    ] {
        assert_eq!(url(headers).as_deref(), Some(want), "{headers}");
    }
    let set = running("public_url = \"https://set.example/m\"\n");
    let page = ask(&set, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Original-URL: /other\r\n\r\n");
    assert!(link(&page.body).unwrap().contains("url=https%3A%2F%2Fset.example%2Fm&"));
    assert!(page.body.contains("https://set.example/m</strong>") && !page.body.contains("class=\"warn\""));
}

#[test]
fn a_wrong_address_is_explained_in_words() {
    let world = running("");
    for (headers, words) in [
        ("Host: 127.0.0.1:8020\r\n", "loopback"),
        ("Host: localhost\r\n", "loopback"),
        ("Host: 192.168.1.5\r\n", "IP address"),
        ("Host: mollysocket\r\n", "without a domain"),
        ("Host: upstream.internal\r\nX-Forwarded-Host: molly.example\r\n", "proxy_set_header Host $http_host;"),
    ] {
        let page = ask(&world, format!("GET / HTTP/1.1\r\n{headers}\r\n")).body;
        assert!(page.contains("class=\"warn\"") && page.contains(words), "{headers}");
        assert!(!page.contains("Host $host"), "it would lose a port other than 443: {headers}");
        assert!(page.contains("public_url") && page.contains("X-Original-URL") && link(&page).is_some(), "{headers}");
    }
    for headers in ["Host: not a host\r\n", "Host:\r\n", "Host: h.example\r\nX-Original-URL: molly\r\n"] {
        let page = ask(&world, format!("GET / HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(page.status, 200);
        assert!(link(&page.body).is_none() && page.body.contains("There is no link"), "{headers}");
        assert!(page.body.contains(&format!("Version {VERSION}")));
    }
    assert!(ask(&world, "GET / HTTP/1.0\r\n\r\n").body.contains("no <code>Host</code> header"));
}

/// Headers a page might show.
const SHOWN_OR_NOT: [&str; 11] = [
    "Host",
    "X-Original-URL",
    "X-Forwarded-Prefix",
    "X-Forwarded-Host",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "Forwarded",
    "User-Agent",
    "Referer",
];

/// Every element the page is made of.
const TAGS: [&str; 23] = [
    "!doctype", "html", "head", "meta", "link", "title", "style", "body", "main", "h1", "h2", "p", "div", "svg",
    "path", "a", "ol", "li", "code", "strong", "footer", "button", "script",
];

#[test]
fn nothing_from_a_header_becomes_markup() {
    let world = running("");
    let clean = fetch(&world, "GET", "/", BROWSER).body;
    for evil in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'onload='x", "{{css}}", "&lt;b&gt;"] {
        for header in SHOWN_OR_NOT {
            let whole = [evil.to_owned(), format!("/{evil}"), format!("h.example/{evil}"), format!("https://h/{evil}")];
            for value in whole.into_iter().take(if header.starts_with("X-") || header == "Host" { 4 } else { 1 }) {
                let host = if header == "Host" { "" } else { "Host: h.example\r\n" };
                let page = ask(&world, format!("GET / HTTP/1.1\r\n{host}{header}: {value}\r\n\r\n"));
                assert_eq!(page.status, 200);
                let body = page.body.as_str();
                for tag in body.split('<').skip(1) {
                    let (tag, _) = tag.split_once('>').unwrap();
                    let name = tag.trim_start_matches('/').split(' ').next().unwrap();
                    assert!(TAGS.contains(&name) && !tag.contains(" on"), "{header}: {value} made <{tag}>");
                }
                assert!(!body.contains("'onload") && !body.contains("\"onload"), "{header}: {value}");
                assert_eq!(body.matches("--back:").count(), clean.matches("--back:").count());
                assert!(!page.head.contains("alert"), "{}", page.head);
            }
        }
    }
    let latin = ask(&world, b"GET / HTTP/1.1\r\nHost: caf\xe9.example\r\nX-Original-URL: /\xff\r\n\r\n");
    assert_eq!((latin.status, link(&latin.body)), (200, None));
}

#[test]
fn every_answer_has_the_security_headers_and_no_banner() {
    let world = running("metrics = true\n");
    for (method, target, headers) in [
        ("GET", "/", BROWSER),
        ("GET", "/", MOLLY),
        ("GET", "/discover", ""),
        ("GET", "/metrics", ""),
        ("GET", "/nothing", ""),
        ("DELETE", "/", ""),
        ("POST", "/", "Content-Length: 0\r\n"),
    ] {
        hardened(&fetch(&world, method, target, headers), &format!("{method} {target}"));
    }
    // Refused before anything is parsed, and before the application is asked.
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(20_000));
    let large = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n";
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        (&*long, 431),
        ("PRI * HTTP/2.0\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (large, 413),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("GET /./ HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        // What hyper would refuse by itself.
        ("GET /?\"<> HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET h:x:y HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ] {
        let answer = ask(&world, request);
        assert_eq!(answer.status, status, "{request:.40}");
        hardened(&answer, request);
    }
}

fn hardened(answer: &Answer, request: &str) {
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
    {
        assert_eq!(answer.header(name), Some(value), "{request:.40}");
    }
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"));
    for banner in ["server", "x-powered-by", "location", "set-cookie", "access-control-allow-origin"] {
        assert_eq!(answer.header(banner), None, "{request:.40}");
    }
}

#[test]
fn other_paths_and_methods_are_404_and_405() {
    let world = running("");
    for target in ["/index.html", "/discover//", "/Discover", "//", "/..", "/%2e", "/metrics", "/admin", "/status"] {
        for method in ["GET", "HEAD", "POST", "PUT"] {
            let length = if method.starts_with('P') { "Content-Length: 0\r\n" } else { "" };
            assert_eq!(fetch(&world, method, target, length).status, 404, "{method} {target}");
        }
    }
    for (method, target, allow) in [
        ("PUT", "/", "GET, HEAD, POST"),
        ("DELETE", "/", "GET, HEAD, POST"),
        ("OPTIONS", "/", "GET, HEAD, POST"),
        ("TRACE", "/", "GET, HEAD, POST"),
        ("POST", "/discover", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD, POST"),
        ("get", "/", "GET, HEAD, POST"),
        ("BREW", "/discover", "GET, HEAD"),
    ] {
        let answer = fetch(&world, method, target, "Content-Length: 0\r\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}

/// Some proxies forward a sub-path as it is (YunoHost, Cloudflare Tunnel), others take it off.
#[test]
fn the_path_of_public_url_may_be_in_front_of_every_path() {
    for setting in ["https://set.example/a/m%C3%B6lly", "https://set.example/a/m%C3%B6lly/"] {
        let world = running(&format!("metrics = true\npublic_url = \"{setting}\"\n"));
        let phone = world.phone(1);
        let body = format!(
            r#"{{"uuid":"{}","device_id":2,"password":"{}","endpoint":"{}"}}"#,
            phone.uuid,
            phone.password,
            world.endpoint(&phone)
        );
        let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for prefix in ["", "/a/m%C3%B6lly"] {
            for (method, path, headers, status, words) in [
                ("GET", "/", BROWSER, 200, "mollysocket://link"),
                ("GET", "/?airgapped", BROWSER, 200, "type=airgapped"),
                ("GET", "/", MOLLY, 200, "{\"mollysocket\":{\"version\""),
                ("GET", "/discover", "", 200, "{\"mollysocket\":{\"version\""),
                ("GET", "/discover/", "", 200, "{\"mollysocket\":{\"version\""),
                ("GET", "/metrics", "", 200, "mollysocket_"),
                ("POST", "/", &*json, 200, "\"status\":\"ok\""),
                ("GET", "/other", "", 404, "correct public_url"),
                ("PUT", "/", "Content-Length: 0\r\n", 405, "GET, HEAD, POST"),
            ] {
                let answer = fetch(&world, method, &format!("{prefix}{path}"), headers);
                assert_eq!(answer.status, status, "{setting}: {method} {prefix}{path}");
                assert!(answer.body.contains(words), "{setting}: {method} {prefix}{path}: {}", answer.body);
            }
        }
        assert_eq!(fetch(&world, "GET", "/a/m%C3%B6lly", BROWSER).status, 200, "the slash may be missing");
        for other in ["/a", "/a/", "/a/m%C3%B6llys", "/a/m%C3%B6lly/a/m%C3%B6lly", "/A/m%C3%B6lly/"] {
            assert_eq!(fetch(&world, "GET", other, BROWSER).status, 404, "{other}");
        }
    }
}

#[test]
fn a_sub_path_nobody_told_of_is_answered_with_the_remedy() {
    let world = running("");
    let remedy = "public_url = \"https://<public name>/sub/path/\"";
    for target in ["/sub/path/", "/sub/path", "/sub/path/discover", "/sub/path/discover/", "/sub/path/metrics"] {
        for method in ["GET", "POST"] {
            let answer = fetch(&world, method, target, "Content-Length: 0\r\n");
            assert_eq!(answer.status, 404, "{method} {target}");
            assert!(answer.body.contains(remedy) && answer.body.lines().count() == 1, "{target}: {}", answer.body);
        }
    }
    for target in ["/favicon.ico", "/robots.txt", "/metrics", &format!("/{}/", "a".repeat(1000))] {
        assert_eq!(fetch(&world, "GET", target, BROWSER).body, "there is nothing here\n", "{target:.40}");
    }
}

#[test]
fn malformed_registrations_are_4xx_and_store_nothing() {
    let world = running("");
    let phone = world.phone(1);
    let endpoint = world.endpoint(&phone);
    let Phone { uuid, password, .. } = &phone;
    let good = |device: &str| {
        format!(r#"{{"uuid":"{uuid}","device_id":{device},"password":"{password}","endpoint":"{endpoint}"}}"#)
    };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for (body, status) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        (good("2") + "}", 400),
        (good("1e999"), 400),
        (format!(r#"{{"uuid":{deep}}}"#), 400),
        ("[]".to_owned(), 422),
        (format!(r#"["{uuid}",2,"{password}","{endpoint}"]"#), 422),
        ("{}".to_owned(), 422),
        (good("-1"), 422),
        (good("0"), 422),
        (good("128"), 422),
        (good("\"2\""), 422),
        (good("2.0"), 422),
        (good("99999999999999999999"), 422),
        (good("2").replace("\"password\"", "\"pass\""), 422),
        (good("2").replace(password.as_str(), ""), 422),
        (good("2").replace(password.as_str(), "a\\u0000b"), 422),
        (good("2").replace('}', ",\"device_id\":3}"), 422),
        (good("2").replace('}', ",\"ping\":\"yes\"}"), 422),
    ] {
        let (got, text) = post(world.web(), &body);
        assert_eq!(got, status, "{body:.200}: {text}");
        assert!(text.lines().count() == 1 && !text.contains(password.as_str()), "{text}");
    }
    let body = good("2");
    for (headers, status) in [
        ("", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: application/jsonp\r\n", 415),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n", 400),
    ] {
        let got = fetch(&world, "POST", "/", &format!("{headers}Content-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(got.status, status, "{headers}");
    }
    let large = format!("{}{}", " ".repeat(20_000), good("2"));
    assert_eq!(post(world.web(), &large).0, 413);
    assert!(world.row(&phone).is_none());
    assert_eq!(smol::block_on(world.store().count()).unwrap(), 0);
    assert!(world.push.requests().is_empty() && world.signal().records().upgrades.is_empty());

    // The same, well-formed, with everything Molly might add, is accepted.
    let more = good("2").replace('}', r#","ping":null,"p256dh":"x","auth":{"a":[1]}}"#);
    let headers = format!("content-type: Application/JSON ; charset=utf-8\r\nContent-Length: {}\r\n\r\n", more.len());
    let answer = fetch(&world, "POST", "/", &format!("{MOLLY}{headers}{more}"));
    assert_eq!(answer.body, format!(r#"{{"mollysocket":{{"status":"ok","version":"{VERSION}"}}}}"#));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
}

#[test]
fn metrics_are_there_only_when_wanted() {
    assert_eq!(fetch(&running(""), "GET", "/metrics", "").status, 404);
    let mut world = running("metrics = true\n");
    let phone = world.phone(1);
    assert_eq!(world.register(&phone, false), "ok");
    world.wait_state(&phone, "connected");
    support::eventually("the test push counts", || {
        let (status, page) = get(world.web(), "/metrics", "");
        status == 200 && page.contains("\nmollysocket_pushs 1\n") && page.contains("\nmollysocket_connections 1\n")
    });
    let answer = fetch(&world, "GET", "/metrics", "");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.contains("mollysocket_accounts{state=\"connected\"} 1\n"));
    for secret in [phone.uuid.as_str(), &phone.uuid[..8], "localhost", &phone.token] {
        assert!(!answer.body.contains(secret), "{secret}");
    }
    world.stop();
}

/// Single sign-on proxies send long cookies.
#[test]
fn sixteen_kibibytes_of_headers_are_read() {
    let world = running("");
    let head = |bytes: usize| {
        let rest = "GET /discover HTTP/1.1\r\nHost: h\r\nCookie: \r\n\r\n".len();
        fetch_raw(&world, &format!("Cookie: {}\r\n", "c".repeat(bytes - rest)))
    };
    assert_eq!((head(16 * 1024), head(16 * 1024 + 1)), (200, 431));
    assert_eq!((fetch_raw(&world, &"a: b\r\n".repeat(99)), fetch_raw(&world, &"a: b\r\n".repeat(100))), (200, 431));
}

fn fetch_raw(world: &World, headers: &str) -> u16 {
    ask(world, format!("GET /discover HTTP/1.1\r\nHost: h\r\n{headers}\r\n")).status
}

#[test]
fn requests_that_do_not_end_are_ended() {
    let mut world = World::new();
    world.timings.web_head = Duration::from_millis(300);
    world.timings.web_request = Duration::from_millis(900);
    world.start();
    for (part, time) in [
        ("POST / HTTP/1.1\r\nHost: h\r\n", world.timings.web_head),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{", world.timings.web_request),
    ] {
        let started = Instant::now();
        assert_eq!(ask(&world, part).status, 408, "{part}");
        let took = started.elapsed();
        assert!(took >= time && took < time + Duration::from_secs(3), "{part}: {took:?}");
    }
}

//! What may be wrong beyond the machine itself (`machine.rs`), and what must be said of it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::fs;
use std::time::Duration;

use sim::pki::Pki;
use sim::push::{Answer, PushServer};
use sim::signal::{Handshake, Mode};

use crate::case::{Case, DISCOVERY};
use crate::support::{DEVICE, PATIENCE, eventually};

/// Something that is wrong, and what must be said of it.
pub struct Fault {
    pub name: &'static str,
    pub plant: fn(&mut Case),
    /// Name of the check that must find it, and what it must say.
    pub found: &'static str,
    pub says: &'static [&'static str],
    /// Names of other checks it makes fail.
    pub also: &'static [&'static str],
}

pub const fn fault(
    name: &'static str,
    plant: fn(&mut Case),
    found: &'static str,
    says: &'static [&'static str],
    also: &'static [&'static str],
) -> Fault {
    Fault { name, plant, found, says, also }
}

pub const AT_SIGNAL: &[Fault] = &[
    fault(
        "a name nobody knows",
        |case| case.set("signal_url", "\"wss://signal.invalid/v1/websocket/\""),
        "Signal: name",
        &["signal.invalid", "resolv.conf"],
        &[],
    ),
    fault(
        "a firewall",
        |case| {
            case.world.stop();
            case.world.stop_signal();
        },
        "Signal: IPv4",
        &["no connection to 127.0.0.1", "firewall"],
        &["server"],
    ),
    fault(
        "somebody who opens TLS connections",
        |case| {
            fs::write(case.path("other.pem"), Pki::new().ca_pem()).unwrap();
            let other = format!("{:?}", case.path("other.pem"));
            case.set("signal_ca_file", &other);
        },
        "Signal: TLS",
        &["no TLS connection", "exempt Signal's host"],
        &[],
    ),
    fault(
        "a proxy that says no",
        |case| case.world.signal().set_mode(Mode::Handshake(Handshake::proxy_status(403))),
        "Signal: answer",
        &["does not come from Signal", "captive portal"],
        &[],
    ),
    fault(
        "a proxy's page in the place of Signal's answer",
        |case| case.world.signal().set_mode(Mode::Handshake(Handshake::proxy_status(200))),
        "Signal: answer",
        &["200", "lacks Signal's time stamp (X-Signal-Timestamp)", "captive portal"],
        &[],
    ),
    fault(
        "a load balancer that says no",
        |case| case.world.signal().set_mode(Mode::Handshake(Handshake::proxy_status(503))),
        "Signal: answer",
        &["503", "lacks Signal's time stamp (X-Signal-Timestamp)"],
        &[],
    ),
    fault(
        "something that accepts what Signal should",
        |case| case.world.signal().set_mode(Mode::TimestampHeader(false)),
        "Signal: answer",
        &["accepted", "lacks Signal's time stamp", "look for a proxy"],
        &[],
    ),
    fault(
        "a version Signal does not serve",
        |case| case.world.signal().set_mode(Mode::Handshake(Handshake::status(499))),
        "Signal: User-Agent",
        &["499", "update MollySocket or set `user_agents`"],
        &[],
    ),
    fault(
        "a wrong path",
        |case| case.set("signal_url", &format!("{:?}", case.world.signal().url().replace("/v1/websocket/", "/wrong"))),
        "Signal: answer",
        &["404", "correct signal_url"],
        &[],
    ),
    fault(
        "an unlinked device",
        |case| {
            case.world.stop();
            case.world.signal().unlink(&case.phone.uuid, DEVICE);
        },
        "login",
        &["not linked", "open Molly's UnifiedPush settings"],
        &["server"],
    ),
    fault(
        "an unlinked device that was given up",
        |case| {
            case.world.signal().unlink(&case.phone.uuid, DEVICE);
            eventually("stored", || case.world.row(&case.phone).unwrap().forbidden);
            case.world.wait_state(&case.phone, "unlinked");
        },
        "login",
        &["given up", "open Molly's UnifiedPush settings"],
        &["server"],
    ),
    fault(
        "another MollySocket with the same account",
        |case| {
            case.world.timings.displaced_base = Duration::from_secs(3600);
            case.world.timings.displaced_cap = Duration::from_secs(3600);
            case.world.daemon = None;
            let (text, config) = (fs::read_to_string(case.path("config.toml")).unwrap(), case.path("config.toml"));
            case.world.start();
            fs::write(config, text).unwrap();
            assert!(case.world.signal().wait_connected(&case.phone.uuid, DEVICE, PATIENCE));
            case.world.signal().close(&case.phone.uuid, DEVICE, 4409, "Connected elsewhere");
            case.world.wait_state(&case.phone, "displaced");
        },
        "server",
        &["displaced", "stop the other MollySocket"],
        &[],
    ),
    fault(
        "an account that may not register",
        |case| case.set("allowed_uuids", "[\"99999999-1111-4222-8333-444455556666\"]"),
        "allowed",
        &["allowed_uuids", "add \"00000001-2222-4333-8444-555555555555\""],
        &[],
    ),
];

pub const AT_THE_PUSH_SERVER: &[Fault] = &[
    fault(
        "an endpoint that is not allowed",
        |case| case.set("allowed_endpoints", &format!("[\"https://localhost:{}\"]", case.world.signal().addr().port())),
        "endpoint",
        &["not in allowed_endpoints", "add \"https://localhost:"],
        // What is listed instead is Signal.
        &["push server"],
    ),
    fault(
        "a private server that is not listed",
        |case| case.set("allowed_endpoints", "[\"https://ntfy.invalid\", \"*\"]"),
        "endpoint",
        &["this machine", "allowed_endpoints = [\"https://localhost:"],
        &["push server"],
    ),
    fault(
        "an endpoint at a private address",
        |case| case.set("allowed_endpoints", "[\"*\"]"),
        "endpoint",
        &["this machine", "allowed_endpoints = [\"https://localhost:", "\"*\"]"],
        &[],
    ),
    fault(
        "a push server with a certificate of its own",
        |case| {
            let other = PushServer::start(&Pki::new());
            case.world.push = other;
            let endpoint = case.world.endpoint(&case.phone);
            case.set("allowed_endpoints", &format!("[{:?}]", case.origin()));
            case.world.stop();
            case.world.store_phone(&case.phone);
            assert!(endpoint.starts_with(&case.origin()));
        },
        "push server",
        &["no TLS connection", "set push_ca_file"],
        &["server"],
    ),
    fault(
        "a push server that is down",
        |case| case.world.push.refuse(true),
        "push server",
        &["no connection to localhost", "check that the push server runs"],
        &[],
    ),
    fault(
        "ntfy without a subscriber",
        |case| case.world.push.set_default(Answer::status(507)),
        "push",
        &["507", "no phone is subscribed", "distributor app"],
        &[],
    ),
    fault(
        "ntfy with an access list",
        |case| case.world.push.set_default(Answer::status(403)),
        "push",
        &["403", "access list", "`up*`"],
        &[],
    ),
    fault(
        "a VAPID key the push server does not take",
        |case| case.world.push.set_default(Answer::status(401)),
        "push",
        &["401", "VAPID key", "link the phone again"],
        &[],
    ),
    fault(
        "an endpoint that is no more",
        |case| case.world.push.set_default(Answer::status(410)),
        "push",
        &["410", "given this endpoint up", "open Molly's UnifiedPush settings"],
        &[],
    ),
    fault(
        "a web firewall before the push server",
        |case| case.world.push.set_default(Answer::status(403).header("Content-Type", "text/html").body("<h1>No</h1>")),
        "push",
        &["403", "proxy or web firewall"],
        &[],
    ),
    fault(
        "a captive portal in place of the push server",
        |case| case.world.push.set_default(Answer::status(200).header("Content-Type", "text/html").body("<h1>Hi</h1>")),
        "push",
        &["200", "web page", "check the address"],
        &[],
    ),
];

pub const BEFORE_THE_SERVER: &[Fault] = &[
    fault(
        "a proxy that does not reach the server",
        |case| case.proxy.set_default_for("/discover", Answer::status(502)),
        "public_url",
        &["502", "the address in the server's start report"],
        &[],
    ),
    fault(
        "a proxy with another path",
        |case| case.proxy.set_default_for("/discover", Answer::status(404)),
        "public_url",
        &["404", "pass / and all below it on"],
        &[],
    ),
    fault(
        "a proxy that redirects",
        |case| case.proxy.set_default_for("/discover", Answer::redirect(301, "https://elsewhere.example/")),
        "public_url",
        &["redirect", "set public_url to the address it leads to"],
        &[],
    ),
    fault(
        "a public URL without the slash that ends it",
        |case| {
            let url = format!("https://localhost:{}/molly", case.proxy.addr().port());
            case.set("public_url", &format!("{url:?}"));
            case.proxy.set_default_for("/molly/discover", Answer::status(200).body(DISCOVERY));
            case.proxy.set_default_for("/molly", Answer::redirect(301, &format!("{url}/")));
        },
        "public_url",
        &["301", "set public_url = \"https://localhost:", "/molly/\""],
        &[],
    ),
    fault(
        "a proxy that wants a login",
        |case| case.proxy.set_default_for("/discover", Answer::status(401)),
        "public_url",
        &["login", "allowed_uuids"],
        &[],
    ),
    fault(
        "a proxy that refuses Molly",
        |case| case.proxy.set_for_agent("Signal-Android/", Answer::status(403)),
        "public_url",
        &["403", "User-Agent (Signal-Android/", "robots"],
        &[],
    ),
    fault(
        "a proxy that shows Molly something else",
        |case| case.proxy.set_for_agent("Signal-Android/", Answer::status(200).body("<h1>Are you human?</h1>")),
        "public_url",
        &["something else", "User-Agent (Signal-Android/"],
        &[],
    ),
    fault(
        "something else in its place",
        |case| case.proxy.set_default_for("/discover", Answer::status(200).body("<h1>It works!</h1>")),
        "public_url",
        &["something else", "let the proxy pass"],
        &[],
    ),
    fault(
        "another MollySocket in its place",
        |case| {
            let link = format!("mollysocket://link?vapid={}&type=webserver", "A".repeat(87));
            case.proxy.set_default_for("/", Answer::status(200).body(link));
        },
        "public_url",
        &["another MollySocket", "the same key"],
        &[],
    ),
    fault(
        "a certificate phones do not trust",
        |case| {
            let other = PushServer::start(&Pki::new());
            case.set("public_url", &format!("\"https://localhost:{}/\"", other.addr().port()));
            case.proxy = other;
        },
        "public_url",
        &["no TLS connection", "phones trust public authorities only"],
        &[],
    ),
    fault(
        "a certificate only this machine trusts",
        |case| {
            let own = Pki::new();
            let other = PushServer::start(&own);
            let both = fs::read_to_string(case.path("ca.pem")).unwrap() + &own.ca_pem();
            fs::write(case.path("both.pem"), both).unwrap();
            case.set("push_ca_file", &format!("{:?}", case.path("both.pem")));
            case.set("public_url", &format!("\"https://localhost:{}/\"", other.addr().port()));
            other.set_default_for("/discover", Answer::status(200).body(DISCOVERY));
            case.proxy = other;
        },
        "public_url",
        &["no TLS connection", "phones trust public authorities only"],
        &[],
    ),
    fault(
        "a proxy that is down",
        |case| case.proxy.refuse(true),
        "public_url",
        &["no connection", "its own public address"],
        &[],
    ),
    fault(
        "a MollySocket in allowed_endpoints",
        |case| {
            case.set("public_url", "\"\"");
            case.set(
                "allowed_endpoints",
                &format!("[{:?}, \"https://localhost:{}\"]", case.origin(), case.proxy.addr().port()),
            );
        },
        "push server",
        &["this is a MollySocket", "must name push servers"],
        &[],
    ),
    fault(
        "the public URL in allowed_endpoints",
        |case| case.set("allowed_endpoints", &format!("[\"https://localhost:{}\"]", case.proxy.addr().port())),
        "configuration",
        &["allowed_endpoints names only this server's own public_url", "https://ntfy.sh"],
        &["endpoint", "push server"],
    ),
];

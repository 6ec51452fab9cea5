//! `doctor` finds what is wrong, names the remedy, and complains of nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mollysocket::status::State;
use program::command;
use serde_json::Value;
use sim::pki::Pki;
use sim::push::{Answer, PushServer};
use sim::signal::{Envelope, Handshake, Mode};
use support::{DEVICE, PATIENCE, Phone, World, eventually, get};

/// What Molly expects of `GET /discover`.
const DISCOVERY: &str = "{\"mollysocket\":{\"version\":\"2.0.0\"}}";

/// A daemon with a phone, behind a proxy that phones reach, all of it well.
struct Case {
    world: World,
    phone: Phone,
    proxy: PushServer,
}

/// What `doctor` said.
struct Findings {
    code: Option<i32>,
    checks: Vec<(String, String, String)>,
}

impl Case {
    fn new() -> Self {
        let mut world = World::new();
        let phone = world.phone(1);
        world.store_phone(&phone);
        let proxy = PushServer::start(&world.pki);
        let public = format!("https://localhost:{}/", proxy.addr().port());
        world.settings = format!("public_url = {public:?}\n");
        world.start();
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        world.wait_state(&phone, "connected");
        proxy.set_default_for("/discover", Answer::status(200).body(DISCOVERY));
        proxy.set_default_for("/", Answer::status(200).body(get(world.web(), "/", "").1));
        let case = Self { world, phone, proxy };
        // The name may have an IPv6 address, at which nobody listens here.
        case.edit("wss://localhost", "wss://127.0.0.1");
        case
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.world.dir.path().join(name)
    }

    /// Changes the configuration file.
    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.path("config.toml"), text.replacen(from, to, 1)).unwrap();
    }

    /// Adds a line to it, or replaces the one with this key.
    fn set(&self, key: &str, value: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        let others = text.lines().filter(|line| !line.starts_with(&format!("{key} =")));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        fs::write(self.path("config.toml"), format!("{text}{key} = {value}\n")).unwrap();
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.world.push.addr().port())
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = command(&self.world, &[&["doctor"], args].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    fn examine(&self, args: &[&str]) -> Findings {
        let (code, text) = self.run(&[&["--json"], args].concat());
        let json: Value = serde_json::from_str(&text).unwrap();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        let checks = json["checks"].as_array().unwrap().iter();
        let checks = checks.map(|check| {
            let said = format!("{} | to do: {}", text(check, "what"), text(check, "remedy"));
            (text(check, "verdict"), text(check, "name"), said)
        });
        Findings { code, checks: checks.collect() }
    }
}

impl Findings {
    fn complaints(&self) -> impl Iterator<Item = &(String, String, String)> {
        self.checks.iter().filter(|(verdict, _, _)| matches!(verdict.as_str(), "warning" | "failure"))
    }
}

/// Something that is wrong, and what must be said of it.
struct Fault {
    name: &'static str,
    plant: fn(&mut Case),
    /// Name of the check that must find it, and what it must say.
    found: &'static str,
    says: &'static [&'static str],
    /// Names of other checks it makes fail.
    also: &'static [&'static str],
}

const fn fault(
    name: &'static str,
    plant: fn(&mut Case),
    found: &'static str,
    says: &'static [&'static str],
    also: &'static [&'static str],
) -> Fault {
    Fault { name, plant, found, says, also }
}

/// Whether a check has this name, perhaps with an account before or a server behind it.
fn is_check(name: &str, check: &str) -> bool {
    name == check || name.ends_with(&format!(": {check}")) || name.starts_with(&format!("{check} https://"))
}

fn is_found(fault: &Fault) {
    let mut case = Case::new();
    (fault.plant)(&mut case);
    let findings = case.examine(&[]);
    let all: Vec<_> = findings.complaints().collect();
    let found = |(_, name, said): &&(String, String, String)| {
        is_check(name, fault.found) && fault.says.iter().all(|part| said.contains(part))
    };
    assert!(all.iter().any(|check| found(&check)), "{}: not found in {all:#?}", fault.name);
    for (_, name, said) in &all {
        let expected = std::iter::once(&fault.found).chain(fault.also).any(|check| is_check(name, check));
        assert!(expected, "{}: also {name}: {said}", fault.name);
        assert!(!said.trim_end().ends_with("to do:"), "{}: no remedy: {name}: {said}", fault.name);
    }
    let fails = all.iter().any(|(verdict, _, _)| verdict == "failure");
    assert_eq!(findings.code, Some(i32::from(fails)), "{}", fault.name);
}

const ON_THIS_MACHINE: &[Fault] = &[
    fault(
        "a misspelt key",
        |case| case.set("allowed_uuid", "[\"*\"]"),
        "configuration",
        &["config.toml: allowed_uuid", "did you mean allowed_uuids?"],
        &[],
    ),
    fault(
        "a database somewhere else",
        |case| case.set("db", "\"elsewhere.sqlite\""),
        "database",
        &["elsewhere.sqlite", "check `db` (MOLLY_DB)"],
        &["server", "VAPID key"],
    ),
    fault(
        "a database that is cut short",
        |case| {
            case.world.stop();
            fs::OpenOptions::new().write(true).open(case.world.db()).unwrap().set_len(6000).unwrap();
        },
        "database",
        &["damaged", "restore a backup"],
        &["server"],
    ),
    fault(
        "a database others can read",
        |case| fs::set_permissions(case.world.db(), fs::Permissions::from_mode(0o644)).unwrap(),
        "database",
        &["0644", "private"],
        &[],
    ),
    fault("no server", |case| case.world.stop(), "server", &["no server answers", "start it"], &[]),
    fault(
        "a spoilt key file",
        |case| fs::write(case.path("db.sqlite.vapid"), "nonsense").unwrap(),
        "VAPID key",
        &["db.sqlite.vapid", "restore it from a backup"],
        &[],
    ),
    fault(
        "a certificate file that is none",
        |case| {
            fs::write(case.path("ca.pem"), "nonsense").unwrap();
        },
        "certificates",
        &["ca.pem", "PEM form"],
        &[],
    ),
    fault(
        "a clock that is two hours behind",
        |case| case.world.signal().set_mode(Mode::ClockOffset(2 * 3600 * 1000)),
        "clock",
        &["behind that of Signal", "timedatectl"],
        &[],
    ),
];

const AT_SIGNAL: &[Fault] = &[
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

const AT_THE_PUSH_SERVER: &[Fault] = &[
    fault(
        "an endpoint that is not allowed",
        |case| case.set("allowed_endpoints", &format!("[\"https://localhost:{}\"]", case.world.signal().addr().port())),
        "endpoint",
        &["not in allowed_endpoints", "add \"https://localhost:"],
        // What is listed instead is Signal.
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
        &["410", "open Molly to register a new one"],
        &[],
    ),
];

const BEFORE_THE_SERVER: &[Fault] = &[
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
        "a proxy that wants a login",
        |case| case.proxy.set_default_for("/discover", Answer::status(401)),
        "public_url",
        &["login", "allowed_uuids"],
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
        "a proxy that is down",
        |case| case.proxy.refuse(true),
        "public_url",
        &["no connection", "its own public address"],
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

#[test]
fn faults_on_this_machine_are_found_with_their_remedies() {
    ON_THIS_MACHINE.iter().for_each(is_found);
}

#[test]
fn faults_on_the_way_to_signal_are_found_with_their_remedies() {
    AT_SIGNAL.iter().for_each(is_found);
}

#[test]
fn faults_at_the_push_server_are_found_with_their_remedies() {
    AT_THE_PUSH_SERVER.iter().for_each(is_found);
}

#[test]
fn faults_before_the_server_are_found_with_their_remedies() {
    BEFORE_THE_SERVER.iter().for_each(is_found);
}

#[test]
fn where_all_is_well_there_is_no_complaint() {
    let case = Case::new();
    for args in [&[][..], &[case.phone.uuid.as_str()]] {
        let findings = case.examine(args);
        assert_eq!(findings.complaints().collect::<Vec<_>>(), Vec::<&(String, String, String)>::new());
        assert_eq!(findings.code, Some(0));
        for name in ["login", "push", "endpoint", "User-Agent", "TLS", "clock", "public_url", "database", "server"] {
            let fine = |(verdict, found, _): &(String, String, String)| {
                verdict == "ok" && (is_check(found, name) || found == &format!("Signal: {name}"))
            };
            assert!(findings.checks.iter().any(fine), "{name} was not checked: {:#?}", findings.checks);
        }
    }
    let (code, text) = case.run(&[]);
    assert!(code == Some(0) && text.ends_with("\nNo fault found.\n"), "{text}");
}

#[test]
fn a_running_server_keeps_its_connection_and_its_messages() {
    let case = Case::new();
    let (world, phone) = (&case.world, &case.phone);
    world.push.set_default(Answer::status(500));
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    world.wait_push_state(phone, "retrying");
    let before = world.signal().counters(&phone.uuid, DEVICE);
    let since = |world: &World| world.daemon.as_ref().unwrap().supervisor.statuses()[0].1.signal.since;
    let connected = since(world);
    case.examine(&[]);
    let after = world.signal().counters(&phone.uuid, DEVICE);
    assert_eq!((after.displaced, after.delivered, after.acked), (0, before.delivered, before.acked));
    assert_eq!((world.state(phone).0.as_str(), since(world)), (State::Connected.label(), connected));
    world.push.set_default(Answer::created());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
}

#[test]
fn only_a_named_account_gets_a_notification() {
    let case = Case::new();
    let other = case.world.phone(2);
    case.world.store_phone(&other);
    let bodies = |case: &Case| {
        let all = case.world.push.requests().into_iter().filter(|request| request.method == "POST");
        let bodies: Vec<_> = all.map(|request| (request.target.clone(), request.text())).collect();
        case.world.push.clear();
        bodies
    };
    bodies(&case);
    case.examine(&[]);
    let sent = bodies(&case);
    assert!(sent.len() == 2 && sent.iter().all(|(_, body)| body == "{\"urgent\":true}"), "{sent:?}");
    case.examine(&[&other.uuid]);
    let sent = bodies(&case);
    assert!(sent.len() == 1 && sent[0].0.contains(&other.token) && sent[0].1 == "{\"test\":true}", "{sent:?}");
    let findings = case.examine(&["99999999-1111-4222-8333-444455556666"]);
    assert!(findings.complaints().any(|(_, name, said)| name == "account" && said.contains("connection list")));
}

#[test]
fn progress_is_shown_in_lines_with_what_to_do() {
    let case = Case::new();
    case.world.push.set_default(Answer::status(507));
    let (code, text) = case.run(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("\nFAILURE  account 00000001: push: https://localhost:"), "{text}");
    assert!(text.contains("\n         to do: no phone is subscribed"), "{text}");
    assert!(text.ends_with("\n1 failure, 0 warnings.\n") && !text.contains('\x1b'), "{text}");
}

#[test]
fn the_report_tells_nothing_about_anybody() {
    let mut case = Case::new();
    case.set("public_url", "\"https://molly.private-name.invalid/\"");
    case.set("vapid_contact", "\"mailto:somebody@private-name.invalid\"");
    case.world.stop();
    let (code, text) = case.run(&["--report"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("```text\nMollySocket ") && text.ends_with("```\n"), "{text}");
    assert!(text.contains("FAILURE: server: no server answers at DIRECTORY/db.sqlite.sock"), "{text}");
    assert!(text.contains("account-1: login") && text.contains("host-"), "{text}");
    let directory = case.world.dir.path().display().to_string();
    let phone = &case.phone;
    for secret in [&phone.uuid, &phone.uuid[..8], &phone.password, &phone.token, "private-name", &directory] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

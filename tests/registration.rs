//! `POST /` row by row (design, section 6): a phone, the real daemon, a simulated Signal and a simulated push server.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use mollysocket::account::Account;
use sim::push::Answer;
use sim::signal::{Envelope, Handshake, Mode};
use support::{MOMENT, PATIENCE, Phone, World, eventually, post, register};

/// What the daemon logged, at every level. All tests of this file share it; lines are told apart by short ids.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("mollysocket")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

fn world() -> World {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Collector)).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    World::new()
}

fn started() -> World {
    let mut world = world();
    world.start();
    world
}

/// Registered, connected, and its first test push has arrived.
fn linked(number: u32) -> (World, Phone) {
    let world = started();
    let phone = world.phone(number);
    assert_eq!(world.register(&phone, false), "ok");
    assert!(world.signal().wait_connected(&phone.uuid, phone.device, PATIENCE));
    assert!(world.push.wait_requests(1, PATIENCE));
    world.wait_state(&phone, "connected");
    (world, phone)
}

/// Bodies of the pushes a phone got.
fn pushes(world: &World, phone: &Phone) -> Vec<String> {
    world.push.requests_for(&format!("/push/{}", phone.token)).iter().map(|request| request.text()).collect()
}

/// Upgrades that succeeded: the question whether the credentials are good, then the connection.
const ASKED_AND_CONNECTED: u64 = 2;

fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, phone.device).connects
}

/// The same phone after something changed.
fn with(phone: &Phone, change: impl FnOnce(&mut Phone)) -> Phone {
    let mut changed = phone.clone();
    change(&mut changed);
    changed
}

fn moved(phone: &Phone) -> Phone {
    with(phone, |p| p.token += "-moved")
}

fn wakes(world: &World, phone: &Phone) {
    let before = pushes(world, phone).len();
    let guid = world.signal().send(&phone.uuid, phone.device, Envelope::new());
    eventually("a wake-up", || pushes(world, phone).len() > before);
    assert_eq!(pushes(world, phone).last().unwrap(), r#"{"urgent":true}"#);
    assert!(world.signal().wait_acked(&phone.uuid, phone.device, guid, PATIENCE));
}

/// The push server says 410 at a wake-up. The account rests; its envelope is owed.
fn gone(number: u32) -> (World, Phone) {
    let (world, phone) = linked(number);
    world.push.script([Answer::status(410)]);
    world.signal().send(&phone.uuid, phone.device, Envelope::new());
    world.wait_state(&phone, "endpoint_gone");
    eventually("stored", || world.row(&phone).unwrap().endpoint_gone);
    (world, phone)
}

/// Signal no longer knows the device.
fn unlinked(number: u32) -> (World, Phone) {
    let (world, phone) = linked(number);
    world.signal().unlink(&phone.uuid, phone.device);
    world.wait_state(&phone, "unlinked");
    eventually("stored", || world.row(&phone).unwrap().forbidden);
    (world, phone)
}

/// Nothing about the account changes in a moment: no connection, no push, no row.
fn undisturbed<T>(world: &World, phone: &Phone, act: impl FnOnce() -> T) -> T {
    let look = || {
        let row = world.row(phone).map(|row| Account { last_registration: 0, covered_until: None, ..row });
        (row, connects(world, phone), world.push.requests().len(), world.state(phone))
    };
    let before = look();
    let result = act();
    thread::sleep(MOMENT);
    assert_eq!(look(), before);
    result
}

#[test]
fn unknown_account_is_checked_stored_connected_and_tested_once() {
    let world = started();
    let phone = world.phone(0x1001);
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(world.register(&phone, true), "ok");
    let row = world.row(&phone).unwrap();
    assert_eq!(row, Account { last_registration: row.last_registration, ..world.account(&phone) });
    assert!((before..before + 60).contains(&row.last_registration));
    world.wait_state(&phone, "connected");
    eventually("a test push", || !pushes(&world, &phone).is_empty());
    thread::sleep(MOMENT);
    assert_eq!(pushes(&world, &phone), [r#"{"test":true}"#], "one, although ping was true as well");
    let upgrades = world.signal().records().upgrades;
    assert_eq!(upgrades[0].header("x-signal-disable-messages"), Some("true"), "Signal was asked first");
    wakes(&world, &phone);
    world.assert_one_socket_each();
}

#[test]
fn unknown_account_refused_by_signal_is_forbidden_and_leaves_nothing() {
    let world = started();
    let phone = Phone::number(0x1002);
    assert_eq!(world.register(&phone, true), "forbidden");
    assert_eq!(world.row(&phone), None);
    assert_eq!(world.signal().records().statuses(), [403, 403]);
    thread::sleep(MOMENT);
    assert!(world.push.requests().is_empty());
}

#[test]
fn unknown_account_is_stored_when_signal_cannot_say() {
    for (number, handshake) in [
        (0x1003, Handshake::RefuseTcp),
        (0x1004, Handshake::TlsThenSilent),
        (0x1005, Handshake::status(500)),
        (0x1006, Handshake::proxy_status(403)),
    ] {
        let world = started();
        let phone = world.phone(number);
        world.signal().set_mode(Mode::Handshake(handshake));
        assert_eq!(world.register(&phone, false), "ok");
        assert!(world.row(&phone).is_some_and(|row| !row.forbidden));
        eventually("a test push", || pushes(&world, &phone) == [r#"{"test":true}"#]);
        world.signal().set_mode(Mode::Handshake(Handshake::Accept));
        world.wait_state(&phone, "connected");
    }
}

#[test]
fn accounts_that_may_not_register_are_invalid_uuid_before_the_endpoint_is_looked_at() {
    let mut world = world();
    let friend = world.phone(0x1007);
    world.settings = format!("allowed_uuids = [{:?}]\n", friend.uuid.to_uppercase());
    world.start();
    let stranger = world.phone(0x1008);
    assert_eq!(world.register(&stranger, false), "invalid_uuid");
    for uuid in ["", "anything", "*", "a\u{0}b", &"9".repeat(5000)] {
        assert_eq!(register(world.web(), uuid, 2, "password", "nonsense", false), "invalid_uuid");
    }
    assert_eq!(world.register(&friend, false), "ok");
    assert_eq!(smol::block_on(world.store().count()).unwrap(), 1);
}

#[test]
fn endpoints_that_cannot_be_used_are_invalid_endpoint_and_nobody_is_asked() {
    let mut world = world();
    world.settings = "allowed_endpoints = [\"*\"]\n".to_owned();
    world.start();
    let phone = world.phone(0x1009);
    let port = world.push.addr().port();
    for endpoint in [
        String::new(),
        "nonsense".to_owned(),
        "ftp://push.example/x".to_owned(),
        "https://push.example/\u{0}".to_owned(),
        format!("https://127.0.0.1:{port}/x"),
        format!("https://localhost:{port}/x"),
        format!("https://[::ffff:127.0.0.1]:{port}/x"),
        "https://10.0.0.1/x".to_owned(),
        "https://169.254.169.254/latest".to_owned(),
    ] {
        let got = register(world.web(), &phone.uuid, 2, &phone.password, &endpoint, true);
        assert_eq!(got, "invalid_endpoint", "{endpoint}");
    }
    assert_eq!(world.row(&phone), None);
    assert!(world.signal().records().upgrades.is_empty() && world.push.requests().is_empty());
}

#[test]
fn the_same_registration_again_neither_reconnects_nor_pushes() {
    let (world, phone) = linked(0x100a);
    let mut row = world.row(&phone).unwrap();
    row.last_registration = 1_000;
    smol::block_on(world.store().touch(phone.id(), 1_000)).unwrap();
    undisturbed(&world, &phone, || {
        for _ in 0..20 {
            assert_eq!(world.register(&phone, false), "ok");
        }
    });
    assert!(world.row(&phone).unwrap().last_registration > 1_000, "touched");
    // Molly answers a test push with another registration: it must end there.
    assert_eq!(world.register(&phone, true), "ok");
    eventually("a second test push", || pushes(&world, &phone).len() == 2);
    undisturbed(&world, &phone, || assert_eq!(world.register(&phone, false), "ok"));
    assert_eq!(connects(&world, &phone), ASKED_AND_CONNECTED);
}

#[test]
fn unlinked_credentials_are_forbidden_until_there_are_others() {
    let (world, phone) = unlinked(0x100b);
    undisturbed(&world, &phone, || {
        assert_eq!(world.register(&phone, true), "forbidden");
        assert_eq!(world.register(&moved(&phone), true), "forbidden");
    });
    let relinked = with(&phone, |p| {
        p.device = 3;
        p.password = "new+password/".to_owned();
        p.token += "-new";
    });
    world.signal().add_device(&relinked.uuid, 3, &relinked.password);
    assert_eq!(world.register(&relinked, false), "ok");
    world.wait_state(&relinked, "connected");
    assert_eq!(world.row(&relinked).unwrap().credentials, relinked.credentials());
    eventually("a test push", || pushes(&world, &relinked) == [r#"{"test":true}"#]);
    wakes(&world, &relinked);
}

#[test]
fn an_endpoint_that_was_gone_resumes_when_one_test_push_is_accepted() {
    let (world, phone) = gone(0x100c);
    let before = pushes(&world, &phone).len();
    assert_eq!(world.register(&phone, true), "ok");
    assert!(!world.row(&phone).unwrap().endpoint_gone);
    world.wait_state(&phone, "connected");
    eventually("the owed wake-up", || pushes(&world, &phone).len() >= before + 2);
    let tests = pushes(&world, &phone)[before..].iter().filter(|body| body.contains("test")).count();
    assert_eq!(tests, 1, "ping asks for none beside the probe");
    eventually("nothing is owed", || world.signal().unacked(&phone.uuid, phone.device) == 0);
    // What Molly sends when that test push arrives.
    undisturbed(&world, &phone, || assert_eq!(world.register(&phone, false), "ok"));
}

#[test]
fn an_endpoint_that_is_still_gone_is_invalid_endpoint_and_one_that_cannot_say_internal_error() {
    let (world, phone) = gone(0x100d);
    for (answer, word) in [
        (Answer::status(404), "invalid_endpoint"),
        (Answer::status(410), "invalid_endpoint"),
        (Answer::status(403), "invalid_endpoint"),
        (Answer::status(400), "invalid_endpoint"),
        (Answer::status(500), "internal_error"),
        (Answer::status(507), "internal_error"),
        (Answer::retry_after(429, "3"), "internal_error"),
        (Answer::hang(), "internal_error"),
    ] {
        let before = pushes(&world, &phone).len();
        let status = answer.status;
        world.push.script([answer]);
        assert_eq!(world.register(&phone, false), word, "{status}");
        assert_eq!(pushes(&world, &phone).len(), before + 1, "{status}: one test push");
        assert!(world.row(&phone).unwrap().endpoint_gone, "{status}");
    }
    assert_eq!(world.state(&phone).0, "endpoint_gone");
}

#[test]
fn another_endpoint_is_used_at_once_without_a_reconnection() {
    let (world, phone) = linked(0x100e);
    let moved = moved(&phone);
    assert_eq!(world.register(&moved, false), "ok");
    assert_eq!(world.row(&moved).unwrap().endpoint.as_str(), world.endpoint(&moved));
    wakes(&world, &moved);
    assert_eq!(pushes(&world, &moved), [r#"{"urgent":true}"#], "no test push without ping");
    let again = support::Phone { token: phone.token.clone() + "-again", ..phone.clone() };
    assert_eq!(world.register(&again, true), "ok");
    eventually("a test push", || pushes(&world, &again) == [r#"{"test":true}"#]);
    assert_eq!((connects(&world, &phone), world.sockets(&phone)), (ASKED_AND_CONNECTED, 1));
}

#[test]
fn another_endpoint_revives_an_account_whose_endpoint_is_gone() {
    let (world, phone) = gone(0x100f);
    let moved = moved(&phone);
    assert_eq!(world.register(&moved, false), "ok");
    assert!(!world.row(&moved).unwrap().endpoint_gone);
    eventually("the owed wake-up goes to the new endpoint", || !pushes(&world, &moved).is_empty());
    assert_eq!(pushes(&world, &moved)[0], r#"{"urgent":true}"#);
    world.wait_state(&phone, "connected");
}

#[test]
fn other_credentials_replace_working_ones_only_when_signal_accepts_them() {
    let (world, phone) = linked(0x1010);
    let bad = with(&phone, |p| p.password = "guessed".to_owned());
    undisturbed(&world, &phone, || assert_eq!(world.register(&bad, true), "internal_error"));
    world.signal().for_next_of(&phone.uuid, phone.device, 1, Handshake::status(500));
    undisturbed(&world, &phone, || assert_eq!(world.register(&bad, true), "internal_error"));

    let other = with(&phone, |p| {
        p.device = 4;
        p.password = "fresh".to_owned();
    });
    world.signal().add_device(&other.uuid, 4, &other.password);
    assert_eq!(world.register(&other, false), "ok");
    assert_eq!(world.row(&other).unwrap().credentials, other.credentials());
    assert!(world.signal().wait_connected(&other.uuid, 4, PATIENCE));
    assert!(world.signal().wait_disconnected(&phone.uuid, phone.device, PATIENCE));
    eventually("a test push", || pushes(&world, &other).len() == 2);
    world.assert_one_socket_each();
}

#[test]
fn beyond_max_accounts_nobody_new_is_stored_and_the_log_names_the_setting() {
    let mut world = world();
    world.settings = "max_accounts = 1\n".to_owned();
    world.start();
    let (first, second) = (world.phone(0x1011), world.phone(0x1012));
    assert_eq!(world.register(&first, false), "ok");
    assert_eq!(world.register(&second, false), "internal_error");
    assert_eq!(world.row(&second), None);
    assert_eq!(world.register(&moved(&first), false), "ok", "those who are in stay in");
    let lines = logged_about(&second);
    assert!(lines.len() == 1 && lines[0].starts_with("WARN") && lines[0].contains("max_accounts"), "{lines:?}");
}

#[test]
fn what_the_database_does_not_take_is_never_ok() {
    let (world, phone) = linked(0x1013);
    let other = rusqlite::Connection::open(world.db()).unwrap();
    let refuse = |on: &str| {
        let body = "BEGIN SELECT RAISE(FAIL, 'disk full'); END";
        other.execute_batch(&format!("CREATE TRIGGER no_{on} BEFORE {on} ON connections {body}")).unwrap();
    };
    refuse("INSERT");
    refuse("UPDATE");
    let stranger = world.phone(0x1014);
    assert_eq!(world.register(&stranger, false), "internal_error");
    assert_eq!(world.register(&moved(&phone), false), "internal_error");
    assert_eq!(world.register(&phone, false), "internal_error");
    assert!(logged_about(&stranger).iter().any(|line| line.starts_with("ERROR")));
    assert_eq!(world.row(&stranger), None);
    wakes(&world, &phone);
    other.execute_batch("DROP TRIGGER no_INSERT; DROP TRIGGER no_UPDATE").unwrap();
    assert_eq!(world.register(&stranger, false), "ok", "recovers without a restart");
    world.wait_state(&stranger, "connected");
}

#[test]
fn every_registration_is_answered_in_time_whatever_hangs() {
    let (mut world, phone) = gone(0x1015);
    world.stop();
    world.timings.answer = Duration::from_millis(400);
    world.timings.push = Duration::from_millis(1500);
    world.timings.check = Duration::from_secs(10);
    world.start();

    // The push server takes its time: too late for this answer, but the account resumes all the same.
    world.push.script([Answer::created().delay(Duration::from_millis(900))]);
    let started = Instant::now();
    assert_eq!(world.register(&phone, false), "internal_error");
    assert!(started.elapsed() < Duration::from_millis(900));
    world.wait_state(&phone, "connected");

    // Signal hangs.
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    let stranger = world.phone(0x1016);
    let started = Instant::now();
    assert_eq!(world.register(&stranger, false), "internal_error");
    assert!(started.elapsed() < Duration::from_millis(900));
    assert_eq!(world.row(&stranger), None);
    assert!(logged_about(&stranger).iter().any(|line| line.contains("still asking Signal")));

    // The database is locked; what was told to the phone to have failed may be saved later, never the reverse.
    let other = rusqlite::Connection::open(world.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    assert_eq!(world.register(&moved(&phone), false), "internal_error");
    assert!(started.elapsed() < Duration::from_millis(900));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
}

#[test]
fn registrations_of_one_account_at_the_same_time_do_not_interleave() {
    let world = started();
    let phone = world.phone(0x1017);
    thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(|| world.register(&phone, false))).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), "ok");
        }
    });
    world.wait_state(&phone, "connected");
    thread::sleep(MOMENT);
    assert_eq!(pushes(&world, &phone), [r#"{"test":true}"#], "the account was new only once");
    assert_eq!(connects(&world, &phone), ASKED_AND_CONNECTED);
}

#[test]
fn what_is_stored_also_runs_when_the_phone_hangs_up_at_any_moment() {
    let world = started();
    let phones: Vec<Phone> = (0..24).map(|n| world.phone(0x2000 + n)).collect();
    for (phone, wait) in phones.iter().zip(0..) {
        let body = format!(
            r#"{{"uuid":"{}","device_id":2,"password":"{}","endpoint":"{}"}}"#,
            phone.uuid,
            phone.password,
            world.endpoint(phone)
        );
        let mut stream = TcpStream::connect(world.web()).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        thread::sleep(Duration::from_micros(700 * wait));
        drop(stream);
    }
    thread::sleep(MOMENT);
    for phone in &phones {
        if world.row(phone).is_some() {
            world.wait_state(phone, "connected");
        }
    }
    world.assert_one_socket_each();
}

#[test]
fn each_refusal_is_logged_once_with_origin_and_reason_and_nothing_secret() {
    let (world, phone) = unlinked(0x1018);
    let stranger = Phone::number(0x1019);
    assert_eq!(world.register(&stranger, false), "forbidden");
    assert_eq!(world.register(&phone, false), "forbidden");
    let origin = format!("https://localhost:{}", world.push.addr().port());
    let lines = logged_about(&stranger);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["INFO", "forbidden", &origin, "127.0.0.1", "Signal does not know this device"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    let refusals = logged_about(&phone).into_iter().filter(|line| line.contains("forbidden")).count();
    assert_eq!(refusals, 1);
    assert!(logged_about(&phone).iter().any(|line| line.contains("registered: new account")), "acceptance is logged");

    // The reason a body was refused for is told to the client, not the body to the log.
    let (status, _) = post(world.web(), r#"{"uuid":"x","password":"LEAKED-PASSWORD","endpoint":"https://h/LEAKED"}"#);
    assert_eq!(status, 422);
    let everything = LOGGED.lock().unwrap().join("\n");
    for secret in [phone.password.as_str(), &phone.token, &stranger.password, &stranger.token, "LEAKED", &phone.uuid] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

/// Lines with the account's short id.
fn logged_about(phone: &Phone) -> Vec<String> {
    LOGGED.lock().unwrap().iter().filter(|line| line.contains(&phone.uuid[..8])).cloned().collect()
}

//! The real program as a process: kill -9, signals, two daemons, and what its log holds.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::Read;
use std::time::{Duration, Instant};

use program::{Program, command, command_under};
use sim::push::Answer;
use sim::signal::{Envelope, Handshake, Mode};
use support::{DEVICE, PATIENCE, Phone, World, eventually, register};

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

fn prepared() -> (World, Phone) {
    let world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    (world, phone)
}

fn connected(world: &World, phone: &Phone) {
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
}

/// So many accounts are connected and know it: each has answered that its queue is empty. Signal has a socket a moment
/// before the program does, and one that is only being opened ends without a Close frame.
fn settled(world: &World, accounts: usize) {
    let patience = PATIENCE * 10;
    assert!(world.signal().wait_until(patience, |s| s.records().raw_responses.len() >= accounts), "not all connected");
}

#[test]
fn a_kill_between_envelope_and_push_loses_nothing() {
    let (world, phone) = prepared();
    world.push.refuse(true);
    let program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    eventually("the envelope is delivered", || world.signal().counters(&phone.uuid, DEVICE).delivered == 1);
    program.kill();
    assert_eq!(world.signal().queue_len(&phone.uuid, DEVICE), 1);
    world.push.refuse(false);
    let _program = Program::start(&world, &["server"]);
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), 1);
}

#[test]
fn a_kill_between_push_and_ack_wakes_again_rather_than_not_at_all() {
    let (world, phone) = prepared();
    world.push.script([Answer::hang()]);
    let program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    program.kill();
    let _program = Program::start(&world, &["server"]);
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), 2);
}

#[test]
fn both_stop_signals_end_the_program_in_order() {
    for signal in ["-TERM", "-INT"] {
        let (world, phone) = prepared();
        let others: Vec<_> = (2..=20).map(|n| world.phone(n)).collect();
        for other in &others {
            world.store_phone(other);
        }
        let mut program = Program::start(&world, &["server"]);
        connected(&world, &phone);
        settled(&world, 20);
        program.signal(signal);
        let (code, took) = program.wait();
        assert_eq!(code, Some(0), "{signal}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        eventually("Close frames", || world.signal().records().client_closes.len() == 20);
        assert!(world.signal().records().client_closes.iter().all(|c| c.code == Some(1000)));
    }
}

/// `MOLLYSOCKET_TEST_SOCKETS=9000` asks for more than the test run has time for.
#[test]
fn many_connections_are_closed_within_five_seconds() {
    let number = std::env::var("MOLLYSOCKET_TEST_SOCKETS").map_or(600, |n| n.parse().unwrap());
    let world = World::new();
    let phones: Vec<_> = (1..=number).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    world.push.set_default(Answer::hang());
    let mut program = Program::start(&world, &["server"]);
    settled(&world, phones.len());
    for phone in phones.iter().step_by(10) {
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    assert!(world.push.wait_requests(1, PATIENCE));
    program.signal("-TERM");
    let (code, took) = program.wait();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
    eventually("Close frames", || world.signal().with_state(|s| s.records().client_closes.len()) == phones.len());
}

#[test]
fn a_push_on_its_way_is_finished_and_acked_before_the_end() {
    let (world, phone) = prepared();
    world.push.set_default(Answer::created().delay(Duration::from_millis(700)));
    let mut program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    program.signal("-TERM");
    let (code, took) = program.wait();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert!(world.row(&phone).unwrap().fetched_until.is_some(), "it is stored on stop");
}

#[test]
fn a_hanging_push_does_not_hold_the_end() {
    let (world, phone) = prepared();
    world.push.set_default(Answer::hang());
    let mut program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    program.signal("-TERM");
    let (code, took) = program.wait();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
}

#[test]
fn a_log_nobody_reads_stops_neither_wake_ups_nor_registrations_nor_the_end() {
    let (world, phone) = prepared();
    let mut program = Program::unheard(&world, &["-vvv", "server"]);
    connected(&world, &phone);
    for n in 0..20 {
        let endpoint = world.endpoint(&Phone { token: format!("{}-{n}", phone.token), ..phone.clone() });
        let answer = register(program.web, &phone.uuid, u64::from(DEVICE), &phone.password, &endpoint, true);
        assert_eq!(answer, "ok", "{n}");
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "no wake-up {n}");
    }
    program.signal("-TERM");
    let (code, took) = program.wait();
    assert!(code == Some(0) && took < Duration::from_secs(10), "{code:?} {took:?}");
}

#[test]
fn a_low_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let world = World::new();
    let phones: Vec<_> = (1..=80).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    world.config();
    let low = ["/bin/sh", "-c", "ulimit -Sn 48; ulimit -Hn 1000; exec \"$0\" \"$@\""];
    let mut program = Program::spawn(command_under(&world, &low, &["-v", "server"]));
    let all = |world: &World| world.signal().with_state(|s| s.open_sockets()) == phones.len();
    eventually("more sockets than the soft limit allows", || all(&world));
    program.signal("-TERM");
    program.wait();
    let log = program.log();
    assert!(log.contains("up to 1000 descriptors may be open (48 at start)"), "{log}");
}

#[test]
fn a_second_daemon_on_the_same_database_refuses() {
    let (world, phone) = prepared();
    let _program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    let second = command(&world, &["server"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("db.sqlite") && said.trim().lines().count() == 1, "{said}");
}

#[test]
fn command_line_edits_reach_the_running_program_within_three_seconds() {
    let (world, phone) = prepared();
    let _program = Program::start(&world, &["server"]);
    connected(&world, &phone);
    let second = world.phone(2);
    let added = command(&world, &["connection", "add", &second.uuid, "2", &second.password, &world.endpoint(&second)])
        .output()
        .unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let start = Instant::now();
    connected(&world, &second);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(world.push.requests_for(&format!("/push/{}", second.token))[0].text(), r#"{"test":true}"#);
    assert!(command(&world, &["connection", "remove", &phone.uuid]).status().unwrap().success());
    assert!(world.signal().wait_disconnected(&phone.uuid, DEVICE, Duration::from_secs(4)));
}

#[test]
fn an_unreachable_signal_and_its_return_are_each_told_once() {
    let (world, phone) = prepared();
    world.signal().set_mode(Mode::Handshake(Handshake::RefuseTcp));
    let mut program = Program::start(&world, &["-v", "server"]);
    std::thread::sleep(Duration::from_secs(4));
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    connected(&world, &phone);
    eventually("the row is read", || world.signal().counters(&phone.uuid, DEVICE).queue_empty == 1);
    program.signal("-TERM");
    program.wait();
    let log = program.log();
    assert_eq!(log.matches("waiting: ").count(), 1, "{log}");
    assert_eq!(log.matches("connected to Signal").count(), 1, "{log}");
}

#[test]
fn a_row_that_cannot_be_read_is_told_once_and_left_alone() {
    let (world, phone) = prepared();
    let db = rusqlite::Connection::open(world.db()).unwrap();
    db.execute(
        "INSERT INTO connections(uuid, device_id, password, endpoint, forbidden) VALUES ('odd', 2, 'p', 'e', 0)",
        (),
    )
    .unwrap();
    let mut program = Program::start(&world, &["-v", "server"]);
    connected(&world, &phone);
    // Another change makes the daemon read everything again.
    db.execute("UPDATE connections SET last_registration = 5", ()).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    program.signal("-TERM");
    program.wait();
    let log = program.log();
    assert_eq!(log.matches("left out").count(), 1, "{log}");
    let rows: i64 = db.query_row("SELECT count(*) FROM connections WHERE uuid = 'odd'", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn no_secret_reaches_the_log_at_any_level() {
    let (world, phone) = prepared();
    world.push.script([Answer::status(500), Answer::status(403)]);
    world.config();
    let mut child = command(&world, &["-vvv", "server"])
        .env("RUST_LOG", "trace,tungstenite=trace,async_tungstenite=trace,hyper=trace,rustls=trace,surf=trace")
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    connected(&world, &phone);
    world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(2, PATIENCE));
    let authorization = world.push.requests()[0].header("authorization").unwrap().to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    let log = reader.join().unwrap();
    assert!(log.contains("connected to Signal"), "the log is there: {log}");
    let key = std::fs::read_to_string(world.dir.path().join("db.sqlite.vapid")).unwrap();
    use base64::Engine as _;
    let login = format!("{}.{}:{}", phone.uuid, phone.device, phone.password);
    let basic = base64::engine::general_purpose::STANDARD.encode(login);
    let signature = authorization.split(['.', ',']).nth(2).unwrap();
    for secret in [&phone.password, &phone.token, &phone.uuid, key.trim(), &basic, signature] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn trouble_and_its_end_are_each_told_once() {
    let (world, phone) = prepared();
    let mut program = Program::start(&world, &["-v", "server"]);
    connected(&world, &phone);
    // Neither repeats nor other words for the same trouble are news.
    world.push.script([Answer::status(500), Answer::status(502)]);
    world.push.set_default(Answer::status(500));
    world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(3, PATIENCE));
    world.push.set_default(Answer::created());
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1, PATIENCE));
    program.signal("-TERM");
    program.wait();
    let log = program.log();
    assert_eq!(log.matches("failed: ").count(), 1, "{log}");
    assert_eq!(log.matches("accepted again").count(), 1, "{log}");
}

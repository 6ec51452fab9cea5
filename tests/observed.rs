//! What operators see: counters that follow what happens, and trouble that is told once.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/phones.rs"]
mod phones;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use sim::push::Answer;
use sim::signal::{Envelope, Handshake};
use support::{DEVICE, PATIENCE, World, eventually, get};

/// The value of a series of the metrics page.
fn metric(world: &World, series: &str) -> f64 {
    let (status, page) = get(world.web(), "/metrics", "");
    assert_eq!(status, 200);
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{page}")).parse().unwrap()
}

fn observed() -> (World, support::Phone) {
    let mut world = World::new();
    world.settings = "metrics = true\n".into();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.wait_state(&phone, "connected");
    (world, phone)
}

#[test]
fn counters_follow_what_happens() {
    let (world, phone) = observed();
    world.push.script([Answer::status(500)]);
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    eventually("the wake-up is counted", || metric(&world, "mollysocket_pushs") == 1.0);
    assert_eq!(metric(&world, "mollysocket_messages"), 1.0);
    assert_eq!(metric(&world, "mollysocket_pushes_total{result=\"failed\"}"), 1.0);
    assert_eq!(metric(&world, "mollysocket_wake_latency_seconds_count"), 1.0);
    eventually("a keepalive", || metric(&world, "mollysocket_keepalive_rtt_seconds_count") >= 1.0);
    assert_eq!(metric(&world, "mollysocket_reconnections"), 0.0);
    world.signal().for_next(1, Handshake::proxy_status(503));
    world.signal().cut(&phone.uuid, DEVICE);
    eventually("two reconnections", || metric(&world, "mollysocket_reconnections") == 2.0);
    assert_eq!(metric(&world, "mollysocket_handshake_refusals_total{status=\"503\"}"), 1.0);
}

#[test]
fn gauges_agree_with_the_database_after_every_transition() {
    let (world, phone) = observed();
    let gauges = |world: &World| (metric(world, "mollysocket_connections"), metric(world, "mollysocket_forbiddens"));
    assert_eq!(gauges(&world), (1.0, 0.0));
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("forbidden", || world.row(&phone).unwrap().forbidden && gauges(&world) == (0.0, 1.0));
    assert_eq!(metric(&world, "mollysocket_accounts{state=\"unlinked\"}"), 1.0);
    world.signal().add_device(&phone.uuid, DEVICE, "another");
    let mut again = phone.clone();
    again.password = "another".into();
    assert_eq!(world.register(&again, false), "ok");
    eventually("connected", || gauges(&world) == (1.0, 0.0));
    world.push.set_default(Answer::status(410));
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    eventually("gone", || metric(&world, "mollysocket_accounts{state=\"endpoint_gone\"}") == 1.0);
    assert_eq!(gauges(&world), (0.0, 0.0));
    smol::block_on(world.store().remove(phone.id())).unwrap();
    eventually("removed", || metric(&world, "mollysocket_accounts{state=\"endpoint_gone\"}") == 0.0);
}

#[test]
fn the_test_push_that_brings_an_endpoint_back_is_counted() {
    let (world, phone) = observed();
    let count = |result: &str| metric(&world, &format!("mollysocket_pushes_total{{result=\"{result}\"}}"));
    world.push.set_default(Answer::status(410));
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    eventually("gone", || world.row(&phone).unwrap().endpoint_gone);
    let before = count("gone");
    assert_eq!(world.register(&phone, false), "invalid_endpoint");
    assert_eq!((count("gone"), count("accepted")), (before + 1.0, 0.0));
    world.push.set_default(Answer::created());
    assert_eq!(world.register(&phone, false), "ok");
    // The second one is the wake-up that was owed.
    eventually("both are counted", || (count("gone"), count("accepted")) == (before + 1.0, 2.0));
}

#[test]
fn an_owed_wake_up_is_shown_until_it_is_accepted() {
    let (world, phone) = observed();
    world.push.set_default(Answer::status(500));
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    eventually("owed", || metric(&world, "mollysocket_owed_wakeups") == 1.0);
    world.push.set_default(Answer::created());
    eventually("paid", || metric(&world, "mollysocket_owed_wakeups") == 0.0);
}

#[test]
fn the_admin_socket_serves_the_metrics_to_the_daemon_s_user_only() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    let (mut world, _phone) = World::connected();
    assert_eq!(get(world.web(), "/metrics", "").0, 404, "not on the web unless asked for");
    let path = world.dir.path().join("db.sqlite.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |target: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/metrics").contains("\nmollysocket_connections 1\n"));
    assert!(ask("/").starts_with("HTTP/1.1 404"));
    // A socket left behind by a crash is no obstacle.
    world.stop();
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    world.start();
    assert!(ask("/metrics").contains("mollysocket_connections"));
}

#[test]
fn a_healthy_day_is_a_handful_of_lines_and_no_alarm() {
    let mut world = phones::world();
    // Many days in a moment.
    world.timings.renew = Duration::from_millis(400);
    world.start();
    let phone = world.phone(7531);
    assert_eq!(world.register(&phone, false), "ok");
    let mut states = BTreeSet::new();
    for _ in 0..25 {
        let guid = world.signal().send(&phone.uuid, phone.device, Envelope::new().urgent(true));
        eventually("acked", || {
            states.insert(world.state(&phone).0);
            world.signal().wait_acked(&phone.uuid, phone.device, guid, Duration::from_millis(1))
        });
    }
    eventually("renewed", || {
        states.insert(world.state(&phone).0);
        phones::connects(&world, &phone) >= phones::ASKED_AND_CONNECTED + 3
    });
    assert!(!states.contains("waiting"), "{states:?}");
    let lines = phones::logged_about(&phone);
    let shown: Vec<_> = lines.iter().filter(|line| !line.starts_with("DEBUG") && !line.starts_with("TRACE")).collect();
    assert!(lines.len() > shown.len(), "they were collected");
    // Registered, connected, and its test push.
    assert!((2..=5).contains(&shown.len()), "{shown:#?}");
    assert!(shown.iter().all(|line| line.starts_with("INFO ")), "{shown:#?}");
}

#[test]
fn the_end_of_a_trouble_is_logged_as_its_beginning_was() {
    let (world, phone) = phones::linked(7532);
    let shown = || {
        let lines = phones::logged_about(&phone);
        lines.into_iter().filter(|line| line.starts_with("WARN") || line.starts_with("INFO")).collect::<Vec<_>>()
    };
    world.push.set_default(Answer::status(401).body(r#"{"code":401,"message":"VAPID public key mismatch"}"#));
    world.signal().send(&phone.uuid, phone.device, Envelope::new().urgent(true));
    world.wait_push_state(&phone, "unauthorized");
    world.push.set_default(Answer::created());
    world.wait_push_state(&phone, "ok");
    world.signal().unlink(&phone.uuid, phone.device);
    world.wait_state(&phone, "unlinked");
    let lines = shown();
    let at =
        |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {lines:#?}"));
    assert!(at("connected to Signal") < at("VAPID public key mismatch"));
    assert!(at("VAPID public key mismatch") < at("accepted again") && at("accepted again") < at("unlinked"));
}

//! Push failures, endpoint changes and edits while accounts run: nothing is lost, and only the right account is touched.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use sim::push::Answer;
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, DEVICE).connects
}

/// The account works: a message wakes the phone and is acked.
fn assert_works(world: &World, phone: &Phone) {
    let before = world.push.requests().len();
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "not acked");
    assert!(world.push.requests().len() > before, "not pushed");
}

fn prepared() -> (World, Phone) {
    let world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    (world, phone)
}

#[test]
fn a_push_outage_loses_nothing_and_ends_with_one_wake_up() {
    let (world, phone) = World::connected();
    world.push.refuse(true);
    world.signal().send_burst(&phone.uuid, DEVICE, 5, urgent());
    world.wait_push_state(&phone, "retrying");
    std::thread::sleep(MOMENT);
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).acked, 0);
    assert!(world.push.requests().is_empty());
    world.push.refuse(false);
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 5, PATIENCE));
    world.wait_push_state(&phone, "ok");
    assert!(world.push.requests().len() <= 2);
}

#[test]
fn each_temporary_push_failure_is_tried_again_until_accepted() {
    for status in [500, 502, 503, 507, 429, 301, 302, 307, 308, 401, 403, 400, 413, 418] {
        let (world, phone) = World::connected();
        let canary = format!("https://localhost:{}/canary", world.push.addr().port());
        world.push.script([Answer::redirect(status, &canary), Answer::status(status)]);
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "{status}");
        let requests = world.push.requests();
        assert_eq!(requests.len(), 3, "{status}: each attempt is one request");
        assert!(requests.iter().all(|r| !r.target.contains("canary")), "{status}: a redirect was followed");
        assert!(!world.row(&phone).unwrap().forbidden && !world.row(&phone).unwrap().endpoint_gone);
    }
}

#[test]
fn a_refused_push_is_unauthorized_and_gets_a_new_token() {
    let (mut world, phone) = prepared();
    // Tokens made in the same second are equal.
    world.timings.push_unauthorized_base = Duration::from_millis(1500);
    world.timings.push_slow_cap = Duration::from_millis(1500);
    world.start();
    world.push.script([Answer::status(403), Answer::status(401)]);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    world.wait_push_state(&phone, "unauthorized");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    world.wait_push_state(&phone, "ok");
    let tokens: Vec<_> =
        world.push.requests().iter().map(|r| r.header("authorization").unwrap_or_default().to_owned()).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2], "the refused token was used again");
}

#[test]
fn a_proxy_that_answers_404_while_it_restarts_costs_a_wait_and_no_account() {
    for status in [404, 410] {
        let (mut world, phone) = prepared();
        world.timings.push_gone = 10 * PATIENCE;
        world.start();
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        world.push.set_default(Answer::status(status).header("Content-Type", "text/html").body("<html>"));
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.push.wait_requests(6, PATIENCE), "it is tried again");
        world.wait_push_state(&phone, "retrying");
        let before = (connects(&world, &phone), world.sockets(&phone));
        assert_eq!((before, world.state(&phone).0.as_str()), ((1, 1), "connected"), "the socket stays");
        assert!(!world.row(&phone).unwrap().endpoint_gone);
        world.push.set_default(Answer::created());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        world.wait_push_state(&phone, "ok");
        assert_eq!((connects(&world, &phone), world.sockets(&phone)), before);
    }
}

#[test]
fn a_gone_endpoint_suspends_reversibly_and_the_debt_goes_to_the_new_one() {
    for status in [404, 410] {
        let (mut world, mut phone) = World::connected();
        let html = Answer::status(status).header("Content-Type", "text/html").body("<h1>Not Found</h1>");
        world.push.set_default_for(&format!("/push/{}", phone.token), html);
        world.signal().send(&phone.uuid, DEVICE, urgent());
        world.wait_state(&phone, "endpoint_gone");
        assert!(world.push.requests().len() >= 4, "few answers prove nothing");
        let accounts = world.daemon.as_ref().unwrap().supervisor.snapshots();
        let reason = &accounts[0].status.signal.reason;
        assert!(reason.contains(&format!("answered {status}")), "{reason}");
        eventually("endpoint_gone is stored", || world.row(&phone).unwrap().endpoint_gone);
        assert!(world.signal().wait_disconnected(&phone.uuid, DEVICE, PATIENCE), "the socket is closed");
        assert!(!world.row(&phone).unwrap().forbidden, "the credentials are kept");
        let before = connects(&world, &phone);
        world.start();
        std::thread::sleep(MOMENT);
        assert_eq!(connects(&world, &phone), before, "suspended across a restart");
        assert_eq!(world.state(&phone).0, "endpoint_gone");

        phone.token = "upNEWENDPOINT1".into();
        assert_eq!(world.register(&phone, false), "ok");
        assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1, PATIENCE));
        let last = world.push.requests().last().unwrap().clone();
        assert!(last.target.ends_with("/upNEWENDPOINT1"));
        assert_eq!(last.text(), r#"{"urgent":true}"#);
    }
}

#[test]
fn an_endpoint_change_needs_no_reconnect_and_takes_the_debt_along() {
    let (world, mut phone) = World::connected();
    let old = format!("/push/{}", phone.token);
    world.push.set_default_for(&old, Answer::status(500));
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    phone.token = "upNEWENDPOINT2".into();
    assert_eq!(world.register(&phone, false), "ok");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests_for("/push/upNEWENDPOINT2").len(), 1);
    let counters = world.signal().counters(&phone.uuid, DEVICE);
    // One message socket; the registration with the same credentials asks Signal nothing.
    assert_eq!((counters.connects, counters.duplicates), (1, 0), "it reconnected");
}

#[test]
fn an_endpoint_change_during_a_hanging_push_is_followed_at_once() {
    let (mut world, mut phone) = prepared();
    world.timings.push = Duration::from_secs(60);
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.push.set_default_for(&format!("/push/{}", phone.token), Answer::hang());
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    phone.token = "upNEWENDPOINT3".into();
    assert_eq!(world.register(&phone, false), "ok");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
}

#[test]
fn command_line_edits_reach_the_running_daemon() {
    let (world, phone) = World::connected();
    let store = world.store();
    let second = world.phone(2);
    smol::block_on(store.put(world.account(&second))).unwrap();
    assert!(world.signal().wait_connected(&second.uuid, DEVICE, PATIENCE), "an added account connects");
    smol::block_on(store.remove(phone.id())).unwrap();
    assert!(world.signal().wait_disconnected(&phone.uuid, DEVICE, PATIENCE), "a removed one disconnects");
    eventually("gone from the status", || world.state(&phone).0.is_empty());
    std::thread::sleep(MOMENT);
    assert!(world.row(&phone).is_none(), "a removed row came back");
    assert!(world.signal().with_state(|s| !s.is_connected(&phone.uuid, DEVICE)));
}

#[test]
fn an_edit_between_the_403s_of_the_old_credentials_is_never_overwritten() {
    let (mut world, mut phone) = prepared();
    world.timings.confirm = Duration::from_millis(700);
    // The daemon notices the edit only after the old credentials' end.
    world.timings.store_poll = Duration::from_secs(3);
    world.signal().change_password(&phone.uuid, DEVICE, "the+new/one");
    world.start();
    assert!(world.signal().wait_upgrades(1, PATIENCE));
    phone.password = "the+new/one".into();
    smol::block_on(world.store().put(world.account(&phone))).unwrap();
    assert!(world.signal().wait_upgrades(3, PATIENCE));
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE), "locked out");
    let row = world.row(&phone).unwrap();
    assert!(!row.forbidden && row.credentials == phone.credentials());
    world.assert_one_socket_each();
}

#[test]
fn removals_whose_pushes_hang_delay_nobody_else() {
    let mut world = World::new();
    world.timings.push = Duration::from_secs(60);
    world.timings.shutdown = Duration::from_secs(3);
    let phones: Vec<_> = (1..=5).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    world.push.set_default(Answer::hang());
    world.start();
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    assert!(world.push.wait_requests(5, PATIENCE));
    let store = world.store();
    for phone in &phones {
        smol::block_on(store.remove(phone.id())).unwrap();
    }
    let other = world.phone(6);
    smol::block_on(store.put(world.account(&other))).unwrap();
    let start = Instant::now();
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    for phone in &phones {
        assert!(world.signal().wait_disconnected(&phone.uuid, DEVICE, PATIENCE));
    }
}

#[test]
fn two_accounts_do_not_share_fates() {
    let (world, phone) = World::connected();
    let other = world.phone(2);
    world.store_phone(&other);
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    world.push.set_default_for(&format!("/push/{}", phone.token), Answer::hang());
    world.signal().send(&phone.uuid, DEVICE, urgent());
    assert_works(&world, &other);
}

//! `POST /` row by row (design, section 6): a phone, the real daemon, a simulated Signal and a simulated push server.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/phones.rs"]
mod phones;
mod support;

use std::thread;

use mollysocket::account::Account;
use phones::*;
use sim::push::Answer;
use sim::signal::{Handshake, Mode};
use support::{MOMENT, PATIENCE, Phone, eventually, register};

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
fn endpoints_that_cannot_be_used_are_invalid_endpoint_for_those_whom_signal_knows() {
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
    assert!(world.push.requests().is_empty());
}

/// Whatever an endpoint names, the answer and the way to it are the same for whoever has no good credentials: nobody
/// learns which names there are in this network, or which servers are allowed.
#[test]
fn strangers_learn_nothing_about_endpoints() {
    let (mut world, known) = linked(0x1030);
    let port = world.push.addr().port();
    world.settings = format!("allowed_endpoints = [\"*\", \"https://localhost:{port}\"]\n");
    world.start();
    world.wait_state(&known, "connected");
    let hosts = ["localhost:1", "localhost", "nowhere.invalid", "10.0.0.1", "9.9.9.9", &format!("localhost:{port}")];
    let wrong = with(&known, |p| p.password = "guessed".to_owned());
    for (stranger, answer) in [(Phone::number(0x1031), "forbidden"), (wrong, "internal_error")] {
        for host in hosts {
            let asked = world.signal().records().statuses().len();
            let endpoint = format!("https://{host}/x");
            let got = register(world.web(), &stranger.uuid, 2, &stranger.password, &endpoint, true);
            assert_eq!(got, answer, "{host}");
            assert_eq!(world.signal().records().statuses().len(), asked + 2, "{host}: Signal refused it twice");
        }
    }
    // Not even while Signal cannot say who is a stranger.
    world.signal().set_mode(Mode::Handshake(Handshake::status(500)));
    for (n, host) in (0x1032..).zip(["nowhere.invalid", "9.9.9.9", &format!("localhost:{port}")]) {
        let stranger = Phone::number(n);
        let endpoint = format!("https://{host}/x");
        assert_eq!(register(world.web(), &stranger.uuid, 2, &stranger.password, &endpoint, false), "ok", "{host}");
    }
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
fn junk_does_not_take_over_an_account_whatever_its_state() {
    for ((world, phone), state) in
        [(linked(0x1040), "connected"), (unlinked(0x1041), "unlinked"), (gone(0x1042), "endpoint_gone")]
    {
        let before = world.push.requests().len();
        let junk = with(&phone, |p| {
            p.password = "guessed".to_owned();
            p.token = "the-strangers-own".to_owned();
        });
        let other_device = Phone { device: 5, ..junk.clone() };
        for signal in [Handshake::Accept, Handshake::status(500), Handshake::status(429), Handshake::proxy_status(403)]
        {
            let what = format!("{state}, {signal:?}");
            for stranger in [&junk, &other_device] {
                world.signal().set_mode(Mode::Handshake(signal.clone()));
                undisturbed(&world, &phone, || {
                    assert_eq!(world.register(stranger, true), "internal_error", "{what}");
                });
            }
        }
        assert_eq!(world.push.requests().len(), before, "{state}: nothing was sent to the stranger");
        world.signal().set_mode(Mode::Handshake(Handshake::Accept));
        let owner = if state == "unlinked" { "forbidden" } else { "ok" };
        assert_eq!(world.register(&phone, false), owner, "{state}: the owner is told what is true");
    }
}

#[test]
fn unlinked_credentials_resume_when_signal_accepts_them_again() {
    let (world, phone) = unlinked(0x1043);
    world.signal().set_mode(Mode::Handshake(Handshake::status(500)));
    undisturbed(&world, &phone, || assert_eq!(world.register(&phone, false), "forbidden"));
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    world.signal().add_device(&phone.uuid, phone.device, &phone.password);
    let moved = moved(&phone);
    assert_eq!(world.register(&moved, false), "ok");
    world.wait_state(&phone, "connected");
    eventually("a test push", || pushes(&world, &moved) == [r#"{"test":true}"#]);
    wakes(&world, &moved);
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
        // A refusal of an older token is answered with a new one.
        let requests = if status == 403 { 2 } else { 1 };
        world.push.script(vec![answer; requests]);
        assert_eq!(world.register(&phone, false), word, "{status}");
        assert_eq!(pushes(&world, &phone).len(), before + requests, "{status}: one test push");
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

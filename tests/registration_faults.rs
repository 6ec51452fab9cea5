//! Registrations while something is full, slow, broken or in a hurry; and what the log says about them.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/phones.rs"]
mod phones;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use mollysocket::store::Put;
use mollysocket::timings::Rate;

use phones::*;
use sim::push::Answer;
use sim::signal::{Handshake, Mode};
use support::{MOMENT, PATIENCE, Phone, eventually, post};

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
fn registrations_at_the_same_time_do_not_overshoot_max_accounts() {
    let mut world = world();
    world.settings = "max_accounts = 20\n".to_owned();
    world.limits.web_connections_per_client = 64;
    world.limits.asks_at_once = 64;
    world.start();
    // Signal takes its time, so that all have been counted before the first one is stored.
    world.signal().set_mode(Mode::Handshake(Handshake::Late(Duration::from_millis(300))));
    let phones: Vec<Phone> = (0x3000..0x3032).map(|n| world.phone(n)).collect();
    let mut answers: Vec<String> = thread::scope(|scope| {
        let all: Vec<_> = phones.iter().map(|phone| scope.spawn(|| world.register(phone, false))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(smol::block_on(world.store().count()).unwrap(), 20);
    answers.sort();
    assert_eq!(answers, [vec!["internal_error"; 30], vec!["ok"; 20]].concat());
    let stored = phones.iter().filter(|phone| world.row(phone).is_some());
    let full = phones.iter().filter(|phone| logged_about(phone).iter().any(|line| line.contains("max_accounts")));
    assert_eq!((stored.count(), full.count()), (20, 30));
}

#[test]
fn an_outage_of_signal_does_not_let_strangers_fill_the_database() {
    let mut world = world();
    world.limits.unconfirmed = Rate { burst: 2, every: Duration::from_secs(3600) };
    world.start();
    let first = world.phone(0x1021);
    assert_eq!(world.register(&first, false), "ok", "asked and confirmed: not counted");
    world.signal().set_mode(Mode::Handshake(Handshake::status(500)));
    let strangers: Vec<Phone> = (0x1022..0x1026).map(|n| world.phone(n)).collect();
    let answers: Vec<String> = strangers.iter().map(|phone| world.register(phone, false)).collect();
    assert_eq!(answers, ["ok", "ok", "internal_error", "internal_error"]);
    assert_eq!(smol::block_on(world.store().count()).unwrap(), 3);
    assert_eq!(world.register(&moved(&first), false), "ok", "those who are in stay in");
    assert!(
        logged_about(&strangers[2]).iter().any(|line| line.starts_with("WARN") && line.contains("without its word"))
    );
}

#[test]
fn nobody_unknown_is_stored_while_signal_limits_us() {
    let mut world = world();
    world.limits.unconfirmed = Rate { burst: 1, every: Duration::from_secs(3600) };
    world.start();
    let strangers: Vec<Phone> = (0x102b..0x102f).map(|n| world.phone(n)).collect();
    for (stranger, limit) in strangers.iter().zip([Handshake::status(429), Handshake::retry_after(429, "30")]) {
        world.signal().set_mode(Mode::Handshake(limit));
        assert_eq!(world.register(stranger, false), "internal_error");
        assert_eq!(world.row(stranger), None);
        assert!(logged_about(stranger).iter().any(|line| line.starts_with("WARN") && line.contains("429")));
    }
    world.signal().set_mode(Mode::Handshake(Handshake::status(500)));
    assert_eq!(world.register(&strangers[2], false), "ok", "undecided, and the limited ones took no place of those");
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    assert_eq!(world.register(&strangers[0], false), "ok", "the same phone, later");
}

#[test]
fn a_known_phone_is_not_put_off_while_strangers_take_every_turn() {
    let mut world = world();
    world.limits.strangers_at_once = 2;
    world.start();
    let phone = world.phone(0x1027);
    assert_eq!(world.register(&phone, false), "ok");
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    thread::scope(|scope| {
        for n in 0..2 {
            let stranger = world.phone(0x1028 + n);
            let world = &world;
            scope.spawn(move || world.register(&stranger, false));
        }
        thread::sleep(MOMENT);
        let third = world.phone(0x102a);
        assert_eq!(world.register(&third, false), "internal_error");
        assert!(logged_about(&third).iter().any(|line| line.contains("allowed_uuids")));
        assert_eq!(world.register(&phone, false), "ok");
        assert_eq!(world.register(&moved(&phone), true), "ok");
    });
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
    let mut world = world();
    world.limits.registrations_per_account = 20;
    world.start();
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
    world.assert_one_socket_each();
}

#[test]
fn one_account_has_few_registrations_in_work_and_the_rest_is_refused_at_once() {
    let (mut world, phone) = gone(0x1050);
    world.timings.push = Duration::from_secs(60);
    world.timings.answer = PATIENCE;
    world.start();
    let other = world.phone(0x1051);
    assert_eq!(world.register(&other, false), "ok");
    // A test push decides, and its server says nothing.
    world.push.set_default_for(&format!("/push/{}", phone.token), Answer::hang());
    let before = pushes(&world, &phone).len();
    thread::scope(|scope| {
        let all: Vec<_> = (0..30).map(|_| scope.spawn(|| world.register(&phone, false))).collect();
        eventually("all but four were refused", || all.iter().filter(|one| one.is_finished()).count() == 26);
        assert_eq!(world.register(&moved(&other), false), "ok", "others go on");
        assert!(logged_about(&phone).iter().any(|line| line.contains("too many registrations of this account")));
        // One that is cut off before it is there would be sent to a server that says nothing once more.
        eventually("four wait for the push server", || pushes(&world, &phone).len() == before + 4);
        world.push.cut_all();
        assert!(all.into_iter().all(|one| one.join().unwrap() == "internal_error"));
    });
    world.push.unset_default_for(&format!("/push/{}", phone.token));
    eventually("there is a place again", || world.register(&phone, false) == "ok");
}

#[test]
fn right_credentials_never_wait_behind_wrong_ones() {
    let mut world = world();
    world.timings.check = PATIENCE;
    world.timings.answer = PATIENCE;
    world.start();
    let phone = world.phone(0x1052);
    assert_eq!(world.register(&phone, false), "ok");
    world.wait_state(&phone, "connected");
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    thread::scope(|scope| {
        let junk: Vec<_> = (0..8)
            .map(|n| {
                let wrong = with(&phone, |p| p.password = format!("wrong{n}"));
                let world = &world;
                scope.spawn(move || world.register(&wrong, false))
            })
            .collect();
        eventually("Signal is asked about four, the rest is refused", || {
            junk.iter().filter(|one| one.is_finished()).count() == 4
        });
        for n in 0..10 {
            let phone = with(&phone, |p| p.token += &format!("-{}", n / 2));
            assert_eq!(world.register(&phone, n % 2 == 1), "ok");
        }
        assert_eq!(junk.iter().filter(|one| !one.is_finished()).count(), 4, "Signal still says nothing");
        world.signal().set_mode(Mode::Handshake(Handshake::Accept));
        world.signal().cut_all();
        assert!(junk.into_iter().all(|one| one.join().unwrap() == "internal_error"));
    });
}

#[test]
fn what_was_stored_while_signal_was_asked_in_vain_stays() {
    let world = started();
    let phone = world.phone(0x1053);
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    let junk = with(&phone, |p| p.password = "guessed".to_owned());
    thread::scope(|scope| {
        let junk = scope.spawn(|| world.register(&junk, false));
        thread::sleep(MOMENT);
        assert!(!junk.is_finished(), "Signal is being asked");
        world.store_phone(&phone);
        assert_eq!(junk.join().unwrap(), "internal_error");
    });
    assert_eq!(world.row(&phone), Some(world.account(&phone)));
}

#[test]
fn a_row_that_cannot_be_understood_is_replaced_only_when_signal_accepts() {
    let mut world = world();
    let phone = world.phone(0x1054);
    drop(world.store());
    world.store_row(&phone.uuid, 900);
    world.start();
    world.signal().set_mode(Mode::Handshake(Handshake::status(500)));
    assert_eq!(world.register(&phone, false), "internal_error");
    let device = || -> u32 {
        let database = rusqlite::Connection::open(world.db()).unwrap();
        database.query_row("SELECT device_id FROM connections", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(device(), 900);
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    assert_eq!(world.register(&phone, false), "ok");
    assert_eq!(device(), u32::from(phone.device));
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

#[test]
fn a_row_that_somebody_changed_after_the_decision_is_not_written() {
    let world = world();
    let (store, phone) = (world.store(), world.phone(0x1055));
    let (first, second) = (world.account(&phone), world.account(&moved(&phone)));
    smol::block_on(async {
        let nobody = store.look(phone.id()).await.unwrap();
        assert_eq!(store.put_if(nobody.clone(), first.clone(), 1).await.unwrap(), Put::Stored);
        assert_eq!(store.put_if(nobody, second.clone(), 2).await.unwrap(), Put::Changed);
        let before = store.look(phone.id()).await.unwrap();
        store.set_paused(phone.id(), true).await.unwrap();
        assert_eq!(store.put_if(before, second.clone(), 2).await.unwrap(), Put::Changed);
        let paused = store.look(phone.id()).await.unwrap();
        assert_eq!(store.put_if(paused, second.clone(), 0).await.unwrap(), Put::Stored, "it has its place");
    });
    assert_eq!(world.row(&phone), Some(second));
}

//! The state machine of the design, section 3: what each end and each refusal leads to.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use sim::push::Answer;
use sim::signal::{Envelope, Handshake, Keepalive, Mode, Queues, UaRule};
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, DEVICE).connects
}

fn wait_for_connects(world: &World, phone: &Phone, n: u64) {
    eventually(&format!("{n} connects"), || connects(world, phone) >= n);
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
fn every_way_a_connection_ends_is_followed_by_a_new_one() {
    let (world, phone) = World::connected();
    let signal = world.signal();
    let mut n = 1;
    for code in [1000, 1001, 1011, 4401, 4000] {
        assert!(signal.close(&phone.uuid, DEVICE, code, "bye"));
        n += 1;
        wait_for_connects(&world, &phone, n);
        assert!(signal.wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
    assert!(signal.cut(&phone.uuid, DEVICE));
    wait_for_connects(&world, &phone, n + 1);
    assert!(signal.wait_connected(&phone.uuid, DEVICE, PATIENCE));
    assert!(signal.reset(&phone.uuid, DEVICE));
    wait_for_connects(&world, &phone, n + 2);
    assert!(signal.wait_connected(&phone.uuid, DEVICE, PATIENCE));
    assert_works(&world, &phone);
    world.assert_one_socket_each();
}

#[test]
fn every_failed_handshake_is_tried_again() {
    let (mut world, phone) = prepared();
    world.timings.tls = Duration::from_millis(300);
    world.timings.upgrade = Duration::from_millis(300);
    let failures = [
        Handshake::RefuseTcp,
        Handshake::AcceptTcpOnly,
        Handshake::TlsThenSilent,
        Handshake::status(500),
        Handshake::proxy_status(502),
        Handshake::proxy_status(401),
        Handshake::proxy_status(403),
        Handshake::proxy_status(404),
        Handshake::proxy_status(429),
        Handshake::proxy_status(302),
        Handshake::proxy_status(200),
        Handshake::status(508),
    ];
    for failure in failures.clone() {
        world.signal().for_next(1, failure);
    }
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    assert_works(&world, &phone);
    assert_eq!(world.row(&phone).map(|r| r.forbidden), Some(false));
}

#[test]
fn a_403_of_signal_seen_twice_unlinks_for_good_and_leaves_others_alone() {
    let (mut world, phone) = World::connected();
    let other = world.phone(2);
    world.store_phone(&other);
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    world.signal().unlink(&phone.uuid, DEVICE);
    world.wait_state(&phone, "unlinked");
    eventually("forbidden is stored", || world.row(&phone).unwrap().forbidden);
    let refusals = |world: &World| world.signal().records().statuses().iter().filter(|s| **s == 403).count();
    assert_eq!(refusals(&world), 2, "asked exactly twice");
    std::thread::sleep(MOMENT);
    assert_eq!(refusals(&world), 2);
    assert_works(&world, &other);
    world.start();
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    std::thread::sleep(MOMENT);
    assert_eq!(refusals(&world), 2, "an unlinked device must not be tried after a restart");
    assert_eq!(world.state(&phone).0, "unlinked");
}

#[test]
fn a_403_without_signals_timestamp_never_unlinks() {
    let (mut world, phone) = prepared();
    world.signal().set_mode(Mode::TimestampHeader(false));
    world.signal().change_password(&phone.uuid, DEVICE, "another");
    world.start();
    assert!(world.signal().wait_upgrades(6, PATIENCE));
    assert_eq!(world.state(&phone).0.replace("connecting", "waiting"), "waiting");
    assert!(!world.row(&phone).unwrap().forbidden);
    world.signal().change_password(&phone.uuid, DEVICE, &phone.password);
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
}

#[test]
fn one_403_of_signal_does_not_unlink() {
    let (mut world, phone) = prepared();
    world.signal().for_next(1, Handshake::status(403));
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    assert!(!world.row(&phone).unwrap().forbidden);
}

#[test]
fn a_close_4401_is_followed_by_the_403_that_decides() {
    let (world, phone) = World::connected();
    let start = Instant::now();
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("forbidden is stored", || world.row(&phone).unwrap().forbidden);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(world.push.requests().is_empty());
}

#[test]
fn a_499_tries_the_next_user_agent_and_keeps_the_one_that_works() {
    let (mut world, phone) = prepared();
    world.signal().set_spqr(&phone.uuid, DEVICE, false);
    world.signal().set_mode(Mode::Handshake(Handshake::UserAgent(UaRule::require_spqr())));
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.signal().cut(&phone.uuid, DEVICE);
    wait_for_connects(&world, &phone, 2);
    let agents: Vec<_> =
        world.signal().records().upgrades.iter().map(|u| u.user_agent().unwrap_or_default().to_owned()).collect();
    assert!(agents[0].starts_with("MollySocket/"));
    assert!(agents[1].starts_with("Signal-Android/8.19.2 Android/36 MollySocket/"));
    assert_eq!(agents[2], agents[1]);
}

#[test]
fn when_every_user_agent_is_refused_the_account_waits_as_refused_and_recovers() {
    let (mut world, phone) = prepared();
    world.signal().set_spqr(&phone.uuid, DEVICE, false);
    let rule = UaRule { ..UaRule::minimum("Android", (99, 0, 0)) };
    world.signal().set_mode(Mode::Handshake(Handshake::UserAgent(UaRule { require_spqr: true, ..rule })));
    world.start();
    world.wait_state(&phone, "refused");
    assert!(!world.row(&phone).unwrap().forbidden, "a refused client is no refused login");
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
}

#[test]
fn retry_after_is_honoured_in_both_forms() {
    for date in [false, true] {
        let (world, phone) = World::connected();
        // A date has whole seconds: three ahead leave two at least.
        let until = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3));
        let value = if date { until } else { "2".to_owned() };
        let start = Instant::now();
        world.signal().for_next(1, Handshake::retry_after(429, value));
        world.signal().cut(&phone.uuid, DEVICE);
        wait_for_connects(&world, &phone, 2);
        assert!(start.elapsed() >= Duration::from_millis(1900), "asked again too early: {:?}", start.elapsed());
    }
}

#[test]
fn displacement_waits_ever_longer_and_never_wakes_the_phone() {
    let (world, phone) = World::connected();
    let mut at = vec![Instant::now()];
    for n in 0..4 {
        assert!(world.signal().close(&phone.uuid, DEVICE, 4409, "Connected elsewhere"));
        world.wait_state(&phone, "displaced");
        wait_for_connects(&world, &phone, n + 2);
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        at.push(Instant::now());
    }
    let gaps: Vec<_> = at.windows(2).map(|w| w[1] - w[0]).collect();
    for (gap, base) in gaps.iter().zip([200u64, 400, 800, 1600]) {
        assert!(*gap >= Duration::from_millis(base * 3 / 4), "{gaps:?}");
    }
    assert!(world.push.requests().is_empty(), "4409 must not wake the phone");
}

#[test]
fn a_missing_keepalive_answer_is_noticed_and_mended() {
    let (world, phone) = World::connected();
    world.signal().set_mode(Mode::Keepalive(Keepalive::BlackHole));
    wait_for_connects(&world, &phone, 2);
    world.signal().set_mode(Mode::Keepalive(Keepalive::Answer));
    world.wait_state(&phone, "connected");
    assert_works(&world, &phone);
}

#[test]
fn a_path_that_drops_every_packet_is_noticed() {
    let (world, phone) = World::connected();
    world.signal().set_mode_for(&phone.uuid, DEVICE, Mode::Silent(true));
    eventually("trouble", || world.state(&phone).0 != "connected");
    world.signal().set_mode_for(&phone.uuid, DEVICE, Mode::Silent(false));
    wait_for_connects(&world, &phone, 2);
    world.wait_state(&phone, "connected");
    assert_works(&world, &phone);
}

#[test]
fn a_listener_lost_at_signal_is_mended() {
    let (world, phone) = World::connected();
    world.signal().set_mode(Mode::Keepalive(Keepalive::NotLocallyPresent));
    wait_for_connects(&world, &phone, 2);
    world.signal().set_mode(Mode::Keepalive(Keepalive::Answer));
    world.wait_state(&phone, "connected");
    assert_works(&world, &phone);
}

#[test]
fn a_slow_handshake_does_not_count_against_the_keepalive() {
    let (mut world, phone) = prepared();
    world.timings.keepalive = Duration::from_millis(100);
    world.timings.keepalive_answer = Duration::from_millis(400);
    // Longer than interval and patience together, then it works: the clock starts when the connection is open.
    world.signal().for_next(1, Handshake::Late(Duration::from_millis(1200)));
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.wait_state(&phone, "connected");
    std::thread::sleep(MOMENT);
    assert_eq!(connects(&world, &phone), 1, "aborted right after the handshake");
}

#[test]
fn old_connections_are_renewed() {
    let (mut world, phone) = prepared();
    world.timings.renew = Duration::from_millis(400);
    world.start();
    wait_for_connects(&world, &phone, 3);
    assert_works(&world, &phone);
    world.assert_one_socket_each();
}

#[test]
fn signals_restart_is_survived_by_every_account() {
    let mut world = World::new();
    let phones: Vec<_> = (1..=30).map(|n| world.phone(n)).collect();
    for phone in &phones {
        world.store_phone(phone);
    }
    world.start();
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
    let queues: Queues = world.stop_signal();
    std::thread::sleep(MOMENT);
    world.start_signal(queues);
    for phone in &phones {
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    for phone in &phones {
        assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1, PATIENCE), "{}", phone.uuid);
        assert!(!world.push.requests_for(&format!("/push/{}", phone.token)).is_empty());
    }
    world.assert_one_socket_each();
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
fn a_gone_endpoint_suspends_reversibly_and_the_debt_goes_to_the_new_one() {
    for status in [404, 410] {
        let (mut world, mut phone) = World::connected();
        world.push.script([Answer::status(status)]);
        world.signal().send(&phone.uuid, DEVICE, urgent());
        world.wait_state(&phone, "endpoint_gone");
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
fn an_edit_between_the_two_403s_of_the_old_credentials_is_never_overwritten() {
    let (mut world, mut phone) = prepared();
    world.timings.confirm = Duration::from_millis(700);
    // The daemon notices the edit only after the old credentials' end.
    world.timings.store_poll = Duration::from_secs(3);
    world.signal().change_password(&phone.uuid, DEVICE, "the+new/one");
    world.start();
    assert!(world.signal().wait_upgrades(1, PATIENCE));
    phone.password = "the+new/one".into();
    smol::block_on(world.store().put(world.account(&phone))).unwrap();
    assert!(world.signal().wait_upgrades(2, PATIENCE));
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
fn accounts_waiting_out_an_outage_are_released_by_the_first_success() {
    let mut world = World::new();
    world.timings.backoff_base = Duration::from_secs(40);
    world.timings.backoff_cap = Duration::from_secs(40);
    let phones: Vec<_> = (1..=20).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    world.signal().set_mode(Mode::Handshake(Handshake::RefuseTcp));
    world.start();
    for phone in &phones {
        world.wait_state(phone, "waiting");
    }
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    let probe = world.phone(21);
    let start = Instant::now();
    smol::block_on(world.store().put(world.account(&probe))).unwrap();
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
    // Alone, the last of them would have waited 38 s on average.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
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

#[test]
fn an_outage_of_signal_is_probed_not_stormed_and_ends_for_everybody_at_once() {
    let mut world = World::new();
    world.limits.gate_probes_per_second = 20;
    world.timings.backoff_cap = Duration::from_millis(200);
    let phones: Vec<_> = (1..=60).map(|n| world.phone(n)).collect();
    for phone in &phones {
        world.store_phone(phone);
    }
    world.signal().set_mode(Mode::Handshake(Handshake::proxy_status(503)));
    world.start();
    // The first round of attempts is on its way before anybody can know of the outage.
    assert!(world.signal().wait_upgrades(70, PATIENCE));
    let before = world.signal().records().upgrades.len();
    std::thread::sleep(Duration::from_secs(1));
    let attempts = world.signal().records().upgrades.len() - before;
    // Without the gate 60 accounts that wait 0.1 s on average would make about 600 attempts.
    assert!((1..=60).contains(&attempts), "{attempts} attempts in a second");
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
}

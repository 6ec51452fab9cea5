//! The state machine of the design, section 3: what each end and each refusal leads to.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

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

/// It saves both sides the signatures: after a restart of Signal's that is most of what reconnecting costs.
#[test]
// native-tls offers no way to it.
#[cfg(not(feature = "native-tls"))]
fn a_new_connection_resumes_the_tls_session_of_the_last() {
    let (world, phone) = World::connected();
    let resumed = || world.signal().records().tls_resumed;
    assert_eq!(resumed(), 0, "there was no session yet");
    for n in 2..=6 {
        assert!(world.signal().cut(&phone.uuid, DEVICE));
        wait_for_connects(&world, &phone, n);
        assert_eq!(resumed(), n - 1);
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
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
fn a_403_of_signal_seen_three_times_unlinks_for_good_and_leaves_others_alone() {
    let (mut world, phone) = World::connected();
    let other = world.phone(2);
    world.store_phone(&other);
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    world.signal().unlink(&phone.uuid, DEVICE);
    world.wait_state(&phone, "unlinked");
    eventually("forbidden is stored", || world.row(&phone).unwrap().forbidden);
    let refusals = |world: &World| world.signal().records().statuses().iter().filter(|s| **s == 403).count();
    assert_eq!(refusals(&world), 3, "asked exactly three times");
    std::thread::sleep(MOMENT);
    assert_eq!(refusals(&world), 3);
    assert_works(&world, &other);
    world.start();
    assert!(world.signal().wait_connected(&other.uuid, DEVICE, PATIENCE));
    std::thread::sleep(MOMENT);
    assert_eq!(refusals(&world), 3, "an unlinked device must not be tried after a restart");
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
fn two_403s_of_signal_do_not_unlink() {
    let (mut world, phone) = prepared();
    world.signal().for_next(2, Handshake::status(403));
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
fn an_outage_of_signal_is_probed_not_stormed_and_ends_for_everybody_at_once() {
    let mut world = World::new();
    world.limits.breaker_probes_per_second = 20;
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
    // Without the circuit breaker 60 accounts that wait 0.1 s on average would make about 600 attempts.
    assert!((1..=60).contains(&attempts), "{attempts} attempts in a second");
    world.signal().set_mode(Mode::Handshake(Handshake::Accept));
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
}

//! One connection: what is acked, when, and what wakes the phone.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use mollysocket::timings::Timings;
use sim::push::{Answer, Behaviour};
use sim::signal::{Envelope, Keepalive, Mode};
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

#[test]
fn an_urgent_envelope_is_acked_only_after_the_push_server_accepted_a_wake_up() {
    let (world, phone) = World::connected();
    world.push.set_default(Answer::created().delay(Duration::from_millis(250)));
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).acked, 0, "acked before the push was accepted");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    let ack = &world.signal().records().acked(&phone.uuid, DEVICE)[0];
    let push = &world.push.requests()[0];
    assert!(ack.at >= push.at + Duration::from_millis(250));
    assert_eq!((ack.status, ack.message.as_str()), (200, "OK"));
    assert_eq!(push.text(), r#"{"urgent":true}"#);
}

#[test]
fn an_envelope_without_the_urgent_tag_wakes() {
    let (world, phone) = World::connected();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().no_urgent_tag());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), 1);
}

#[test]
fn a_quiet_envelope_is_acked_at_once_and_wakes_nobody() {
    let (world, phone) = World::connected();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(false));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    std::thread::sleep(MOMENT);
    assert!(world.push.requests().is_empty());
}

#[test]
fn unreadable_envelopes_wake_and_are_acked() {
    for envelope in [Envelope::new().raw_body(vec![0xff; 9]), Envelope::new().missing_body()] {
        let (world, phone) = World::connected();
        let guid = world.signal().send(&phone.uuid, DEVICE, envelope);
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        assert_eq!(world.push.requests().len(), 1);
    }
}

#[test]
fn a_connection_that_brings_messages_is_not_given_up_for_lost_keepalive_answers() {
    let (world, phone) = World::connected();
    world.signal().set_mode(Mode::Keepalive(Keepalive::BlackHole));
    // Three times as long as a silent one would last.
    for _ in 0..60 {
        let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(false));
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).connects, 1);
}

#[test]
fn reading_acks_and_keepalives_do_not_wait_for_a_hanging_push() {
    let (world, phone) = World::connected();
    world.push.set_default(Answer::hang());
    let owed = world.signal().send_burst(&phone.uuid, DEVICE, 2, urgent());
    let quiet = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(false));
    assert!(world.push.wait_requests(1, PATIENCE));
    // The two urgent ones may have been published without the third; then Signal holds it back, as it should.
    let beats = world.signal().records().keepalives.len();
    assert!(world.signal().wait_keepalives(beats + 2, PATIENCE), "keepalives stopped");
    assert!(!world.signal().wait_acked(&phone.uuid, DEVICE, owed[0], MOMENT));
    world.push.set_default(Answer::created());
    for guid in owed.into_iter().chain([quiet]) {
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    }
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).connects, 1, "it had to reconnect");
}

#[test]
fn other_messages_of_a_batch_are_acked_while_a_wake_up_is_owed() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.push.set_default(Answer::status(500));
    let first = world.signal().send(&phone.uuid, DEVICE, urgent());
    let second = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(false));
    world.start();
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, second, PATIENCE));
    assert!(!world.signal().wait_acked(&phone.uuid, DEVICE, first, Duration::from_millis(10)));
    world.push.set_default(Answer::created());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, first, PATIENCE));
}

#[test]
fn every_message_of_a_large_burst_is_acked_exactly_once_with_few_wake_ups() {
    let (world, phone) = World::connected();
    world.signal().send_burst(&phone.uuid, DEVICE, 1000, urgent());
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1000, PATIENCE));
    let records = world.signal().records();
    assert_eq!(records.acked(&phone.uuid, DEVICE).len(), 1000);
    assert_eq!((records.stray_responses, records.device(&phone.uuid, DEVICE).non_2xx), (0, 0));
    let pushes = world.push.requests().len();
    assert!((1..=20).contains(&pushes), "{pushes} pushes for one burst");
    assert_eq!(world.push.max_in_flight(), 1);
}

#[test]
fn a_backlog_of_an_outage_costs_one_wake_up() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    let ten_minutes_ago = world.signal().with_state(|s| s.now_ms()) - 600_000;
    world.signal().send_burst(&phone.uuid, DEVICE, 2000, urgent().server_timestamp(ten_minutes_ago));
    world.start();
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 2000, PATIENCE));
    std::thread::sleep(MOMENT);
    assert_eq!(world.push.requests().len(), 1);
}

#[test]
fn an_envelope_newer_than_the_margin_is_not_already_fetched() {
    let (world, phone) = World::connected();
    for n in 1..=3 {
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        assert_eq!(world.push.requests().len(), n);
    }
    // No timestamp: never already fetched.
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().raw_body(vec![0x70, 0x01]));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), 4);
}

#[test]
fn a_restart_knows_what_the_phone_has_fetched() {
    let (mut world, phone) = World::connected();
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    world.stop();
    let fetched = world.row(&phone).unwrap().fetched_until.expect("kept on stop").0;
    world.signal().send(&phone.uuid, DEVICE, urgent().server_timestamp(fetched - 1));
    world.start();
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 2, PATIENCE));
    std::thread::sleep(MOMENT);
    assert_eq!(world.push.requests().len(), 1, "an envelope already fetched woke the phone again");
    world.signal().send(&phone.uuid, DEVICE, urgent().server_timestamp(fetched));
    assert!(world.push.wait_requests(2, PATIENCE), "a new one did not");
}

#[test]
fn fetched_until_is_in_signals_clock_not_ours() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.signal().set_mode(Mode::ClockOffset(-86_400_000));
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    for n in 1..=2 {
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        assert_eq!(world.push.requests().len(), n, "a day's difference must not make new envelopes count as fetched");
    }
}

#[test]
fn the_phones_own_sync_wakes_it_only_on_request() {
    for (setting, pushes) in [("false", 0), ("true", 1)] {
        let mut world = World::new();
        world.settings = format!("wake_for_own_sync = {setting}\n");
        let phone = world.phone(1);
        world.store_phone(&phone);
        world.start();
        let own = world.signal().send(&phone.uuid, DEVICE, urgent().source(&phone.uuid, 1));
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, own, PATIENCE));
        assert_eq!(world.push.requests().len(), pushes);
        let other_device = world.signal().send(&phone.uuid, DEVICE, urgent().source(&phone.uuid, 3));
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, other_device, PATIENCE));
        assert_eq!(world.push.requests().len(), pushes + 1);
    }
}

#[test]
fn strange_frames_and_requests_do_not_end_the_session() {
    let (world, phone) = World::connected();
    let signal = world.signal();
    signal.send_text(&phone.uuid, DEVICE, "hello");
    signal.send_ping(&phone.uuid, DEVICE);
    let unknown = signal.send_request(&phone.uuid, DEVICE, "PUT", "/api/v9/new", Some(vec![1])).unwrap();
    let garbage = signal.send_request(&phone.uuid, DEVICE, "\u{1}", "not a path", None).unwrap();
    signal.send_binary(&phone.uuid, DEVICE, b"Connected elsewhere".to_vec());
    signal.send_binary(&phone.uuid, DEVICE, vec![0x08; 4000]);
    signal.send_binary(&phone.uuid, DEVICE, Vec::new());
    assert!(world.push.wait_requests(1, PATIENCE), "a frame that may have been a message wakes");
    let guid = signal.send(&phone.uuid, DEVICE, urgent().content_size(90_000));
    assert!(signal.wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    let records = signal.records();
    assert_eq!(records.device(&phone.uuid, DEVICE).connects, 1);
    assert!(records.server_closes.is_empty(), "{:?}", records.server_closes);
    for id in [unknown, garbage] {
        assert!(records.raw_responses.contains(&(id, 404)), "unknown requests are answered");
    }
}

#[test]
fn fragmented_messages_are_put_together() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.signal().set_mode(Mode::FragmentSize(100));
    world.start();
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent().content_size(5000));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), 1);
}

#[test]
fn a_message_over_the_limit_ends_the_session_not_the_program() {
    let (world, phone) = World::connected();
    world.signal().send_binary(&phone.uuid, DEVICE, vec![0; 1024 * 1024 + 1]);
    eventually("a new connection", || world.signal().counters(&phone.uuid, DEVICE).connects >= 2);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
}

#[test]
fn a_lost_ack_leads_to_a_redelivery_that_is_acked_again() {
    let (world, phone) = World::connected();
    world.signal().set_mode_for(&phone.uuid, DEVICE, Mode::LoseAcks(1));
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert!(world.signal().counters(&phone.uuid, DEVICE).duplicates >= 1);
    assert_eq!(world.signal().queue_len(&phone.uuid, DEVICE), 0);
}

#[test]
fn the_upgrade_request_is_what_signal_expects() {
    let (world, phone) = World::connected();
    let request = world.signal().records().upgrades[0].clone();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(request.user_agent(), Some(format!("MollySocket/{version}").as_str()));
    let login = format!("{}.{}:{}", phone.uuid, phone.device, phone.password);
    use base64::Engine as _;
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
    assert_eq!(request.header("authorization"), Some(basic.as_str()));
    assert!(!request.offered_deflate() && !request.sent_origin());
    assert_eq!(request.header("x-signal-receive-stories"), None);
    assert_eq!(request.header("x-signal-disable-messages"), None);
    assert!(!request.target.contains('?') && !request.target.contains(&phone.uuid), "credentials are in no URL");
}

#[test]
fn stories_never_arrive_and_block_nothing() {
    let (world, phone) = World::connected();
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().story().urgent(false));
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).delivered, 1, "Signal itself drops the story");
    assert_eq!(world.signal().queue_len(&phone.uuid, DEVICE), 0);
}

#[test]
fn a_push_that_drips_does_not_hold_the_session() {
    let (world, phone) = World::connected();
    let drip = Behaviour::DripHead(1, Duration::from_millis(200));
    world.push.script([Answer::behave(drip)]);
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert!(world.push.requests().len() >= 2, "given up and tried again");
}

#[test]
fn keepalives_keep_their_interval() {
    let (world, _phone) = World::connected();
    assert!(world.signal().wait_keepalives(4, PATIENCE));
    let beats = world.signal().records().keepalives;
    assert!(beats[3].at - beats[0].at >= world.timings.keepalive * 2, "too often");
    world.signal().set_mode(Mode::Keepalive(Keepalive::Delay(Duration::from_millis(100))));
    assert!(world.signal().wait_keepalives(6, PATIENCE));
}

#[test]
fn fetched_until_is_written_at_most_once_in_its_interval() {
    let mut world = World::new();
    world.timings.fetched_write = Duration::from_secs(60);
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.start();
    let wake = |world: &World| {
        let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    };
    let fetched = |world: &World| world.row(&phone).unwrap().fetched_until;
    wake(&world);
    eventually("the first one is written at once", || fetched(&world).is_some());
    let first = fetched(&world);
    std::thread::sleep(Duration::from_millis(50));
    wake(&world);
    std::thread::sleep(MOMENT);
    assert_eq!(fetched(&world), first, "written again within the interval");
    world.stop();
    assert!(fetched(&world) > first, "and on stop");
    // What the program uses: fsyncs wear SD cards.
    assert_eq!(Timings::default().fetched_write, Duration::from_secs(15 * 60));
}

#[test]
fn on_stop_fetched_until_of_all_accounts_is_written_in_one_transaction() {
    let mut world = World::new();
    world.timings.fetched_write = Duration::from_secs(60);
    let phones: Vec<Phone> = (1..=100).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    world.start();
    for phone in &phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
    // Keeps the log from being removed on stop.
    let log_keeper = rusqlite::Connection::open(world.db()).unwrap();
    let log = world.db().with_extension("sqlite-wal");
    assert_eq!(log_keeper.query_row("SELECT count(*) FROM connections", [], |row| row.get(0)), Ok(100));
    // By account, in the order of the rows.
    let fetched = |world: &World| {
        let listing = smol::block_on(world.store().list()).unwrap();
        listing.accounts.into_iter().map(|account| account.fetched_until).collect::<Vec<_>>()
    };
    let wake_all = || {
        let guids = phones.iter().map(|phone| world.signal().send(&phone.uuid, DEVICE, urgent()));
        for (phone, guid) in phones.iter().zip(guids.collect::<Vec<_>>()) {
            assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
        }
    };
    wake_all();
    eventually("the first ones are written at once", || fetched(&world).iter().all(Option::is_some));
    let first = fetched(&world);
    std::thread::sleep(Duration::from_millis(50));
    wake_all();
    std::thread::sleep(MOMENT);
    assert_eq!(fetched(&world), first, "written again within the interval");
    let before = std::fs::metadata(&log).unwrap().len();
    world.stop();
    assert!(fetched(&world).iter().zip(&first).all(|(now, then)| now > then), "all of them");
    // A page of 4 KiB holds some twenty rows; a transaction writes each page it changed once.
    let pages = (std::fs::metadata(&log).unwrap().len() - before) / 4096;
    assert!((1..50).contains(&pages), "{pages} pages");
}

#[test]
fn a_server_ahead_of_the_others_silences_nobody_even_across_a_restart() {
    let (mut world, phone) = World::connected();
    world.signal().set_mode(Mode::ClockOffset(3_600_000));
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    world.stop();
    world.signal().set_mode(Mode::ClockOffset(0));
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let pushes = world.push.requests().len();
    let guid = world.signal().send(&phone.uuid, DEVICE, urgent());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(world.push.requests().len(), pushes + 1, "acked without a wake-up");
}

//! A fault of the program itself: at one of two accounts, what it costs that one, and that the other notices nothing; beside
//! all accounts, that the program ends and is started anew rather than live on without a part.
//!
//! The fault is planted in the log, which this test provides: a line about the account panics while it is written. An
//! executable of its own, because there is one log for all.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually, get};

/// Lines that panic, each once.
static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Faulty;

impl log::Log for Faulty {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        let found = {
            let mut planted = PLANTED.lock().unwrap();
            let at = planted.iter().position(|start| line.starts_with(start.as_str()));
            at.map(|at| planted.remove(at))
        };
        assert!(found.is_none(), "planted: {line}");
    }

    fn flush(&self) {}
}

fn log_through_us() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Faulty)).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// The next line about this phone that goes on like this panics.
fn plant(phone: &Phone, line: &str) {
    PLANTED.lock().unwrap().push(format!("{}: {line}", phone.id().short()));
}

/// Whether nothing that was planted for this phone is left.
fn all_was_met(phone: &Phone) -> bool {
    let name = phone.id().short();
    !PLANTED.lock().unwrap().iter().any(|line| line.starts_with(&name))
}

fn panics(world: &World) -> u64 {
    let (_, page) = get(world.web(), "/metrics", "");
    let line = page.lines().find_map(|line| line.strip_prefix("mollysocket_panics_total ")).unwrap();
    line.parse().unwrap()
}

/// Sends a message that wakes, and waits until it was acked.
fn wakes(world: &World, phone: &Phone) {
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "a wake-up is lost");
}

fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, DEVICE).connects
}

fn pushes(world: &World, phone: &Phone) -> usize {
    world.push.requests_for(&format!("/push/{}", phone.token)).len()
}

#[test]
fn a_panic_costs_its_account_one_back_off_and_others_nothing() {
    log_through_us();
    let mut world = World::new();
    world.settings = "metrics = true\n".into();
    // 3 s to 4 s after each panic.
    world.timings.backoff_base = Duration::from_secs(4);
    world.timings.backoff_cap = Duration::from_secs(4);
    let (faulty, other) = (world.phone(1), world.phone(2));
    world.store_phone(&faulty);
    world.store_phone(&other);
    world.start();
    for phone in [&faulty, &other] {
        world.wait_state(phone, "connected");
    }
    // In the push loop after an accepted push; in the session's, which holds the account's lock while it says this.
    for (round, line) in [(1, "wake-up accepted"), (2, "connected to Signal")] {
        plant(&faulty, line);
        if round == 2 {
            // The reconnection is a back-off of its own, of up to 4 s.
            world.signal().cut(&faulty.uuid, DEVICE);
        }
        let guid = world.signal().send(&faulty.uuid, DEVICE, Envelope::new().urgent(true));
        eventually("it panics and is counted", || panics(&world) == round);
        let (begun, reached) = (Instant::now(), connects(&world, &faulty));
        world.wait_state(&faulty, "waiting");
        // Far less than the shortest back-off, because a busy machine sees the panic late.
        while begun.elapsed() < Duration::from_millis(1200) {
            wakes(&world, &other);
            assert_eq!(connects(&world, &faulty), reached, "{line}: no back-off");
        }
        assert!(world.signal().wait_acked(&faulty.uuid, DEVICE, guid, PATIENCE), "{line}: the wake-up is lost");
        assert_eq!(connects(&world, &faulty), reached + 1, "{line}: one connection more");
        world.wait_state(&faulty, "connected");
        wakes(&world, &faulty);
    }
    thread::sleep(MOMENT);
    assert!(all_was_met(&faulty), "all happened");
    assert_eq!((panics(&world), connects(&world, &other)), (2, 1), "the other one kept its connection");
    assert!(pushes(&world, &faulty) >= 4 && pushes(&world, &other) > 10);
    world.assert_one_socket_each();
}

#[test]
fn a_panic_at_the_end_of_an_account_does_not_leave_it_running_for_ever() {
    log_through_us();
    let mut world = World::new();
    world.settings = "metrics = true\n".into();
    let (faulty, other) = (world.phone(3), world.phone(4));
    world.store_phone(&faulty);
    world.store_phone(&other);
    world.start();
    world.wait_state(&faulty, "connected");
    world.wait_state(&other, "connected");
    // When Signal's refusal is known, and not yet written down.
    plant(&faulty, "unlinked");
    // And when that is told.
    plant(&faulty, "the program failed");
    world.signal().unlink(&faulty.uuid, DEVICE);
    eventually("the refusal is written down all the same", || world.row(&faulty).unwrap().forbidden);
    world.wait_state(&faulty, "unlinked");
    assert_eq!(panics(&world), 1);
    wakes(&world, &other);
    assert_eq!(connects(&world, &other), 1);
}

#[test]
fn a_panic_of_the_alerts_ends_the_program_so_that_it_is_started_anew() {
    log_through_us();
    let mut world = World::new();
    world.timings.alert_poll = Duration::from_millis(20);
    world.settings = "alert_command = [\"false\"]\n".into();
    let phone = world.phone(5);
    world.store_phone(&phone);
    plant(&phone, "the alert command failed");
    world.start();
    world.wait_state(&phone, "connected");
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("the panic", || all_was_met(&phone));
    eventually("the daemon is gone", || world.has_ended());
    let ended = panic::catch_unwind(AssertUnwindSafe(|| world.stop()));
    assert!(ended.is_err(), "the daemon ended as if it had been asked to");
}

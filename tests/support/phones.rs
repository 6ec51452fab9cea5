//! Phones in the states a registration may find them in, and what the daemon says about them.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::sync::{Mutex, Once};
use std::thread;

use mollysocket::account::Account;
use sim::push::Answer;
use sim::signal::Envelope;

use crate::support::{MOMENT, PATIENCE, Phone, World, eventually};

/// What the daemon logged, at every level. All tests of this file share it; lines are told apart by short ids.
pub static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub struct Collector;

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

pub fn world() -> World {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_boxed_logger(Box::new(Collector)).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    World::new()
}

pub fn started() -> World {
    let mut world = world();
    world.start();
    world
}

/// Registered, connected, and its first test push has arrived.
pub fn linked(number: u32) -> (World, Phone) {
    let world = started();
    let phone = world.phone(number);
    assert_eq!(world.register(&phone, false), "ok");
    assert!(world.signal().wait_connected(&phone.uuid, phone.device, PATIENCE));
    assert!(world.push.wait_requests(1, PATIENCE));
    world.wait_state(&phone, "connected");
    (world, phone)
}

/// Bodies of the pushes a phone got.
pub fn pushes(world: &World, phone: &Phone) -> Vec<String> {
    world.push.requests_for(&format!("/push/{}", phone.token)).iter().map(|request| request.text()).collect()
}

/// Upgrades that succeeded: the question whether the credentials are good, then the connection.
pub const ASKED_AND_CONNECTED: u64 = 2;

pub fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, phone.device).connects
}

/// The same phone after something changed.
pub fn with(phone: &Phone, change: impl FnOnce(&mut Phone)) -> Phone {
    let mut changed = phone.clone();
    change(&mut changed);
    changed
}

pub fn moved(phone: &Phone) -> Phone {
    with(phone, |p| p.token += "-moved")
}

pub fn wakes(world: &World, phone: &Phone) {
    let before = pushes(world, phone).len();
    let guid = world.signal().send(&phone.uuid, phone.device, Envelope::new());
    eventually("a wake-up", || pushes(world, phone).len() > before);
    assert_eq!(pushes(world, phone).last().unwrap(), r#"{"urgent":true}"#);
    assert!(world.signal().wait_acked(&phone.uuid, phone.device, guid, PATIENCE));
}

/// The push server says 410 for long enough. The account rests; its envelope is owed.
pub fn gone(number: u32) -> (World, Phone) {
    let (world, phone) = linked(number);
    let path = format!("/push/{}", phone.token);
    world.push.set_default_for(&path, Answer::status(410));
    world.signal().send(&phone.uuid, phone.device, Envelope::new());
    world.wait_state(&phone, "endpoint_gone");
    world.push.unset_default_for(&path);
    eventually("stored", || world.row(&phone).unwrap().endpoint_gone);
    (world, phone)
}

/// Signal no longer knows the device.
pub fn unlinked(number: u32) -> (World, Phone) {
    let (world, phone) = linked(number);
    world.signal().unlink(&phone.uuid, phone.device);
    world.wait_state(&phone, "unlinked");
    eventually("stored", || world.row(&phone).unwrap().forbidden);
    (world, phone)
}

/// Nothing about the account changes in a moment: no connection, no push, no row.
pub fn undisturbed<T>(world: &World, phone: &Phone, act: impl FnOnce() -> T) -> T {
    let look = || {
        let row = world.row(phone).map(|row| Account { last_registration: 0, fetched_until: None, ..row });
        (row, connects(world, phone), world.push.requests().len(), world.state(phone))
    };
    let before = look();
    let result = act();
    thread::sleep(MOMENT);
    assert_eq!(look(), before);
    result
}

/// Lines with the account's short id.
pub fn logged_about(phone: &Phone) -> Vec<String> {
    LOGGED.lock().unwrap().iter().filter(|line| line.contains(&phone.uuid[..8])).cloned().collect()
}

//! Signal out of reach in every way there is: each stage has its deadline, wrong certificates get nothing in the clear, and
//! none of it fills the log.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/phones.rs"]
mod phones;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use phones::{logged_about, world};
use sim::pki::Pki;
use sim::signal::{Handshake, Mode, SignalServer};
use support::{Phone, World, eventually};

const SHORT: Duration = Duration::from_millis(150);

/// Why the account waits.
fn reason(world: &World, phone: &Phone) -> String {
    let accounts = world.daemon.as_ref().unwrap().supervisor.snapshots();
    accounts.into_iter().find(|account| account.id == phone.id()).map(|a| a.status.signal.reason).unwrap_or_default()
}

/// Starts a daemon whose first attempt ends in `expected`; how long that took.
fn first_failure(mut world: World, number: u32, expected: &str) -> Duration {
    let phone = world.phone(number);
    world.store_phone(&phone);
    let start = Instant::now();
    world.start();
    eventually(expected, || reason(&world, &phone).contains(expected));
    start.elapsed()
}

#[test]
fn an_upgrade_that_is_never_answered_ends_at_its_deadline() {
    let mut world = world();
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    world.timings.upgrade = SHORT;
    world.timings.connect = Duration::from_secs(60);
    let took = first_failure(world, 0x3001, "in time (upgrade)");
    assert!(took >= SHORT && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_tls_handshake_that_is_never_answered_ends_at_its_deadline() {
    let mut world = world();
    world.signal().set_mode(Mode::Handshake(Handshake::AcceptTcpOnly));
    world.timings.tls = SHORT;
    world.timings.connect = Duration::from_secs(60);
    let took = first_failure(world, 0x3002, "no TLS connection to localhost: no answer within 150ms");
    assert!(took >= SHORT && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn the_whole_way_has_a_deadline_beside_those_of_its_stages() {
    let mut world = world();
    world.signal().set_mode(Mode::Handshake(Handshake::TlsThenSilent));
    world.timings.upgrade = Duration::from_secs(60);
    world.timings.connect = SHORT;
    let took = first_failure(world, 0x3003, "in time (connecting)");
    assert!(took >= SHORT && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_wrong_certificate_is_told_once_and_nothing_is_sent() {
    let mut world = world();
    let phone = world.phone(0x3004);
    world.store_phone(&phone);
    let queues = world.stop_signal();
    drop(queues);
    // The same address, under another authority.
    let config = world.config();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], config.signal_url.port().unwrap()));
    let impostor = SignalServer::start_with(&Pki::new(), address, sim::signal::Queues::default()).unwrap();
    world.start();
    eventually("several attempts", || impostor.records().tcp_accepts >= 6);
    thread::sleep(Duration::from_millis(50));
    assert!(impostor.records().upgrades.is_empty(), "credentials went to an impostor");
    let told: Vec<_> = logged_about(&phone).into_iter().filter(|line| !line.starts_with("DEBUG")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("certificate"), "{told:?}");
}

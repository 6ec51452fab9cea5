//! A server in Signal's place that breaks every rule of WebSockets: what it costs, and that it passes.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use mollysocket::timings::Timings;
use program::{apart, is_daemon};
use sim::signal::{Envelope, Mode};
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually, fast};

const MIB: usize = 1024 * 1024;

/// First bytes of frames (RFC 6455 section 5.2).
const BINARY: u8 = 0x82;
const BINARY_BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const COMPRESSED: u8 = 0xc2;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(length as u8),
        length @ ..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

fn connects(world: &World, phone: &Phone) -> u64 {
    world.signal().counters(&phone.uuid, DEVICE).connects
}

/// Whatever happened: the account is back, and the next message wakes the phone.
fn recovers(world: &World, phone: &Phone, before: u64, case: &str) {
    eventually(&format!("a new connection after {case}"), || connects(world, phone) > before);
    let pushes = world.push.requests().len();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "{case}: never acked");
    assert!(world.push.requests().len() > pushes, "{case}: acked without a wake-up");
}

#[test]
fn what_breaks_the_protocol_is_told_its_code_and_costs_one_connection() {
    let (world, phone) = World::connected();
    let mut fragments = frame(BINARY_BEGINS, b"x");
    (0..100_000).for_each(|_| fragments.extend(frame(GOES_ON, b"x")));
    fragments.extend(frame(TEXT, b"in the middle of another message"));
    let cases = [
        ("a frame over 1 MiB", frame(BINARY, &vec![0; MIB + 1]), 1009),
        ("a message over 1 MiB", [BINARY_BEGINS, GOES_ON].map(|f| frame(f, &vec![0; MIB / 2 + 1])).concat(), 1009),
        ("a frame of 2^63 bytes", [&[BINARY, 127, 0x7f][..], &[0xff; 7]].concat(), 1009),
        ("100,000 fragments", fragments, 1002),
        ("the compressed bit", frame(COMPRESSED, b"x"), 1002),
        ("a long ping", frame(PING, &[0; 126]), 1002),
    ];
    for (case, bytes, code) in cases {
        let before = connects(&world, &phone);
        world.signal().send_wire(&phone.uuid, DEVICE, bytes);
        recovers(&world, &phone, before, case);
        let closes: Vec<_> = world.signal().take_records().client_closes.iter().map(|c| c.code).collect();
        assert_eq!(closes, [Some(code)], "{case}");
    }
    assert_eq!(world.push.max_in_flight(), 1);
}

#[test]
fn one_hundred_thousand_fragments_are_one_message() {
    let (world, phone) = World::connected();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true).content_size(90_000));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    world.signal().set_mode(Mode::FragmentSize(1));
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true).content_size(100_000));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    assert_eq!(connects(&world, &phone), 1, "it had to reconnect");
}

/// What a server sends without end, reading nothing meanwhile.
fn floods() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let many = |one: Vec<u8>| one.repeat((64 * 1024 / one.len()).max(1));
    let begin = frame(BINARY_BEGINS, b"");
    vec![
        ("a frame without end", [&[BINARY, 127, 0x7f][..], &[0xff; 7]].concat(), vec![0; 64 * 1024]),
        ("large fragments", begin.clone(), frame(GOES_ON, &vec![0; 64 * 1024])),
        ("small fragments", begin.clone(), many(frame(GOES_ON, b"x"))),
        ("empty fragments", begin, many(frame(GOES_ON, b""))),
        ("pings", Vec::new(), many(frame(PING, b""))),
        ("large pings", Vec::new(), many(frame(PING, &[0; 125]))),
        ("texts", Vec::new(), many(frame(TEXT, b"x"))),
    ]
}

/// Measured: 1.2 MiB. It is the one message of up to 1 MiB that is being put together, and what the allocator keeps
/// beside it. Each flood brings tens of MiB.
const GROWTH_KIB: u64 = 4 * 1024;

#[test]
fn no_flood_lasts_or_costs_memory() {
    if is_daemon(fast()) {
        return;
    }
    let world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    let program = apart(&world, "no_flood_lasts_or_costs_memory");
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let flood = |case: &str, start: Vec<u8>, more: Vec<u8>| {
        let (before, begun) = (connects(&world, &phone), Instant::now());
        world.signal().send_wire(&phone.uuid, DEVICE, start);
        world.signal().flood(&phone.uuid, DEVICE, more);
        recovers(&world, &phone, before, case);
        begun.elapsed()
    };
    // Some ordinary reconnections, so that what is only needed once is there.
    for _ in 0..5 {
        let before = connects(&world, &phone);
        world.signal().cut(&phone.uuid, DEVICE);
        recovers(&world, &phone, before, "a cut");
    }
    let before = program.rss();
    for (case, start, more) in floods() {
        program.forget_peak();
        let took = flood(case, start, more);
        let grown = program.peak().saturating_sub(before);
        eprintln!("{case}: {grown} KiB more at most, over after {took:?}");
        assert!(grown <= GROWTH_KIB, "{case}: {grown} KiB more");
    }
}

/// The deadline of a write comes first here. The keepalive is for a flood that ends early: a kernel whose buffer is full also
/// drops what acknowledges its own segments, and then sends nothing more that would have to be answered.
fn writes_first() -> Timings {
    let later = Duration::from_secs(3);
    Timings { keepalive: later, keepalive_answer: later, queue_empty: Duration::from_secs(3600), ..fast() }
}

#[test]
fn a_server_that_stops_reading_is_left_and_loses_nothing() {
    let mut world = World::new();
    world.timings = writes_first();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.wait_state(&phone, "connected");
    // Each request asks for an answer that nobody reads: the window closes, then our buffers are full.
    let request = sim::wire::WebSocketMessage::request(sim::wire::Request {
        verb: Some("GET".into()),
        path: Some("/v1/unknown".into()),
        id: Some(1),
        ..Default::default()
    });
    let requests = frame(BINARY, &prost::Message::encode_to_vec(&request)).repeat(1000);
    // A small window, so that it is soon full.
    world.signal().set_mode_for(&phone.uuid, DEVICE, Mode::NeverRead(true));
    thread::sleep(MOMENT);
    let begun = Instant::now();
    world.signal().flood(&phone.uuid, DEVICE, requests);
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    // The buffers of two sockets must be full first, which takes a busy machine a while.
    assert!(world.signal().wait_connects(2, 6 * PATIENCE), "it goes on writing to nobody");
    let took = begun.elapsed();
    world.signal().clear_modes_for(&phone.uuid, DEVICE);
    eprintln!("left after {took:?}, of which the deadline is {:?}", world.timings.write);
    assert!(took >= world.timings.write, "{took:?}");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "the message held is lost");
    assert_eq!(world.push.requests().len(), 1);
    // Sockets at a time are not counted here: who reads nothing learns late that the other end is gone.
    assert!(world.signal().records().client_closes.is_empty(), "there is nobody to say goodbye to");
}

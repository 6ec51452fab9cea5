//! What pushes cost us and the push servers: how many at a time, how fast when a server asks for less, how much memory.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/pushing.rs"]
mod pushing;
mod support;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mollysocket::account::Endpoint;
use mollysocket::push::Outcome;
use mollysocket::timings::{Limits, Rate, Timings};
use pushing::Options;
use sim::push::{Answer, Behaviour, PushServer};
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

fn urgent() -> Envelope {
    Envelope::new().urgent(true)
}

/// These phones are linked and connected.
fn linked(world: &mut World, numbers: std::ops::RangeInclusive<u32>) -> Vec<Phone> {
    let phones: Vec<_> = numbers.map(|n| world.phone(n)).collect();
    for phone in &phones {
        world.store_phone(phone);
    }
    phones
}

/// Another push server may be used, too.
fn allow(world: &mut World, elsewhere: &PushServer) {
    let (ours, other) = (world.push.addr().port(), elsewhere.addr().port());
    world.settings = format!("allowed_endpoints = [\"https://localhost:{ours}\", \"http://localhost:{other}\"]\n");
}

fn path(phone: &Phone) -> String {
    format!("/push/{}", phone.token)
}

fn start(world: &mut World, phones: &[Phone]) {
    world.start();
    for phone in phones {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    }
}

/// So many of 43 phones are limited, all others are woken without delay; the limited ones once their server lets them.
fn limits_some_of_43(limited: usize, answer: &Answer) {
    let mut world = World::new();
    // Far longer than the others may wait.
    world.timings.push_limited_base = 3 * PATIENCE;
    world.timings.push_retry_cap = 3 * PATIENCE;
    world.timings.push_slow_cap = 3 * PATIENCE;
    let phones: Vec<_> = (1..=43).map(|n| world.phone(n)).collect();
    world.store_phones(&phones);
    start(&mut world, &phones);
    let (limited, others) = phones.split_at(limited);
    for phone in limited {
        world.push.set_default_for(&path(phone), answer.clone());
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    for phone in limited {
        world.wait_push_state(phone, "retrying");
    }
    let asked = Instant::now();
    for phone in others {
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    for phone in others {
        assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1, PATIENCE), "it waits for those who are limited");
        assert_eq!(world.push.requests_for(&path(phone)).len(), 1);
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    for phone in limited {
        assert_eq!(world.push.requests_for(&path(phone)).len(), 1, "asked again too early");
    }
}

#[test]
fn who_is_limited_delays_nobody_else() {
    for limited in [3, 5, 12] {
        limits_some_of_43(limited, &Answer::retry_after(429, "60"));
        limits_some_of_43(limited, &Answer::status(429));
    }
}

#[test]
fn an_account_that_changes_its_endpoint_while_it_is_limited_delays_nobody_and_gains_nothing() {
    let mut world = World::new();
    world.timings.push_slow_cap = 3 * PATIENCE;
    let mut phones = linked(&mut world, 1..=43);
    start(&mut world, &phones);
    let others = phones.split_off(1);
    let mut phone = phones.remove(0);
    world.push.set_default(Answer::retry_after(429, "60"));
    world.signal().send(&phone.uuid, DEVICE, urgent());
    world.wait_push_state(&phone, "retrying");
    for n in 0..4 {
        phone.token = format!("upMOVED{n}");
        assert_eq!(world.register(&phone, false), "ok");
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    thread::sleep(MOMENT);
    assert_eq!((world.push.requests().len(), world.state(&phone).1.as_str()), (1, "retrying"), "the limit was escaped");
    world.push.set_default(Answer::created());
    for other in &others {
        world.signal().send(&other.uuid, DEVICE, urgent());
    }
    for other in &others {
        assert!(world.signal().wait_acks(&other.uuid, DEVICE, 1, PATIENCE));
    }
}

#[test]
fn those_a_server_limits_are_sent_to_one_by_one_beside_the_others_and_lose_nothing() {
    let mut world = World::new();
    world.timings.push = PATIENCE;
    let phones = linked(&mut world, 1..=11);
    start(&mut world, &phones);
    let (limited, others) = phones.split_at(10);
    world.push.set_default(Answer::retry_after(429, "1"));
    for phone in limited {
        world.signal().send(&phone.uuid, DEVICE, urgent());
    }
    for phone in limited {
        world.wait_push_state(phone, "retrying");
    }
    // From now on it answers only when it is told to.
    world.push.set_default(Answer::hang());
    assert!(world.push.wait_until(PATIENCE, |state| state.in_flight() == 1), "nobody tries again");
    thread::sleep(Duration::from_secs(1));
    assert!(world.push.wait_until(Duration::ZERO, |state| state.in_flight() == 1), "one at a time");
    for other in others {
        world.push.set_default_for(&path(other), Answer::created());
        world.signal().send(&other.uuid, DEVICE, urgent());
        assert!(world.signal().wait_acks(&other.uuid, DEVICE, 1, PATIENCE), "it waits for a limited one");
    }
    world.push.set_default(Answer::created());
    world.push.cut_all();
    for phone in limited {
        assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 1, PATIENCE), "a wake-up was lost");
        world.wait_push_state(phone, "ok");
    }
}

#[test]
fn one_phone_has_one_push_on_its_way() {
    let mut world = World::new();
    let phones = linked(&mut world, 1..=1);
    start(&mut world, &phones);
    let phone = &phones[0];
    world.push.set_default(Answer::created().delay(Duration::from_millis(60)));
    for round in 0..20 {
        world.signal().send(&phone.uuid, DEVICE, urgent());
        if round % 5 == 0 {
            assert_eq!(world.register(phone, true), "ok");
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(world.signal().wait_acks(&phone.uuid, DEVICE, 20, PATIENCE));
    eventually("all is quiet", || world.push.wait_until(Duration::ZERO, |state| state.in_flight() == 0));
    assert_eq!(world.push.max_in_flight(), 1);
}

#[test]
fn what_arrives_while_a_push_waits_for_its_permit_shares_it() {
    let mut world = World::new();
    world.limits.pushes_per_origin = 1;
    world.timings.push = Duration::from_secs(20);
    let phones = linked(&mut world, 1..=2);
    start(&mut world, &phones);
    let [busy, late] = &phones[..] else { panic!("two") };
    world.push.script_for(&path(busy), [Answer::created().delay(Duration::from_secs(4))]);
    world.signal().send(&busy.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    for _ in 0..4 {
        world.signal().send(&late.uuid, DEVICE, urgent());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.push.requests().len(), 1, "the other one waits");
    assert!(world.signal().wait_acks(&late.uuid, DEVICE, 4, PATIENCE));
    thread::sleep(MOMENT);
    assert_eq!(world.push.requests_for(&path(late)).len(), 1);
}

#[test]
fn a_new_endpoint_ends_the_wait_for_a_permit() {
    let mut world = World::new();
    let elsewhere = PushServer::start_plain();
    allow(&mut world, &elsewhere);
    world.limits.pushes_per_origin = 1;
    world.timings.push = Duration::from_secs(60);
    let phones = linked(&mut world, 1..=2);
    start(&mut world, &phones);
    let [busy, late] = &phones[..] else { panic!("two") };
    world.push.set_default(Answer::behave(Behaviour::Hang));
    world.signal().send(&busy.uuid, DEVICE, urgent());
    assert!(world.push.wait_requests(1, PATIENCE));
    let guid = world.signal().send(&late.uuid, DEVICE, urgent());
    thread::sleep(MOMENT);
    assert!(elsewhere.requests().is_empty());

    let mut account = world.account(late);
    account.endpoint = Endpoint::parse(&elsewhere.endpoint("late")).unwrap();
    smol::block_on(world.store().put(account)).unwrap();
    assert!(world.signal().wait_acked(&late.uuid, DEVICE, guid, PATIENCE));
    assert_eq!((elsewhere.requests().len(), world.push.requests().len()), (1, 1));
}

#[test]
fn the_limits_are_the_promised_ones() {
    let (limits, timings) = (Limits::default(), Timings::default());
    assert_eq!((limits.pushes, limits.pushes_per_origin), (64, 8));
    assert_eq!((timings.push, timings.dns), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((timings.tcp, timings.tls), (Duration::from_secs(15), Duration::from_secs(15)));
    assert_eq!((timings.upgrade, timings.connect), (Duration::from_secs(30), Duration::from_secs(60)));
    assert!(timings.happy_eyeballs <= Duration::from_millis(300));
    let seconds = |timing: Duration| timing.as_secs();
    assert_eq!((seconds(timings.web_head), seconds(timings.web_request)), (10, 20));
    assert_eq!((limits.web_head, limits.web_body), (16 * 1024, 16 * 1024));
    assert_eq!((limits.web_connections, limits.web_connections_per_client), (512, 32));
    assert_eq!(limits.web_registrations, Rate { burst: 60, every: Duration::from_secs(5) });
    assert_eq!((seconds(timings.keepalive) + seconds(timings.keepalive_answer), seconds(timings.write)), (45, 10));
    assert_eq!((seconds(timings.backoff_base), seconds(timings.backoff_cap)), (1, 60));
    assert_eq!((seconds(timings.displaced_base), seconds(timings.displaced_cap)), (60, 3600));
    assert_eq!((limits.connects_per_second, limits.handshakes), (200, 64));
    assert_eq!((limits.breaker_failures, limits.breaker_probes_per_second), (5, 4));
    assert_eq!((limits.signal_message, seconds(timings.shutdown)), (1024 * 1024, 3));
    assert!(timings.answer <= Duration::from_secs(10), "phones wait no longer");
}

/// A push server that accepts and then sends a body until nobody listens any more. Says how much it got rid of.
fn endless(head: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(head.as_bytes());
                let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while stream.write_all(piece.as_bytes()).is_ok() {}
            });
        }
    });
    address
}

/// Peak and present size in memory, in KiB.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (line("VmHWM:"), line("VmRSS:"))
}

#[test]
fn an_endless_body_is_not_read_and_costs_no_memory() {
    const CHILD: &str = "PUSH_LOAD_CHILD";
    let name = "an_endless_body_is_not_read_and_costs_no_memory";
    if let Ok(targets) = env::var(CHILD) {
        let targets: Vec<&str> = targets.split(' ').collect();
        let mut options = Options::new(None, targets[0]);
        options.allowed.extend(targets[1..].iter().map(|&to| to.to_owned()));
        let sender = options.build();
        let push = |to: &str| {
            let start = Instant::now();
            let delivery = sender.wake(&format!("{to}/x"));
            assert_eq!(delivery.outcome, Outcome::Accepted, "{}", delivery.reason);
            assert!(start.elapsed() < Duration::from_secs(5));
        };
        // The first target answers as servers should. The first rounds page in code and fill the allocator's lists.
        (0..100).for_each(|_| push(targets[0]));
        for _ in 0..10 {
            targets[1..].iter().for_each(|to| push(to));
        }
        // Resets the peak (proc(5)).
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory().1;
        for _ in 0..50 {
            targets[1..].iter().for_each(|to| push(to));
        }
        let (peak, after) = memory();
        // 256 KiB is one KiB and a quarter for each push; four pieces of one body would be more.
        let limit = before + 256;
        assert!(peak <= limit && after <= limit, "{before} KiB, then up to {peak}, now {after}");
        return;
    }
    let good = PushServer::start_plain();
    let dripping = PushServer::start_plain();
    dripping.set_default(Answer::created().behaviour(Behaviour::EndlessBody));
    let chunked = endless("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n");
    let huge = endless("HTTP/1.1 201 Created\r\nContent-Length: 10737418240\r\n\r\n");
    let to_end = endless("HTTP/1.1 201 Created\r\n\r\n");
    let targets = [good.addr(), dripping.addr(), chunked, huge, to_end].map(|at| format!("http://{at}")).join(" ");
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, targets).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

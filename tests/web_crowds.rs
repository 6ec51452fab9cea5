//! Thousands of strangers at the web server's door: whoever is patient and whoever is registered notices nothing.
//! The real program, with its real limits.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use program::Program;
use sim::dial::connect_from;
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World};

/// Seats of the web server, and what the rest of the program has open at most (database, listener, Signal, push).
const SEATS: usize = 512;
const PORCH: usize = 64;
const OTHERS: usize = 40;
/// Seats of one client.
const SHARE: usize = 32;

/// Loopback addresses nobody else uses.
fn stranger(n: u32) -> IpAddr {
    let [_, _, high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low).into()
}

fn good() -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 9).into()
}

/// Held by each test: they measure how long things take.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn program(settings: &str) -> (World, Phone, Program) {
    crowded_program(settings, 0)
}

/// With so many more accounts in the database, which Signal has unlinked long ago.
fn crowded_program(settings: &str, others: u32) -> (World, Phone, Program) {
    let mut world = World::new();
    world.settings = settings.replace("PUSH", &world.push.addr().port().to_string());
    let phone = world.phone(1);
    world.store_phone(&phone);
    rusqlite::Connection::open(world.db())
        .unwrap()
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?1)
             INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration)
             SELECT printf('%08x-7777-4000-8000-%012x', i, i), 2, 'hunter2', 'https://9.9.9.9/up', 1, 1700000000
             FROM n WHERE i <= ?1",
            [others],
        )
        .unwrap();
    let program = Program::start(&world, &["server"]);
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    (world, phone, program)
}

/// Status, head and body, or `None` when the connection was cut.
fn talk(source: IpAddr, web: SocketAddr, request: &str) -> Option<(u16, String, String)> {
    let mut stream = connect_from(source, web).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // A reset after the answer does not take the answer away.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, head.to_owned(), body.to_owned()))
}

fn registration(phone: &Phone, endpoint: &str) -> String {
    let body = serde_json::json!({
        "uuid": phone.uuid, "device_id": phone.device, "password": phone.password, "endpoint": endpoint
    })
    .to_string();
    format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A good client asks for a page, and registers, again and again for a while. How long the longest took.
fn good_client(world: &World, phone: &Phone, web: SocketAddr, rounds: u32) -> Duration {
    let register = registration(phone, &world.endpoint(phone));
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let request = if round % 4 == 0 { &*register } else { "GET /discover HTTP/1.1\r\nHost: h\r\n\r\n" };
        let started = Instant::now();
        let (status, _, body) = talk(good(), web, request).expect("an answer");
        assert_eq!(status, 200, "{body}");
        assert!(round % 4 != 0 || body.contains(r#""status":"ok""#), "{body}");
        longest = longest.max(started.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    longest
}

/// Says so when it is dropped, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps `count` sockets open that say a byte now and then, from the given addresses, and replaces those that were
/// closed. What a good client noticed of it.
fn slowloris(settings: &str, count: u32, addresses: u32, most_open: usize) {
    let _alone = alone();
    let (world, phone, program) = program(settings);
    let web = program.web;
    let usual = good_client(&world, &phone, web, 10);
    let (opened, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let connect = |n: u32| {
        let mut stream = connect_from(stranger(n % addresses), web).unwrap();
        stream.set_nonblocking(true).unwrap();
        let start: &[u8] = if n.is_multiple_of(2) {
            b"GET / HTTP/1.1\r\nHost: "
        } else {
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n{"
        };
        let _ = stream.write(start);
        opened.fetch_add(1, Ordering::Relaxed);
        stream
    };
    thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            let mut sockets: Vec<TcpStream> = (0..count).map(connect).collect();
            while !over.load(Ordering::Relaxed) {
                for (stream, n) in sockets.iter_mut().zip(0..) {
                    let gone = stream.read(&mut [0; 512]).is_ok() || stream.write(b"a").is_err();
                    if gone && n % 50 == 0 {
                        *stream = connect(n);
                    }
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        let _over = Over(&over);
        while opened.load(Ordering::Relaxed) < count {
            assert!(
                !crowd.is_finished(),
                "the crowd could not connect; more than 5000 descriptors are needed (ulimit -n)"
            );
            thread::sleep(Duration::from_millis(5));
        }
        // All are there: whatever the kernel had in its queue meanwhile has been taken in, too.
        support::eventually("the crowd is settled", || {
            let asked = Instant::now();
            let answer = talk(good(), web, "GET /discover HTTP/1.1\r\nHost: h\r\n\r\n");
            answer.is_some_and(|(status, ..)| status == 200) && asked.elapsed() < Duration::from_millis(500)
        });
        let longest = good_client(&world, &phone, web, 30);
        let open = program.descriptors();
        assert!(longest < usual + Duration::from_secs(1), "a good client waited {longest:?} instead of {usual:?}");
        assert!(open <= most_open + PORCH + OTHERS, "{open} descriptors are open");
    });
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).connects, 1, "the account's connection is the first one");
}

#[test]
fn five_thousand_slow_sockets_from_many_addresses_lock_nobody_out() {
    slowloris("trusted_proxies = []\n", 5000, 2500, SEATS);
}

#[test]
fn five_thousand_slow_sockets_from_one_address_keep_only_its_share() {
    slowloris("trusted_proxies = []\n", 5000, 1, SHARE);
}

#[test]
fn slow_sockets_that_come_through_the_proxy_lock_nobody_out() {
    slowloris("", 2000, 1, SEATS);
}

#[test]
fn one_client_registers_sixty_times_and_then_once_per_five_seconds() {
    let _alone = alone();
    let (world, phone, program) = program("trusted_proxies = [\"127.0.0.1\"]\n");
    let register = registration(&phone, &world.endpoint(&phone));
    let proxy = IpAddr::from([127, 0, 0, 1]);
    let from = |source: IpAddr, headers: &str| {
        let request = register.replace("Host: h\r\n", &format!("Host: h\r\n{headers}"));
        talk(source, program.web, &request).unwrap()
    };
    let sixty_then_429 = |source: IpAddr, headers: &dyn Fn(u32) -> String| {
        let started = Instant::now();
        let mut passed = 0;
        for n in 0..80 {
            let (status, head, body) = from(source, &headers(n));
            if status == 429 {
                assert!((1..=5).any(|s| head.contains(&format!("retry-after: {s}\r\n"))), "{head}");
                assert!(head.contains("content-security-policy: ") && body.lines().count() == 1, "{head} {body}");
            } else {
                assert_eq!(status, 200);
                passed += 1;
            }
        }
        let more = started.elapsed().as_secs() as u32 / 5 + 1;
        assert!((60..=60 + more).contains(&passed), "{passed} of 80");
    };
    sixty_then_429(stranger(1), &|_| String::new());
    assert_eq!(from(stranger(2), "").0, 200, "another address is another client");
    sixty_then_429(stranger(3), &|n| format!("X-Forwarded-For: 198.51.100.{n}\r\n"));
    sixty_then_429(proxy, &|n| format!("X-Forwarded-For: 6.6.6.{n}, 2001:db8::{n:x}\r\n"));
    sixty_then_429(proxy, &|n| format!("Forwarded: for=6.6.6.{n}, for=\"[2001:db8:1::{n:x}]:443\"\r\n"));
    // The proxy sets one of the two headers; the client adds the other.
    sixty_then_429(proxy, &|n| format!("X-Forwarded-For: 198.51.100.7\r\nForwarded: for=6.6.6.{n}\r\n"));
    assert_eq!(from(proxy, "X-Forwarded-For: 198.51.100.8\r\nForwarded: for=198.51.100.9\r\n").0, 429, "one lot");
    assert_eq!(from(proxy, "X-Forwarded-For: 198.51.100.8\r\n").0, 200);
    for _ in 0..200 {
        assert_eq!(from(proxy, "").0, 200, "phones behind a proxy that names nobody do not lock each other out");
    }
    let page = "GET /discover HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(talk(stranger(1), program.web, page).unwrap().0, 200, "pages are another matter");
}

#[test]
fn junk_registrations_from_many_addresses_reach_neither_the_database_nor_the_accounts() {
    let _alone = alone();
    const JUNK: u32 = 2000;
    const OTHERS: u32 = 9000;
    let settings = "trusted_proxies = []\nallowed_endpoints = [\"*\", \"https://localhost:PUSH\"]\n";
    let (world, phone, program) = crowded_program(settings, OTHERS);
    let web = program.web;
    let usual = good_client(&world, &phone, web, 20);
    let row = || {
        let row = world.row(&phone).unwrap();
        (row.credentials, row.endpoint, row.forbidden, row.endpoint_gone)
    };
    let (before, rss, started) = (row(), program.rss(), Instant::now());
    world.signal().clear_records();

    let (next, forbidden, put_off) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let send_junk = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= JUNK {
                return;
            }
            let scattered = n.wrapping_mul(2_654_435_761);
            let junk = Phone { uuid: format!("{scattered:08x}-0000-4000-8000-{n:012x}"), ..Phone::number(n) };
            // Public addresses that are never dialled: Signal knows none of these accounts.
            let endpoint = format!("https://9.9.{}.{}/up{n}", n / 256 % 256, n % 256);
            match talk(stranger(n % 1000), web, &registration(&junk, &endpoint)) {
                Some((200, _, body)) if body.contains("forbidden") => forbidden.fetch_add(1, Ordering::Relaxed),
                Some((200, _, body)) if body.contains("internal_error") => put_off.fetch_add(1, Ordering::Relaxed),
                Some((429 | 503, ..)) | None => put_off.fetch_add(1, Ordering::Relaxed),
                Some(other) => panic!("{other:?}"),
            };
        }
    };
    thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(send_junk);
        }
        thread::sleep(MOMENT);
        let sent = Instant::now();
        let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new());
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "no wake-up");
        assert!(sent.elapsed() < Duration::from_secs(5), "the wake-up took {:?}", sent.elapsed());
        let longest = good_client(&world, &phone, web, 12);
        assert!(longest < usual + Duration::from_secs(3), "a phone waited {longest:?} instead of {usual:?}");
    });
    let (took, forbidden) = (started.elapsed(), forbidden.into_inner());
    assert!(forbidden > 0, "Signal was asked");
    assert_eq!(forbidden + put_off.into_inner(), JUNK);

    let records = world.signal().records();
    assert_eq!(records.device(&phone.uuid, DEVICE).connects, 0, "the account's connection is the one from before");
    let mut asked: Vec<Instant> = records.upgrades.iter().map(|upgrade| upgrade.at).collect();
    asked.sort();
    let busiest = (0..asked.len()).map(|n| asked[n..].partition_point(|at| *at < asked[n] + Duration::from_secs(1)));
    let busiest = busiest.max().unwrap();
    assert!(busiest <= 100, "{busiest} connections to Signal in one second; {} in {took:?}", asked.len());
    assert_eq!(row(), before);
    assert_eq!(smol::block_on(world.store().count()).unwrap(), 1 + OTHERS as usize);
    let grown = program.rss().saturating_sub(rss);
    assert!(grown <= 20 * 1024, "{grown} KiB more");
}

//! More bytes, descriptors or noise than there is room for. The real program, with its real limits.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use program::{Program, command_under};
use sim::signal::Envelope;
use support::{DEVICE, PATIENCE, Phone, World, eventually, get, http, post};

const GIB: usize = 1024 * 1024 * 1024;

/// The most the server, and the kernel on both sides, take in of a request that is refused: what we read to let the
/// client see the answer, and two sockets' buffers.
const TAKEN: usize = 32 * 1024 * 1024;

fn prepared() -> (World, Phone) {
    let world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    (world, phone)
}

/// Sends `start` and then `more` over and over until the server has enough or `most` bytes are out. How many were, and
/// the answer as far as it can be read.
fn pour(web: SocketAddr, start: &str, more: &[u8], most: usize) -> (usize, String) {
    let mut stream = TcpStream::connect(web).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let block = more.repeat((64 * 1024 / more.len()).max(1));
    let mut sent = stream.write(start.as_bytes()).unwrap();
    while sent < most {
        match stream.write(&block) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (sent, String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_gigabyte_in_any_place_costs_four_mebibytes_at_most() {
    let (world, phone) = prepared();
    let program = Program::start(&world, &["server"]);
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    let cases: [(&str, String, &[u8], &str); 11] = [
        ("request line", "GET /".into(), b"a", "431"),
        ("header line", "GET / HTTP/1.1\r\nHost: h\r\nX: ".into(), b"a", "431"),
        ("header lines", "GET / HTTP/1.1\r\nHost: h\r\n".into(), b"X: y\r\n", "431"),
        ("header lines without a value", "GET / HTTP/1.1\r\nHost: h\r\n".into(), b"a:\r\n", "431"),
        ("announced body", format!("{post}Content-Length: {GIB}\r\n\r\n"), b"[", "413"),
        ("one chunk", format!("{chunked}{GIB:x}\r\n"), b"[", "413"),
        ("small chunks", chunked.clone(), b"1\r\n[\r\n", "413"),
        ("zeros before the size of a chunk", chunked.clone(), b"0", "400"),
        ("spaces behind the size of a chunk", format!("{chunked}1"), b" ", "400"),
        ("chunk extension", format!("{chunked}1;"), b"a", "400"),
        ("trailers", format!("{chunked}0\r\n"), b"X: y\r\n", "400"),
    ];
    // Once each, less of it, so that what is only needed once is there.
    thread::scope(|scope| {
        for (_, start, more, _) in &cases {
            scope.spawn(|| pour(program.web, start, more, 256 * 1024));
        }
    });
    for _ in 0..20 {
        assert_eq!(get(program.web, "/", "").0, 200);
    }
    let before = program.rss();
    for (case, start, more, status) in &cases {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (sent, answer) = pour(program.web, start, more, GIB);
                    assert!(sent < TAKEN, "{case}: {sent} bytes were taken");
                    // A client that does not read while it writes may find the connection reset.
                    let seen = answer.split(' ').nth(1);
                    assert!(seen.is_none_or(|seen| seen == *status), "{case}: {answer}");
                });
            }
        });
        let grown = program.rss().saturating_sub(before);
        assert!(grown <= 4 * 1024, "{case}: {grown} KiB more");
    }
    assert_eq!(get(program.web, "/discover", "").0, 200);
}

#[test]
fn parsers_that_read_for_ever_hold_up_nobody() {
    let (world, phone) = prepared();
    let program = Program::start(&world, &["server"]);
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (start, more) in [(chunked.to_owned(), "0"), (format!("{chunked}1"), " ")] {
            for _ in 0..4 {
                let (start, over, web) = (start.clone(), &over, program.web);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        pour(web, &start, more.as_bytes(), GIB);
                    }
                });
            }
        }
        for _ in 0..20 {
            let asked = Instant::now();
            assert_eq!(get(program.web, "/discover", "").0, 200);
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
        world.signal().send(&phone.uuid, DEVICE, Envelope::new());
        assert!(world.push.wait_requests(1, PATIENCE));
        over.store(true, Ordering::Relaxed);
    });
}

/// Runs what follows with room for 64 descriptors.
const FEW_DESCRIPTORS: [&str; 3] = ["/bin/sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];

#[test]
fn without_descriptors_the_server_waits_and_the_accounts_go_on() {
    let (world, phone) = prepared();
    world.config();
    let program = Program::spawn(command_under(&world, &FEW_DESCRIPTORS, &["-v", "server"]));
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    program.lines();
    // More than there are descriptors. Those that are cut come back, and each says a little.
    let connect = || TcpStream::connect(program.web).unwrap();
    let mut crowd: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    let mut press = || {
        for stream in &mut crowd {
            if stream.write_all(b"G").is_err() {
                *stream = connect();
            }
        }
    };
    let mut most = 0;
    eventually("the descriptors are used up", || {
        press();
        most = most.max(program.descriptors());
        most >= 60
    });
    let (cpu, started) = (program.cpu(), Instant::now());
    while started.elapsed() < Duration::from_secs(3) {
        press();
        thread::sleep(Duration::from_millis(100));
    }
    let share = (program.cpu() - cpu).as_secs_f64() / started.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of a processor: it spins");
    // Reading and acknowledging needs no new descriptor. The wake-up does, and gets one.
    for envelope in [Envelope::new().urgent(false), Envelope::new()] {
        let guid = world.signal().send(&phone.uuid, DEVICE, envelope);
        let acked = || world.signal().wait_acked(&phone.uuid, DEVICE, guid, Duration::from_millis(100));
        eventually("an ack under pressure", || {
            press();
            acked()
        });
    }
    assert_eq!(world.push.requests().len(), 1);
    assert_eq!(world.signal().counters(&phone.uuid, DEVICE).connects, 1, "the connection is the first one");
    drop(crowd);
    eventually("the web server is back", || get(program.web, "/discover", "").0 == 200);
    let complaints: Vec<_> = program.lines().into_iter().filter(|line| line.contains("cannot accept")).collect();
    assert!(complaints.len() == 1 && started.elapsed() < Duration::from_secs(60), "{complaints:?}");
    assert!(complaints[0].contains("Too many open files"), "{complaints:?}");
}

#[test]
fn a_proxy_that_speaks_another_protocol_is_told_of_once_without_any_option() {
    let (world, _) = prepared();
    let mut program = Program::start(&world, &["server"]);
    let v2 = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    for _ in 0..5 {
        for start in ["\x16\x03\x01\x02\0", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", v2, "PRI * HTTP/2.0\r\n\r\n"] {
            let mut stream = TcpStream::connect(program.web).unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(get(program.web, "/discover", "").0, 200);
    program.signal("-TERM");
    let log = program.log();
    for remedy in ["not TLS; a reverse proxy must forward to it with http://", "send-proxy", "not h2c://"] {
        assert_eq!(log.matches(remedy).count(), 1, "{remedy}: {log}");
    }
}

#[test]
fn whatever_clients_do_the_log_grows_by_ten_lines_a_second_at_most() {
    let (world, phone) = prepared();
    let mut program = Program::start(&world, &["-vvv", "server"]);
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let web = program.web;
    thread::sleep(Duration::from_millis(300));
    program.lines();
    let started = Instant::now();
    let junk = |n: u32| {
        let device = if n.is_multiple_of(2) { "2" } else { "0" };
        let body = format!(r#"{{"uuid":"{n}","device_id":{device},"password":"p","endpoint":"https://h.example/"}}"#);
        post(web, &body);
        // A head that is refused, and a body that hyper refuses.
        for request in [
            "BAD\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
        ] {
            http(web, request);
        }
        let _ = TcpStream::connect(web).unwrap().write_all(b"\x16\x03\x01");
    };
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || (0..250).for_each(|n| junk(4 * n + part)));
        }
    });
    let seconds = started.elapsed().as_secs() as usize + 1;
    thread::sleep(Duration::from_millis(300));
    let during = program.lines();
    assert!(during.len() <= 2 * 50 + 10 * seconds, "{} lines in {seconds} s", during.len());
    // What is left out is counted: the next line of the kind says so.
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    thread::sleep(Duration::from_secs(1));
    http(web, "BAD\r\n\r\n");
    post(web, r#"{"uuid":"x","device_id":2,"password":"p","endpoint":"https://h.example/"}"#);
    thread::sleep(Duration::from_millis(300));
    program.signal("-TERM");
    let after = program.log();
    assert!(after.contains("lines like this were left out"), "{after}");
    let short = &phone.uuid[..8];
    assert!(after.contains(short), "the accounts are still heard: {after}");
}

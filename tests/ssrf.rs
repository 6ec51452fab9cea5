//! Whoever may register names the host we POST to. Nothing of this machine or its network may be reached that way, in
//! whatever spelling, when a phone registers and when its wake-up is sent. A canary listens on every address of this
//! machine and must never be heard.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mollysocket::account::Endpoint;
use program::{Program, command};
use sim::push::PushServer;
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually, register};

/// Counts who comes, and accepts every push.
struct Canary {
    port: u16,
    hits: Arc<AtomicUsize>,
}

impl Canary {
    fn new() -> Self {
        // Both families at once, where there are both.
        let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let (port, hits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counter = hits.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
            }
        });
        Self { port, hits }
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// The address this machine would use to reach the Internet: a service on it is ours as well.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    let private = match address {
        std::net::IpAddr::V4(v4) => v4.is_private(),
        std::net::IpAddr::V6(_) => false,
    };
    private.then(|| address.to_string())
}

/// Everything before the port that leads, or could lead a careless reader, to this machine.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0X7F.0X0.0x0.0x01",
    "0177.1",
    "0177.0.0.01",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "0x0",
    "localhost",
    "LocalHost",
    "localhost.",
    "push.example.localhost",
    "%6c%6f%63%61lhost",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    // Full-width digits and the ideographic full stop, which IDNA turns into ASCII.
    "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1",
    "127%E3%80%820%E3%80%820%E3%80%821",
    "%E2%91%A0%E2%91%A1%E2%91%A6.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:FFFF:7F00:0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::1]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00::1]",
    "[ff02::1]",
    "10.0.0.1",
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "2852039166",
    "224.0.0.1",
    "255.255.255.255",
    // User info, which looks like a host.
    "8.8.8.8@127.0.0.1",
    "8.8.8.8:80@127.0.0.1",
    "push.example%2f@127.0.0.1",
    "127.0.0.1@8.8.8.8",
    "127.0.0.1:80@8.8.8.8",
];

/// What is no endpoint at all. `PORT` is the canary's.
const MALFORMED: &[&str] = &[
    "http://[fe80::1%25lo]:PORT/x",
    "http://[::1%25lo]:PORT/x",
    "http://[::1%lo]:PORT/x",
    "http://127.0.0.1\\@8.8.8.8:PORT/x",
    "http://8.8.8.8#@127.0.0.1:PORT/x",
    "http://8.8.8.8\t@127.0.0.1:PORT/x",
    "http://127.0.0.1 :PORT/x",
    "http://１２７.0.0.1:PORT/x",
    "http://127。0。0。1:PORT/x",
    "http:/127.0.0.1:PORT/x",
    "http:127.0.0.1:PORT/x",
    "http:///127.0.0.1:PORT/x",
    "//127.0.0.1:PORT/x",
    "http://push.example%40127.0.0.1:PORT/x",
    "http://127.0.0.1%00.push.example:PORT/x",
    "http://256.256.256.256:PORT/x",
    "http://1.2.3.4.5:PORT/x",
    "http://127.0.0.1:0/x",
    "http://127.0.0.1:99999/x",
    "gopher://127.0.0.1:PORT/x",
    "file:///etc/passwd",
    "unix:/run/docker.sock",
];

fn endpoints(canary: &Canary) -> Vec<String> {
    let own = own_address();
    let hosts = HOSTS.iter().copied().chain(own.as_deref());
    hosts.flat_map(|host| ["http", "https"].map(|scheme| format!("{scheme}://{host}:{}/x", canary.port))).collect()
}

fn open_to_the_public() -> World {
    let mut world = World::new();
    world.settings = "allowed_endpoints = [\"*\"]\n".to_owned();
    world
}

#[test]
fn no_spelling_of_a_private_address_can_be_registered() {
    let mut world = open_to_the_public();
    let canary = Canary::new();
    world.start();
    let phone = world.phone(1);
    let malformed = MALFORMED.iter().map(|text| text.replace("PORT", &canary.port.to_string()));
    for endpoint in endpoints(&canary).into_iter().chain(malformed) {
        let status = register(world.web(), &phone.uuid, u64::from(DEVICE), &phone.password, &endpoint, true);
        assert_eq!(status, "invalid_endpoint", "{endpoint}");
    }
    assert_eq!((canary.hits(), world.row(&phone)), (0, None));
}

#[test]
fn no_spelling_of_a_private_address_is_ever_sent_to() {
    let mut world = open_to_the_public();
    let canary = Canary::new();
    // As if they had been registered when the list or the answers of the name server were other ones.
    let stored: Vec<(Phone, String)> = (1..)
        .zip(endpoints(&canary))
        .filter(|(_, text)| Endpoint::parse(text).is_ok())
        .map(|(n, text)| (world.phone(n), text))
        .collect();
    assert!(stored.len() > 90, "{}", stored.len());
    world.keyed();
    for (phone, text) in &stored {
        let mut account = world.account(phone);
        account.endpoint = Endpoint::parse(text).unwrap();
        smol::block_on(world.store().put(account)).unwrap();
    }
    world.start();
    for (phone, text) in &stored {
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE), "{text}");
        world.signal().send(&phone.uuid, DEVICE, Envelope::new());
    }
    let supervisor = &world.daemon.as_ref().unwrap().supervisor;
    for (phone, text) in &stored {
        world.wait_push_state(phone, "retrying");
        let accounts = supervisor.snapshots();
        let reason = &accounts.iter().find(|account| account.id == phone.id()).unwrap().status.push.reason;
        let refusals = ["only public addresses", "not in allowed_endpoints"];
        assert!(refusals.iter().any(|refusal| reason.contains(refusal)), "{text}: {reason}");
    }
    thread::sleep(MOMENT);
    assert_eq!(canary.hits(), 0);
    assert_eq!(
        world.signal().records().devices.values().map(|d| d.acked).sum::<u64>(),
        0,
        "nothing is acked for a push that never went out"
    );
}

#[test]
fn a_named_server_may_be_private_whatever_the_spelling() {
    let mut world = World::new();
    let server = PushServer::start_plain();
    let port = server.addr().port();
    world.settings = format!("allowed_endpoints = [\"*\", \"http://127.0.0.1:{port}\"]\n");
    world.start();
    for (n, host) in (1..).zip(["127.0.0.1", "2130706433", "0x7f.1"]) {
        let phone = world.phone(n);
        let endpoint = format!("http://{host}:{port}/x{n}");
        let register = |to: &str| register(world.web(), &phone.uuid, 2, &phone.password, to, false);
        assert_eq!(register(&endpoint), "ok", "{host}");
        eventually("the test push", || server.requests_for(&format!("/x{n}")).len() == 1);
        // Another port, scheme or name of the same machine was not named.
        for other in [
            "http://127.0.0.1:1/x".to_owned(),
            endpoint.replace("http:", "https:"),
            format!("http://localhost:{port}/x"),
        ] {
            assert_eq!(register(&other), "invalid_endpoint", "{other}");
        }
    }
}

#[test]
fn proxies_named_in_the_environment_are_not_used() {
    let world = World::new();
    let (phone, canary) = (world.phone(1), Canary::new());
    world.config();
    let proxied = |args: &[&str]| {
        let mut command = command(&world, args);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY", "FTP_PROXY", "SOCKS_PROXY"] {
            command.env(name, format!("http://127.0.0.1:{}", canary.port));
            command.env(name.to_lowercase(), format!("http://127.0.0.1:{}", canary.port));
        }
        command
    };
    let program = Program::spawn(proxied(&["server"]));
    let endpoint = world.endpoint(&phone);
    assert_eq!(register(program.web, &phone.uuid, 2, &phone.password, &endpoint, false), "ok");
    assert!(world.push.wait_requests(1, PATIENCE));
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    let ping = proxied(&["connection", "ping", &phone.uuid]).output().unwrap();
    assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stderr));
    assert_eq!(world.push.requests().len(), 3);
    assert_eq!(canary.hits(), 0);
}

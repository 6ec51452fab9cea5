//! The way to Signal: whom it trusts, how long each stage may take, and what look-ups cost.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/pushing.rs"]
mod pushing;

use std::env;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mollysocket::net::resolve::Resolve;
use mollysocket::net::{DialError, Net, NetError, NetOptions, Stage, tls};
use mollysocket::push::Outcome;
use mollysocket::timings::{Limits, Timings};
use sim::pki::Pki;
use sim::push::PushServer;
use smol::Executor;
use tempfile::TempDir;
use url::Host;

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const SLACK: Duration = Duration::from_secs(5);

/// A way out, and the executor its look-ups run on.
struct Dialler {
    net: Arc<Net>,
    executor: Arc<Executor<'static>>,
}

fn write(directory: &TempDir, pem: &str) -> PathBuf {
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    path
}

impl Dialler {
    fn new(options: &NetOptions, timings: Timings) -> Self {
        let executor = Arc::new(Executor::new());
        let net = Net::new(options, timings, Limits::default(), executor.clone()).unwrap();
        Self { net: Arc::new(net), executor }
    }

    /// Trusts `pki` for Signal.
    fn trusting(pki: &Pki, timings: Timings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let signal_ca_file = Some(write(&directory, &pki.ca_pem()));
        Self::new(&NetOptions { signal_ca_file, ..NetOptions::default() }, timings)
    }

    fn resolving(self, resolver: impl Resolve) -> Self {
        let Self { net, executor } = self;
        let net = Arc::into_inner(net).unwrap().with_resolver(Arc::new(resolver));
        Self { net: Arc::new(net), executor }
    }

    fn dial(&self, host: &str, port: u16) -> Result<tls::Stream, DialError> {
        let host = Host::parse(host).unwrap();
        smol::block_on(self.executor.run(self.net.dial_signal(&host, port)))
    }

    fn stage(&self, host: &str, port: u16) -> (Stage, String) {
        let error = self.dial(host, port).expect_err("no connection");
        (error.stage, error.reason)
    }
}

/// Always the same answer, counted.
struct Fixed {
    answer: Vec<IpAddr>,
    calls: Arc<AtomicUsize>,
}

impl Fixed {
    fn new(addresses: &[IpAddr]) -> Self {
        Self { answer: addresses.to_vec(), calls: Arc::default() }
    }
}

#[async_trait::async_trait]
impl Resolve for Fixed {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match host {
            "hangs.example" => smol::future::pending().await,
            "panics.example" => panic!("a resolver with a fault"),
            "fails.example" => Err(io::Error::other("no such name")),
            "empty.example" => Ok(Vec::new()),
            _ => {
                smol::Timer::after(Duration::from_millis(20)).await;
                Ok(self.answer.clone())
            }
        }
    }
}

#[test]
fn signal_is_known_by_its_own_authority_only() {
    let (trusted, other) = (Pki::new(), Pki::new());
    let dialler = Dialler::trusting(&trusted, Timings::default());
    let good = PushServer::start(&trusted);
    for host in ["localhost", "LOCALHOST", "127.0.0.1"] {
        assert!(dialler.dial(host, good.addr().port()).is_ok(), "{host}");
    }
    for (config, case) in [
        (other.server_config(&[]), "another authority"),
        (trusted.server_config(&["chat.signal.org"]), "another name"),
        (trusted.expired_server_config(&[]), "expired"),
    ] {
        let server = PushServer::start_tls(Some(config), LOOPBACK.into()).unwrap();
        let (stage, reason) = dialler.stage("localhost", server.addr().port());
        assert_eq!(stage, Stage::Tls, "{case}");
        assert!(reason.contains("localhost") && reason.contains("certificate"), "{case}: {reason}");
    }
}

#[test]
fn an_authority_with_an_ed25519_key_is_accepted() {
    let pki = Pki::ed25519();
    let server = PushServer::start(&pki);
    assert!(Dialler::trusting(&pki, Timings::default()).dial("localhost", server.addr().port()).is_ok());
}

#[test]
fn what_is_trusted_for_push_is_not_trusted_for_signal() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let directory = tempfile::tempdir().unwrap();
    let push_ca_file = Some(write(&directory, &pki.ca_pem()));
    let dialler = Dialler::new(&NetOptions { push_ca_file, ..NetOptions::default() }, Timings::default());
    assert_eq!(dialler.stage("localhost", server.addr().port()).0, Stage::Tls);
    assert_eq!(server.requests().len(), 0);
}

/// Tells a child which certificates are the system's: both TLS back ends look at it.
const SYSTEM_ROOTS: &str = "SSL_CERT_FILE";

#[test]
fn what_the_system_trusts_is_trusted_for_push_and_not_for_signal() {
    if env::var_os("DIAL_CHILD").is_some() {
        let (system, own) = (env::var("DIAL_SYSTEM_PORT").unwrap().parse().unwrap(), Pki::new());
        // Neither beside the pinned roots nor beside those of the file that replaces them.
        for dialler in
            [Dialler::new(&NetOptions::default(), Timings::default()), Dialler::trusting(&own, Timings::default())]
        {
            assert_eq!(dialler.stage("localhost", system).0, Stage::Tls);
        }
        let options = pushing::Options::new(None, &format!("https://localhost:{system}"));
        let delivery = options.build().wake(&format!("https://localhost:{system}/x"));
        assert_eq!(delivery.outcome, Outcome::Accepted, "the system's roots were not read: {}", delivery.reason);
        return;
    }
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "what_the_system_trusts_is_trusted_for_push_and_not_for_signal", "--nocapture"])
        .env("DIAL_CHILD", "1")
        .env("DIAL_SYSTEM_PORT", server.addr().port().to_string())
        .env(SYSTEM_ROOTS, write(&directory, &pki.ca_pem()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn signal_is_never_spoken_to_in_the_clear() {
    let pki = Pki::new();
    let timings = Timings { tls: Duration::from_millis(300), ..Timings::default() };
    let dialler = Dialler::trusting(&pki, timings);
    let plain = PushServer::start_plain();
    assert_eq!(dialler.stage("localhost", plain.addr().port()).0, Stage::Tls);
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn certificate_files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let build = |path: PathBuf, signal: bool| {
        let (signal_ca_file, push_ca_file) = if signal { (Some(path), None) } else { (None, Some(path)) };
        let options = NetOptions { signal_ca_file, push_ca_file };
        Net::new(&options, Timings::default(), Limits::default(), Arc::new(Executor::new())).map(|_| ())
    };
    for (signal, key) in [(true, "signal_ca_file"), (false, "push_ca_file")] {
        let missing = directory.path().join("missing.pem");
        let error = build(missing, signal).unwrap_err();
        assert!(matches!(error, NetError::Unreadable { .. }), "{error:?}");
        assert!(error.to_string().contains("missing.pem") && error.to_string().contains(key), "{error}");
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = build(write(&directory, bad), signal).unwrap_err();
            assert!(matches!(error, NetError::Certificates { .. }), "{error:?}");
            assert!(error.to_string().contains("ca.pem") && error.to_string().contains(key), "{error}");
        }
    }
}

#[test]
fn every_stage_has_its_deadline_and_its_name() {
    let pki = Pki::new();
    let short = Duration::from_millis(200);
    let timings = Timings { dns: short, tcp: short, tls: short, ..Timings::default() };
    let server = PushServer::start(&pki);
    server.set_tls_silent(true);
    let port = server.addr().port();
    let hole = Hole::at(Ipv4Addr::LOCALHOST, 0);
    let dialler = Dialler::trusting(&pki, timings).resolving(Fixed::new(&[Ipv4Addr::LOCALHOST.into()]));
    for (host, port, stage) in [
        ("hangs.example", port, Stage::Dns),
        ("fails.example", port, Stage::Dns),
        ("empty.example", port, Stage::Dns),
        ("panics.example", port, Stage::Dns),
        ("silent.example", hole.address.port(), Stage::Tcp),
        ("silent.example", port, Stage::Tls),
    ] {
        let start = Instant::now();
        let (found, reason) = dialler.stage(host, port);
        assert_eq!(found, stage, "{reason}");
        assert!(reason.contains(host) && start.elapsed() < SLACK, "{reason} after {:?}", start.elapsed());
    }
}

#[test]
fn one_look_up_serves_everybody_who_asks_meanwhile() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let resolver = Fixed::new(&[Ipv4Addr::LOCALHOST.into()]);
    let calls = resolver.calls.clone();
    let timings = Timings { dns: Duration::from_millis(100), dns_keep: Duration::ZERO, ..Timings::default() };
    let dialler = Dialler::trusting(&pki, timings).resolving(resolver);
    let ask = |host: &str, n: usize| {
        let host = Host::parse(host).unwrap();
        let dials = (0..n).map(|_| dialler.net.dial_signal(&host, server.addr().port()));
        smol::block_on(dialler.executor.run(futures_util::future::join_all(dials)))
    };
    assert!(ask("localhost", 20).iter().all(Result::is_ok));
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    // Later askers get a new answer.
    ask("localhost", 1);
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    // A look-up that hangs is joined, not repeated.
    for _ in 0..3 {
        assert!(ask("hangs.example", 10).iter().all(Result::is_err));
    }
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    // One that fell over is not.
    for _ in 0..3 {
        assert!(ask("panics.example", 1)[0].is_err());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

/// An address that takes no more connections and refuses none: its queue is full.
struct Hole {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Hole {
    fn at(ip: Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(stream);
            assert!(queue.len() < 10_000, "the queue has no end");
        }
        Self { address, _listener: listener, _queue: queue }
    }
}

#[test]
fn an_address_that_swallows_packets_costs_a_head_start() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let port = server.addr().port();
    let hole = Hole::at(Ipv4Addr::new(127, 0, 0, 2), port);
    let head_start = Duration::from_millis(50);
    let timings = Timings { tcp: Duration::from_secs(30), happy_eyeballs: head_start, ..Timings::default() };
    let addresses = [hole.address.ip(), Ipv4Addr::LOCALHOST.into()];
    let dialler = Dialler::trusting(&pki, timings).resolving(Fixed::new(&addresses));
    let start = Instant::now();
    assert!(dialler.dial("localhost", port).is_ok());
    assert!(start.elapsed() >= head_start && start.elapsed() < SLACK, "{:?}", start.elapsed());
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    // The server listens on neither of the first two.
    let addresses = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 3).into(), Ipv4Addr::LOCALHOST.into()];
    let timings = Timings { happy_eyeballs: Duration::from_secs(30), ..Timings::default() };
    let dialler = Dialler::trusting(&pki, timings).resolving(Fixed::new(&addresses));
    let start = Instant::now();
    assert!(dialler.dial("localhost", server.addr().port()).is_ok());
    assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
}

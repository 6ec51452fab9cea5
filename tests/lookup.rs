//! What looking up names costs, how long answers are used, and that using them again is never less careful.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mollysocket::account::Endpoint;
use mollysocket::config::AllowedEndpoints;
use mollysocket::net::resolve::{Resolve, own_thread};
use mollysocket::net::{Checked, Net, NetOptions, Stage};
use mollysocket::push::{Outcome, PushKind, Pusher};
use mollysocket::timings::{Limits, Timings};
use mollysocket::vapid::{Vapid, VapidKey};
use sim::push::PushServer;
use smol::Executor;
use url::Host;

const PUBLIC: &str = "8.8.8.8";

type Names = (HashMap<String, IpAddr>, HashMap<String, usize>);

/// A table of names that can change, and how often each was asked for.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Names>>);

impl Table {
    fn set(&self, host: &str, address: &str) {
        self.0.lock().unwrap().0.insert(host.to_owned(), address.parse().unwrap());
    }

    fn asked(&self, host: &str) -> usize {
        self.0.lock().unwrap().1.get(host).copied().unwrap_or(0)
    }
}

#[async_trait::async_trait]
impl Resolve for Table {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut table = self.0.lock().unwrap();
        *table.1.entry(host.to_owned()).or_default() += 1;
        // Of the names that are not in the table only those that begin with n exist.
        let found = table.0.get(host).copied();
        found
            .or_else(|| host.starts_with('n').then(|| PUBLIC.parse().unwrap()))
            .map(|a| vec![a])
            .ok_or_else(|| io::Error::other("no such name"))
    }
}

struct Lab {
    executor: Arc<Executor<'static>>,
    net: Arc<Net>,
    pusher: Pusher,
    allowed: AllowedEndpoints,
    table: Table,
}

impl Lab {
    fn new(allowed: &[&str], timings: Timings, limits: Limits) -> Self {
        let (executor, table) = (Arc::new(Executor::new()), Table::default());
        let net = Net::new(&NetOptions::default(), timings, limits, executor.clone()).unwrap();
        let net = Arc::new(net.with_resolver(Arc::new(table.clone())));
        let vapid = Arc::new(Vapid::new(VapidKey::generate(), "mailto:admin@example.org".to_owned()));
        let allowed = AllowedEndpoints::parse(allowed).unwrap();
        let pusher = Pusher::new(net.clone(), vapid, allowed.clone());
        Self { executor, net, pusher, allowed, table }
    }

    /// Whether the endpoint's host could not be looked up.
    fn unknown(&self, to: &str) -> bool {
        matches!(self.check(to), Ok(Checked::Unknown(_)))
    }

    fn check(&self, to: &str) -> Result<Checked, String> {
        let check = async {
            let to = Endpoint::parse(to).unwrap();
            self.net.check_endpoint(&self.allowed, &to).await
        };
        smol::block_on(self.executor.run(check)).map_err(|refusal| refusal.to_string())
    }

    fn wake(&self, to: &str) -> (Outcome, String) {
        let to = Endpoint::parse(to).unwrap();
        let delivery = smol::block_on(self.executor.run(self.pusher.send(&to, PushKind::Wake)));
        (delivery.outcome, delivery.reason)
    }
}

fn keeping(found: u64, failed: u64) -> Timings {
    let ms = Duration::from_millis;
    Timings { dns_keep: ms(found), dns_keep_failure: ms(failed), ..Timings::default() }
}

#[test]
fn an_answer_serves_for_some_seconds_and_a_failure_for_fewer() {
    let defaults = Timings::default();
    assert!(defaults.dns_keep <= Duration::from_secs(30) && defaults.dns_keep_failure <= defaults.dns_keep / 4);

    let lab = Lab::new(&["*"], keeping(60_000, 60_000), Limits::default());
    lab.table.set("here.example", PUBLIC);
    for _ in 0..5 {
        lab.check("https://here.example/x").unwrap();
        assert!(lab.unknown("https://missing.example/x"));
    }
    assert_eq!((lab.table.asked("here.example"), lab.table.asked("missing.example")), (1, 1));

    let lab = Lab::new(&["*"], keeping(300, 20), Limits::default());
    lab.table.set("here.example", PUBLIC);
    let start = Instant::now();
    lab.check("https://here.example/x").unwrap();
    assert!(lab.unknown("https://missing.example/x"));
    thread::sleep(Duration::from_millis(30));
    lab.table.set("missing.example", PUBLIC);
    assert_eq!(lab.check("https://missing.example/x"), Ok(Checked::Fine));
    lab.check("https://here.example/x").unwrap();
    assert!(start.elapsed() > Duration::from_millis(300) || lab.table.asked("here.example") == 1);
    thread::sleep(Duration::from_millis(300));
    lab.check("https://here.example/x").unwrap();
    assert_eq!(lab.table.asked("here.example"), 2);
}

#[test]
fn what_is_remembered_is_vetted_for_each_use() {
    let server = PushServer::start_plain();
    let port = server.addr().port();
    // The operator names one service of that host. For the others the host is anybody's.
    let listed = format!("http://push.example:{port}");
    let lab = Lab::new(&[&listed, "*"], keeping(60_000, 60_000), Limits::default());
    lab.table.set("push.example", "127.0.0.1");
    assert_eq!(lab.wake(&format!("{listed}/x")).0, Outcome::Accepted);
    let other = format!("http://push.example:{}/x", port ^ 1);
    let (outcome, reason) = lab.wake(&other);
    assert!(outcome == Outcome::Failed && reason.contains("only public"), "{reason}");
    assert!(lab.check(&other).unwrap_err().contains("this machine"));
    assert_eq!(lab.table.asked("push.example"), 2, "one answer for pushes, one for registrations");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_name_that_turns_private_is_refused_as_soon_as_that_is_known() {
    let server = PushServer::start_plain();
    let to = format!("http://turncoat.example:{}/x", server.addr().port());
    let lab = Lab::new(&["*"], keeping(50, 50), Limits::default());
    lab.table.set("turncoat.example", PUBLIC);
    lab.check(&to).unwrap();
    lab.table.set("turncoat.example", "127.0.0.1");
    thread::sleep(Duration::from_millis(60));
    let (outcome, reason) = lab.wake(&to);
    assert!(outcome == Outcome::Failed && reason.contains("only public"), "{reason}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn memory_of_names_is_bounded_and_signals_name_stays() {
    let limits = Limits { dns_names: 8, ..Limits::default() };
    let lab = Lab::new(&["*"], Timings { tcp: Duration::from_millis(1), ..keeping(60_000, 60_000) }, limits);
    lab.table.set("signal.example", "127.0.0.1");
    let dial = || {
        let host = Host::parse("signal.example").unwrap();
        let dialled = smol::block_on(lab.executor.run(lab.net.dial_signal(&host, 1)));
        assert_eq!(dialled.err().map(|error| error.stage), Some(Stage::Tcp));
    };
    dial();
    for n in 0..100 {
        lab.check(&format!("https://n{n}.example/x")).unwrap();
    }
    lab.check("https://n99.example/x").unwrap();
    assert_eq!(lab.table.asked("n99.example"), 1, "the newest are there");
    lab.check("https://n1.example/x").unwrap();
    assert_eq!(lab.table.asked("n1.example"), 2, "the oldest made room");
    dial();
    assert_eq!(lab.table.asked("signal.example"), 1);
}

/// Blocks a thread for each name, as `getaddrinfo` does when no name server answers.
struct Blocking;

#[async_trait::async_trait]
impl Resolve for Blocking {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host == "signal.example" {
            return Ok(vec!["127.0.0.1".parse().unwrap()]);
        }
        own_thread(|| thread::sleep(Duration::from_secs(3600))).await?;
        Ok(Vec::new())
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_dead_name_server_costs_eight_threads_and_does_not_keep_signal_waiting() {
    const CHILD: &str = "LOOKUP_CHILD";
    let name = "a_dead_name_server_costs_eight_threads_and_does_not_keep_signal_waiting";
    if env::var_os(CHILD).is_none() {
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("left in order"), "{text}");
        return;
    }
    let executor = Arc::new(Executor::new());
    let timings =
        Timings { dns: Duration::from_millis(200), check_endpoint: Duration::from_millis(200), ..Timings::default() };
    let limits = Limits::default();
    let net = Net::new(&NetOptions::default(), timings, limits, executor.clone()).unwrap();
    let net = net.with_resolver(Arc::new(Blocking));
    let allowed = AllowedEndpoints::parse(&["*"]).unwrap();
    let before = threads();
    let endpoints: Vec<_> = (0..300).map(|n| Endpoint::parse(&format!("https://h{n}.example/x")).unwrap()).collect();
    let checks = endpoints.iter().map(|to| net.check_endpoint(&allowed, to));
    let start = Instant::now();
    smol::block_on(executor.run(futures_util::future::join_all(checks)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(threads() <= before + 8, "{} threads after {before}", threads());
    let dialled = smol::block_on(executor.run(net.dial_signal(&Host::parse("signal.example").unwrap(), 1)));
    assert_eq!(dialled.err().map(|error| error.stage), Some(Stage::Tcp), "its name was found");
    // The threads are still blocked: leave without waiting for them.
    println!("left in order");
    std::process::exit(0);
}

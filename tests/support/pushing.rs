//! What the tests of pushes share: a sender with everything that can be set.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mollysocket::account::Endpoint;
use mollysocket::config::AllowedEndpoints;
use mollysocket::net::resolve::Resolve;
use mollysocket::net::{Checked, Net, NetOptions};
use mollysocket::push::{Delivery, PushKind, Pusher};
use mollysocket::timings::{Limits, Timings};
use mollysocket::vapid::{Vapid, VapidKey};
use sim::pki::Pki;
use sim::push::PushServer;
use smol::Executor;
use tempfile::TempDir;

pub const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// The deadline of a push in tests about it.
pub const SHORT: Duration = Duration::from_secs(1);
/// What a busy machine may add.
pub const SLACK: Duration = Duration::from_secs(5);

pub fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

/// Answers in turn; the last one again and again. Without any it never answers.
pub struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

#[async_trait::async_trait]
impl Resolve for Script {
    async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let next = {
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        };
        match next {
            Some(answer) if answer.is_empty() => Err(io::Error::other("no such name")),
            Some(answer) => Ok(answer),
            None => smol::future::pending().await,
        }
    }
}

/// Everything between a test and a push server.
pub struct Sender {
    pub executor: Arc<Executor<'static>>,
    pub net: Arc<Net>,
    pub vapid: Arc<Vapid>,
    pub allowed: AllowedEndpoints,
    pub pusher: Pusher,
    _running: Running,
    _ca: TempDir,
}

/// Runs an executor all the time, as the daemon does: connections live there between two pushes.
pub struct Running {
    stop: smol::channel::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(executor: Arc<Executor<'static>>) -> Self {
        let (stop, stopped) = smol::channel::bounded(1);
        let run = move || {
            let _ = smol::block_on(executor.run(stopped.recv()));
        };
        Self { stop, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.close();
        let _ = self.thread.take().unwrap().join();
    }
}

pub struct Options<'a> {
    pub pki: Option<&'a Pki>,
    /// What is in `push_ca_file` in place of the authority's certificate.
    pub ca_pem: Option<String>,
    pub allowed: Vec<String>,
    pub timings: Timings,
    pub limits: Limits,
    pub resolver: Option<Vec<&'a str>>,
}

impl<'a> Options<'a> {
    pub fn new(pki: Option<&'a Pki>, allowed: &str) -> Self {
        // A scripted resolver is asked each time.
        let timings = Timings {
            push: Duration::from_secs(20),
            dns_keep: Duration::ZERO,
            dns_keep_failure: Duration::ZERO,
            ..Timings::default()
        };
        Self {
            pki,
            ca_pem: None,
            allowed: vec![allowed.to_owned()],
            timings,
            limits: Limits::default(),
            resolver: None,
        }
    }

    pub fn short(mut self) -> Self {
        self.timings.push = SHORT;
        self
    }

    /// Every name is at these addresses, one group after the other. An empty group: no such name. None: silence.
    pub fn resolving(mut self, answers: &[&'a str]) -> Self {
        self.resolver = Some(answers.to_vec());
        self
    }

    pub fn build(self) -> Sender {
        let ca = tempfile::tempdir().unwrap();
        let push_ca_file = self.ca_pem.or_else(|| self.pki.map(Pki::ca_pem)).map(|pem| {
            let path = ca.path().join("ca.pem");
            std::fs::write(&path, pem).unwrap();
            path
        });
        let executor = Arc::new(Executor::new());
        let options = NetOptions { push_ca_file, ..NetOptions::default() };
        let mut net = Net::new(&options, self.timings, self.limits, executor.clone()).unwrap();
        if let Some(answers) = self.resolver {
            let parse = |group: &&str| group.split_whitespace().map(|address| address.parse().unwrap()).collect();
            net = net.with_resolver(Arc::new(Script(Mutex::new(answers.iter().map(parse).collect()))));
        }
        let net = Arc::new(net);
        let vapid = Arc::new(Vapid::new(VapidKey::generate(), "mailto:admin@example.org".to_owned()));
        let allowed = AllowedEndpoints::parse(&self.allowed).unwrap();
        let pusher = Pusher::new(net.clone(), vapid.clone(), allowed.clone());
        let running = Running::start(executor.clone());
        Sender { executor, net, vapid, allowed, pusher, _running: running, _ca: ca }
    }
}

impl Sender {
    pub fn send(&self, to: &str, kind: PushKind) -> Delivery {
        smol::block_on(self.executor.run(self.pusher.send(&endpoint(to), kind)))
    }

    pub fn check(&self, to: &str) -> Result<Checked, String> {
        let to = endpoint(to);
        let check = self.net.check_endpoint(&self.allowed, &to);
        smol::block_on(self.executor.run(check)).map_err(|refusal| refusal.to_string())
    }

    pub fn wake(&self, to: &str) -> Delivery {
        self.send(to, PushKind::Wake)
    }
}

/// A TLS push server that the sender trusts and may reach.
pub fn pair() -> (PushServer, Sender) {
    let pki = Pki::new();
    let server = PushServer::start(&pki);
    let sender = Options::new(Some(&pki), &origin(&server)).build();
    (server, sender)
}

pub fn origin(server: &PushServer) -> String {
    endpoint(&server.endpoint("x")).origin()
}

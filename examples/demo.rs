//! A tour in one terminal: a simulated Signal, a simulated push server, and the real daemon between them.
//!
//! `cargo run --release --example demo`. No account, no network, under a minute. Exits with 1 if a wake-up is lost.
#![allow(clippy::print_stdout)]

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sim::pki::Pki;
use sim::push::PushServer;
use sim::signal::{Envelope, Guid, SignalServer};

const ACCOUNT: &str = "11111111-2222-4333-8444-555555555555";
const DEVICE: u8 = 2;
const PASSWORD: &str = "demo+password/24chars===";
const PATIENCE: Duration = Duration::from_secs(15);
/// After the quiet time, so that each message of the tour gets a wake-up of its own.
const PAUSE: Duration = Duration::from_millis(1300);
/// The first argument that makes this program the daemon.
const AS_DAEMON: &str = "--as-daemon";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == AS_DAEMON) {
        return mollysocket::cli::main(args[1..].to_vec(), std::env::vars().collect());
    }
    match tour() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The simulated world and the daemon's files.
struct World {
    signal: Option<SignalServer>,
    push: PushServer,
    pki: Pki,
    dir: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn tour() -> Result<()> {
    println!("A simulated Signal, a simulated push server, and the real MollySocket between them.\n");
    let dir = std::env::temp_dir().join(format!("mollysocket-demo-{}", std::process::id()));
    std::fs::create_dir(&dir).context("no temporary directory")?;
    let pki = Pki::new();
    let mut world = World { signal: Some(SignalServer::start(&pki)), push: PushServer::start(&pki), pki, dir };
    std::fs::write(world.dir.join("ca.pem"), world.pki.ca_pem())?;
    world.signal()?.add_device(ACCOUNT, DEVICE, PASSWORD);

    let started = Instant::now();
    let mut daemon = Daemon::start(&world)?;
    say("start", &format!("the daemon listens on {}", daemon.web), started.elapsed());

    let registered = Instant::now();
    let answer = register(&daemon.web, &world.push.endpoint("upDEMODEMODEM1"))?;
    ensure!(answer.contains(r#""status":"ok""#), "the registration was answered {answer}");
    ensure!(world.push.wait_requests(1, PATIENCE), "no test push");
    say("link", "the phone registers: ok, and gets its test push", registered.elapsed());
    ensure!(world.signal()?.wait_connected(ACCOUNT, DEVICE, PATIENCE), "never connected to Signal");
    say("connect", "the daemon is connected to Signal", registered.elapsed());

    for n in 1..=3 {
        std::thread::sleep(PAUSE);
        message(&world, &format!("message {n}"))?;
    }

    std::thread::sleep(PAUSE);
    burst(&world)?;

    progress("push outage: the push server is away for three seconds …");
    world.push.refuse(true);
    let sent = Instant::now();
    let guid = world.signal()?.send(ACCOUNT, DEVICE, Envelope::new().urgent(true));
    std::thread::sleep(Duration::from_secs(3));
    ensure!(world.signal()?.unacked(ACCOUNT, DEVICE) == 1, "acked although no push was accepted");
    let before = world.push.requests().len();
    world.push.refuse(false);
    hops(&world, "push outage", sent, guid, before)?;

    std::thread::sleep(PAUSE);
    killed(&world, &mut daemon)?;

    progress("Signal restart: all connections are cut …");
    let addr = world.signal()?.addr();
    let queues = world.signal.take().context("no Signal")?.stop();
    std::thread::sleep(Duration::from_secs(1));
    world.signal = Some(SignalServer::start_with(&world.pki, addr, queues)?);
    message(&world, "Signal restart")?;

    let left = world.signal()?.queue_len(ACCOUNT, DEVICE);
    ensure!(left == 0, "{left} messages were never acked");
    daemon.stop()?;
    println!("\nEvery message was acked, none before its wake-up was accepted. Nothing was lost.");
    Ok(())
}

impl World {
    fn signal(&self) -> Result<&SignalServer> {
        self.signal.as_ref().context("Signal is away")
    }
}

/// One message, hop by hop.
fn message(world: &World, name: &str) -> Result<()> {
    let before = world.push.requests().len();
    let sent = Instant::now();
    let guid = world.signal()?.send(ACCOUNT, DEVICE, Envelope::new().urgent(true));
    hops(world, name, sent, guid, before)
}

/// Waits for the wake-up and the ack of a message, and prints when they came.
fn hops(world: &World, name: &str, sent: Instant, guid: Guid, pushes_before: usize) -> Result<()> {
    ensure!(world.push.wait_requests(pushes_before + 1, PATIENCE), "the wake-up was lost");
    let signal = world.signal()?;
    ensure!(signal.wait_acked(ACCOUNT, DEVICE, guid, PATIENCE), "the message was never acked");
    let push = world.push.requests()[pushes_before].at;
    let acks = signal.records().acked(ACCOUNT, DEVICE);
    let ack = acks.iter().find(|a| a.guid == guid).context("the ack is missing")?.at;
    ensure!(ack >= push, "acked before the push");
    say(name, &format!("envelope in → push {} → acked", time(push - sent)), ack - sent);
    Ok(())
}

fn burst(world: &World) -> Result<()> {
    let (signal, before) = (world.signal()?, world.push.requests().len());
    let acked = signal.counters(ACCOUNT, DEVICE).acked;
    let sent = Instant::now();
    signal.send_burst(ACCOUNT, DEVICE, 500, Envelope::new().urgent(true));
    ensure!(signal.wait_acks(ACCOUNT, DEVICE, acked + 500, PATIENCE), "the burst was not acked");
    let pushes = world.push.requests().len() - before;
    say("burst", &format!("500 envelopes at once → {pushes} wake-ups → all acked"), sent.elapsed());
    Ok(())
}

/// Kills the daemon after an envelope was delivered and before its wake-up could go out.
fn killed(world: &World, daemon: &mut Daemon) -> Result<()> {
    world.push.refuse(true);
    let signal = world.signal()?;
    let delivered = signal.counters(ACCOUNT, DEVICE).delivered;
    let guid = signal.send(ACCOUNT, DEVICE, Envelope::new().urgent(true));
    let sent = Instant::now();
    signal.wait_until(PATIENCE, |s| s.records().device(ACCOUNT, DEVICE).delivered > delivered);
    daemon.child.kill()?;
    daemon.child.wait()?;
    say("kill -9", "the daemon is killed: envelope delivered, wake-up not sent", sent.elapsed());
    let before = world.push.requests().len();
    world.push.refuse(false);
    *daemon = Daemon::start(world)?;
    hops(world, "restart", Instant::now(), guid, before)
}

/// The daemon as a process of its own.
struct Daemon {
    child: Child,
    web: String,
}

impl Daemon {
    fn start(world: &World) -> Result<Self> {
        let origin = format!("https://localhost:{}", world.push.addr().port());
        let mut child = Command::new(std::env::current_exe()?)
            .args([AS_DAEMON, "server"])
            .env("MOLLY_PORT", "0")
            .env("MOLLY_DB", world.dir.join("db.sqlite"))
            .env("MOLLY_SIGNAL_URL", world.signal()?.url())
            .env("MOLLY_SIGNAL_CA_FILE", world.dir.join("ca.pem"))
            .env("MOLLY_PUSH_CA_FILE", world.dir.join("ca.pem"))
            .env("MOLLY_ALLOWED_ENDPOINTS", origin)
            .current_dir(&world.dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no stderr")?;
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let web = lines.find_map(|line| line.split_once("http://").map(|(_, at)| at.trim_end_matches('/').to_owned()));
        let web = web.context("the daemon did not start")?;
        // Keep reading, so that the daemon never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, web })
    }

    fn stop(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// What Molly posts when it is linked.
fn register(web: &str, endpoint: &str) -> Result<String> {
    let body = format!(
        r#"{{"uuid":"{ACCOUNT}","device_id":{DEVICE},"password":"{PASSWORD}","endpoint":"{endpoint}","ping":false}}"#
    );
    let mut stream = TcpStream::connect(web)?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {web}\r\nUser-Agent: Signal-Android/8.19.2 Android/36\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A finished step with the time it took.
fn say(step: &str, what: &str, took: Duration) {
    clear();
    println!("  {step:<15} {what:<62} {:>9}", time(took));
}

/// A step that takes a while; replaced by its result.
fn progress(what: &str) {
    if std::io::stdout().is_terminal() {
        print!("  {what}");
        let _ = std::io::stdout().flush();
    }
}

fn clear() {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[K");
    }
}

fn time(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1000.0) }
}

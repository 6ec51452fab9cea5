//! The two simulated servers as a program, for test scripts: `simulator DIR [SIGNAL-PORT PUSH-PORT]`. Without ports they
//! listen on free ones.
//!
//! Writes `DIR/ca.pem` (the throw-away authority of both) and `DIR/signal-url`, prints `ready`, and then reads commands
//! from standard input, one a line, until its end. Each is answered by one line that begins with `ok`, with `no` (what
//! was waited for did not happen in time) or with `error`.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use sim::pki::Pki;
use sim::push::PushServer;
use sim::signal::{Envelope, Handshake, Mode, SignalServer};
use uuid::Uuid;

const HELP: &str = "add UUID DEVICE PASSWORD | unlink UUID DEVICE | send UUID DEVICE | cut UUID DEVICE | \
                    wait-connected UUID DEVICE SECONDS | wait-acks UUID DEVICE N SECONDS | counters UUID DEVICE | \
                    endpoint NAME | pushes | wait-pushes N SECONDS | push N body | push N HEADER | \
                    signal off | signal on | push-server off | push-server on | help";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (dir, ports) = match words[..] {
        [dir] => (dir, Some([0, 0])),
        [dir, signal, push] => (dir, signal.parse().ok().zip(push.parse().ok()).map(<[u16; 2]>::from)),
        _ => ("", None),
    };
    let Some(ports) = ports else {
        eprintln!("usage: simulator DIR [SIGNAL-PORT PUSH-PORT]; commands on standard input: {HELP}");
        return ExitCode::from(2);
    };
    match run(Path::new(dir), ports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path, ports: [u16; 2]) -> std::io::Result<()> {
    let pki = Pki::new();
    let [signal, push] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let servers =
        Servers { signal: SignalServer::start_at(&pki, signal)?, push: PushServer::start_at(Some(&pki), push)? };
    std::fs::write(dir.join("ca.pem"), pki.ca_pem())?;
    std::fs::write(dir.join("signal-url"), servers.signal.url())?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match servers.obey(&line.split_whitespace().collect::<Vec<_>>()) {
            Ok(text) if text.is_empty() => "ok".to_owned(),
            Ok(text) => format!("ok {text}"),
            Err(Refusal::TooLate) => "no".to_owned(),
            Err(Refusal::Wrong(what)) => format!("error {what}"),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

struct Servers {
    signal: SignalServer,
    push: PushServer,
}

/// Why a command was not carried out.
enum Refusal {
    /// What was waited for did not happen in time.
    TooLate,
    /// The command means nothing.
    Wrong(String),
}

impl Servers {
    fn obey(&self, words: &[&str]) -> Result<String, Refusal> {
        let (signal, push) = (&self.signal, &self.push);
        match *words {
            ["add", uuid, device, password] => {
                signal.add_device(aci(uuid)?, number(device)?, password);
                Ok(String::new())
            }
            ["unlink", uuid, device] => {
                signal.unlink(aci(uuid)?, number(device)?);
                Ok(String::new())
            }
            ["send", uuid, device] => Ok(signal.send(aci(uuid)?, number(device)?, Envelope::new()).to_string()),
            ["cut", uuid, device] => in_time(signal.cut(aci(uuid)?, number(device)?)),
            ["wait-connected", uuid, device, seconds] => {
                in_time(signal.wait_connected(aci(uuid)?, number(device)?, patience(seconds)?))
            }
            ["wait-acks", uuid, device, n, seconds] => {
                in_time(signal.wait_acks(aci(uuid)?, number(device)?, number(n)?, patience(seconds)?))
            }
            ["counters", uuid, device] => {
                let (uuid, device) = (aci(uuid)?, number(device)?);
                let c = signal.counters(uuid, device);
                let unacked = signal.unacked(uuid, device);
                Ok(format!(
                    "connects={} open={} delivered={} acked={} unacked={unacked} non_2xx={} duplicates={} displaced={}",
                    c.connects, c.open, c.delivered, c.acked, c.non_2xx, c.duplicates, c.displaced
                ))
            }
            ["endpoint", name] => Ok(push.endpoint(name)),
            ["wait-pushes", n, seconds] => in_time(push.wait_requests(number(n)?, patience(seconds)?)),
            ["pushes"] => Ok(push.requests().len().to_string()),
            ["signal", "off"] => {
                signal.set_mode(Mode::Handshake(Handshake::RefuseTcp));
                signal.cut_all();
                Ok(String::new())
            }
            ["signal", "on"] => {
                signal.set_mode(Mode::Handshake(Handshake::Accept));
                Ok(String::new())
            }
            ["push-server", "off"] => {
                push.refuse(true);
                // Pushes share a connection, which would outlive the refusal of new ones.
                push.cut_all();
                Ok(String::new())
            }
            ["push-server", "on"] => {
                push.refuse(false);
                Ok(String::new())
            }
            ["push", n, what] => {
                let requests = push.requests();
                let request = number::<usize>(n)?.checked_sub(1).and_then(|at| requests.get(at));
                let request = request.ok_or_else(|| Refusal::Wrong(format!("there are {} pushes", requests.len())))?;
                let value = if what == "body" { Some(request.text()) } else { request.header(what).map(str::to_owned) };
                value.ok_or_else(|| Refusal::Wrong(format!("push {n} has no {what}")))
            }
            ["help"] => Ok(HELP.to_owned()),
            _ => Err(Refusal::Wrong(format!("commands are: {HELP}"))),
        }
    }
}

fn aci(text: &str) -> Result<&str, Refusal> {
    Uuid::parse_str(text).map(|_| text).map_err(|_| Refusal::Wrong(format!("{text} is not a UUID")))
}

fn number<T: FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::Wrong(format!("{text} is not a number that fits")))
}

fn patience(text: &str) -> Result<Duration, Refusal> {
    number(text).map(Duration::from_secs)
}

fn in_time(happened: bool) -> Result<String, Refusal> {
    if happened { Ok(String::new()) } else { Err(Refusal::TooLate) }
}

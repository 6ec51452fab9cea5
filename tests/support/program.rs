//! The real program as a process, and what the kernel says about it.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mollysocket::config::Config;
use mollysocket::daemon::Daemon;
use mollysocket::timings::Timings;

use crate::support::{PATIENCE, World, limits};

/// A daemon process. Killed when dropped.
pub struct Program {
    pub child: Child,
    /// Where its web server listens.
    pub web: SocketAddr,
    log: mpsc::Receiver<String>,
}

impl Program {
    pub fn start(world: &World, args: &[&str]) -> Self {
        world.config();
        Self::spawn(command(world, args))
    }

    /// Runs `command`, which starts a server, until it listens.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (lines, log) = mpsc::channel();
        let (listening, started) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on")
                    && let Some(address) = address.trim().strip_prefix("http://")
                {
                    let _ = listening.send(address.trim_end_matches('/').parse().unwrap());
                }
                let _ = lines.send(line);
            }
        });
        let Ok(web) = started.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("it did not start: {}", log.iter().collect::<Vec<String>>().join("\n"));
        };
        Self { child, log, web }
    }

    /// A server whose log nobody reads: the pipe is full before it starts.
    pub fn unheard(world: &World, args: &[&str]) -> Self {
        world.config();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut filler = writer.try_clone().unwrap();
        let (wrote, written) = mpsc::channel();
        std::thread::spawn(move || while filler.write_all(&[b'\n'; 4096]).is_ok() && wrote.send(()).is_ok() {});
        // It has stopped writing: there is no more room.
        while written.recv_timeout(Duration::from_secs(1)).is_ok() {}
        let child = command(world, args).stderr(writer).spawn().unwrap();
        // This end of the pipe stays open, like a journal that hangs.
        std::mem::forget((reader, written));
        let started = Instant::now();
        let web = loop {
            let status = command(world, &["status", "--json"]).output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            if let Some(web) = status["server"]["web"].as_str() {
                break web.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "it does not start");
        };
        Self { child, log: mpsc::channel().1, web }
    }

    /// As the kernel's out-of-memory killer does it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Exit code and how long it took to end.
    pub fn wait(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log from the last look to the end of the program.
    pub fn log(&mut self) -> String {
        self.log.iter().collect::<Vec<_>>().join("\n")
    }

    /// The lines that came since the last look.
    pub fn lines(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// Memory in use, in KiB.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was in use since the last [`Self::forget_peak`], in KiB.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// From now on the peak is a new one (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Processor time so far. The kernel counts it in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        // proc(5): utime and stime are fields 14 and 15; the first one after the name is field 3.
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names the configuration of a daemon that a test's own executable is to be.
const CHILD: &str = "MOLLYSOCKET_TEST_DAEMON";

/// A daemon with test timings in a process of its own: `test`, run again, which must begin with [`is_daemon`].
pub fn apart(world: &World, test: &str) -> Program {
    world.config();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, world.dir.path().join("config.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Program::spawn(command)
}

/// Whether this process is to be such a daemon. If so it is one, until it is killed.
pub fn is_daemon(timings: Timings) -> bool {
    let Some(file) = std::env::var_os(CHILD) else { return false };
    let config = Config::load(Some(Path::new(&file)), &BTreeMap::new()).unwrap();
    let daemon = Daemon::new(config, timings, limits()).unwrap();
    eprintln!("{}", daemon.report());
    daemon.run(std::future::pending());
    true
}

/// The program with these arguments, in the world's directory and with nothing of our environment.
pub fn command(world: &World, args: &[&str]) -> Command {
    command_under(world, &[], args)
}

/// The same, started by another program that gives it less of something.
pub fn command_under(world: &World, wrapper: &[&str], args: &[&str]) -> Command {
    let words: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_mollysocket")]).collect();
    command_of(world, &words, args)
}

/// The same, as a user who may not enter the directory it was built in: from a copy.
pub fn command_as(world: &World, user: u32, args: &[&str]) -> Command {
    let copy = world.dir.path().join("mollysocket");
    fs::copy(env!("CARGO_BIN_EXE_mollysocket"), &copy).unwrap();
    let mut command = command_of(world, &[copy.to_str().unwrap()], args);
    command.uid(user).gid(user);
    command
}

fn command_of(world: &World, words: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .current_dir(world.dir.path())
        .arg("-c")
        .arg(world.dir.path().join("config.toml"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

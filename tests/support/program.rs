//! The real program as a process.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, World};

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

    pub fn log(&mut self) -> String {
        self.log.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with these arguments, in the world's directory and with nothing of our environment.
pub fn command(world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
    command
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

//! The daemon as a child process: this very program, told to be the daemon.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The first argument that makes this program the daemon.
pub(crate) const AS_DAEMON: &str = "--as-daemon";
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(20);
/// The program promises five seconds; the rest is for a busy machine.
const STOP: Duration = Duration::from_secs(8);

/// What every life of the daemon is started with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) db: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) signal_url: String,
    pub(crate) ca_file: PathBuf,
    /// TOML.
    pub(crate) allowed_endpoints: String,
}

/// Lines of the log that no correct program writes.
pub(crate) type Complaints = Arc<Mutex<Vec<String>>>;

/// One life of the daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    addresses: Receiver<SocketAddr>,
    web: Option<SocketAddr>,
    started: Instant,
}

impl Daemon {
    /// Starts it. It is ready when [`Self::web`] says so.
    pub(crate) fn start(setup: &Setup, complaints: &Complaints) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([AS_DAEMON, "server"])
            .env_clear()
            .env("RUST_LOG", "info")
            .env("MOLLY_PORT", "0")
            .env("MOLLY_METRICS", "true")
            .env("MOLLY_DB", &setup.db)
            .env("MOLLY_SIGNAL_URL", &setup.signal_url)
            .env("MOLLY_SIGNAL_CA_FILE", &setup.ca_file)
            .env("MOLLY_PUSH_CA_FILE", &setup.ca_file)
            .env("MOLLY_ALLOWED_ENDPOINTS", &setup.allowed_endpoints)
            .current_dir(&setup.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the daemon cannot be started")?;
        let stderr = child.stderr.take().context("the daemon has no stderr")?;
        let (found, addresses) = channel();
        let (log, complaints) = (setup.log.clone(), complaints.clone());
        std::thread::spawn(move || keep_log(BufReader::new(stderr), &log, &found, &complaints));
        Ok(Self { child, addresses, web: None, started: Instant::now() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its web server listens, once it does.
    pub(crate) fn web(&mut self) -> Option<SocketAddr> {
        self.web = self.web.or_else(|| self.addresses.try_recv().ok());
        self.web
    }

    /// Whether it should be listening by now.
    pub(crate) fn is_late(&mut self) -> bool {
        self.web().is_none() && self.started.elapsed() > START
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.send(if frozen { Signal::STOP } else { Signal::CONT });
    }

    /// As the kernel's out-of-memory killer does it.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When it does not end in time, or not with 0.
    pub(crate) fn terminate(mut self) -> std::result::Result<Duration, String> {
        let since = Instant::now();
        self.send(Signal::TERM);
        while since.elapsed() < STOP {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(since.elapsed()),
                Ok(Some(status)) => return Err(format!("after SIGTERM the daemon ended with {status}")),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(format!("the daemon did not end within {STOP:?} of SIGTERM"))
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Gone already: whoever looks next will see it.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the log down, and looks for the address and for what must never be there.
fn keep_log(stderr: impl BufRead, file: &Path, found: &Sender<SocketAddr>, complaints: &Complaints) {
    let mut log = OpenOptions::new().create(true).append(true).open(file).ok();
    for line in stderr.lines().map_while(Result::ok) {
        if let Some(address) = line.split_once("listening on").and_then(|(_, rest)| rest.split_once("http://")) {
            let _ = address.1.trim_end_matches('/').parse().map(|address| found.send(address));
        }
        if is_complaint(&line) {
            complaints.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        }
        if let Some(log) = &mut log {
            let _ = writeln!(log, "{line}");
        }
    }
}

/// A panic, or a failure that is the program's own.
fn is_complaint(line: &str) -> bool {
    ["panicked at", "Please report this", "please report this", "a bug of MollySocket"].iter().any(|w| line.contains(w))
        // Its answer to 400 and 413, which the soak asks for.
        && !line.contains("answered 4")
}

#[cfg(test)]
mod tests {
    use super::is_complaint;

    #[test]
    fn a_panic_in_the_log_is_noticed() {
        assert!(is_complaint("thread 'main' panicked at src/x.rs:1:2:"));
        assert!(is_complaint(
            "0f2b1a3c: the program failed at this account and starts it again in 1s. Please report this"
        ));
        assert!(!is_complaint(
            "push to https://localhost:1 failed: https://localhost:1 answered 400 Bad Request: … a bug of MollySocket"
        ));
        assert!(!is_complaint("listening on http://127.0.0.1:8020/"));
    }
}

//! A directory, a push server, and the program run in between.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use sim::pki::Pki;
use sim::push::PushServer;
use tempfile::TempDir;

pub const UUID: &str = "0f2b1a3c-1111-4222-8333-444455556666";
pub const OTHER_UUID: &str = "1f2b1a3c-1111-4222-8333-444455556666";
pub const PASSWORD: &str = "PwSecret+/abcdefghijk0==";
pub const TOKEN: &str = "upTOKENsecret";
/// The known pair of the reference implementation's tests.
pub const KEY: &str = "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI";
pub const PUBLIC: &str = "BOniQ9xHBPNY9gnQW4o-16vHqOb40pEIMifyUdFsxAgyzVkFMguxw0QrdbZcq8hRjN2zpeInRvKVPlkzABvuTnI";

/// Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the program ended and what it printed.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let run = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        run.check();
        run
    }

    /// What must be true of every run.
    fn check(&self) {
        for text in [&self.stdout, &self.stderr] {
            for never in ["panicked", "RUST_BACKTRACE", "stack backtrace", "unwrap", PASSWORD, KEY] {
                assert!(!text.contains(never), "{never}: {self:?}");
            }
        }
        assert!(matches!(self.code, Some(0..=2)), "{self:?}");
    }

    /// It ended with 0 and this is what it printed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// It ended with `code` and one line on stderr that holds all of `parts`, and nothing on stdout.
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let warning = |line: &str| line.starts_with("mollysocket: warning: ");
        let mut complaints = self.stderr.lines().filter(|line| line.starts_with("mollysocket: ") && !warning(line));
        let line = complaints.next().unwrap_or_else(|| panic!("no complaint: {self:?}"));
        assert_eq!(complaints.next(), None, "{self:?}");
        for part in parts {
            assert!(line.contains(part), "{line:?} lacks {part:?}");
        }
    }
}

/// A directory to run the program in.
pub struct World {
    pub dir: TempDir,
    pub variables: BTreeMap<String, String>,
}

impl World {
    pub fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), variables: BTreeMap::new() }
    }

    /// With a key.
    pub fn keyed() -> Self {
        let mut world = Self::new();
        fs::write(world.path("vapid.key"), KEY).unwrap();
        world.set("MOLLY_VAPID_KEY_FILE", "vapid.key");
        world
    }

    /// With a key and a push server that the allow list names.
    pub fn pushing() -> (Self, PushServer) {
        let mut world = Self::keyed();
        let pki = Pki::new();
        let push = PushServer::start(&pki);
        fs::write(world.path("push-ca.pem"), pki.ca_pem()).unwrap();
        world.set("MOLLY_PUSH_CA_FILE", "push-ca.pem");
        world.set("MOLLY_ALLOWED_ENDPOINTS", &format!("https://localhost:{}", push.addr().port()));
        (world, push)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
        command.env_clear().envs(&self.variables).current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// Runs a line of words.
    pub fn line(&self, line: &str) -> Run {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// A database as the reference leaves it, with the usual account and whatever else it was told.
    pub fn reference_database(&self, name: &str, uuids: &[&str]) {
        let db = rusqlite::Connection::open(self.path(name)).unwrap();
        db.execute_batch(
            "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, password TEXT,
             endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), last_registration INTEGER)",
        )
        .unwrap();
        for uuid in uuids {
            let row = [uuid, "2", PASSWORD, "https://push.example/upTOKEN", "0", "1700000000"];
            db.execute("INSERT INTO connections VALUES (?1, ?2, ?3, ?4, ?5, ?6)", row).unwrap();
        }
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Adds the usual account.
    pub fn add(&self, endpoint: &str) -> Run {
        self.run(&["connection", "add", UUID, "2", PASSWORD, endpoint])
    }

    /// The account of `connection list --json`.
    pub fn account(&self) -> serde_json::Value {
        let listing: serde_json::Value = serde_json::from_str(&self.line("connection list --json").ok()).unwrap();
        listing["accounts"][0].clone()
    }

    /// Writes to the database as the daemon or another program would.
    pub fn sql(&self, statement: &str) {
        rusqlite::Connection::open(self.path("db.sqlite")).unwrap().execute_batch(statement).unwrap();
    }
}

/// A running `server`.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    /// Everything it printed to stderr so far.
    pub stderr: String,
}

impl Server {
    pub fn start(world: &World, args: &[&str]) -> Self {
        Self::spawn(world.command(args))
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        Self { child, lines, stderr: String::new() }
    }

    /// Waits for a line that holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line with {text:?} in:\n{}", self.stderr));
            self.stderr.push_str(&line);
            self.stderr.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> Run {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end:\n{}", self.stderr);
            thread::sleep(Duration::from_millis(5));
        }
        let code = self.child.wait().unwrap().code();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        while let Ok(line) = self.lines.recv() {
            self.stderr.push_str(&line);
            self.stderr.push('\n');
        }
        let run = Run { code, stdout, stderr: std::mem::take(&mut self.stderr) };
        run.check();
        run
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

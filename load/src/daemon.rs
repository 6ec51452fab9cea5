//! The daemon that is measured, as a child process.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mollysocket::cli;
use mollysocket::config::{Config, Env};
use mollysocket::daemon::Daemon as Built;
use mollysocket::timings::{Limits, Timings};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::process::Process;

/// The first argument that makes this program the daemon.
pub(crate) const AS_DAEMON: &str = "--as-daemon";
/// The one after it that makes a daemon which connects as fast as it can.
const UNPACED: &str = "--unpaced";
/// How long after the first program of one build the last one may be ready.
const ONE_BUILD: Duration = Duration::from_secs(15 * 60);
/// How often threads are counted.
const COUNT: Duration = Duration::from_millis(20);
/// What the packaged services set: glibc would else keep memory for each thread.
const AS_PACKAGED: (&str, &str) = ("MALLOC_ARENA_MAX", "2");
/// How long a start may take.
const START: Duration = Duration::from_secs(60);
/// How long a stop may take.
const STOP: Duration = Duration::from_secs(10);

/// Is the daemon, until it is told to end.
pub(crate) fn be_the_daemon(args: &[String]) -> ExitCode {
    // When the driver is killed it must not go on alone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let env: Env = std::env::vars().collect();
    if args.first().is_none_or(|first| first != UNPACED) {
        return cli::main(args.to_vec(), env);
    }
    match unpaced(&env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As `server`, without pacing. It is ended by the signal alone: there is nothing to keep.
fn unpaced(env: &Env) -> Result<()> {
    let config = Config::load(None, env)?;
    let limits = Limits { connects_per_second: 1_000_000, ..Limits::default() };
    Built::new(config, Timings::default(), limits)?.run(std::future::pending());
    Ok(())
}

/// Which daemon, and how it is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// `None`: this program.
    path: Option<PathBuf>,
    env: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn from_args(path: Option<&Path>, env: &[(String, String)]) -> Result<Self> {
        let path = path.map(|path| path.canonicalize().with_context(|| format!("there is no {}", path.display())));
        let path = path.transpose()?;
        let name = match &path {
            Some(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            None => "mollysocket (in this program)".to_owned(),
        };
        Ok(Self { name, path, env: env.to_vec() })
    }

    /// Whether it can be told not to pace its connections.
    pub(crate) fn can_be_unpaced(&self) -> bool {
        self.path.is_none()
    }

    /// Size of the executable, bytes. This program holds more than the daemon: the one that was built beside it counts.
    /// `None` where there is none, or one that was built long before this program.
    pub(crate) fn size(&self) -> Option<u64> {
        if let Some(path) = &self.path {
            return path.metadata().ok().map(|file| file.len());
        }
        let driver = std::env::current_exe().ok()?;
        let file = driver.with_file_name("mollysocket").metadata().ok()?;
        let since = driver.metadata().and_then(|driver| driver.modified()).ok()?;
        (file.modified().ok()? + ONE_BUILD >= since).then_some(file.len())
    }
}

/// Whether connections to Signal are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pacing {
    Default,
    Off,
}

/// What every life of the daemon is started with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) db: PathBuf,
    pub(crate) signal_url: String,
    /// What the daemon sees as `/etc/hosts`, where Signal has several addresses.
    pub(crate) hosts: Option<PathBuf>,
    pub(crate) ca_file: PathBuf,
    /// TOML.
    pub(crate) allowed_endpoints: String,
}

/// One life of the daemon. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) web: SocketAddr,
    /// From its start to its first answer on the web server.
    pub(crate) ready: Duration,
    /// Most threads it ever had.
    threads: Arc<AtomicUsize>,
}

impl Daemon {
    /// Starts it and waits until its web server answers.
    pub(crate) fn start(program: &Program, setup: &Setup, pacing: Pacing) -> Result<Self> {
        let web = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log = OpenOptions::new().create(true).append(true).open(setup.dir.join("daemon.log"))?;
        let path = program.path.clone().map_or_else(std::env::current_exe, Ok)?;
        let mut command = match &setup.hosts {
            Some(hosts) => with_hosts(hosts, &path),
            None => Command::new(path),
        };
        if program.path.is_none() {
            command.arg(AS_DAEMON);
        }
        command.arg(if pacing == Pacing::Off { UNPACED } else { "server" });
        command
            .env_clear()
            // For `unshare` and what it starts.
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env(AS_PACKAGED.0, AS_PACKAGED.1)
            .env("MOLLY_HOST", web.ip().to_string())
            .env("MOLLY_PORT", web.port().to_string())
            .env("MOLLY_DB", &setup.db)
            .env("MOLLY_SIGNAL_URL", &setup.signal_url)
            .env("MOLLY_SIGNAL_CA_FILE", &setup.ca_file)
            .env("MOLLY_PUSH_CA_FILE", &setup.ca_file)
            .env("MOLLY_MAX_ACCOUNTS", "100000")
            .env("MOLLY_ALLOWED_ENDPOINTS", &setup.allowed_endpoints)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&setup.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let child = command.spawn().context("the daemon cannot be started")?;
        let threads = count_threads(Process(child.id()));
        let mut daemon = Self { child, web, ready: Duration::ZERO, threads };
        while !answers(web) {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended at its start with {status}");
            }
            if started.elapsed() > START {
                bail!("the daemon's web server does not answer within {START:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon.ready = started.elapsed();
        Ok(daemon)
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Most threads it had at any time so far.
    pub(crate) fn most_threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    /// Asks it to end; how long that took.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let since = Instant::now();
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        while since.elapsed() < STOP {
            if self.child.try_wait()?.is_some() {
                return Ok(since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("the daemon did not end within {STOP:?} of SIGTERM")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs `path`, followed by arguments, with a `/etc/hosts` that nobody else sees. It is the same process in
/// the end.
fn with_hosts(hosts: &Path, path: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).args([hosts, path]);
    command
}

/// Counts until the process is gone.
fn count_threads(process: Process) -> Arc<AtomicUsize> {
    let most = Arc::new(AtomicUsize::new(0));
    let counted = most.clone();
    std::thread::spawn(move || {
        while let Ok(now) = process.threads() {
            counted.fetch_max(now, Ordering::Relaxed);
            std::thread::sleep(COUNT);
        }
    });
    most
}

/// Below the range from which thousands of connections take their own ports.
fn free_port() -> Result<u16> {
    let start = 20_000 + (std::process::id() % 1000) as u16 * 10;
    let mut ports = start..start + 2000;
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no port is free")
}

/// Whether the web server answers a request, whatever it says.
fn answers(web: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(web) else { return false };
    let _ = stream.set_read_timeout(Some(START));
    let request = format!("GET /discover HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
    let mut head = [0; 8];
    stream.write_all(request.as_bytes()).is_ok() && stream.read_exact(&mut head).is_ok() && head == *b"HTTP/1.1"
}

//! The program under a service manager: what it tells it, and what it takes from it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mollysocket::config::Env;
use mollysocket::daemon::{Daemon, Hooks};
use mollysocket::systemd::Service;
use mollysocket::vapid::VapidKey;
use support::{MOMENT, PATIENCE, World, eventually, get, register};

const BIN: &str = env!("CARGO_BIN_EXE_mollysocket");

/// A service manager: a socket for messages.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(world: &World) -> Self {
        let path = world.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// The next message within the time.
    fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..n].to_vec()).unwrap())
    }

    /// Leaves messages out until one begins so.
    fn wait(&self, begin: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(message) = self.next(PATIENCE).filter(|message| message.starts_with(begin)) {
                return message;
            }
        }
        panic!("never: {begin}");
    }

    fn env(&self, more: &[(&str, &str)]) -> Env {
        let all = [("NOTIFY_SOCKET", self.path.to_str().unwrap())];
        all.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }
}

/// The program; killed when dropped.
struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Program {
    fn start(world: &World, env: &[(&str, &str)]) -> Self {
        world.config();
        let mut command = Command::new(BIN);
        command.args(["-v", "-c"]).arg(world.dir.path().join("config.toml")).arg("server");
        Self::spawn(command.env_clear().envs(env.iter().copied()).current_dir(world.dir.path()).stdin(Stdio::null()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, log) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| *log.lock().unwrap() += &format!("{line}\n"));
        });
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_said(&self, what: &str) {
        eventually(what, || self.said().contains(what));
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn web(&self) -> SocketAddr {
        self.wait_said("database");
        let said = self.said();
        said.split_once("http://").unwrap().1.split_once('/').unwrap().0.parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_manager_is_told_when_it_is_ready_alive_and_ending() {
    let world = World::new();
    let manager = Manager::new(&world);
    let path = manager.path.to_str().unwrap();
    let program = Program::start(&world, &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "400000")]);
    let ready = manager.next(PATIENCE).unwrap();
    assert!(ready.starts_with("READY=1\nSTATUS=0 accounts, listening on http://127.0.0.1:"), "{ready}");
    assert_eq!(get(program.web(), "/discover", "").0, 200, "ready means that it answers");
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(manager.next(PATIENCE).unwrap(), "WATCHDOG=1");
    }
    // Two signs of life in a period; five times as long on a busy machine.
    assert!(start.elapsed() < Duration::from_millis(200) * 5 * 5, "too few signs of life: {:?}", start.elapsed());
    // A process that stands still gives none.
    program.signal("-STOP");
    while manager.next(MOMENT).is_some() {}
    assert_eq!(manager.next(MOMENT), None);
    program.signal("-CONT");
    manager.wait("WATCHDOG=1");
    program.signal("-TERM");
    manager.wait("STOPPING=1");
}

#[test]
fn the_manager_shows_how_many_are_connected_and_in_trouble() {
    let mut world = World::new();
    let phones = [world.phone(1), world.phone(2)];
    phones.iter().for_each(|phone| world.store_phone(phone));
    let manager = Manager::new(&world);
    let (service, _) = Service::from_env(&manager.env(&[]));
    world.timings.service_status = Duration::from_millis(20);
    let daemon = Daemon::new(world.config(), world.timings.clone(), world.limits.clone()).unwrap();
    let (_reload, reloads) = smol::channel::bounded(1);
    let reread = Box::new(|| panic!("nobody asked"));
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let running = std::thread::spawn(move || {
        daemon.run_as_service(&Hooks { service: Arc::new(service), reloads, reread }, async {
            let _ = stopped.recv().await;
        });
    });
    manager.wait("READY=1\nSTATUS=2 accounts, 0 connected, listening on http://");
    manager.wait("STATUS=2 accounts, 2 connected, listening on http://");
    while manager.next(MOMENT).is_some() {}
    assert_eq!(manager.next(MOMENT), None, "nothing changes, nothing is told");
    world.signal().unlink(&phones[0].uuid, phones[0].device);
    manager.wait("STATUS=2 accounts, 1 connected, 1 in trouble");
    drop(stop);
    running.join().unwrap();
}

#[test]
fn a_watchdog_for_another_process_and_a_missing_manager_are_no_matter() {
    let world = World::new();
    let manager = Manager::new(&world);
    let path = manager.path.to_str().unwrap();
    let program =
        Program::start(&world, &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]);
    manager.wait("READY=1");
    assert_eq!(manager.next(MOMENT), None);
    drop(program);
    let program = Program::start(&world, &[("NOTIFY_SOCKET", "/nowhere/at/all")]);
    assert_eq!(get(program.web(), "/discover", "").0, 200);
    program.wait_said("could not be told");
}

#[test]
fn a_socket_of_the_manager_is_served_with_what_waits_in_it() {
    let world = World::new();
    world.config();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(addr).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    early.write_all(b"GET /discover HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    // The shell moves the socket to where the manager would put it.
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, BIN, "-c"]).arg(world.dir.path().join("config.toml")).arg("server");
    command.env_clear().env("MOLLY_HOST", "203.0.113.1").current_dir(world.dir.path());
    let program = Program::spawn(command.stdin(Stdio::from(OwnedFd::from(listener))));
    assert_eq!(program.web(), addr, "host and port do not count");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(get(addr, "/discover", "").0, 200);
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let world = World::new();
    world.config();
    for (fds, says) in [("1", "fd 3"), ("2", "2 sockets")] {
        let script = format!("exec 3</dev/null; export LISTEN_PID=$$ LISTEN_FDS={fds}; exec \"$0\" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, BIN, "-c"]).arg(world.dir.path().join("config.toml")).arg("server");
        let output = command.env_clear().current_dir(world.dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(says) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_key_comes_from_a_credential_unless_a_file_is_named() {
    let mut world = World::new();
    let dir = world.dir.path().join("credentials");
    std::fs::create_dir(&dir).unwrap();
    let write = |name: &str| {
        let key = VapidKey::generate();
        std::fs::write(dir.join(name), key.to_private().expose()).unwrap();
        key.public()
    };
    let env = [("CREDENTIALS_DIRECTORY", dir.to_str().unwrap())];
    let link = |world: &World| {
        let program = Program::start(world, &env);
        (get(program.web(), "/?airgapped", "").1, program.said())
    };
    let (page, said) = link(&world);
    assert!(page.contains("mollysocket://") && said.contains("db.sqlite.vapid"), "no such credential: {said}");
    let reference = write("ms_vapid");
    let (page, said) = link(&world);
    assert!(page.contains(&reference) && said.contains("credential") && said.contains("ms_vapid"), "{said}");
    let ours = write("vapid.key");
    assert!(link(&world).0.contains(&ours));
    let other = VapidKey::generate();
    world.settings = format!("vapid_privkey = {:?}\n", other.to_private().expose());
    let (page, said) = link(&world);
    assert!(page.contains(&ours) && said.contains("vapid_privkey: not used"), "{said}");
    std::fs::write(world.dir.path().join("key"), other.to_private().expose()).unwrap();
    world.settings = format!("vapid_key_file = {:?}\n", world.dir.path().join("key"));
    assert!(link(&world).0.contains(&other.public()));
}

#[test]
fn a_broken_credential_is_a_configuration_error() {
    let world = World::new();
    world.config();
    std::fs::write(world.dir.path().join("vapid.key"), "SECRET").unwrap();
    let mut command = Command::new(BIN);
    command.env_clear().env("CREDENTIALS_DIRECTORY", world.dir.path()).current_dir(world.dir.path());
    let output = command.arg("-c").arg(world.dir.path().join("config.toml")).arg("server").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("credential") && said.contains("vapid.key") && !said.contains("SECRET"), "{said}");
}

#[test]
fn a_reload_takes_the_allow_lists_over_and_names_what_needs_a_restart() {
    let mut world = World::new();
    let (first, second) = (world.phone(1), world.phone(2));
    world.settings = format!("allowed_uuids = [{:?}]\n", first.uuid);
    let manager = Manager::new(&world);
    let program = Program::start(&world, &[("NOTIFY_SOCKET", manager.path.to_str().unwrap())]);
    let web = program.web();
    let answer = |phone: &support::Phone, endpoint: &str| {
        register(web, &phone.uuid, u64::from(phone.device), &phone.password, endpoint, false)
    };
    let endpoint = world.endpoint(&first);
    assert_eq!(answer(&first, &endpoint), "ok");
    assert_eq!(answer(&second, &endpoint), "invalid_uuid");
    manager.wait("READY=1");

    world.settings = format!("allowed_uuids = [{:?}, {:?}]\nmax_accounts = 7\n", first.uuid, second.uuid);
    world.config();
    program.signal("-HUP");
    assert_eq!(manager.next(PATIENCE).unwrap(), "RELOADING=1");
    assert!(manager.next(PATIENCE).unwrap().contains("READY=1\nSTATUS="));
    program.wait_said("max_accounts has changed: restart needed");
    assert_eq!(answer(&second, &world.endpoint(&second)), "ok");
    assert!(world.push.wait_requests(2, PATIENCE), "both phones get their test push");

    // Push servers, at registration and for those that are registered already.
    world.settings = "allowed_endpoints = [\"https://elsewhere.example\"]\n".into();
    world.config();
    program.signal("-HUP");
    manager.wait("READY=1");
    assert_eq!(answer(&first, &world.push.endpoint("new")), "invalid_endpoint");
    let before = world.push.requests().len();
    world.signal().send(&first.uuid, first.device, sim::signal::Envelope::new().urgent(true));
    program.wait_said("not in allowed_endpoints any more");
    assert_eq!(world.push.requests().len(), before);
}

#[test]
fn a_reload_that_fails_changes_nothing_and_says_so() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.settings = format!("allowed_uuids = [{:?}]\n", phone.uuid);
    let program = Program::start(&world, &[]);
    let web = program.web();
    world.settings = "allowed_uuid = []\n".into();
    std::fs::write(world.dir.path().join("config.toml"), "allowed_uuid = []\n").unwrap();
    program.signal("-HUP");
    program.wait_said("the old one stays in force");
    let answer = |uuid: &str| register(web, uuid, 2, &phone.password, &world.endpoint(&phone), false);
    assert_eq!(answer(&phone.uuid), "ok");
    assert_eq!(answer("99999999-2222-4333-8444-555555555555"), "invalid_uuid");
}

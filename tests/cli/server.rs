//! `server`: its report, its end, and why it does not start.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::thread;
use std::time::{Duration, Instant};

use sim::pki::Pki;
use sim::signal::SignalServer;

use crate::world::{PASSWORD, PUBLIC, Server, UUID, World};

/// A server on a port of its own that never reaches Signal.
fn world() -> World {
    let mut world = World::keyed();
    world.set("MOLLY_PORT", "0");
    world.set("MOLLY_SIGNAL_URL", "wss://127.0.0.1:1");
    world
}

#[test]
fn it_reports_at_start_and_ends_with_0_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let world = world();
        let mut server = Server::start(&world, &["server"]);
        server.wait_for("127.0.0.1:");
        // The report may go on for some lines; the next one comes only after it.
        thread::sleep(Duration::from_millis(200));
        server.signal(signal);
        let run = server.end();
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{run:?}");
        assert!(run.stderr.contains(env!("CARGO_PKG_VERSION")) && run.stderr.contains("db.sqlite"), "{run:?}");
        assert!(run.stderr.contains("vapid.key") && run.stderr.contains("any"), "{run:?}");
    }
}

#[test]
fn host_and_port_of_the_command_line_win_over_all_else() {
    let mut world = world();
    world.set("MOLLY_PORT", "1");
    world.set("MOLLY_HOST", "192.0.2.1");
    let mut server = Server::start(&world, &["server", "--port", "0", "--host=127.0.0.1"]);
    server.wait_for("127.0.0.1:");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
    for port in ["x", "65536", "-1", ""] {
        world.run(&["server", "--port", port]).fails(2, &["--port needs a number"]);
    }
}

#[test]
fn it_starts_with_nothing_configured_and_makes_key_and_database() {
    let mut world = world();
    world.unset("MOLLY_VAPID_KEY_FILE");
    let mut server = Server::start(&world, &["s"]);
    server.wait_for("127.0.0.1:");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
    assert!(world.path("db.sqlite").exists() && world.path("db.sqlite.vapid").exists());
    // The key stays: other verbs and the next start use it.
    let link = world.line("qrcode airgapped").ok().lines().last().unwrap().to_owned();
    let mut server = Server::start(&world, &["server"]);
    server.wait_for("127.0.0.1:");
    server.signal("TERM");
    server.end();
    assert_eq!(world.line("qrcode airgapped").ok().lines().last(), Some(link.as_str()));
}

#[test]
fn without_a_web_server_the_code_is_shown_whatever_the_level() {
    let mut world = world();
    world.set("MOLLY_WEBSERVER", "false");
    world.set("RUST_LOG", "off");
    let mut server = Server::start(&world, &["server"]);
    server.wait_for(&format!("mollysocket://link?vapid={PUBLIC}&type=airgapped"));
    server.signal("TERM");
    let run = server.end();
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.matches('▀').count() > 50 && !run.stderr.contains('\x1b'), "no colours in a journal: {run:?}");
}

#[test]
fn a_port_in_use_is_one_line_and_nothing_is_made() {
    let mut world = world();
    world.unset("MOLLY_VAPID_KEY_FILE");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    world.set("MOLLY_PORT", &port);
    world.line("server").fails(1, &[&port]);
    assert_eq!(world.names(), ["vapid.key"], "neither a database nor a key");
    world.line("qrcode airgapped").fails(1, &["no VAPID key at "]);
}

/// Phones know the key they were linked with. The reference's installations have it in many places; one we do not know
/// of must not be replaced without a word.
#[test]
fn accounts_without_a_key_keep_it_from_starting_until_one_is_named() {
    let mut world = world();
    world.unset("MOLLY_VAPID_KEY_FILE");
    world.reference_database("mollysocket.db", &[UUID]);
    for _ in 0..2 {
        let parts = ["1 account", "mollysocket.db.vapid", "vapid_privkey", "/etc/mollysocket/vapid.key"];
        let parts = [&parts[..], &["docs/migration.md", "mollysocket vapid generate > FILE"]].concat();
        world.line("server").fails(2, &parts);
        assert!(!world.names().iter().any(|name| name.ends_with(".vapid")), "{:?}", world.names());
    }
    // As it says, for who wants to start anew.
    fs::write(world.path("FILE"), world.line("vapid generate").ok()).unwrap();
    world.set("MOLLY_VAPID_KEY_FILE", "FILE");
    let mut server = Server::start(&world, &["server"]);
    server.wait_for("1 account");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn rows_of_no_account_keep_no_server_from_starting() {
    let mut world = world();
    world.unset("MOLLY_VAPID_KEY_FILE");
    world.reference_database("db.sqlite", &["foo"]);
    let mut server = Server::start(&world, &["server"]);
    server.wait_for("0 accounts; 1 row cannot be understood");
    server.wait_for("made just now");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
    assert!(world.line("connection remove foo").ok().contains("removed"));
    assert!(!world.line("connection list").ok().contains("unreadable"));
}

#[test]
fn files_that_another_one_hides_are_named_at_the_start_and_by_doctor() {
    let mut world = world();
    let home = world.path("home/.config/mollysocket");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.toml"), "").unwrap();
    fs::write(world.path("mollysocket.toml"), format!("allowed_uuids = [\"{UUID}\"]")).unwrap();
    world.set("HOME", world.path("home").to_str().unwrap());
    let told = |world: &World| {
        let mut server = Server::start(world, &["server"]);
        server.wait_for("push servers");
        server.signal("TERM");
        server.end().stderr.lines().any(|line| line.contains("ignored") && line.contains("mollysocket.toml"))
    };
    assert!(told(&world));
    let doctor = world.line("doctor").stdout;
    assert!(doctor.contains("mollysocket.toml is ignored"), "{doctor}");
    // Two names of one file are one file, and who names a file knows what is read.
    world.set("MOLLY_CONF", home.join("config.toml").to_str().unwrap());
    assert!(!told(&world));
    world.unset("MOLLY_CONF");
    fs::remove_file(home.join("config.toml")).unwrap();
    std::os::unix::fs::symlink(world.path("mollysocket.toml"), home.join("config.toml")).unwrap();
    assert!(!told(&world));
}

#[test]
fn a_second_server_on_the_same_database_is_refused() {
    let world = world();
    let mut server = Server::start(&world, &["server"]);
    server.wait_for("127.0.0.1:");
    world.line("server").fails(1, &["db.sqlite"]);
    assert!(world.line("connection list").ok().contains("accounts: 0"), "other verbs work beside it");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn what_keeps_it_from_starting_is_one_line() {
    let mut world = world();
    fs::write(world.path("vapid.key"), "nonsense").unwrap();
    world.line("server").fails(2, &["vapid.key"]);
    world.unset("MOLLY_VAPID_KEY_FILE");
    world.set("MOLLY_SIGNAL_CA_FILE", "missing.pem");
    world.line("server").fails(2, &["missing.pem"]);
    world.unset("MOLLY_SIGNAL_CA_FILE");
    world.set("MOLLY_DB", "no/such/directory/db.sqlite");
    world.line("server").fails(1, &["no/such/directory"]);
    world.set("MOLLY_DB", "vapid.key");
    world.line("server").fails(1, &["vapid.key"]);
}

#[test]
fn edits_by_the_command_line_reach_it_within_3_seconds() {
    const SOON: Duration = Duration::from_secs(3);
    let (mut world, push) = World::pushing();
    let pki = Pki::new();
    let signal = SignalServer::start(&pki);
    signal.add_device(UUID, 2, PASSWORD);
    fs::write(world.path("signal-ca.pem"), pki.ca_pem()).unwrap();
    world.set("MOLLY_SIGNAL_CA_FILE", "signal-ca.pem");
    world.set("MOLLY_SIGNAL_URL", &signal.url());
    world.set("MOLLY_PORT", "0");
    let mut server = Server::start(&world, &["server"]);
    server.wait_for("127.0.0.1:");
    assert!(world.add(&push.endpoint("up")).ok().contains("the running server knows of it"));
    assert!(signal.wait_connected(UUID, 2, SOON), "added");
    // With the server's socket, but another database.
    world.set("MOLLY_ADMIN_SOCKET", "db.sqlite.sock");
    world.set("MOLLY_DB", "wrong.sqlite");
    let said = world.add(&push.endpoint("up")).ok();
    assert!(said.contains("no server uses this database") && said.contains("/db.sqlite"), "{said}");
    world.unset("MOLLY_DB");
    world.run(&["connection", "remove", UUID]).ok();
    assert!(signal.wait_disconnected(UUID, 2, SOON), "removed");
    server.signal("TERM");
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let world = world();
    let mut server = Server::start(&world, &["server"]);
    let line = server.wait_for("127.0.0.1:");
    let port: String = line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    // A request that never ends keeps the ordered stop waiting.
    let mut stuck = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stuck
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    server.signal("TERM");
    thread::sleep(Duration::from_millis(200));
    let asked = Instant::now();
    server.signal("TERM");
    let run = server.end();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(run.code, Some(1), "{run:?}");
}

#[test]
fn it_is_never_ended_by_a_closed_stdout_or_stderr() {
    let world = world();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command(&["server", "-vvv"]);
    let mut child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

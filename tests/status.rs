//! What the admin socket, `status`, `health` and `connection pause` tell and do.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mollysocket::daemon::Daemon;
use mollysocket::status::State;
use mollysocket::vapid::{Create, VapidKey};
use program::{Program, command, command_as};
use serde_json::Value;
use sim::push::Answer;
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

/// Status and body of an answer of the admin socket.
fn ask(world: &World, target: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(world.dir.path().join("db.sqlite.sock")).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn run(world: &World, args: &[&str]) -> Output {
    command(world, args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code and JSON of `status --json`.
fn status(world: &World) -> (Option<i32>, Value) {
    let output = run(world, &["status", "--json"]);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Exit code and the one line of `health`.
fn health(world: &World) -> (Option<i32>, String) {
    health_of(world, &["health"])
}

/// The same with these arguments.
fn health_of(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = run(world, args);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text)
}

fn pause(world: &World, phone: &Phone, verb: &str) {
    let output = run(world, &["connection", verb, &phone.uuid]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn status_tells_of_a_healthy_account_and_exits_with_0() {
    let (world, phone) = World::connected();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    let (code, json) = status(&world);
    assert_eq!((code, &json["healthy"]), (Some(0), &Value::Bool(true)), "{json:#}");
    let account = &json["accounts"][0];
    assert_eq!((&account["uuid"], &account["signal"]["state"]), (&phone.uuid.as_str().into(), &"connected".into()));
    assert!(account["last_envelope"].is_string() && account["last_push"].is_string(), "{account:#}");
    assert!(account["last_push_latency_ms"].as_u64().is_some_and(|ms| ms < 20_000), "{account:#}");
    let output = run(&world, &["status"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("MollySocket ") && text.contains("1 account (1 connected)"), "{text}");
    assert!(text.contains(&phone.uuid[..8]) && !text.contains(&phone.uuid), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals: {text:?}");
}

#[test]
fn status_names_state_reason_and_remedy_and_exits_with_1() {
    let (world, phone) = World::connected();
    world.signal().unlink(&phone.uuid, DEVICE);
    world.wait_state(&phone, "unlinked");
    let (code, json) = status(&world);
    assert_eq!((code, &json["healthy"]), (Some(1), &Value::Bool(false)));
    let side = &json["accounts"][0]["signal"];
    assert_eq!((&side["state"], &side["remedy"]), (&"unlinked".into(), &State::Unlinked.remedy().into()));
    assert!(side["reason"].as_str().unwrap().contains("403"), "{side:#}");
    let text = stdout(&run(&world, &["status"]));
    assert!(text.contains("unlinked") && text.contains(State::Unlinked.remedy()), "{text}");
    assert_eq!(health(&world).0, Some(0), "the server does its work all the same");
}

#[test]
fn a_failing_push_server_is_shown_with_the_next_try() {
    let (mut world, phone) = World::connected();
    world.timings.push_retry_base = Duration::from_secs(60);
    world.timings.push_retry_cap = Duration::from_secs(60);
    world.timings.attention = Duration::ZERO;
    world.start();
    world.wait_state(&phone, "connected");
    world.push.set_default(Answer::status(507));
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    world.wait_push_state(&phone, "retrying");
    let (code, json) = status(&world);
    let account = &json["accounts"][0];
    assert_eq!((code, &account["needs_attention"], &account["owes_wakeup"]), (Some(1), &true.into(), &true.into()));
    assert!(account["push"]["retry_at"].is_string(), "{account:#}");
    assert!(account["push"]["remedy"].as_str().unwrap().contains("distributor app"), "{account:#}");
    let text = stdout(&run(&world, &["status"]));
    assert!(text.contains("507") && text.contains("in "), "{text}");
}

#[test]
fn an_answer_of_something_that_is_no_push_server_counts_and_is_told_as_doubtful() {
    let (world, phone) = World::connected();
    world.push.set_default(Answer::status(200).header("Content-Type", "text/html").body("<form>Log in</form>"));
    for _ in 0..2 {
        let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
        assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "it is not repeated for ever");
    }
    let (code, json) = status(&world);
    let push = &json["accounts"][0]["push"];
    assert_eq!((code, &push["state"]), (Some(0), &"ok".into()), "{push:#}");
    assert!(push["reason"].as_str().unwrap().contains("web page"), "{push:#}");
    let text = stdout(&run(&world, &["status"]));
    assert!(text.contains("web page"), "{text}");
    world.push.set_default(Answer::created());
    world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    eventually("all is well again", || !stdout(&run(&world, &["status"])).contains("web page"));
}

#[test]
fn without_a_server_the_database_alone_is_shown() {
    let (mut world, phone) = World::connected();
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("stored", || world.row(&phone).unwrap().forbidden);
    world.store_phone(&Phone::number(2));
    world.stop();
    let output = run(&world, &["status"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("no server answers at ") && text.contains("db.sqlite.sock"), "{text}");
    assert!(text.contains("database alone: 2 accounts (1 unlinked, 1 unknown)"), "{text}");
    let (code, json) = status(&world);
    assert_eq!((code, &json["server"], &json["healthy"]), (Some(1), &Value::Null, &false.into()));
    let (code, line) = health(&world);
    assert_eq!(code, Some(1));
    assert!(line.starts_with("unhealthy: no server answers at "), "{line}");
    assert_eq!(health_of(&world, &["health", "--live"]).0, Some(1));
}

/// What `status` warns of, with a server or without; the start report says the same.
fn warnings(world: &World) -> Vec<String> {
    let json = status(world).1;
    let all = json["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
    let all: Vec<String> = all.collect();
    let text = stdout(&run(world, &["status"]));
    assert!(all.iter().all(|warning| text.contains(&format!("warning: {warning}"))), "{all:?}: {text}");
    all
}

#[test]
fn accounts_that_fit_the_allow_lists_no_more_are_told_with_the_line_to_add() {
    let (mut world, phone) = World::connected();
    assert_eq!(warnings(&world), [""; 0]);
    let origin = format!("https://localhost:{}", world.push.addr().port());
    let other = Phone::number(2);
    world.settings =
        format!("allowed_uuids = [\"{}\"]\nallowed_endpoints = [\"https://elsewhere.example\"]\n", other.uuid);
    world.start();
    let running = warnings(&world);
    let [uuids, endpoints] = &running[..] else { panic!("{running:?}") };
    assert!(uuids.contains("not in allowed_uuids: 1 account (00000001)"), "{uuids}");
    assert!(endpoints.contains(&format!("{origin} is not in allowed_endpoints")), "{endpoints}");
    assert!(endpoints.contains(&format!("add \"{origin}\"")) && !endpoints.contains(&phone.token), "{endpoints}");
    let (code, json) = status(&world);
    assert_eq!((code, &json["healthy"]), (Some(1), &false.into()), "no push is sent: {json:#}");
    let report = &world.daemon.as_ref().unwrap().report;
    assert!(running.iter().all(|warning| report.contains(warning)), "{report}");
    world.stop();
    assert_eq!(warnings(&world), running, "without a server");
}

#[test]
fn a_key_other_than_the_one_the_accounts_know_is_told() {
    let (mut world, phone) = World::connected();
    world.stop();
    let first = &VapidKey::load(&world.config().vapid, Create::Look).unwrap().0.public()[..12];
    let second = VapidKey::generate();
    world.settings = format!("vapid_privkey = {:?}\n", second.to_private().expose());
    world.start();
    let running = warnings(&world);
    let [told] = &running[..] else { panic!("{running:?}") };
    for part in [first, &second.public()[..12], "1 account (00000001)", "link these phones again"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(world.daemon.as_ref().unwrap().report.contains(told));
    // A phone that comes with the new key gets a new endpoint.
    let moved = Phone { token: "upMOVED".to_owned(), ..phone };
    assert_eq!(world.register(&moved, false), "ok");
    assert_eq!(warnings(&world), [""; 0]);
    world.stop();
    assert_eq!(warnings(&world), [""; 0]);
}

#[test]
fn a_key_file_that_vanished_is_told_before_the_next_start_and_at_it() {
    let (mut world, _) = World::connected();
    let file = world.dir.path().join("db.sqlite.vapid");
    let key = VapidKey::load(&world.config().vapid, Create::Look).unwrap().0.public();
    fs::remove_file(&file).unwrap();
    let running = warnings(&world);
    assert!(running.len() == 1 && running[0].contains("db.sqlite.vapid is gone"), "{running:?}");
    assert!(running[0].contains("restore it from a backup"), "{running:?}");
    world.stop();
    let started = Daemon::new(world.config(), world.timings.clone(), world.limits.clone());
    let error = started.err().expect("no key").to_string();
    assert!(error.contains(&key[..12]) && error.contains("from a backup") && !error.contains("1.x"), "{error}");
    assert!(!file.exists());
    assert_eq!(warnings(&world).len(), 1, "without a server");
}

#[test]
fn rows_that_cannot_be_understood_are_shown_and_make_nothing_unhealthy() {
    let (world, phone) = World::connected();
    let rows = |json: &Value| json["unreadable"].as_array().unwrap().len();
    // The same account, spelt as the reference let it be, and once more without hope.
    world.store_row(&phone.uuid.replace('-', ""), 2);
    world.store_row(&format!("urn:uuid:{}", phone.uuid), 900);
    let (code, json) = status(&world);
    assert_eq!((code, &json["healthy"], rows(&json)), (Some(0), &true.into(), 2), "{json:#}");
    world.store_row("1f2b1a3c-1111-4222-8333-444455556666", 900);
    world.store_row("foo", 2);
    let (code, json) = status(&world);
    assert_eq!((code, &json["healthy"], rows(&json)), (Some(0), &true.into(), 4), "{json:#}");
    assert_eq!(health(&world), (Some(0), "healthy: 1 account, Signal reachable\n".into()), "all count the same");
    let shown = stdout(&run(&world, &["status"]));
    assert!(
        shown.contains("1 account (1 connected)") && shown.contains("(foo): the account id is not a UUID"),
        "{shown}"
    );
    let doctor = stdout(&run(&world, &["doctor"]));
    assert!(doctor.contains("db.sqlite: 1 account\n") && doctor.contains("connection remove row-"), "{doctor}");
    assert!(!doctor.contains("warning  accounts") && !doctor.contains("FAILURE  accounts"), "{doctor}");
    // What is shown removes it, while the server runs.
    let shown = stdout(&run(&world, &["connection", "list"]));
    assert!(shown.contains("accounts: 1\n"), "{shown}");
    for name in shown.lines().filter_map(|line| line.strip_prefix("unreadable: ")?.split_once(" (")) {
        let output = run(&world, &["connection", "remove", name.0]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(rows(&status(&world).1), 0);
    assert_eq!(run(&world, &["connection", "remove", "foo"]).status.code(), Some(2), "it is gone");
    world.wait_state(&phone, "connected");
}

#[test]
fn readiness_follows_signal_and_the_database() {
    let (mut world, phone) = World::connected();
    assert_eq!((ask(&world, "/healthz").0, ask(&world, "/readyz").0), (200, 200));
    let queues = world.stop_signal();
    eventually("not ready", || ask(&world, "/readyz").0 == 503);
    let (code, line) = health(&world);
    assert!(code == Some(1) && line.starts_with("unhealthy: 1 account, Signal not reachable"), "{line}");
    assert_eq!(ask(&world, "/healthz").0, 200, "the process works");
    assert_eq!(health_of(&world, &["health", "--live"]), (Some(0), "healthy: ok\n".into()), "no reason to restart it");
    assert_eq!(status(&world).1["server"]["signal_reachable"], false);
    world.start_signal(queues);
    eventually("ready", || ask(&world, "/readyz").0 == 200);
    world.wait_state(&phone, "connected");
    let database = rusqlite::Connection::open(world.db()).unwrap();
    database.execute_batch("ALTER TABLE connections RENAME TO away").unwrap();
    let (code, line) = ask(&world, "/readyz");
    assert!(code == 503 && line.contains("db.sqlite"), "{line}");
    let (code, json) = status(&world);
    assert!(code == Some(1) && json["server"]["database_problem"].is_string(), "{json:#}");
    database.execute_batch("ALTER TABLE away RENAME TO connections").unwrap();
    assert_eq!(ask(&world, "/readyz").0, 200);
}

#[test]
fn health_is_quick_and_needs_neither_accounts_nor_a_web_server() {
    let mut world = World::new();
    world.settings = "webserver = false\n".into();
    world.start();
    // The first start of the program may have to come from the disk.
    health(&world);
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        let (code, line) = health(&world);
        assert_eq!((code, line.as_str()), (Some(0), "healthy: 0 accounts, Signal not needed\n"));
        start.elapsed()
    });
    // 100 ms are promised; five times as much is for machines that are busy with other tests.
    assert!(fastest.min().unwrap() < Duration::from_millis(500));
}

#[test]
fn commands_find_the_socket_of_a_service_by_the_database() {
    let world = World::new();
    world.config();
    let runtime = world.dir.path().join("run");
    fs::create_dir(&runtime).unwrap();
    let mut server = command(&world, &["server"]);
    server.env("RUNTIME_DIRECTORY", &runtime);
    let program = Program::spawn(server);
    // Left behind by a server that was started otherwise.
    drop(std::os::unix::net::UnixListener::bind(world.dir.path().join("db.sqlite.sock")).unwrap());
    eventually("healthy", || health(&world).0 == Some(0));
    assert_eq!(status(&world).1["server"]["pid"], program.child.id());
    program.signal("-TERM");
    eventually("gone", || !runtime.join("admin.sock").exists());
    let (code, line) = health(&world);
    assert!(code == Some(1) && line.contains("db.sqlite.sock"), "{line}");
}

#[test]
fn a_paused_account_stays_paused_and_goes_on_where_it_was() {
    let (mut world, phone) = World::connected();
    // It is told.
    world.timings.store_poll = Duration::from_secs(3600);
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.wait_state(&phone, "connected");
    pause(&world, &phone, "pause");
    assert!(world.signal().wait_disconnected(&phone.uuid, DEVICE, Duration::from_secs(3)), "within 3 s");
    world.wait_state(&phone, "paused");
    let (code, json) = status(&world);
    let account = &json["accounts"][0];
    assert_eq!((code, &account["signal"]["state"]), (Some(0), &"paused".into()), "it is as it should be");
    assert!(account["signal"]["remedy"].as_str().unwrap().contains("resume"), "{account:#}");
    assert!(stdout(&run(&world, &["connection", "list"])).contains("paused: true"));
    let before = world.push.requests().len();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    world.start();
    assert_eq!(world.register(&phone, false), "ok");
    std::thread::sleep(MOMENT);
    assert_eq!((world.sockets(&phone), world.push.requests().len()), (0, before), "neither a restart nor the phone");
    world.stop();
    assert!(stdout(&run(&world, &["status"])).contains("paused"), "the database tells it, too");
    world.start();
    pause(&world, &phone, "resume");
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, Duration::from_secs(3)), "within 3 s");
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "what came meanwhile wakes the phone");
    assert!(world.push.requests().len() > before);
}

#[test]
fn pausing_an_unknown_account_says_so() {
    let (world, _) = World::connected();
    let output = run(&world, &["connection", "pause", "99999999-1111-4222-8333-444455556666"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not in"), "{output:?}");
}

/// The names of all fields, `accounts[].uuid` for one of a list's elements.
fn fields(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{prefix}{name}");
                let is_side = matches!(name.as_str(), "signal" | "push");
                fields(&if is_side { String::new() } else { format!("{path}.") }, value, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            let prefix = format!("{}[].", prefix.trim_end_matches('.'));
            items.iter().for_each(|item| fields(&prefix, item, found));
        }
        _ => {}
    }
}

#[test]
fn the_document_names_exactly_the_fields_of_the_status() {
    let (world, _) = World::connected();
    let mut there = BTreeSet::new();
    fields("", &serde_json::from_str(&ask(&world, "/status").1).unwrap(), &mut there);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let (_, page) = page.split_once("## What `/status` says").unwrap();
    let named = page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    assert_eq!(there, named.collect());
    for label in State::ALL.map(State::label) {
        assert!(page.contains(&format!("`{label}`")), "{label}");
    }
}

#[test]
fn the_status_holds_no_secret() {
    let (world, phone) = World::connected();
    for text in
        [ask(&world, "/status").1, stdout(&run(&world, &["status"])), stdout(&run(&world, &["status", "--json"]))]
    {
        assert!(!text.contains(&phone.token) && !text.contains(&phone.password), "{text}");
    }
}

#[test]
fn colours_are_shown_on_a_terminal_unless_unwanted() {
    let (world, _) = World::connected();
    let binary = env!("CARGO_BIN_EXE_mollysocket");
    let config = world.dir.path().join("config.toml");
    let line = format!("{binary} -c {} status", config.display());
    let shown = |variables: &[(&str, &str)]| {
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
        stdout(&script.envs(variables.iter().copied()).output().expect("script(1) of util-linux"))
    };
    assert!(shown(&[]).contains("\x1b[32mconnected"), "{:?}", shown(&[]));
    assert!(shown(&[("NO_COLOR", "")]).contains('\x1b'), "an empty variable is none");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = shown(&[(name, value)]);
        assert!(text.contains("connected") && !text.contains('\x1b'), "{text:?}");
    }
}

#[test]
fn whoever_restarts_the_server_asks_only_whether_it_lives() {
    for (file, live) in [
        ("kubernetes/mollysocket.yaml", "command: [mollysocket, health, --live]"),
        ("kubernetes/instances.yaml", "command: [mollysocket, health, --live]"),
        ("quadlet/mollysocket.container", "\nHealthCmd=mollysocket health --live\n"),
        ("openrc/mollysocket", "\"$command\" health --live >"),
    ] {
        let text = fs::read_to_string(format!("{}/packaging/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains(live), "{file}");
    }
}

/// Text that would clear a terminal, turn its own direction around, hide a part of itself and begin a line.
const EVIL: &str = "\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{200b}\u{200f}\u{feff}\u{ad}\u{61c}\u{2028}\u{2029}\r\n";

fn assert_plain(text: &str) {
    let bad = |c: &char| *c != '\n' && !c.is_ascii_graphic() && (c.is_control() || EVIL.contains(*c));
    assert_eq!(text.chars().find(bad), None, "{text:?}");
}

/// `EVIL` in every text but the moments, which must be read.
fn spoil(value: &mut Value) {
    match value {
        Value::String(text) if !text.ends_with('Z') => text.push_str(EVIL),
        Value::Array(values) => values.iter_mut().for_each(spoil),
        Value::Object(fields) => fields.values_mut().for_each(spoil),
        _ => {}
    }
}

#[test]
fn whatever_answers_at_the_admin_socket_gives_no_orders_to_a_terminal() {
    let mut world = World::new();
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.store_row("odd", 900);
    world.push.set_default(Answer::status(500));
    world.start();
    world.wait_state(&phone, "connected");
    world.signal().send(&phone.uuid, DEVICE, Envelope::new());
    world.wait_push_state(&phone, "retrying");
    let mut overview: Value = serde_json::from_str(&ask(&world, "/status").1).unwrap();
    world.stop();
    spoil(&mut overview);
    overview["accounts"][0]["uuid"] = "é".into();
    overview["accounts"][0]["notice"] = EVIL.into();
    let body = overview.to_string();
    let listener = std::os::unix::net::UnixListener::bind(world.dir.path().join("db.sqlite.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    for args in [&["status"][..], &["status", "--json"]] {
        let output = run(&world, args);
        assert!(stdout(&output).contains("retrying"), "it is shown: {output:?}");
        assert_plain(&stdout(&output));
        assert_plain(&String::from_utf8(output.stderr).unwrap());
    }
    assert_plain(&stdout(&run(&world, &["health"])));
    let paused = stdout(&run(&world, &["connection", "pause", &phone.uuid.to_string()]));
    assert!(paused.contains("the one that runs here uses"), "{paused}");
    assert_plain(&paused);
}

#[test]
fn a_close_reason_gives_no_orders_to_a_terminal() {
    let mut world = World::new();
    world.timings.backoff_base = PATIENCE;
    world.timings.backoff_cap = PATIENCE;
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.start();
    world.wait_state(&phone, "connected");
    assert!(world.signal().close(&phone.uuid, DEVICE, 1011, &format!("because{EVIL}of that")));
    world.wait_state(&phone, "waiting");
    let (_, status) = status(&world);
    let reason = status["accounts"][0]["signal"]["reason"].as_str().unwrap();
    assert!(reason.contains("because") && reason.contains("of that"), "{reason}");
    assert_plain(reason);
    let told: Value = serde_json::from_str(&ask(&world, "/status").1).unwrap();
    assert_plain(told["accounts"][0]["signal"]["reason"].as_str().unwrap());
}

/// Says nothing when it is not run by root: nobody else can give a file away.
#[test]
fn a_socket_of_another_user_is_not_asked() {
    const OTHER: u32 = 12345;
    const NOBODY: u32 = 65534;
    let world = World::new();
    world.config();
    let path = world.dir.path().join("db.sqlite.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    if std::os::unix::fs::chown(&path, Some(OTHER), None).is_err() {
        return;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(world.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = command_as(&world, NOBODY, &["health"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("belongs to user 12345, and this is user 65534"), "{output:?}");
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody connected");
}

#[test]
fn a_ping_tells_what_else_keeps_wake_ups_away_and_the_server_learns_of_it() {
    let (mut world, phone) = World::connected();
    world.timings.push_retry_base = Duration::from_secs(3600);
    world.timings.push_retry_cap = Duration::from_secs(3600);
    world.start();
    world.wait_state(&phone, "connected");
    let ping = |world: &World| {
        let output = run(world, &["connection", "ping", &phone.uuid]);
        (output.status.code(), stdout(&output) + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = ping(&world);
    assert!(code == Some(0) && text.contains("push OK") && text.contains("once it is online"), "{text}");
    // Refused: the server's status says so, though the server sent nothing of its own.
    world.push.set_default(Answer::status(401).body(r#"{"message":"VAPID public key mismatch"}"#));
    let (code, text) = ping(&world);
    assert!(code == Some(1) && text.contains("VAPID public key mismatch") && !text.contains("tried again"), "{text}");
    assert_eq!(world.state(&phone), ("connected".into(), "unauthorized".into()));
    assert_eq!(status(&world).0, Some(1));
    // The same when the account is added anew.
    world.push.set_default(Answer::created());
    assert_eq!(ping(&world).0, Some(0));
    world.push.set_default(Answer::status(403));
    let add = ["connection", "add", &phone.uuid, "2", &phone.password, &world.endpoint(&phone)];
    assert_eq!(run(&world, &add).status.code(), Some(1));
    assert_eq!(world.state(&phone).1, "unauthorized");
    // Repaired: what is owed does not wait for its hour.
    world.push.set_default(Answer::status(500));
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    world.wait_push_state(&phone, "retrying");
    world.push.set_default(Answer::created());
    assert_eq!(ping(&world).0, Some(0));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
    world.stop_signal();
    world.wait_state(&phone, "waiting");
    let (code, text) = ping(&world);
    assert!(code == Some(1) && text.contains("push OK") && text.contains("no wake-ups come from Signal: "), "{text}");
    assert!(text.contains("waiting") && text.contains("To do: "), "{text}");
}

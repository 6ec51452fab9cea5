//! `connection export` and `connection import`: accounts that move from one server to another.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sim::pki::Pki;
use sim::signal::{Envelope, SignalServer};

use crate::world::{KEY, OTHER_UUID, PASSWORD, PUBLIC, Run, Server, TOKEN, UUID, World};

const PATIENCE: Duration = Duration::from_secs(20);
const ENDPOINT: &str = "https://push.example/upTOKENsecret?up=1";
const TABLE: &str = "(uuid, device_id, password, endpoint, forbidden, last_registration, endpoint_gone, paused)";

/// A server that may hold any account at a public address, with the key of all these tests.
fn world() -> World {
    let world = World::keyed();
    world.run(&["connection", "import"]).fails(1, &["standard input is empty"]);
    world
}

/// The same with a database of these rows.
fn holding(rows: &str) -> World {
    let world = world();
    world.import(&file(&[])).ok();
    world.sql(&format!("INSERT INTO connections {TABLE} VALUES {rows}"));
    world
}

fn row(uuid: &str) -> String {
    format!("('{uuid}', 2, '{PASSWORD}', '{ENDPOINT}', 0, 1700000000, 0, 0)")
}

fn account(uuid: &str) -> Value {
    json!({
        "uuid": uuid, "device_id": 2, "password": PASSWORD, "endpoint": ENDPOINT,
        "forbidden": false, "endpoint_gone": false, "paused": false, "last_registration": 1_700_000_000,
    })
}

fn file(accounts: &[Value]) -> String {
    json!({"format": 1, "vapid_public_key": PUBLIC, "accounts": accounts}).to_string()
}

impl World {
    fn import(&self, file: &str) -> Run {
        self.import_with(&[], file)
    }

    fn import_with(&self, options: &[&str], file: &str) -> Run {
        let args: Vec<&str> = ["connection", "import"].iter().chain(options).copied().collect();
        let mut command = self.command(&args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may refuse before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(file.as_bytes());
        Run::of(child.wait_with_output().unwrap())
    }

    /// What `connection export --secrets` prints. It holds a password, which is right for once.
    fn secrets(&self, uuids: &[&str]) -> String {
        let args: Vec<&str> = ["-vvv", "connection", "export", "--secrets"].iter().chain(uuids).copied().collect();
        let output = self.command(&args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        for secret in [PASSWORD, TOKEN, KEY] {
            assert!(!stderr.contains(secret), "{stderr}");
        }
        assert!(stderr.contains("keep it private") && stderr.contains("same VAPID key"), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn rows(&self) -> i64 {
        let database = rusqlite::Connection::open(self.path("db.sqlite")).unwrap();
        database.query_row("SELECT count(*) FROM connections", [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn what_is_imported_into_an_empty_database_is_exported_as_the_same_bytes() {
    let odd = format!("('{OTHER_UUID}', 127, 'a \"b\" ü', 'https://h.example:8443/a/../b?x=%7e''', 1, 5, 1, 1)");
    // In another order, and in a spelling the reference stored.
    let old = holding(&format!("{odd}, {}", row(&UUID.to_uppercase())));
    let exported = old.secrets(&[]);
    let new = World::keyed();
    let said = new.import(&exported).ok();
    assert!(
        said.contains("2 added, 0 replaced, 0 unchanged") && said.contains("no server uses this database"),
        "{said}"
    );
    assert!(said.contains("connection remove"), "{said}");
    assert_eq!(new.secrets(&[]), exported);
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!((&exported["format"], &exported["vapid_public_key"]), (&1.into(), &PUBLIC.into()));
    assert_eq!(exported["accounts"][0], account(UUID));
    assert_eq!(fs::metadata(new.path("db.sqlite")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn secrets_are_exported_only_when_asked_for() {
    let world = holding(&row(UUID));
    for line in ["connection export", &format!("c e {UUID}"), &format!("connection export -vvv {UUID}")] {
        let run = world.line(line);
        assert!(!run.stdout.contains(TOKEN) && !run.stderr.contains(TOKEN), "{run:?}");
        let exported = run.ok();
        let shown: Value = serde_json::from_str(&exported).unwrap();
        assert_eq!(shown["accounts"][0]["push_server"], "https://push.example");
        assert_eq!((shown["accounts"][0].get("password"), shown["accounts"][0].get("endpoint")), (None, None));
        World::keyed().import(&exported).fails(1, &["--secrets", "nothing imported"]);
    }
}

#[test]
fn only_the_accounts_that_are_named_are_exported() {
    let world = holding(&format!("{}, {}", row(OTHER_UUID), row(UUID)));
    let ids = |text: &str| -> Vec<String> {
        let file: Value = serde_json::from_str(text).unwrap();
        file["accounts"].as_array().unwrap().iter().map(|a| a["uuid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&world.secrets(&[])), [UUID, OTHER_UUID]);
    assert_eq!(ids(&world.secrets(&[OTHER_UUID])), [OTHER_UUID]);
    assert_eq!(ids(&world.secrets(&[OTHER_UUID, UUID, UUID])), [UUID, OTHER_UUID]);
    let missing = "2f2b1a3c-1111-4222-8333-444455556666";
    world.run(&["connection", "export", "--secrets", UUID, missing]).fails(1, &[missing, "connection list"]);
    world.run(&["connection", "export", "me"]).fails(2, &["UUID"]);
    world.run(&["connection", "export", "--secret"]).fails(2, &["unknown option \"--secret\""]);
    World::keyed().run(&["connection", "export"]).fails(1, &["db.sqlite"]);
}

#[test]
fn an_export_that_leaves_an_account_out_says_so_and_ends_with_1() {
    let world =
        holding(&format!("{}, ('{OTHER_UUID}', 900, 'oddSECRET', 'https://h/oddSECRET', 0, 1, 0, 0)", row(UUID)));
    let run = world.line("connection export");
    assert_eq!((run.code, run.stdout.contains(UUID)), (Some(1), true), "{run:?}");
    assert!(run.stderr.contains("left out") && run.stderr.contains("1f2b1a3c"), "{run:?}");
    assert!(!run.stderr.contains("SECRET") && !run.stdout.contains("SECRET"), "{run:?}");
    assert_eq!(world.line(&format!("connection export {UUID}")).code, Some(0));
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let world = holding(&row(UUID));
    for (mode, warned) in [(0o644, true), (0o660, true), (0o600, false)] {
        let path = world.path("export.json");
        let file = File::create(&path).unwrap();
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        let output = world.command(&["connection", "export", "--secrets"]).stdout(file).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("chmod 600"), warned, "{mode:o}: {stderr}");
        assert!(fs::read_to_string(&path).unwrap().contains(PASSWORD));
    }
}

#[test]
fn an_import_is_all_or_nothing() {
    let world = holding(&row(UUID));
    for bad in [
        json!({"uuid": "x"}),
        json!({"uuid": OTHER_UUID, "device_id": 200}),
        json!({"uuid": OTHER_UUID, "endpoint": "https://127.0.0.1/upTOKENsecret"}),
        json!({"uuid": UUID, "device_id": 3}),
    ] {
        let mut refused = account(OTHER_UUID);
        refused.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let first = account("2f2b1a3c-1111-4222-8333-444455556666");
        let run = world.import(&file(&[first, refused]));
        assert!(!run.stderr.contains(TOKEN), "{run:?}");
        run.fails(1, &["nothing imported"]);
        assert_eq!(world.rows(), 1, "{bad}");
    }
    let half = &file(&[account(OTHER_UUID)])[..200];
    world.import(half).fails(1, &["nothing imported", "not JSON", "cut short"]);
    world.import("\u{0}").fails(1, &["nothing imported", "not JSON"]);
    world.import(&" ".repeat(65 << 20)).fails(1, &["nothing imported", "larger than 64 MiB"]);
    assert_eq!(world.rows(), 1);
}

#[test]
fn an_account_that_may_not_register_is_not_imported() {
    let mut world = world();
    world.set("MOLLY_ALLOWED_UUIDS", OTHER_UUID);
    let both = file(&[account(UUID), account(OTHER_UUID)]);
    world.import(&both).fails(1, &["nothing imported", "allowed_uuids", UUID]);
    world.unset("MOLLY_ALLOWED_UUIDS");
    world.set("MOLLY_ALLOWED_ENDPOINTS", "https://elsewhere.example");
    world.import(&both).fails(1, &["nothing imported", "allowed_endpoints", "https://push.example", OTHER_UUID]);
    world.unset("MOLLY_ALLOWED_ENDPOINTS");
    for private in
        ["https://192.168.1.2/upTOKENsecret", "https://[::1]/upTOKENsecret", "https://localhost/upTOKENsecret"]
    {
        let mut inside = account(UUID);
        inside["endpoint"] = private.into();
        world.import(&file(&[inside])).fails(1, &["nothing imported", "allowed_endpoints"]);
    }
    world.set("MOLLY_MAX_ACCOUNTS", "1");
    world.import(&both).fails(1, &["nothing imported", "max_accounts is 1", "2 accounts"]);
    assert!(!world.path("db.sqlite").exists(), "what is refused leaves no empty database");
    world.import(&file(&[account(UUID)])).ok();
    assert!(world.import(&file(&[account(UUID)])).ok().contains("1 unchanged"), "a full database may stay as it is");
    world.import(&file(&[account(OTHER_UUID)])).fails(1, &["max_accounts"]);
    assert_eq!(world.rows(), 1);
}

#[test]
fn an_account_that_is_here_already_is_replaced_only_when_asked_for() {
    let world = holding(&row(UUID));
    world.sql("UPDATE connections SET covered_until = 1700000000000, last_registration = 7");
    let registered_later = file(&[account(UUID)]);
    let said = world.import(&registered_later).ok();
    assert!(said.contains("0 added, 0 replaced, 1 unchanged") && !said.contains("remove"), "{said}");
    for (field, value) in [
        ("device_id", json!(3)),
        ("password", json!("other")),
        ("endpoint", json!("https://push.example/other")),
        ("forbidden", json!(true)),
        ("endpoint_gone", json!(true)),
        ("paused", json!(true)),
    ] {
        let mut other = account(UUID);
        other[field] = value.clone();
        let named = field.trim_end_matches("_id");
        world.import(&file(&[other])).fails(1, &["nothing imported", "--replace", UUID, named]);
    }
    let fetched = || -> Option<i64> {
        let database = rusqlite::Connection::open(world.path("db.sqlite")).unwrap();
        database.query_row("SELECT covered_until FROM connections", [], |row| row.get(0)).unwrap()
    };
    let mut other = account(UUID);
    other["paused"] = true.into();
    let both = file(&[other.clone(), account(OTHER_UUID)]);
    assert!(world.import_with(&["--replace"], &both).ok().contains("1 added, 1 replaced, 0 unchanged"));
    assert_eq!((world.account()["paused"].clone(), fetched()), (true.into(), Some(1_700_000_000_000)));
    other["device_id"] = 3.into();
    world.import_with(&["--replace"], &file(&[other])).ok();
    world.run(&["connection", "remove", OTHER_UUID]).ok();
    assert_eq!(fetched(), None, "another device has another queue");
}

#[test]
fn a_row_that_cannot_be_read_counts_as_one_that_differs() {
    let mut world = holding(&format!("('{UUID}', 900, '{PASSWORD}', '{ENDPOINT}', 0, 1, 0, 0)"));
    // The row has its place already.
    world.set("MOLLY_MAX_ACCOUNTS", "1");
    let same = file(&[account(UUID)]);
    world.import(&same).fails(1, &["nothing imported", UUID, "cannot be read", "--replace"]);
    world.import(&file(&[account(OTHER_UUID)])).fails(1, &["nothing imported", "2 accounts"]);
    assert!(world.import_with(&["--replace"], &same).ok().contains("0 added, 1 replaced, 0 unchanged"));
    assert_eq!((world.rows(), world.account()["device_id"].clone()), (1, 2.into()));
}

#[test]
fn endpoints_made_for_another_key_are_imported_only_when_asked_for() {
    let mut world = world();
    let theirs = file(&[account(UUID)]).replace(PUBLIC, &format!("{}A", &PUBLIC[..86]));
    world.import(&theirs).fails(1, &["nothing imported", "another VAPID key", "--other-key", "code"]);
    let run = world.import_with(&["--other-key"], &theirs);
    assert!(run.stderr.contains("warning") && run.stderr.contains("401 or 403"), "{run:?}");
    assert!(run.ok().contains("1 added"));
    assert!(!world.import_with(&["--other-key"], &file(&[account(UUID)])).stderr.contains("401"));
    // A server that has none yet would make another one.
    world.unset("MOLLY_VAPID_KEY_FILE");
    world.import(&theirs).fails(1, &["VAPID"]);
    world.run(&["connection", "export", "--secrets"]).fails(1, &["VAPID"]);
    world.line("connection export").ok();
}

#[test]
fn a_running_server_serves_what_is_imported_and_its_log_holds_no_secret() {
    let (mut world, push) = World::pushing();
    let pki = Pki::new();
    let signal = SignalServer::start(&pki);
    signal.add_device(UUID, 2, PASSWORD);
    fs::write(world.path("signal-ca.pem"), pki.ca_pem()).unwrap();
    world.set("MOLLY_SIGNAL_CA_FILE", "signal-ca.pem");
    world.set("MOLLY_SIGNAL_URL", &signal.url());
    world.set("MOLLY_PORT", "0");
    world.set("RUST_LOG", "trace");
    let mut server = Server::start(&world, &["server", "-vvv"]);
    server.wait_for("127.0.0.1:");
    let mut moved = account(UUID);
    moved["endpoint"] = push.endpoint(TOKEN).into();
    let run = world.import_with(&["-vvv"], &file(&[moved]));
    assert!(!run.stderr.contains(TOKEN) && !run.stdout.contains(TOKEN), "{run:?}");
    run.ok();
    assert!(signal.wait_connected(UUID, 2, PATIENCE));
    let guid = signal.send(UUID, 2, Envelope::new());
    assert!(signal.wait_acked(UUID, 2, guid, PATIENCE) && push.wait_requests(1, PATIENCE));
    server.signal("TERM");
    let run = server.end();
    assert!(run.code == Some(0) && !run.stderr.contains(TOKEN), "{run:?}");
}

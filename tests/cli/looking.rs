//! Verbs that only look change nothing in the directory of the database: no byte, no mode, no file, whatever wrote the
//! database and whoever else uses it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::world::{KEY, OTHER_UUID, PASSWORD, Run, UUID, World};

/// "nobody", because no permission stops root.
const NOBODY: u32 = 65534;

/// Every verb that reads the database, and whether it ends well with one account in it and no server.
const LOOKING: [(&str, Option<i32>); 11] = [
    ("connection list", Some(0)),
    ("connection list --json -a", Some(0)),
    ("connection export", Some(0)),
    ("connection export --secrets", Some(0)),
    ("status", Some(1)),
    ("status --json", Some(1)),
    ("test uuid 0f2b1a3c-1111-4222-8333-444455556666", Some(0)),
    ("health", Some(1)),
    ("connection ping 0f2b1a3c-1111-4222-8333-444455556666", None),
    ("doctor --json", None),
    ("doctor --report", None),
];

const NEW: &str = "uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, password TEXT, endpoint TEXT, \
     forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), last_registration INTEGER";
const OLD: &str = "uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, password TEXT, endpoint TEXT, \
     strategy TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), last_registration INTEGER";
const OURS: &str = "endpoint_gone INTEGER NOT NULL DEFAULT 0, covered_until INTEGER";
const OUR_ID: &str = "PRAGMA application_id = 1297312628";

/// Every format there ever was, as the SQL that makes it.
fn formats() -> Vec<String> {
    let ours = |columns: &str, version: u8| {
        format!("CREATE TABLE connections ({NEW}, {OURS}{columns}); {OUR_ID}; PRAGMA user_version = {version}")
    };
    let paused = ", paused INTEGER NOT NULL DEFAULT 0";
    vec![
        format!("CREATE TABLE connections ({OLD})"),
        format!("CREATE TABLE connections ({NEW})"),
        ours("", 1),
        ours(paused, 2),
        ours(&format!("{paused}, vapid_public TEXT"), 3),
    ]
}

/// Adds an account as the reference does it.
fn insert(db: &Connection, uuid: &str) {
    let row = [uuid, "2", PASSWORD, "http://127.0.0.1:9/upTOKEN", "0", "1700000000"];
    db.execute(
        "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        row,
    )
    .unwrap();
}

/// A directory with nothing but the database in it, and the program's own elsewhere.
struct Case {
    world: World,
    data: TempDir,
}

impl Case {
    fn new(format: &str) -> Self {
        let (mut world, data) = (World::new(), TempDir::new().unwrap());
        let case_db = data.path().join("mollysocket.db");
        let db = Connection::open(&case_db).unwrap();
        db.execute_batch(format).unwrap();
        insert(&db, UUID);
        db.close().unwrap();
        fs::set_permissions(&case_db, Permissions::from_mode(0o644)).unwrap();
        // As a server made it that others may look at.
        fs::write(data.path().join("mollysocket.db.vapid"), KEY).unwrap();
        world.set("MOLLY_DB", case_db.to_str().unwrap());
        // What `doctor` asks is not there.
        world.set("MOLLY_SIGNAL_URL", "wss://127.0.0.1:9");
        world.set("MOLLY_PORT", "0");
        Self { world, data }
    }

    fn db(&self) -> Connection {
        Connection::open(self.data.path().join("mollysocket.db")).unwrap()
    }

    fn everything(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let files = fs::read_dir(self.data.path()).unwrap().map(|file| file.unwrap());
        let content = |path: &Path| (fs::metadata(path).unwrap().mode(), fs::read(path).unwrap());
        files.map(|file| (file.file_name().into_string().unwrap(), content(&file.path()))).collect()
    }

    /// Runs every verb; each sees the account, and nothing is another than before.
    fn looked_at(&self, how: &str) {
        self.looked_at_by(how, |args| self.world.command(args));
    }

    fn looked_at_by(&self, how: &str, command: impl Fn(&[&str]) -> Command) {
        let before = self.everything();
        for (verb, code) in LOOKING {
            let output = command(&verb.split(' ').collect::<Vec<_>>()).output().unwrap();
            if verb.contains("secrets") {
                assert!(String::from_utf8_lossy(&output.stdout).contains(PASSWORD), "{how}: {verb}: {output:?}");
                assert_eq!(output.status.code(), code, "{how}: {verb}: {output:?}");
            } else {
                let run = Run::of(output);
                let sees = verb.contains("-a") || verb == "health" || run.stdout.contains(&UUID[..8]);
                assert!(sees || verb.contains("ping") || verb.contains("report"), "{how}: {verb}: {run:?}");
                assert!(code.is_none_or(|code| run.code == Some(code)), "{how}: {verb}: {run:?}");
            }
            assert!(self.everything() == before, "{how}: {verb} changed something");
        }
    }
}

#[test]
fn looking_changes_nothing_in_any_format() {
    for format in formats() {
        for mode in ["DELETE", "WAL"] {
            let case = Case::new(&format!("PRAGMA journal_mode = {mode}; {format}"));
            case.looked_at(&format!("{mode}: {format}"));
            let names: Vec<String> = case.everything().into_keys().collect();
            assert_eq!(names, ["mollysocket.db", "mollysocket.db.vapid"]);
        }
    }
}

#[test]
fn looking_changes_nothing_where_nothing_can_be_written() {
    for mode in ["DELETE", "WAL"] {
        let case = Case::new(&format!("PRAGMA journal_mode = {mode}; {}", formats()[1]));
        // Where it was built others may not look.
        let program = case.world.path("program");
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_mollysocket")).arg(&program).status().unwrap().success());
        let root = fs::metadata(case.data.path()).unwrap().uid() == 0;
        if root {
            let files = ["", "mollysocket.db", "mollysocket.db.vapid"].map(|file| case.data.path().join(file));
            files.iter().chain([&case.world.path("")]).for_each(|file| chown(file, Some(NOBODY), None).unwrap());
        }
        fs::set_permissions(case.data.path().join("mollysocket.db"), Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(case.data.path(), Permissions::from_mode(0o555)).unwrap();
        case.looked_at_by(mode, |args| {
            let mut command = Command::new(&program);
            command.env_clear().envs(&case.world.variables).current_dir(case.world.dir.path()).args(args);
            if root {
                command.uid(NOBODY);
            }
            command
        });
        fs::set_permissions(case.data.path(), Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn looking_changes_nothing_while_another_program_uses_the_database() {
    let case = Case::new(&format!("PRAGMA journal_mode = WAL; {}", formats()[1]));
    let other = case.db();
    // In the log alone.
    insert(&other, OTHER_UUID);
    assert!(fs::metadata(case.data.path().join("mollysocket.db-wal")).unwrap().len() > 0);
    case.looked_at("a log");
    assert!(case.world.line("connection list").ok().contains(OTHER_UUID), "what is in the log counts");
    // In the middle of a change.
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM connections").unwrap();
    case.looked_at("a change in a log");
    other.execute_batch("ROLLBACK").unwrap();

    // After a crash: the log with shared memory that nobody uses, or without it.
    let crashed = |names: &[&str]| {
        let copy = Case::new(&format!("PRAGMA journal_mode = WAL; {}", formats()[1]));
        for suffix in names {
            let name = format!("mollysocket.db{suffix}");
            fs::copy(case.data.path().join(&name), copy.data.path().join(&name)).unwrap();
        }
        copy.looked_at(&format!("{names:?}"));
        assert!(copy.world.line("connection list").ok().contains(OTHER_UUID), "{names:?}");
    };
    crashed(&["", "-wal", "-shm"]);
    crashed(&["", "-wal"]);

    let case = Case::new(&formats()[0]);
    let other = case.db();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE connections SET device_id = 3").unwrap();
    case.looked_at("a change of the reference");
}

#[test]
fn a_change_that_a_crash_cut_off_is_told_and_left_alone() {
    let case = Case::new(&formats()[1]);
    let other = case.db();
    // A page that does not fit into its memory is written before the end.
    other.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE").unwrap();
    for n in 0..200 {
        insert(&other, &format!("{n:08x}-1111-4222-8333-444455556666"));
    }
    let copy = Case::new(&formats()[1]);
    for name in ["mollysocket.db", "mollysocket.db-journal"] {
        fs::copy(case.data.path().join(name), copy.data.path().join(name)).unwrap();
    }
    let before = copy.everything();
    copy.world.line("connection list").fails(1, &["cut off by a crash", "start the server once"]);
    assert!(copy.everything() == before);
    copy.world.line(&format!("connection pause {UUID}")).ok();
    assert_eq!(copy.world.account()["paused"], true, "who writes undoes it");
}

#[test]
fn what_is_missing_is_told_and_not_made() {
    let mut world = World::new();
    let there = |world: &World| assert!(world.names().is_empty(), "{:?}", world.names());
    for (verb, _) in LOOKING.iter().filter(|(verb, _)| !verb.starts_with("health")) {
        let run = world.line(verb);
        assert!((run.stdout.clone() + &run.stderr).contains("there is no database"), "{verb}: {run:?}");
        there(&world);
    }
    world.set("MOLLY_DB", "elsewhere/db.sqlite");
    world.line("connection list").fails(1, &["elsewhere", "does not exist"]);
    there(&world);
}

#[test]
fn whoever_opens_or_closes_the_database_meanwhile_disturbs_nobody_who_looks() {
    let case = Case::new(&format!("PRAGMA journal_mode = WAL; {}", formats()[4]));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // The last to close it removes the log and the shared memory.
            while !over.load(Ordering::Relaxed) {
                case.db().execute_batch("UPDATE connections SET forbidden = 0").unwrap();
            }
        });
        let runs: Vec<Run> = (0..200).map(|_| case.world.line("connection list")).collect();
        over.store(true, Ordering::Relaxed);
        runs.into_iter().for_each(|run| assert!(run.ok().contains(UUID)));
    });
}

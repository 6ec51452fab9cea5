//! The database on a disk that is full, read-only or somebody else's. The faults need limits and rights of a process of
//! their own, so each test runs itself again as a child.
#![allow(clippy::unwrap_used, missing_docs)]

use std::env;
use std::fs::{self, Permissions};
use std::future::Future;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use mollysocket::store::{IfMissing, Store, StoreError};

/// Tells a child its directory.
const DIRECTORY: &str = "DATABASE_FAULTS_DIRECTORY";
/// "nobody", for the tests' sake when they run as root, whom no permission stops.
const NOBODY: u32 = 65534;

fn account(n: usize) -> Account {
    Account {
        credentials: Credentials {
            id: AccountId::parse(&format!("0f2b1a3c-1111-4222-8333-{n:012}")).unwrap(),
            device: DeviceId::new(2).unwrap(),
            password: Secret::password("aB3+/aB3+/aB3+/aB3+/aB3+").unwrap(),
        },
        endpoint: Endpoint::parse("https://push.example/up1").unwrap(),
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 1_700_000_000,
        fetched_until: None,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    smol::block_on(future)
}

/// Runs `body` in a child process: `command` starts this test program, to be given the name of the test.
fn in_child(test: &str, command: impl FnOnce(&Path) -> Command, body: impl FnOnce(&Path)) {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return body(&PathBuf::from(directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let root = fs::metadata(directory.path()).unwrap().uid() == 0;
    let mut program = env::current_exe().unwrap();
    if root {
        // The directory it was built in may be closed to others.
        let copy = directory.path().join("program");
        // Not by this process: a child that another test starts meanwhile would hold the copy open for writing, and what
        // is open for writing cannot be run.
        assert!(Command::new("cp").arg(&program).arg(&copy).status().unwrap().success());
        program = copy;
    }
    let mut child = command(&program);
    child.args(["--exact", test, "--nocapture"]).env(DIRECTORY, directory.path());
    if root {
        std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        child.uid(NOBODY).gid(NOBODY);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn plain(program: &Path) -> Command {
    Command::new(program)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_full_disk_is_an_error_until_there_is_space_again() {
    // 128 KiB per file; ignoring the signal makes the limit an error of write(2), as a full disk is.
    let limited = |program: &Path| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -S -f 256; exec \"$0\" \"$@\""]).arg(program);
        shell
    };
    in_child("a_full_disk_is_an_error_until_there_is_space_again", limited, |directory| {
        let db = directory.join("db.sqlite");
        let store = Store::open(&db, IfMissing::Create).unwrap();
        let mut kept = 0;
        let error = loop {
            match run(store.put(account(kept))) {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 10_000, "the limit does not work");
        };
        assert!(error.may_pass(), "{error:?}");
        assert!(run(store.get(account(kept).id())).unwrap().is_none(), "what failed is not there");
        assert_eq!(run(store.count()).unwrap(), kept);

        let own = std::process::id().to_string();
        assert!(Command::new("prlimit").args(["--pid", &own, "--fsize=unlimited"]).status().unwrap().success());
        run(store.put(account(kept))).unwrap();
        drop(store);
        assert_eq!(run(Store::open(&db, IfMissing::Fail).unwrap().count()).unwrap(), kept + 1);
    });
}

#[test]
fn a_file_that_cannot_be_written_can_be_read_and_recovers() {
    in_child("a_file_that_cannot_be_written_can_be_read_and_recovers", plain, |directory| {
        let db = directory.join("db.sqlite");
        run(Store::open(&db, IfMissing::Create).unwrap().put(account(1))).unwrap();
        for (directory_mode, file_mode) in [(0o500, 0o600), (0o700, 0o400), (0o500, 0o400)] {
            set_mode(&db, file_mode);
            set_mode(directory, directory_mode);
            let store = Store::open(&db, IfMissing::Create).unwrap();
            assert_eq!(run(store.list()).unwrap().accounts, [account(1)], "{directory_mode:o} {file_mode:o}");
            let error = run(store.put(account(2))).unwrap_err();
            assert!(matches!(error, StoreError::ReadOnly(_)) && error.may_pass(), "{error:?}");
            assert!(run(store.set_forbidden(account(1).credentials)).is_err());

            set_mode(directory, 0o700);
            set_mode(&db, 0o600);
            run(store.put(account(2))).unwrap();
            assert!(run(store.remove(account(2).id())).unwrap());
            drop(store);
        }
    });
}

#[test]
fn a_file_of_the_reference_that_cannot_be_written_can_be_read() {
    in_child("a_file_of_the_reference_that_cannot_be_written_can_be_read", plain, |directory| {
        let db = directory.join("mollysocket.db");
        let sql = rusqlite::Connection::open(&db).unwrap();
        sql.execute_batch(
            "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, password TEXT,
                 endpoint TEXT, strategy TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)),
                 last_registration INTEGER);
             INSERT INTO connections VALUES ('0f2b1a3c-1111-4222-8333-000000000001', '2', 'aB3+/aB3+/aB3+/aB3+/aB3+',
                 'https://push.example/up1', 'websocket', '0', '1700000000')",
        )
        .unwrap();
        drop(sql);
        let before = fs::read(&db).unwrap();
        set_mode(&db, 0o444);
        set_mode(directory, 0o500);
        let store = Store::open(&db, IfMissing::Fail).unwrap();
        assert_eq!(run(store.list()).unwrap().accounts, [account(1)]);
        assert_eq!(run(store.get(account(1).id())).unwrap(), Some(account(1)));
        assert!(matches!(run(store.put(account(2))), Err(StoreError::ReadOnly(_))));
        assert_eq!(fs::read(&db).unwrap(), before);
        set_mode(directory, 0o700);
    });
}

#[test]
fn what_may_not_be_read_or_made_is_refused() {
    in_child("what_may_not_be_read_or_made_is_refused", plain, |directory| {
        let db = directory.join("db.sqlite");
        drop(Store::open(&db, IfMissing::Create).unwrap());
        set_mode(&db, 0o000);
        assert!(matches!(Store::open(&db, IfMissing::Create), Err(StoreError::Permission(_))));
        set_mode(directory, 0o500);
        assert!(matches!(Store::open(&directory.join("new"), IfMissing::Create), Err(StoreError::Permission(_))));
        assert!(matches!(Store::lock_for_daemon(&db), Err(StoreError::Permission(_))));
        set_mode(directory, 0o700);
    });
}

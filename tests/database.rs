//! The database: private, durable, one per daemon, and never touched when it is not ours.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/place.rs"]
mod place;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use mollysocket::account::{Secret, ServerTime};
use mollysocket::store::{IfMissing, Store, StoreError};
use place::{OTHER, Place, REFERENCE, UUID, account, close, endpoint, id, mode, run};

#[test]
fn a_file_that_cannot_be_made_is_told_so() {
    // Nobody makes files there, whoever he is.
    for path in ["/proc/x.db", "/sys/x.db"].map(Path::new).iter().filter(|path| path.parent().unwrap().is_dir()) {
        for error in [Store::lock_for_daemon(path).err().unwrap(), Store::open(path, IfMissing::Create).err().unwrap()]
        {
            let (told, is_permission) = (error.to_string(), matches!(error, StoreError::Permission(_)));
            assert!(is_permission || told.contains("cannot be created: ") && told.contains("MOLLY_DB"), "{told}");
        }
    }
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let mut stored = account(UUID);
    stored.fetched_until = Some(ServerTime(1_700_000_000_123));
    stored.endpoint_gone = true;
    run(store.put(stored.clone())).unwrap();
    run(store.put(account(OTHER))).unwrap();
    close(store, &place);

    let store = place.open();
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(stored.clone()));
    let listing = run(store.list()).unwrap();
    assert_eq!((listing.accounts, listing.unreadable.len()), (vec![stored, account(OTHER)], 0));
    assert_eq!(run(store.count()).unwrap(), 2);
    assert!(run(store.remove(id(UUID))).unwrap());
    assert!(!run(store.remove(id(UUID))).unwrap());
    assert_eq!(run(store.get(id(UUID))).unwrap(), None);
}

#[test]
fn changes_are_dropped_when_somebody_else_changed_the_row_first() {
    let place = Place::new();
    let store = place.open();
    let old = account(UUID);
    let mut new = old.clone();
    new.credentials.password = Secret::new("other");
    new.endpoint = endpoint("https://push.example/other");
    run(store.put(new.clone())).unwrap();

    assert!(!run(store.set_forbidden(old.credentials.clone())).unwrap());
    assert!(!run(store.set_endpoint_gone(id(UUID), old.endpoint.clone(), true)).unwrap());
    run(store.set_fetched_until(vec![(old.credentials.clone(), ServerTime(5))])).unwrap();
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(new.clone()));

    assert!(run(store.set_forbidden(new.credentials.clone())).unwrap());
    assert!(run(store.set_endpoint_gone(id(UUID), new.endpoint.clone(), true)).unwrap());
    run(store.set_fetched_until(vec![(new.credentials.clone(), ServerTime(5))])).unwrap();
    run(store.touch(id(UUID), 1_800_000_000)).unwrap();
    new.forbidden = true;
    new.endpoint_gone = true;
    new.fetched_until = Some(ServerTime(5));
    new.last_registration = 1_800_000_000;
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(new.clone()));
    assert!(run(store.set_endpoint_gone(id(UUID), new.endpoint, false)).unwrap());
    assert!(!run(store.get(id(UUID))).unwrap().unwrap().endpoint_gone);

    // A row that was removed does not come back (defect D4 of the reference).
    run(store.remove(id(UUID))).unwrap();
    assert!(!run(store.set_forbidden(new.credentials)).unwrap());
    run(store.touch(id(UUID), 1)).unwrap();
    assert_eq!(run(store.count()).unwrap(), 0);
}

#[test]
fn what_is_noted_for_many_accounts_at_once_is_noted_for_each_that_is_still_the_same() {
    let place = Place::new();
    let store = place.open();
    let accounts: Vec<_> = (0..5).map(|n| account(&format!("{n}{}", &UUID[1..]))).collect();
    for account in &accounts {
        run(store.put(account.clone())).unwrap();
    }
    let mut times: Vec<_> =
        accounts.iter().map(|a| (a.credentials.clone(), ServerTime(a.id().as_bytes()[0].into()))).collect();
    times[2].0.password = Secret::new("of before");
    run(store.remove(times[3].0.id)).unwrap();
    run(store.set_fetched_until(times.clone())).unwrap();
    let noted = |n: usize| run(store.get(times[n].0.id)).unwrap().map(|row| row.fetched_until);
    for n in [0, 1, 4] {
        assert_eq!(noted(n), Some(Some(times[n].1)));
    }
    assert_eq!((noted(2), noted(3)), (Some(None), None));
}

#[test]
fn of_changes_at_the_same_time_a_failing_one_fails_alone() {
    let place = Place::new();
    let store = place.open();
    run(store.put(account(UUID))).unwrap();
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON connections WHEN new.uuid = '{UUID}'
         BEGIN SELECT RAISE(ABORT, 'refused'); END"
    );
    place.sql().execute_batch(&refuse).unwrap();
    let accounts = |n: u32| account(&format!("{n:08x}-1111-4222-8333-444455556666"));
    // Locked, so that the others line up behind the first.
    let sql = place.sql();
    sql.execute_batch("BEGIN IMMEDIATE").unwrap();
    let puts = (0..150).map(|n| store.put(if n % 10 == 5 { account(UUID) } else { accounts(n) }));
    let unlock = async {
        smol::Timer::after(Duration::from_millis(200)).await;
        sql.execute_batch("COMMIT").unwrap();
    };
    let (results, ()) = run(futures_lite::future::zip(futures_util::future::join_all(puts), unlock));
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.is_err(), n % 10 == 5, "{n}: {result:?}");
        assert_eq!(run(store.get(accounts(n).id())).unwrap().is_some(), n % 10 != 5, "{n}");
    }
    drop(sql);
    close(store, &place);
    // A row is replaced by removing the old one first: that is undone.
    let store = place.open();
    assert!(run(store.get(id(UUID))).unwrap().is_some());
    assert_eq!(run(store.count()).unwrap(), 136);
}

#[test]
fn all_files_are_private() {
    let place = Place::new();
    let store = place.open();
    run(store.put(account(UUID))).unwrap();
    let names = place.names();
    assert_eq!(names, ["db.sqlite", "db.sqlite-shm", "db.sqlite-wal"]);
    for name in names {
        assert_eq!(mode(&place.directory.path().join(&name)), 0o600, "{name}");
    }
    let lock = Store::lock_for_daemon(&place.db).unwrap();
    assert_eq!(mode(&place.directory.path().join("db.sqlite.lock")), 0o600);
    drop(lock);

    let old = Place::with_reference_row(REFERENCE);
    fs::set_permissions(&old.db, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = old.open();
    for name in old.names() {
        assert_eq!(mode(&old.directory.path().join(&name)), 0o600, "{name}");
    }
}

#[test]
fn settings_of_the_file_are_what_durability_needs() {
    let place = Place::new();
    let store = place.open();
    let sql = place.sql();
    let text = |pragma: &str| sql.pragma_query_value(None, pragma, |row| row.get::<_, String>(0)).unwrap();
    let number = |pragma: &str| sql.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("journal_mode"), "wal");
    assert_eq!((number("user_version"), number("application_id")), (3, 0x4d53_6b74));
    drop(sql);
    close(store, &place);
    assert_eq!(place.names(), ["db.sqlite"]);
}

#[test]
fn a_database_without_pauses_gets_them_and_needs_no_copy() {
    let place = Place::with(&format!(
        "{REFERENCE}; ALTER TABLE connections ADD COLUMN endpoint_gone INTEGER NOT NULL DEFAULT 0; \
         ALTER TABLE connections ADD COLUMN covered_until INTEGER; \
         PRAGMA application_id = {}; PRAGMA user_version = 1",
        0x4d53_6b74
    ));
    place.reference_insert(UUID, "2", "https://push.example/up", "0");
    let store = place.open();
    assert!(!run(store.get(id(UUID))).unwrap().unwrap().paused);
    for paused in [true, false] {
        assert!(run(store.set_paused(id(UUID), paused)).unwrap());
        assert_eq!(run(store.get(id(UUID))).unwrap().unwrap().paused, paused);
    }
    close(store, &place);
    assert_eq!(place.names(), ["db.sqlite"]);
}

#[test]
fn each_account_is_kept_with_the_key_it_was_registered_with() {
    let place = Place::with(REFERENCE);
    place.reference_insert(UUID, "2", "https://push.example/up", "0");
    let keys = |store: &Store| run(store.list()).unwrap().keys;
    let known = |pairs: &[(&str, &str)]| pairs.iter().map(|(uuid, key)| (id(uuid), (*key).to_owned())).collect();
    let store = place.open().with_key("first");
    assert_eq!(keys(&store), known(&[]), "of the reference's it is not known");
    run(store.adopt()).unwrap();
    assert_eq!(keys(&store), known(&[(UUID, "first")]));

    let store = store.with_key("second");
    run(store.adopt()).unwrap();
    run(store.put(account(OTHER))).unwrap();
    let same = run(store.get(id(UUID))).unwrap().unwrap();
    run(store.touch(id(UUID), 1_800_000_000)).unwrap();
    run(store.put(same.clone())).unwrap();
    assert_eq!(keys(&store), known(&[(UUID, "first"), (OTHER, "second")]), "the same again is no news");
    let mut moved = same;
    moved.endpoint = endpoint("https://push.example/new");
    run(store.put(moved)).unwrap();
    assert_eq!(keys(&store), known(&[(UUID, "second"), (OTHER, "second")]));
    close(store, &place);
    assert_eq!(Store::read(&place.db).unwrap().keys.len(), 2);
}

/// Refused, said why, and not a byte changed nor a file made.
fn refusal(place: &Place, check: impl Fn(&StoreError) -> bool) {
    let before = place.bytes();
    let error = place.refused();
    assert!(check(&error), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(place.directory.path().to_str().unwrap()), "names the file: {text}");
    assert_eq!(place.bytes(), before, "untouched: {text}");
}

#[test]
fn what_is_not_a_sound_database_of_ours_is_refused_and_left_untouched() {
    let bytes = |content: &[u8]| {
        let place = Place::new();
        fs::write(&place.db, content).unwrap();
        place
    };
    refusal(&bytes(b""), |e| matches!(e, StoreError::Empty(_)));
    refusal(&bytes(b"hello, I am a text file, and not a short one at that"), |e| {
        matches!(e, StoreError::Foreign { .. })
    });
    for beginning in [&b"SQLite f"[..], b"SQLite format 3\0"] {
        refusal(&bytes(beginning), |e| e.to_string().contains("restore a backup"));
    }

    let foreign = |sql: &str| refusal(&Place::with(sql), |e| matches!(e, StoreError::Foreign { .. }));
    foreign("CREATE TABLE messages (id INTEGER)");
    foreign("CREATE TABLE connections (uuid TEXT, device_id INTEGER)");
    foreign(
        "CREATE TABLE t (uuid, device_id, password, endpoint, forbidden); CREATE VIEW connections AS SELECT * FROM t",
    );
    foreign(&format!("{REFERENCE}; PRAGMA application_id = 1234"));
    refusal(&Place::with(&format!("{REFERENCE}; PRAGMA user_version = 99")), |e| matches!(e, StoreError::Newer { .. }));
    let newer = |e: &StoreError| matches!(e, StoreError::Newer { found: 99, known: 3, .. });
    let ours = format!("PRAGMA application_id = {}; PRAGMA user_version = 99;", 0x4d53_6b74);
    refusal(&Place::with(&format!("{ours} CREATE TABLE whatever (x)")), newer);
    refusal(&Place::with(&format!("PRAGMA journal_mode = WAL; {ours} {REFERENCE}")), newer);
}

#[test]
fn a_newer_file_with_changes_in_its_log_is_left_as_it_is() {
    let place = Place::with(&format!("PRAGMA journal_mode = WAL; {REFERENCE}"));
    let other = place.sql();
    other.execute_batch("PRAGMA application_id = 1297312628; PRAGMA user_version = 99").unwrap();
    // A copy, as a crash leaves it: the changes are in the log only.
    let crashed = Place::new();
    for name in ["db.sqlite", "db.sqlite-wal"] {
        fs::copy(place.directory.path().join(name), crashed.directory.path().join(name)).unwrap();
    }
    let log = |place: &Place| fs::read(place.directory.path().join("db.sqlite-wal")).unwrap();
    let before = (fs::read(&crashed.db).unwrap(), log(&crashed));
    assert!(matches!(crashed.refused(), StoreError::Newer { found: 99, .. }));
    assert_eq!((fs::read(&crashed.db).unwrap(), log(&crashed)), before);
}

#[test]
fn damaged_files_are_refused_and_left_untouched() {
    let whole = Place::new();
    let store = whole.open();
    for n in 0..200 {
        run(store.put(account(&format!("0f2b1a3c-1111-4222-8333-{n:012}")))).unwrap();
    }
    close(store, &whole);
    let bytes = fs::read(&whole.db).unwrap();
    assert!(bytes.len() > 16 * 1024);
    for length in [100, 4096, 8192, bytes.len() - 4096, bytes.len() - 1] {
        let place = Place::new();
        fs::write(&place.db, &bytes[..length]).unwrap();
        refusal(&place, |e| matches!(e, StoreError::Damaged { .. }));
    }
    for at in [4096, 8192, 12288] {
        let place = Place::new();
        let mut broken = bytes.clone();
        broken[at..at + 512].fill(0xa5);
        fs::write(&place.db, &broken).unwrap();
        refusal(&place, |e| matches!(e, StoreError::Damaged { .. }));
    }
}

#[test]
fn missing_files_and_directories_are_told_apart() {
    let place = Place::new();
    let error = Store::open(&place.db, IfMissing::Fail).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)) && error.to_string().contains("db.sqlite"), "{error}");
    let elsewhere = place.directory.path().join("no/such/db.sqlite");
    let link = place.directory.path().join("link.sqlite");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    for name in [&elsewhere, &link] {
        let error = Store::lock_for_daemon(name).unwrap_err().to_string();
        let directory = elsewhere.parent().unwrap().to_str().unwrap();
        assert!(error.contains(&format!("directory {directory} for")) && error.contains("create it"), "{error}");
        for missing in [IfMissing::Create, IfMissing::Fail] {
            assert!(matches!(Store::open(name, missing), Err(StoreError::NoDirectory(_))), "{name:?}");
        }
    }
    fs::remove_file(link).unwrap();
    for missing in [IfMissing::Create, IfMissing::Fail] {
        assert!(matches!(Store::open(place.directory.path(), missing), Err(StoreError::NotAFile(_))));
    }
    assert!(place.names().is_empty());
}

#[test]
fn openers_at_the_same_time_share_one_complete_file() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let place = &place;
            scope.spawn(move || {
                run(place.open().put(account(&format!("0f2b1a3c-1111-4222-8333-{n:012}")))).unwrap();
            });
        }
    });
    assert_eq!(run(place.open().count()).unwrap(), 8);
}

#[test]
fn one_daemon_per_database_whatever_its_name() {
    let place = Place::new();
    drop(place.open());
    let link = place.directory.path().join("link.sqlite");
    std::os::unix::fs::symlink(&place.db, &link).unwrap();
    let lock = Store::lock_for_daemon(&place.db).unwrap();
    for name in [&place.db, &link] {
        let error = Store::lock_for_daemon(name).unwrap_err();
        assert!(matches!(error, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    }
    // The command line beside the daemon is not locked out.
    run(place.open().put(account(UUID))).unwrap();
    drop(lock);
    Store::lock_for_daemon(&place.db).unwrap();
}

#[test]
fn what_somebody_planted_is_neither_used_nor_changed() {
    let place = Place::new();
    let directory = place.directory.path();
    let victim = directory.join("victim");
    fs::write(&victim, "precious").unwrap();
    let refused = |name: &str, result: Result<(), StoreError>| {
        let error = result.unwrap_err().to_string();
        let path = directory.join(name);
        assert!(error.contains(path.to_str().unwrap()) && error.contains("move it away"), "{name}: {error}");
        assert!(error.contains(&format!("`chown -R {} ", fs::metadata(&victim).unwrap().uid())), "{name}: {error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{name}");
        fs::remove_file(path).unwrap();
    };
    std::os::unix::fs::symlink(&victim, directory.join("db.sqlite.lock")).unwrap();
    refused("db.sqlite.lock", Store::lock_for_daemon(&place.db).map(drop));
    assert!(std::process::Command::new("mkfifo").arg(directory.join("db.sqlite.lock")).status().unwrap().success());
    refused("db.sqlite.lock", Store::lock_for_daemon(&place.db).map(drop));
    close(place.open(), &place);
    for name in ["db.sqlite-wal", "db.sqlite-shm", "db.sqlite-journal"] {
        std::os::unix::fs::symlink(&victim, directory.join(name)).unwrap();
        refused(name, Store::open(&place.db, IfMissing::Fail).map(drop));
    }
    // Only root can make files of other users.
    if fs::metadata(&victim).unwrap().uid() == 0 {
        for name in ["db.sqlite-journal", "db.sqlite.lock", "db.sqlite"] {
            let path = directory.join(name);
            fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
            let lock = Store::lock_for_daemon(&place.db).map(drop);
            refused(name, lock.and_then(|()| Store::open(&place.db, IfMissing::Fail).map(drop)));
        }
    }
}

#[test]
fn a_link_to_a_file_that_is_still_to_be_made_is_that_file() {
    let place = Place::new();
    let directory = place.directory.path();
    let (link, second) = (directory.join("link.sqlite"), directory.join("second.sqlite"));
    std::os::unix::fs::symlink("db.sqlite", &second).unwrap();
    std::os::unix::fs::symlink(&second, &link).unwrap();
    let lock = Store::lock_for_daemon(&link).unwrap();
    drop(Store::open(&link, IfMissing::Create).unwrap());
    assert!(place.db.is_file(), "made where the link leads");
    for name in [&link, &second, &place.db] {
        let error = Store::lock_for_daemon(name).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    }
    drop(lock);
    // A circle leads nowhere.
    let circle = directory.join("circle");
    std::os::unix::fs::symlink("circle", &circle).unwrap();
    Store::open(&circle, IfMissing::Create).unwrap_err();
    assert_eq!(place.names().iter().filter(|name| name.ends_with(".lock")).collect::<Vec<_>>(), ["db.sqlite.lock"]);
}

#[test]
fn only_the_changes_of_others_change_the_data_version() {
    let place = Place::new();
    let store = place.open();
    let first = run(store.data_version()).unwrap();
    run(store.put(account(UUID))).unwrap();
    run(store.touch(id(UUID), 5)).unwrap();
    run(store.list()).unwrap();
    assert_eq!(run(store.data_version()).unwrap(), first);
    let other = place.open();
    run(other.list()).unwrap();
    assert_eq!(run(store.data_version()).unwrap(), first);
    run(other.touch(id(UUID), 6)).unwrap();
    let second = run(store.data_version()).unwrap();
    assert_ne!(second, first);
    assert_eq!(run(store.data_version()).unwrap(), second);
}

#[test]
fn nothing_printed_holds_a_secret() {
    let place = Place::new();
    let store = place.open();
    run(store.put(account(UUID))).unwrap();
    let shown = format!("{store:?} {:?}", run(store.list()).unwrap());
    assert!(!shown.contains("SECRET") && !shown.contains("aB3+"), "{shown}");
}

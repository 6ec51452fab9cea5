//! The database: compatible with the reference both ways, private, durable, and never touched when it is not ours.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret, ServerTime};
use mollysocket::store::{IfMissing, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

const UUID: &str = "0f2b1a3c-1111-4222-8333-444455556666";
const OTHER: &str = "9e8d7c6b-aaaa-4bbb-8ccc-ddddeeeeffff";

/// The table as versions 1.0 to 1.7.1 of the reference make it.
const REFERENCE: &str = "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, \
     password TEXT, endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), last_registration INTEGER)";
/// The table as versions up to 0.2.3 made it.
const OLD_REFERENCE: &str = "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, \
     password TEXT, endpoint TEXT, strategy TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), \
     last_registration INTEGER)";

fn id(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

fn account(uuid: &str) -> Account {
    Account {
        credentials: Credentials {
            id: id(uuid),
            device: DeviceId::new(2).unwrap(),
            password: Secret::password("aB3+/aB3+/aB3+/aB3+/aB3+").unwrap(),
        },
        endpoint: endpoint("https://push.example/upSECRET?up=1"),
        forbidden: false,
        endpoint_gone: false,
        last_registration: 1_700_000_000,
        covered_until: None,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    smol::block_on(future)
}

/// A directory with a database in it, or not yet.
struct Place {
    directory: TempDir,
    db: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("db.sqlite");
        Self { directory, db }
    }

    /// With a file made by SQL.
    fn with(sql: &str) -> Self {
        let place = Self::new();
        place.sql().execute_batch(sql).unwrap();
        place
    }

    /// With a row of the reference, which binds everything as text.
    fn with_reference_row(table: &str) -> Self {
        let place = Self::with(table);
        place.reference_insert(UUID, "2", "https://push.example/upSECRET", "0");
        place
    }

    fn sql(&self) -> Connection {
        Connection::open(&self.db).unwrap()
    }

    fn reference_insert(&self, uuid: &str, device: &str, endpoint: &str, forbidden: &str) {
        self.sql()
            .execute(
                "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                [uuid, device, "hunter2", endpoint, forbidden, "1700000000"],
            )
            .unwrap();
    }

    fn open(&self) -> Store {
        Store::open(&self.db, IfMissing::Create).unwrap()
    }

    fn refused(&self) -> StoreError {
        let error = Store::open(&self.db, IfMissing::Create).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every file and what is in it.
    fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        self.names().into_iter().map(|n| (n.clone(), fs::read(self.directory.path().join(n)).unwrap())).collect()
    }
}

/// The handle's thread closes the file when the last handle goes; wait for it.
fn close(store: Store, place: &Place) {
    drop(store);
    let end = Instant::now() + Duration::from_secs(5);
    while place.db.with_file_name("db.sqlite-wal").exists() {
        assert!(Instant::now() < end, "the thread ends with the last handle");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_put_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open();
    let mut stored = account(UUID);
    stored.covered_until = Some(ServerTime(1_700_000_000_123));
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
    run(store.set_covered(old.credentials.clone(), ServerTime(5))).unwrap();
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(new.clone()));

    assert!(run(store.set_forbidden(new.credentials.clone())).unwrap());
    assert!(run(store.set_endpoint_gone(id(UUID), new.endpoint.clone(), true)).unwrap());
    run(store.set_covered(new.credentials.clone(), ServerTime(5))).unwrap();
    run(store.touch(id(UUID), 1_800_000_000)).unwrap();
    new.forbidden = true;
    new.endpoint_gone = true;
    new.covered_until = Some(ServerTime(5));
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
fn both_layouts_of_the_reference_open_and_keep_their_rows() {
    for table in [REFERENCE, OLD_REFERENCE] {
        let place = Place::with(table);
        place.reference_insert(UUID, "2", "https://push.example/upSECRET", "0");
        place.reference_insert(OTHER, "127", "http://10.0.0.1:8080/x", "1");
        let listing = run(place.open().list()).unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        let [one, two] = &listing.accounts[..] else { panic!("{listing:?}") };
        assert_eq!((one.id(), one.credentials.device.get(), one.forbidden), (id(UUID), 2, false));
        assert_eq!((one.credentials.password.expose(), one.last_registration), ("hunter2", 1_700_000_000));
        assert_eq!((one.endpoint.as_str(), one.covered_until), ("https://push.example/upSECRET", None));
        assert_eq!((two.id(), two.credentials.device.get(), two.forbidden), (id(OTHER), 127, true));
    }
}

#[test]
fn the_reference_reads_and_writes_what_we_wrote() {
    for table in ["", REFERENCE, OLD_REFERENCE] {
        let place = if table.is_empty() { Place::new() } else { Place::with_reference_row(table) };
        let store = place.open();
        let mut stored = account(UUID);
        stored.endpoint_gone = true;
        stored.covered_until = Some(ServerTime(7));
        run(store.put(stored.clone())).unwrap();
        close(store, &place);

        // As the reference does it: its own CREATE, all columns by position, everything bound as text.
        let sql = place.sql();
        sql.execute_batch(&REFERENCE.replace("TABLE", "TABLE IF NOT EXISTS")).unwrap();
        let row = sql
            .query_row("SELECT * FROM connections", [], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, u32>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, bool>(4)?,
                    row.get::<_, i64>(5)?,
                ))
            })
            .unwrap();
        let password = stored.credentials.password.expose().to_owned();
        let endpoint = "https://push.example/upSECRET?up=1".to_owned();
        assert_eq!(row, (UUID.to_owned(), 2, password, endpoint, false, 1_700_000_000));
        drop(sql);
        place.reference_insert(UUID, "3", "https://push.example/new", "0");
        place.reference_insert(OTHER, "4", "https://push.example/other", "1");

        let listing = run(place.open().list()).unwrap();
        let [one, two] = &listing.accounts[..] else { panic!("the reference replaces a row: {listing:?}") };
        assert_eq!((one.credentials.device.get(), one.endpoint_gone, one.covered_until), (3, false, None));
        assert_eq!((two.credentials.device.get(), two.forbidden), (4, true));
    }
}

#[test]
fn a_copy_is_kept_before_rows_of_the_reference_are_migrated() {
    let place = Place::with_reference_row(OLD_REFERENCE);
    drop(place.open());
    let copy = place.directory.path().join("db.sqlite.before-2.0");
    assert_eq!(mode(&copy), 0o600);
    let strategy: Option<String> =
        Connection::open(&copy).unwrap().query_row("SELECT strategy FROM connections", [], |r| r.get(0)).unwrap();
    assert_eq!(strategy, None);

    // Opening again migrates nothing, and an empty database needs no copy.
    let before = fs::read(&copy).unwrap();
    let store = place.open();
    close(store, &place);
    assert_eq!(place.names(), ["db.sqlite", "db.sqlite.before-2.0"]);
    assert_eq!(fs::read(&copy).unwrap(), before);
    let empty = Place::with(REFERENCE);
    close(empty.open(), &empty);
    assert_eq!(empty.names(), ["db.sqlite"]);
}

#[test]
fn an_earlier_copy_is_never_replaced() {
    let place = Place::with_reference_row(REFERENCE);
    let first = place.directory.path().join("db.sqlite.before-2.0");
    fs::write(&first, "precious").unwrap();
    drop(place.open());
    assert_eq!(fs::read_to_string(&first).unwrap(), "precious");
    assert!(place.directory.path().join("db.sqlite.before-2.0-2").exists());
}

#[test]
fn a_migration_that_cannot_keep_its_copy_changes_nothing() {
    let place = Place::with_reference_row(OLD_REFERENCE);
    fs::create_dir(place.directory.path().join("db.sqlite.before-2.0")).unwrap();
    for n in 2..100 {
        fs::write(place.directory.path().join(format!("db.sqlite.before-2.0-{n}")), "").unwrap();
    }
    let before = fs::read(&place.db).unwrap();
    assert!(matches!(place.refused(), StoreError::Failed { .. }));
    assert_eq!(fs::read(&place.db).unwrap(), before);
}

#[test]
fn rows_nobody_can_read_are_reported_and_left_alone() {
    let place = Place::with(REFERENCE);
    place.reference_insert("anything", "2", "https://push.example/up1", "0");
    place.reference_insert(UUID, "0", "https://push.example/SECRET", "0");
    place.reference_insert(OTHER, "2", "not a url SECRET", "1");
    place.sql().execute("INSERT INTO connections VALUES (NULL, NULL, NULL, x'ff', 0, 'x')", []).unwrap();
    let good = "11111111-2222-4333-8444-555555555555";
    place.reference_insert(good, "2", "https://push.example/up1", "0");
    let store = place.open();

    let listing = run(store.list()).unwrap();
    assert_eq!(listing.accounts.iter().map(Account::id).collect::<Vec<_>>(), [id(good)]);
    assert_eq!(listing.unreadable.len(), 4, "{:?}", listing.unreadable);
    let text = listing.unreadable.join("\n");
    assert!(text.contains("row 1") && text.contains("0f2b1a3c") && text.contains("device"), "{text}");
    for secret in ["SECRET", "hunter2", "anything", UUID] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(run(store.count()).unwrap(), 5);
    assert_eq!(run(store.get(id(UUID))).unwrap(), None);

    // Registering the account replaces its broken row; the others stay.
    run(store.put(account(UUID))).unwrap();
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(account(UUID)));
    assert_eq!((run(store.count()).unwrap(), run(store.list()).unwrap().unreadable.len()), (5, 3));
}

#[test]
fn an_account_has_one_row_whatever_the_spelling_of_its_id() {
    let spellings = [UUID.to_uppercase(), UUID.replace('-', ""), format!("{{{UUID}}}"), format!("urn:uuid:{UUID}")];
    for spelling in &spellings {
        let place = Place::with(REFERENCE);
        place.reference_insert(spelling, "2", "https://push.example/old", "0");
        let store = place.open();
        let found = run(store.get(id(UUID))).unwrap().unwrap();
        assert!(run(store.set_forbidden(found.credentials.clone())).unwrap(), "{spelling}");
        assert!(run(store.list()).unwrap().accounts[0].forbidden);
        run(store.put(account(UUID))).unwrap();
        assert_eq!(run(store.count()).unwrap(), 1, "{spelling}");
        let stored: String = place.sql().query_row("SELECT uuid FROM connections", [], |row| row.get(0)).unwrap();
        assert_eq!(stored, UUID);
    }
    // Two rows of one account: the newer registration counts, the other is reported, and both go together.
    let place = Place::with(REFERENCE);
    place.reference_insert(UUID, "2", "https://push.example/old", "0");
    place.reference_insert(&UUID.to_uppercase(), "3", "https://push.example/new", "0");
    let store = place.open();
    let listing = run(store.list()).unwrap();
    assert_eq!((listing.accounts.len(), listing.unreadable.len()), (1, 1));
    assert_eq!(listing.accounts[0].credentials.device.get(), 3);
    assert_eq!(run(store.get(id(UUID))).unwrap().as_ref(), listing.accounts.first());
    assert!(run(store.set_forbidden(listing.accounts[0].credentials.clone())).unwrap());
    assert!(run(store.get(id(UUID))).unwrap().unwrap().forbidden);
    assert!(run(store.remove(id(UUID))).unwrap());
    assert_eq!(run(store.count()).unwrap(), 0);
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
    assert_eq!((number("user_version"), number("application_id")), (1, 0x4d53_6b74));
    drop(sql);
    close(store, &place);
    assert_eq!(place.names(), ["db.sqlite"]);
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
    refusal(&bytes(b"SQLite f"), |e| matches!(e, StoreError::Damaged { .. }));
    refusal(&bytes(b"SQLite format 3\0"), |e| matches!(e, StoreError::Damaged { .. }));

    let foreign = |sql: &str| refusal(&Place::with(sql), |e| matches!(e, StoreError::Foreign { .. }));
    foreign("CREATE TABLE messages (id INTEGER)");
    foreign("CREATE TABLE connections (uuid TEXT, device_id INTEGER)");
    foreign(
        "CREATE TABLE t (uuid, device_id, password, endpoint, forbidden); CREATE VIEW connections AS SELECT * FROM t",
    );
    foreign(&format!("{REFERENCE}; PRAGMA application_id = 1234"));
    refusal(&Place::with(&format!("{REFERENCE}; PRAGMA user_version = 3")), |e| matches!(e, StoreError::Newer { .. }));
    let newer = |e: &StoreError| matches!(e, StoreError::Newer { found: 99, known: 1, .. });
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
    for length in [99, 100, 4096, 8192, bytes.len() - 4096, bytes.len() - 1] {
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
    for missing in [IfMissing::Create, IfMissing::Fail] {
        assert!(matches!(Store::open(&elsewhere, missing), Err(StoreError::NoDirectory(_))));
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
fn a_file_put_in_the_place_of_ours_is_followed() {
    let place = Place::new();
    let store = place.open();
    run(store.put(account(UUID))).unwrap();
    let version = run(store.data_version()).unwrap();

    fs::rename(&place.db, place.directory.path().join("aside")).unwrap();
    assert!(
        matches!(run(store.put(account(OTHER))), Err(StoreError::Missing(_))),
        "no write into a file without a name"
    );

    let backup = Place::new();
    let other = backup.open();
    run(other.put(account(OTHER))).unwrap();
    close(other, &backup);
    for log in ["db.sqlite-wal", "db.sqlite-shm"] {
        let _ = fs::remove_file(place.directory.path().join(log));
    }
    fs::rename(&backup.db, &place.db).unwrap();
    assert_eq!(run(store.list()).unwrap().accounts, [account(OTHER)]);
    assert_ne!(run(store.data_version()).unwrap(), version, "the daemon reads the accounts again");
    run(store.put(account(UUID))).unwrap();
    assert_eq!(run(place.open().count()).unwrap(), 2);
}

#[test]
fn nothing_printed_holds_a_secret() {
    let place = Place::new();
    let store = place.open();
    run(store.put(account(UUID))).unwrap();
    let shown = format!("{store:?} {:?}", run(store.list()).unwrap());
    assert!(!shown.contains("SECRET") && !shown.contains("aB3+"), "{shown}");
}

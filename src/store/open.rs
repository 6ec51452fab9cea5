//! Opening the file: look before touching, refuse what is not ours, migrate what is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::{Access, Database, IfMissing};
use super::{reading, schema};
use crate::private_file::{self, suffixed};

/// How long opening, and then whoever waits for the thread, waits for another program's lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// How long one attempt of the thread does. It reads in between.
const ATTEMPT: Duration = Duration::from_millis(100);

/// What SQLite keeps beside the file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// One thread uses a connection. A file is never made by SQLite.
const READ_WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens `path`, making it if wanted, and leaves it ready for use.
pub(super) fn open(path: &Path, missing: IfMissing) -> Result<Database, StoreError> {
    // SQLite keeps its other files beside the file a link leads to, so that is where to look for them. Found out once: a
    // link that leads elsewhere later is another database, which this process has not locked.
    let target = private_file::target(path);
    let path = target.as_path();
    match (exists(path), missing) {
        (Err(StoreError::Missing(_)), IfMissing::Create) => create(path)?,
        (found, _) => found?,
    }
    connect(path)
}

/// Whether there is a file.
pub(super) fn exists(path: &Path) -> Result<(), StoreError> {
    directory_exists(path)?;
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing(path.to_owned())),
        Err(error) => Err(StoreError::io(path, &error)),
        Ok(_) => Ok(()),
    }
}

/// Whether there is a directory for the file.
pub(super) fn directory_exists(path: &Path) -> Result<(), StoreError> {
    let directory = private_file::directory(path);
    // The whole path, because a relative one depends on where the program was started.
    let shown = || std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(StoreError::io(path, &error)),
        _ => Err(StoreError::NoDirectory(shown())),
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    let fill = |draft: &Path| -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(draft, READ_WRITE)?;
        let transaction = connection.transaction()?;
        schema::create(&transaction)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    // Whoever else made it meanwhile made it complete: `connect` looks at it either way.
    let made = private_file::create(path, |draft| fill(draft).map_err(io::Error::other));
    made.map(|_| ()).map_err(|error| match error.downcast() {
        Ok(error) => StoreError::sqlite(path, &error),
        Err(error) => StoreError::not_made(path, &error),
    })
}

/// Opens an existing file. Nothing but SQLite opens it, also here: a descriptor that is closed takes with it all POSIX
/// locks of the process on that file (<https://www.sqlite.org/howtocorrupt.html>, section 2.2), and the next program that
/// reads the database would delete its write-ahead log under us.
pub(super) fn connect(path: &Path) -> Result<Database, StoreError> {
    check_file(path)?;
    let (connection, access) = match writable(path) {
        Ok((mut connection, version)) => {
            configure(path, &mut connection, version)?;
            (connection, Access::ReadWrite)
        }
        // The directory, the file or the whole file system cannot be written: reading may still be possible.
        Err(StoreError::ReadOnly(_) | StoreError::Permission(_)) => (reading::connect(path)?, Access::ReadOnly),
        Err(error) => return Err(error),
    };
    connection.busy_timeout(ATTEMPT).map_err(|error| StoreError::sqlite(path, &error))?;
    Ok(Database { path: path.to_owned(), connection, access, epoch: 0 })
}

/// What can be told without opening it. SQLite would take an empty file for a new database, and what somebody else put
/// beside it for its own.
pub(super) fn check_file(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|error| StoreError::io(path, &error))?;
    if !metadata.is_file() {
        return Err(StoreError::NotAFile(path.to_owned()));
    }
    for file in files(path) {
        private_file::ours(&file).map_err(|what| StoreError::Planted { path: file, what })?;
    }
    if metadata.len() == 0 {
        return Err(StoreError::Empty(path.to_owned()));
    }
    Ok(())
}

/// The database and what SQLite may keep beside it.
fn files(path: &Path) -> impl Iterator<Item = PathBuf> {
    [""].into_iter().chain(COMPANIONS).map(|suffix| suffixed(path, suffix))
}

/// Opens for writing and examines. Where shared memory cannot be had, what is in write-ahead mode cannot be opened until
/// one connection alone, which needs none, has taken it out of that mode.
fn writable(path: &Path) -> Result<(Connection, i64), StoreError> {
    match examined(path, "") {
        Err(StoreError::Failed { .. }) => {
            let (alone, _) = examined(path, "PRAGMA locking_mode = EXCLUSIVE")?;
            let left = alone.execute_batch("PRAGMA journal_mode = TRUNCATE");
            left.map_err(|error| StoreError::sqlite(path, &error))?;
            drop(alone);
            examined(path, "")
        }
        opened => opened,
    }
}

/// Opens for writing, prepares the connection, and refuses what is not ours.
fn examined(path: &Path, prepare: &str) -> Result<(Connection, i64), StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let connection = Connection::open_with_flags(path, READ_WRITE).map_err(on_sqlite)?;
    // SQLite quietly opens for reading what cannot be written, and would leave files beside it that cannot be either.
    if connection.is_readonly(MAIN_DB).map_err(on_sqlite)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    connection.busy_timeout(BUSY).map_err(on_sqlite)?;
    // Closing would move the write-ahead log of a file that we may be about to refuse into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_holds_changes(path)).map_err(on_sqlite)?;
    connection.execute_batch(prepare).map_err(on_sqlite)?;
    let version = examine(path, &connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(on_sqlite)?;
    Ok((connection, version))
}

/// Whether a write-ahead log works where the database is: tried on another one beside it, because SQLite writes the mode
/// into the header before it finds out, and then cannot open the file any more.
fn log_works(path: &Path) -> bool {
    let draft = private_file::draft_name(path);
    let tried =
        Connection::open_with_flags(&draft, READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE).and_then(|connection| {
            connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; CREATE TABLE probe (x)")
        });
    for file in files(&draft) {
        // Not every one is there.
        let _ = fs::remove_file(file);
    }
    tried.is_ok()
}

/// Whether the write-ahead log holds anything.
pub(super) fn log_holds_changes(path: &Path) -> bool {
    fs::metadata(suffixed(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Refuses what is not a sound database of a version we know; returns the version. Writes nothing.
pub(super) fn examine(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(on_sqlite);
    let application = number("application_id")?;
    if application != 0 && application != schema::APPLICATION_ID {
        let what = format!("its application id is {application:#x}");
        return Err(StoreError::Foreign { path: path.to_owned(), what });
    }
    let version = number("user_version")?;
    if application == schema::APPLICATION_ID && version > schema::VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: schema::VERSION });
    }
    // SQLite fills up a last page that is cut short with zeros, and may not notice. Only an interrupted write, which its
    // log undoes or repeats, leaves one.
    let size = u64::try_from(number("page_size")?).unwrap_or(1).max(1);
    let length = fs::metadata(path).map_err(|error| StoreError::io(path, &error))?.len();
    if !length.is_multiple_of(size) && !log_holds_changes(path) {
        return Err(StoreError::Damaged { path: path.to_owned(), what: "it is cut short".to_owned() });
    }
    // Damage first: a broken schema would otherwise look like somebody else's.
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(on_sqlite)?;
    if verdict != "ok" {
        return Err(StoreError::Damaged { path: path.to_owned(), what: verdict.replace('\n', " ") });
    }
    if let Some(what) = schema::objection(connection).map_err(on_sqlite)? {
        return Err(StoreError::Foreign { path: path.to_owned(), what });
    }
    // The reference never sets a version: whoever set one without our id knows more than we do.
    if !(0..=schema::VERSION).contains(&version) {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: schema::VERSION });
    }
    Ok(version)
}

/// Makes an accepted file what we want it to be: private, current, durable.
fn configure(path: &Path, connection: &mut Connection, version: i64) -> Result<(), StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    for file in files(path) {
        match private_file::tighten(&file) {
            Ok(true) => log::warn!("{} was open to other users; it is private now (mode 0600)", file.display()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} cannot be made private: {error}", file.display());
            }
            _ => {}
        }
    }
    if version < schema::VERSION {
        migrate(path, connection)?;
    }
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(on_sqlite)?;
    if mode != "wal" {
        let wanted = if log_works(path) { "WAL" } else { "TRUNCATE" };
        if wanted != "WAL" {
            log::info!("the file system of {} has no shared memory: its journal mode is {wanted}", path.display());
        }
        connection.query_row(&format!("PRAGMA journal_mode = {wanted}"), [], |_| Ok(())).map_err(on_sqlite)?;
    }
    // NORMAL would lose the last registrations in a power cut. Few are made, and the `fetched_until` of section 2 comes to
    // four an hour and account at most.
    connection.pragma_update(None, "synchronous", "FULL").map_err(on_sqlite)?;
    // In KiB. The whole file is read once and then a row now and then; SQLite's own figure is eight times as much.
    connection.pragma_update(None, "cache_size", -256).map_err(on_sqlite)?;
    // A removed password is overwritten.
    connection.pragma_update(None, "secure_delete", true).map_err(on_sqlite)
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    // From here on nobody else writes, so the copy is of exactly what is migrated.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(on_sqlite)?;
    let version =
        transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map_err(on_sqlite)?;
    if version >= schema::VERSION {
        return Ok(());
    }
    let rows: i64 =
        transaction.query_row("SELECT count(*) FROM connections", [], |row| row.get(0)).map_err(on_sqlite)?;
    // Later steps only add columns.
    if rows > 0 && version == 0 {
        let copy = keep_copy(path)?;
        log::info!("{} is brought to format {}; {} keeps what it was", path.display(), schema::VERSION, copy.display());
    }
    schema::migrate(&transaction, version).map_err(on_sqlite)?;
    transaction.commit().map_err(on_sqlite)
}

/// Copies the database beside it, under the first free name.
fn keep_copy(path: &Path) -> Result<PathBuf, StoreError> {
    for number in 1..100 {
        let suffix = if number == 1 { ".before-2.0".to_owned() } else { format!(".before-2.0-{number}") };
        let copy = suffixed(path, &suffix);
        let made = private_file::create(&copy, |draft| {
            let source = Connection::open_with_flags(path, READ_WRITE).map_err(io::Error::other)?;
            source.busy_timeout(BUSY).map_err(io::Error::other)?;
            let target = draft.to_str().ok_or_else(|| io::Error::other("its path is not valid UTF-8"))?;
            source.execute("VACUUM INTO ?1", [target]).map(|_| ()).map_err(io::Error::other)
        })
        .map_err(|error| StoreError::Failed {
            path: path.to_owned(),
            what: format!("{}, the copy kept before the migration, cannot be written: {error}", copy.display()),
        })?;
        if made == private_file::Made::Now {
            return Ok(copy);
        }
    }
    let what = "there are too many copies of it already (.before-2.0…)".to_owned();
    Err(StoreError::Failed { path: path.to_owned(), what })
}

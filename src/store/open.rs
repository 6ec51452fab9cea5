//! Opening the file: look before touching, refuse what is not ours, migrate what is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::StoreError;
use super::schema;
use super::spellings::Spellings;
use super::{Access, Database, IfMissing};
use crate::private_file::{self, suffixed};

/// How long a statement waits for another process (the command line beside the daemon) to finish its own.
const BUSY: Duration = Duration::from_secs(5);

/// The first bytes of every SQLite file (<https://www.sqlite.org/fileformat.html#the_database_header>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How often, and how far apart, a file in use is looked at before it counts as damaged.
const CHECKPOINT_LOOKS: u32 = 10;
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);

/// Length of the header they start.
const HEADER: u64 = 100;

/// One thread uses a connection. A file is never made by SQLite.
const READ_WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// What has a meaning of its own in a `file:` URI.
const URI: &AsciiSet = &CONTROLS.add(b' ').add(b'?').add(b'#').add(b'%');

/// Opens `path`, making it if wanted, and leaves it ready for use.
pub(super) fn open(path: &Path, missing: IfMissing) -> Result<Database, StoreError> {
    // SQLite keeps its other files beside the file a link leads to, so that is where to look for them. Found out once: a
    // link that leads elsewhere later is another database, which this process has not locked.
    let target = private_file::through_links(path);
    let path = target.as_path();
    let directory = private_file::directory(path);
    if !directory.is_dir() {
        return Err(StoreError::NoDirectory(directory.to_owned()));
    }
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match missing {
            IfMissing::Create => create(path)?,
            IfMissing::Fail => return Err(StoreError::Missing(path.to_owned())),
        },
        Err(error) => return Err(StoreError::io(path, &error)),
        Ok(_) => {}
    }
    connect(path)
}

/// What tells the file apart from another one of the same name.
pub(super) fn identity(path: &Path) -> Result<(u64, u64), StoreError> {
    match fs::metadata(path) {
        Ok(file) => Ok((file.dev(), file.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing(path.to_owned())),
        Err(error) => Err(StoreError::io(path, &error)),
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    /// Either layer's error, until the path is known to be worth naming.
    enum Failure {
        Io(io::Error),
        Sqlite(rusqlite::Error),
    }
    impl From<io::Error> for Failure {
        fn from(error: io::Error) -> Self {
            Self::Io(error)
        }
    }
    let fill = |draft: &Path| -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(draft, READ_WRITE)?;
        let transaction = connection.transaction()?;
        schema::create(&transaction)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    // Whoever else made it meanwhile made it complete: `connect` looks at it either way.
    private_file::create(path, |draft| fill(draft).map_err(Failure::Sqlite)).map(|_| ()).map_err(
        |failure| match failure {
            Failure::Io(error) => StoreError::io(path, &error),
            Failure::Sqlite(error) => StoreError::sqlite(path, &error),
        },
    )
}

/// Opens an existing file.
pub(super) fn connect(path: &Path) -> Result<Database, StoreError> {
    look(path)?;
    let identity = identity(path)?;
    let (mut connection, access, version) = match writable(path) {
        Ok((connection, version)) => (connection, Access::ReadWrite, version),
        // The directory, the file or the whole file system cannot be written: reading may still be possible.
        Err(StoreError::ReadOnly(_) | StoreError::Permission(_)) => {
            let connection = readable(path)?;
            let version = examine(path, &connection)?;
            (connection, Access::ReadOnly, version)
        }
        Err(error) => return Err(error),
    };
    if access == Access::ReadWrite {
        settle(path, &mut connection, version)?;
    }
    Ok(Database {
        path: path.to_owned(),
        connection,
        access,
        identity,
        log: None,
        suspect: false,
        spellings: Spellings::default(),
        epoch: 0,
    })
}

/// What tells the write-ahead log apart from that of another file of the same name. `None` when there is no log.
pub(super) fn log_identity(path: &Path) -> Option<(u64, u64)> {
    identity(&suffixed(path, "-wal")).ok()
}

/// Removes the write-ahead log of a file that was replaced: SQLite would take its changes for the new file's.
pub(super) fn remove_log(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(suffixed(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(path, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// The same as [`look`] for a file in use, of which a connection would only see what it remembers. Pages that are missing
/// at its end may only be missing until a checkpoint of another process is done.
pub(super) fn look_again(path: &Path) -> Result<(), StoreError> {
    for _ in 0..CHECKPOINT_LOOKS {
        if look(path)? == Pages::All {
            return Ok(());
        }
        thread::sleep(CHECKPOINT_PAUSE);
    }
    Err(StoreError::Damaged { path: path.to_owned(), what: "it is cut short".to_owned() })
}

/// Whether a file is as long as its header says.
#[derive(Debug, PartialEq, Eq)]
enum Pages {
    All,
    Fewer,
}

/// What can be told without SQLite, which would take an empty file for a new database.
fn look(path: &Path) -> Result<Pages, StoreError> {
    let on_io = |error: io::Error| StoreError::io(path, &error);
    let metadata = fs::metadata(path).map_err(on_io)?;
    if !metadata.is_file() {
        return Err(StoreError::NotAFile(path.to_owned()));
    }
    if metadata.len() == 0 {
        return Err(StoreError::Empty(path.to_owned()));
    }
    let mut header = Vec::new();
    File::open(path).map_err(on_io)?.take(HEADER).read_to_end(&mut header).map_err(on_io)?;
    let magic = &header[..header.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(StoreError::Foreign { path: path.to_owned(), what: "it is not a SQLite file".to_owned() });
    }
    // SQLite fills up a last page that is cut short with zeros, and may not notice. Only an interrupted write, which its
    // journal undoes, leaves one.
    let interrupted = suffixed(path, "-journal").exists();
    let size = page_size(&header).filter(|size| interrupted || metadata.len().is_multiple_of(*size));
    let Some(size) = size else {
        return Err(StoreError::Damaged { path: path.to_owned(), what: "it is cut short".to_owned() });
    };
    Ok(if interrupted || metadata.len() / size >= pages(&header) { Pages::All } else { Pages::Fewer })
}

/// The page size a header tells, in bytes; 1 stands for 65,536. `None` when the header is cut short or has none.
fn page_size(header: &[u8]) -> Option<u64> {
    if (header.len() as u64) < HEADER {
        return None;
    }
    match u16::from_be_bytes([header[16], header[17]]) {
        0 => None,
        1 => Some(65_536),
        size => Some(u64::from(size)),
    }
}

/// How many pages a header tells of; 0 when what it tells may be out of date
/// (<https://www.sqlite.org/fileformat.html#in_header_database_size>).
fn pages(header: &[u8]) -> u64 {
    let number = |at: usize| header.get(at..at + 4).map(|bytes| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    let current = number(24) == number(92);
    number(28).filter(|_| current).unwrap_or(0)
}

fn writable(path: &Path) -> Result<(Connection, i64), StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    // SQLite would quietly open it for reading, and leave files beside it that cannot be written either.
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| StoreError::io(path, &error))?;
    let connection = Connection::open_with_flags(path, READ_WRITE).map_err(on_sqlite)?;
    connection.busy_timeout(BUSY).map_err(on_sqlite)?;
    // Closing would move the write-ahead log of a file that we may be about to refuse into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, log_holds_changes(path)).map_err(on_sqlite)?;
    let version = examine(path, &connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(on_sqlite)?;
    Ok((connection, version))
}

/// Opens for reading. Where nobody can write, that has to do without locks and without a shared-memory file, for which
/// there must be no changes in the write-ahead log.
fn readable(path: &Path) -> Result<Connection, StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    if log_holds_changes(path) {
        let connection = Connection::open_with_flags(path, READ_ONLY).map_err(on_sqlite)?;
        connection.busy_timeout(BUSY).map_err(on_sqlite)?;
        return Ok(connection);
    }
    let absolute = fs::canonicalize(path).map_err(|error| StoreError::io(path, &error))?;
    let Some(text) = absolute.to_str() else {
        return Err(StoreError::Permission(path.to_owned()));
    };
    let uri = format!("file:{}?immutable=1", utf8_percent_encode(text, URI));
    Connection::open_with_flags(uri, READ_ONLY | OpenFlags::SQLITE_OPEN_URI).map_err(on_sqlite)
}

/// Whether the write-ahead log holds anything.
fn log_holds_changes(path: &Path) -> bool {
    fs::metadata(suffixed(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// Refuses what is not a sound database of a version we know; returns the version. Writes nothing.
fn examine(path: &Path, connection: &Connection) -> Result<i64, StoreError> {
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
fn settle(path: &Path, connection: &mut Connection, version: i64) -> Result<(), StoreError> {
    let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    for file in [path.to_owned(), suffixed(path, "-wal"), suffixed(path, "-shm"), suffixed(path, "-journal")] {
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
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(on_sqlite)?;
    if mode != "wal" {
        log::warn!("{} does not support a write-ahead log here; journal mode is {mode}", path.display());
    }
    // NORMAL would lose the last commits in a power cut; there are a few writes a day.
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

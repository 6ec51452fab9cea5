//! The database of accounts (design, section 8). The only module that touches SQLite; one thread owns the connection.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use self::rows::Change;
use self::thread::Handle;
use crate::account::{Account, AccountId, Credentials, Endpoint, ServerTime};
use crate::private_file;

mod error;
mod import;
mod open;
mod reading;
mod rows;
mod schema;
mod thread;

pub use self::error::StoreError;
pub use self::import::{Difference, IfDifferent, Import};

/// What [`Store::list`] found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The rows that could be read.
    pub accounts: Vec<Account>,
    /// The public VAPID key each was registered with, where it is known.
    pub keys: HashMap<AccountId, String>,
    /// Each row that could not (old versions stored anything). Such rows are left as they are.
    pub unreadable: Vec<OddRow>,
}

/// A row that no account can be made of, or that a newer one of the same account replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddRow {
    rowid: i64,
    id: String,
    problem: String,
}

impl OddRow {
    /// What [`Store::remove_odd`] finds it by when its id is no name.
    pub fn name(&self) -> String {
        format!("row-{}", self.rowid)
    }

    /// Where it is and what is wrong with it, without what is stored in it.
    pub fn anonymized(&self) -> String {
        format!("{}: {}", self.name(), self.problem)
    }
}

/// For people, with the id that is stored in it and how to be rid of it.
impl fmt::Display for OddRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id, problem) = (self.name(), &self.id, &self.problem);
        write!(f, "{name} ({id}): {problem}; `mollysocket connection remove {name}` removes it")
    }
}

/// What [`Store::look`] found.
#[derive(Debug, Clone)]
pub enum Known {
    /// No row of this account, and how many of others.
    No {
        /// Rows in the database.
        accounts: usize,
    },
    /// A row that cannot be understood.
    Unreadable,
    /// This one.
    Yes(Box<Account>),
}

/// What became of [`Store::put_if`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored.
    Stored,
    /// The row was changed by somebody else meanwhile. Nothing was stored.
    Changed,
    /// There are too many accounts. Nothing was stored.
    Full,
}

/// Whether a missing file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Make an empty database.
    Create,
    /// Fail, naming the file.
    Fail,
}

/// A handle to the database. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Handle,
    /// See [`Self::with_key`].
    key: Option<Arc<str>>,
}

/// Whether the file could be opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// The open file, as its thread holds it.
#[derive(Debug)]
struct Database {
    path: PathBuf,
    connection: Connection,
    access: Access,
    /// How often the file was opened anew.
    epoch: u32,
}

/// Held by the one daemon of a database; gone with the process.
#[derive(Debug)]
pub struct DaemonLock {
    file: File,
}

impl DaemonLock {
    /// Notes where the daemon's admin socket is, for commands that know the database only: what the service manager says
    /// about directories it says to the daemon alone.
    pub fn note_socket(&mut self, socket: &Path) {
        let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
        // Only a help; the lock holds without it.
        let _ = writeln!(self.file, "{}", socket.display());
    }
}

impl Store {
    /// Opens, checks and, where needed, migrates the file.
    ///
    /// # Errors
    /// Damaged, foreign, newer or unreadable files are refused and left untouched; the message names file and remedy.
    pub fn open(path: &Path, missing: IfMissing) -> Result<Self, StoreError> {
        Ok(Self { handle: Handle::start(open::open(path, missing)?)?, key: None })
    }

    /// The same, and what is stored by it is noted as registered with this public VAPID key.
    #[must_use]
    pub fn with_key(self, public: &str) -> Self {
        Self { key: Some(public.into()), ..self }
    }

    /// Notes every account of which it is not known with which key it was registered as registered with
    /// [this one](Self::with_key): those of the reference and of earlier versions.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn adopt(&self) -> Result<(), StoreError> {
        let Some(key) = self.key.clone() else { return Ok(()) };
        self.handle.write(move |transaction| rows::adopt(transaction, &key)).await
    }

    /// Everything in a database of any format, ours or the reference's. Changes nothing in its directory and leaves nothing
    /// there, also while another program uses it.
    ///
    /// # Errors
    /// As [`Self::open`]; what is missing is not made.
    pub fn read(path: &Path) -> Result<Listing, StoreError> {
        reading::read(path)
    }

    /// Makes sure that no other daemon uses this database.
    ///
    /// # Errors
    /// When one does.
    pub fn lock_for_daemon(path: &Path) -> Result<DaemonLock, StoreError> {
        // Two names of one file are one database, also before there is a file.
        let database = private_file::target(path);
        open::directory_exists(&database)?;
        let lock = private_file::suffixed(&database, ".lock");
        private_file::ours(&lock).map_err(|what| StoreError::Planted { path: lock.clone(), what })?;
        let on_io = |error: &std::io::Error| StoreError::io(&lock, error);
        // Not truncated: while another process holds the lock the file says which.
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(private_file::MODE).clone();
        let mut file = private_file::open(&lock, &options).map_err(|error| StoreError::not_made(&lock, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.lines().next()?.trim().parse().ok());
                return Err(StoreError::InUse { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(on_io(&error)),
        }
        // Only a help for people; the lock holds without it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DaemonLock { file })
    }

    /// Where the daemon that used the database last noted that its admin socket is.
    pub fn noted_socket(path: &Path) -> Option<PathBuf> {
        let database = private_file::target(path);
        let text = fs::read_to_string(private_file::suffixed(&database, ".lock")).ok()?;
        text.lines().nth(1).map(PathBuf::from)
    }

    /// All accounts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        self.handle.read(rows::list).await
    }

    /// One account. `None` when there is none, or its row cannot be read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn get(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.handle.read(move |connection| rows::get(connection, id)).await
    }

    /// Number of rows, readable or not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn count(&self) -> Result<usize, StoreError> {
        self.handle.read(rows::count).await
    }

    /// Adds the account or replaces the row with its id. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn put(&self, account: Account) -> Result<(), StoreError> {
        let key = self.key.clone();
        self.handle.write(move |transaction| rows::put(transaction, &account, key.as_deref())).await
    }

    /// What there is of an account.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn look(&self, id: AccountId) -> Result<Known, StoreError> {
        self.handle.read(move |connection| rows::look(connection, id)).await
    }

    /// Stores the account if what there is of it still is as `expected`, and only while there are fewer than
    /// `max_accounts` rows if it is a new one; all in one transaction. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn put_if(&self, expected: Known, account: Account, max_accounts: usize) -> Result<Put, StoreError> {
        let key = self.key.clone();
        self.handle
            .write(move |transaction| rows::put_if(transaction, &expected, &account, max_accounts, key.as_deref()))
            .await
    }

    /// Stores accounts that another instance exported, each of another id: all of them in one transaction, or none. Rows of
    /// other accounts stay as they are.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn import(
        &self,
        accounts: Vec<Account>,
        if_different: IfDifferent,
        max_accounts: usize,
    ) -> Result<Import, StoreError> {
        let key = self.key.clone();
        self.handle
            .write(move |transaction| import::import(transaction, accounts, if_different, max_accounts, key.as_deref()))
            .await
    }

    /// Notes a repeated registration at `at` (seconds since 1970).
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn touch(&self, id: AccountId, at: u64) -> Result<(), StoreError> {
        self.change(id, |_| true, Change::Registered(at)).await.map(|_| ())
    }

    /// Marks the account `forbidden`, if it still has these credentials. Says whether it had.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_forbidden(&self, credentials: Credentials) -> Result<bool, StoreError> {
        let id = credentials.id;
        self.change(id, move |row| row.credentials == credentials, Change::Forbidden).await
    }

    /// Sets or clears `endpoint_gone`, if the account still has this endpoint. Says whether it had.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_endpoint_gone(&self, id: AccountId, endpoint: Endpoint, gone: bool) -> Result<bool, StoreError> {
        self.change(id, move |row| row.endpoint == endpoint, Change::EndpointGone(gone)).await
    }

    /// Notes until when envelopes are fetched, for each account that still has these credentials, all in one
    /// transaction.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_fetched_until(&self, times: Vec<(Credentials, ServerTime)>) -> Result<(), StoreError> {
        if times.is_empty() {
            return Ok(());
        }
        self.handle.write(move |transaction| rows::set_fetched_until(transaction, &times)).await
    }

    /// Pauses or resumes the account. Says whether it was there.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_paused(&self, id: AccountId, paused: bool) -> Result<bool, StoreError> {
        self.change(id, |_| true, Change::Paused(paused)).await
    }

    /// Removes the account. Says whether it was there.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn remove(&self, id: AccountId) -> Result<bool, StoreError> {
        self.handle.write(move |transaction| rows::remove(transaction, id)).await
    }

    /// Removes the row that no account can be made of and that has this name, or this id. Says whether it was there.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn remove_odd(&self, name: String) -> Result<bool, StoreError> {
        self.handle.write(move |transaction| rows::remove_odd(transaction, &name)).await
    }

    /// Whether the file can be written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn writable(&self) -> Result<bool, StoreError> {
        self.handle.writable().await
    }

    /// A number that changes when *another* connection changed the file (`PRAGMA data_version`).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn data_version(&self) -> Result<i64, StoreError> {
        self.handle.data_version().await
    }

    /// Says from now on, by calling `changed`, that the data version may be another one than `seen`; it is looked at `every`
    /// so often.
    pub fn watch(&self, every: Duration, seen: Option<i64>, changed: impl Fn() + Send + 'static) {
        self.handle.watch(every, seen, changed);
    }

    async fn change(
        &self,
        id: AccountId,
        expected: impl Fn(&Account) -> bool + Send + 'static,
        change: Change,
    ) -> Result<bool, StoreError> {
        self.handle.write(move |transaction| rows::change(transaction, id, expected, &change)).await
    }
}

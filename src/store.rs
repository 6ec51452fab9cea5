//! The database of accounts (design, section 8). The only module that touches SQLite; one thread owns the connection.

use std::path::Path;

use crate::account::{Account, AccountId, Credentials, Endpoint, ServerTime};

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Placeholder.
    #[error("{0}")]
    Other(String),
}

/// What [`Store::list`] found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The rows that could be read.
    pub accounts: Vec<Account>,
    /// What is wrong with each row that could not (old versions stored anything). Such rows are left as they are.
    pub unreadable: Vec<String>,
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
    _todo: (),
}

/// Held by the one daemon of a database; gone with the process.
#[derive(Debug)]
pub struct DaemonLock {
    _todo: (),
}

impl Store {
    /// Opens, checks and, where needed, migrates the file.
    ///
    /// # Errors
    /// Damaged, foreign, newer or unreadable files are refused and left untouched; the message names file and remedy.
    pub fn open(_path: &Path, _missing: IfMissing) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Makes sure that no other daemon uses this database.
    ///
    /// # Errors
    /// When one does.
    pub fn lock_for_daemon(_path: &Path) -> Result<DaemonLock, StoreError> {
        unimplemented!()
    }

    /// All accounts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        unimplemented!()
    }

    /// One account. `None` when there is none, or its row cannot be read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn get(&self, _id: AccountId) -> Result<Option<Account>, StoreError> {
        unimplemented!()
    }

    /// Number of rows, readable or not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn count(&self) -> Result<usize, StoreError> {
        unimplemented!()
    }

    /// Adds the account or replaces the row with its id. Durable when it returns.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn put(&self, _account: Account) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Notes a repeated registration at `at` (seconds since 1970).
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn touch(&self, _id: AccountId, _at: u64) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Marks the account `forbidden`, if it still has these credentials. Says whether it had.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_forbidden(&self, _credentials: Credentials) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// Sets or clears `endpoint_gone`, if the account still has this endpoint. Says whether it had.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_endpoint_gone(
        &self,
        _id: AccountId,
        _endpoint: Endpoint,
        _gone: bool,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// Notes until when envelopes are covered, if the account still has these credentials.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_covered(&self, _credentials: Credentials, _until: ServerTime) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Removes the account. Says whether it was there.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn remove(&self, _id: AccountId) -> Result<bool, StoreError> {
        unimplemented!()
    }

    /// A number that changes when *another* connection changed the file (`PRAGMA data_version`).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn data_version(&self) -> Result<i64, StoreError> {
        unimplemented!()
    }
}

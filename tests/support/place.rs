//! What the tests of the database share: accounts, and a directory with a file in it.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use mollysocket::store::{IfMissing, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

pub const UUID: &str = "0f2b1a3c-1111-4222-8333-444455556666";
pub const OTHER: &str = "9e8d7c6b-aaaa-4bbb-8ccc-ddddeeeeffff";

/// The table as versions 1.0 to 1.7.1 of the reference make it.
pub const REFERENCE: &str = "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, \
     password TEXT, endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), last_registration INTEGER)";
/// The table as versions up to 0.2.3 made it.
pub const OLD_REFERENCE: &str = "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE, device_id INTEGER, \
     password TEXT, endpoint TEXT, strategy TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)), \
     last_registration INTEGER)";

pub fn id(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}

pub fn endpoint(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap()
}

pub fn account(uuid: &str) -> Account {
    Account {
        credentials: Credentials {
            id: id(uuid),
            device: DeviceId::new(2).unwrap(),
            password: Secret::password("aB3+/aB3+/aB3+/aB3+/aB3+").unwrap(),
        },
        endpoint: endpoint("https://push.example/upSECRET?up=1"),
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 1_700_000_000,
        fetched_until: None,
    }
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    smol::block_on(future)
}

/// A directory with a database in it, or not yet.
pub struct Place {
    pub directory: TempDir,
    pub db: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = directory.path().join("db.sqlite");
        Self { directory, db }
    }

    /// With a file made by SQL.
    pub fn with(sql: &str) -> Self {
        let place = Self::new();
        place.sql().execute_batch(sql).unwrap();
        place
    }

    /// With a row of the reference, which binds everything as text.
    pub fn with_reference_row(table: &str) -> Self {
        let place = Self::with(table);
        place.reference_insert(UUID, "2", "https://push.example/upSECRET", "0");
        place
    }

    pub fn sql(&self) -> Connection {
        Connection::open(&self.db).unwrap()
    }

    pub fn reference_insert(&self, uuid: &str, device: &str, endpoint: &str, forbidden: &str) {
        self.sql()
            .execute(
                "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                [uuid, device, "hunter2", endpoint, forbidden, "1700000000"],
            )
            .unwrap();
    }

    pub fn open(&self) -> Store {
        Store::open(&self.db, IfMissing::Create).unwrap()
    }

    pub fn refused(&self) -> StoreError {
        let error = Store::open(&self.db, IfMissing::Create).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Every file and what is in it.
    pub fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        self.names().into_iter().map(|n| (n.clone(), fs::read(self.directory.path().join(n)).unwrap())).collect()
    }
}

/// The file is closed when the last handle is gone.
pub fn close(store: Store, place: &Place) {
    drop(store);
    assert!(!place.db.with_file_name("db.sqlite-wal").exists(), "still open");
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

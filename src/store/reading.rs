//! Reading a database of any format so that nothing in its directory changes, even while another program uses it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::{Listing, open, rows};
use crate::private_file::{self, suffixed};

/// What has a meaning of its own in a `file:` URI.
const URI: &AsciiSet = &CONTROLS.add(b' ').add(b'?').add(b'#').add(b'%');

const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_URI);

/// See [`super::Store::read`].
pub(super) fn read(path: &Path) -> Result<Listing, StoreError> {
    let target = private_file::target(path);
    let path = target.as_path();
    open::exists(path)?;
    open::check_file(path)?;
    rows::list(&connect(path)?).map_err(|error| StoreError::sqlite(path, &error))
}

/// How often another way is looked for, and how long after the last.
const LOOKS: (usize, Duration) = (10, Duration::from_millis(50));

/// Opens a whole path for reading and refuses what is no sound database of ours or of the reference.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let (looks, pause) = LOOKS;
    for _ in 1..looks {
        match attempt(path) {
            // A server that starts or ends just now makes or removes what the way was chosen by.
            Err(StoreError::ReadOnly(_) | StoreError::Permission(_) | StoreError::Failed { .. }) => {
                thread::sleep(pause)
            }
            done => return done,
        }
    }
    attempt(path)
}

fn attempt(path: &Path) -> Result<Connection, StoreError> {
    let (settings, prepare) = way(path).map_err(|error| StoreError::io(path, &error))?;
    let uri = format!("file:{}?{settings}", percent_encode(path.as_os_str().as_bytes(), URI));
    let opened = Connection::open_with_flags(uri, FLAGS).and_then(|connection| {
        connection.busy_timeout(open::BUSY)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(prepare)?;
        Ok(connection)
    });
    let connection = opened.map_err(|error| StoreError::sqlite(path, &error))?;
    open::examine(path, &connection)?;
    Ok(connection)
}

/// What to tell SQLite, which otherwise makes a log and shared memory beside every file in write-ahead mode: parameters of
/// the URI (<https://www.sqlite.org/uri.html>; `readonly_shm` is described in `os_unix.c`), and what to do first.
fn way(path: &Path) -> io::Result<(&'static str, &'static str)> {
    let (log, shared) = (suffixed(path, "-wal"), suffixed(path, "-shm"));
    Ok(if !in_log_mode(path)? || (log.exists() && shared.exists()) {
        // With the locks of whoever else uses it.
        ("mode=ro&readonly_shm=1", "")
    } else if open::log_holds_changes(path) {
        // A copy, or what a crash left: who uses a log has shared memory as well.
        ("mode=ro&vfs=unix-none", "PRAGMA locking_mode = EXCLUSIVE")
    } else {
        ("immutable=1", "")
    })
}

/// Whether the header says so (<https://www.sqlite.org/fileformat2.html>, section 1.3). To open the file beside SQLite is
/// safe only because this process has no other connection to it (see [`open::connect`]).
fn in_log_mode(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    Ok(header.get(18..20) == Some(&[2, 2]))
}

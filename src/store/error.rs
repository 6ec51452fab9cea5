//! What can go wrong with the database, in words an operator can act on.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::private_file::{self, own_uid};

/// Why the database could not be used. No text holds anything that is stored in it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such file and none was to be made.
    #[error("there is no database {}: check `db` (MOLLY_DB), or start the server once to make it", .0.display())]
    Missing(PathBuf),
    /// The directory for the file does not exist.
    #[error("the directory {} for the database does not exist: create it or change `db` (MOLLY_DB)", .0.display())]
    NoDirectory(PathBuf),
    /// A directory, a device or the like.
    #[error("the database {} is not a regular file: change `db` (MOLLY_DB)", .0.display())]
    NotAFile(PathBuf),
    /// Somebody else may have put it there.
    #[error("{} cannot be used: it {what}. If you do not know whose it is, move it away; else give it and its directory to user {}, who runs mollysocket, like `{}`", path.display(), own_uid(), chown(path))]
    Planted {
        /// The database, or a file beside it.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The operating system says no.
    #[error("user {} has no permission to use the database {}: give it and its directory to that user, like `{}`", own_uid(), .0.display(), chown(.0))]
    Permission(PathBuf),
    /// Zero bytes: the remains of a full disk or of a mistake.
    #[error("the database {} is empty: restore a backup, or delete the file to start anew", .0.display())]
    Empty(PathBuf),
    /// The file is cut short or its structure is broken.
    #[error("the database {} is damaged ({what}): restore a backup, or move the file away to start anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A file of another program.
    #[error("{} is not a MollySocket database ({what}): change `db` (MOLLY_DB)", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Written by a later version of this program.
    #[error("the database {} was written by a newer version (format {found}, this one knows {known}): update mollysocket", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this program knows.
        known: i64,
    },
    /// Another daemon holds the lock.
    #[error("another mollysocket server{} already uses the database {}: stop it first", pid.map_or_else(String::new, |p| format!(" (process {p})")), path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The other process, when it said.
        pid: Option<u32>,
    },
    /// Another process kept the file locked for too long.
    #[error("the database {} is locked by another process: try again, or stop what uses it", .0.display())]
    Busy(PathBuf),
    /// The file or its file system cannot be written.
    #[error("user {} cannot write the database {}: give it and its directory to that user, like `{}`, unless its file system is read-only", own_uid(), .0.display(), chown(.0))]
    ReadOnly(PathBuf),
    /// A crash cut off a change, and whoever reads must undo it first.
    #[error("a change of the database {} was cut off by a crash: start the server once, which undoes it", .0.display())]
    Interrupted(PathBuf),
    /// No space left.
    #[error("the disk of the database {} is full: free some space", .0.display())]
    Full(PathBuf),
    /// The operating system does not make a file, for a reason of its own.
    #[error("{} cannot be created: {what}: change `db` (MOLLY_DB), or look at the disk and its file system", path.display())]
    NotMade {
        /// The database, or a file beside it.
        path: PathBuf,
        /// What the operating system said.
        what: String,
    },
    /// Any other failure of the operating system or of SQLite.
    #[error("the database {} failed: {what}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The cause.
        what: String,
    },
    /// The thread that owns the connection is gone.
    #[error("the database was closed")]
    Closed,
}

/// What gives the database, and what is beside it, to the user of this process. In a container that is the path inside.
fn chown(path: &Path) -> String {
    let directory = private_file::directory(path);
    format!("chown -R {} {}", own_uid(), directory.display())
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the configuration or the file.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::ReadOnly(_) | Self::Full(_) | Self::Failed { .. })
    }

    /// Translates an error of the operating system about `path`.
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(path),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Failed { path, what: error.to_string() },
        }
    }

    /// The same, of a file that was to be made.
    pub(super) fn not_made(path: &Path, error: &io::Error) -> Self {
        match Self::io(path, error) {
            Self::Failed { path, what } => Self::NotMade { path, what },
            other => other,
        }
    }

    /// Translates an error of SQLite about `path`. Its texts name tables and columns, never values.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, what) = (path.to_owned(), error.to_string());
        if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_ROLLBACK) {
            return Self::Interrupted(path);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(path),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(path),
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Self::Permission(path),
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, what },
            Some(ErrorCode::NotADatabase) => {
                Self::Foreign { path, what: "it is not a SQLite file; if it was one, restore a backup".to_owned() }
            }
            _ => Self::Failed { path, what },
        }
    }
}

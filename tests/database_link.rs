//! The database by a link: what SQLite keeps beside the file (log, shared memory, journal) is beside the file the link
//! leads to, and so is what we make and look for there.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/place.rs"]
mod place;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mollysocket::store::{IfMissing, Store};
use place::{OLD_REFERENCE, Place, UUID, account, close, mode, run};
use tempfile::TempDir;

/// A link to the database of `place`, in a directory of its own.
fn link_to(place: &Place) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link.sqlite");
    symlink(&place.db, &link).unwrap();
    (directory, link)
}

fn entries(directory: &TempDir) -> usize {
    fs::read_dir(directory.path()).unwrap().count()
}

fn by(link: &Path) -> Store {
    Store::open(link, IfMissing::Fail).unwrap()
}

#[test]
fn the_log_is_made_private() {
    let place = Place::new();
    let first = place.open();
    run(first.put(account(UUID))).unwrap();
    let log = place.db.with_file_name("db.sqlite-wal");
    fs::set_permissions(&log, Permissions::from_mode(0o644)).unwrap();
    let (directory, link) = link_to(&place);
    let second = by(&link);
    assert_eq!(run(second.count()).unwrap(), 1);
    assert_eq!(mode(&log), 0o600);
    assert_eq!(entries(&directory), 1, "nothing but the link");
}

#[test]
fn the_copy_before_a_migration_is_beside_the_file() {
    let place = Place::with_reference_row(OLD_REFERENCE);
    let (directory, link) = link_to(&place);
    close(by(&link), &place);
    assert_eq!(place.names(), ["db.sqlite", "db.sqlite.before-2.0"]);
    assert_eq!(entries(&directory), 1, "nothing but the link");
}

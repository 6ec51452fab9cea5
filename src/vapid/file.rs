//! Key files: the operator's, and the one made at the first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

use super::{Create, VapidError, VapidKey};
use crate::private_file::{self, own_uid};

/// A key file is 44 bytes. What is much longer is another file, or a device that never ends.
const MAX_BYTES: u64 = 4096;

/// What to do about a key file beside the database that may be somebody else's.
const WHOSE: &str = "if you know whose it is, name the file as vapid_key_file; else move it away";

/// Reads a key file that the operator or the service manager keeps.
pub(super) fn read(path: &Path, remedy: &'static str) -> Result<VapidKey, VapidError> {
    let text = text(path).map_err(|error| failure(path, &error))?;
    VapidKey::read(&text).map_err(|flaw| VapidError::File { path: path.to_owned(), flaw, remedy })
}

/// Reads the key file made by an earlier start, or makes it.
pub(super) fn generated(path: &Path, create: Create) -> Result<(VapidKey, String), VapidError> {
    // Whole, because it is the file people must keep a copy of.
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut origin = format!("{}, made at the first start", shown.display());
    let own = || {
        private_file::ours(path).map_err(|what| io::Error::other(format!("it {what}; {WHOSE}")))?;
        beginning(private_file::open(path, OpenOptions::new().read(true))?)
    };
    let text = match own() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if create != Create::Yes {
                return Err(VapidError::Missing(path.to_owned()));
            }
            let made = private_file::create(path, |draft| {
                fs::write(draft, format!("{}\n", VapidKey::generate().to_private().expose()))
            });
            if made.map_err(|error| failure(path, &error))? == private_file::Made::Now {
                origin = format!(
                    "{}, made just now; keep a copy: without it every phone must be linked again",
                    path.display()
                );
            }
            // Read back, because another process may have been first.
            own()
        }
        other => other,
    };
    let text = text.map_err(|error| failure(path, &error))?;
    let remedy = "restore it from a backup, or delete it and link every phone again";
    let key = VapidKey::read(&text).map_err(|flaw| VapidError::File { path: path.to_owned(), flaw, remedy })?;
    if create == Create::Look {
        return Ok((key, origin));
    }
    match private_file::tighten(path) {
        Ok(true) => log::warn!("{} was open to other users; it is private now (mode 0600)", path.display()),
        Ok(false) => {}
        Err(error) => log::warn!("{} cannot be made private: {error}", path.display()),
    }
    Ok((key, origin))
}

fn text(path: &Path) -> io::Result<String> {
    beginning(File::open(path)?)
}

/// The beginning of a file. Bytes that are no text come back as characters no key has.
fn beginning(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn failure(path: &Path, error: &io::Error) -> VapidError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => format!("; give it to this user: chown {} {}", own_uid(), path.display()),
        _ => String::new(),
    };
    VapidError::Io { path: path.to_owned(), what: format!("{error}{remedy}") }
}

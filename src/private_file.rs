//! Files that hold secrets: readable by their owner only, and either complete or not there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Permission bits of everything we create: the owner may read and write, nobody else may anything.
pub(crate) const MODE: u32 = 0o600;

/// Links that may follow one another, as in Linux (path_resolution(7)).
const LINKS: usize = 40;

/// Whether a file was made or had been there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is new.
    Now,
    /// Somebody else was first; the existing file was not touched.
    Before,
}

/// Makes `path` in one step: `fill` writes a file of another name in the same directory, which then gets the right one.
/// A crash leaves either no file of that name or a complete one; an existing file is never replaced.
pub(crate) fn create<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<Made, E> {
    let draft = draft_name(path);
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(&draft)?;
    let result = fill(&draft).and_then(|()| Ok(publish(&draft, path)?));
    // After a rename there is nothing left to remove.
    let _ = fs::remove_file(&draft);
    result
}

/// A name in the same directory that nobody else uses.
pub(crate) fn draft_name(path: &Path) -> PathBuf {
    suffixed(path, &format!(".new-{}-{:08x}", std::process::id(), fastrand::u32(..)))
}

fn publish(draft: &Path, path: &Path) -> io::Result<Made> {
    File::open(draft)?.sync_all()?;
    // A hard link, unlike a rename, never replaces what is there.
    let made = match fs::hard_link(draft, path) {
        Ok(()) => Made::Now,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Made::Before,
        // Some file systems know no links.
        Err(_) if !path.try_exists()? => fs::rename(draft, path).map(|()| Made::Now)?,
        Err(_) => Made::Before,
    };
    sync_directory(path)?;
    Ok(made)
}

/// Makes the names in the directory of `path` survive a power cut.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

/// The user of this process: its number, because in containers it has no name.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The directory a file is in; `.` for a bare name.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// The file a name leads to, through any links, whether or not it exists yet. The name itself when that cannot be told.
pub(crate) fn target(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        if let Ok(there) = fs::canonicalize(&target) {
            return there;
        }
        let Ok(next) = fs::read_link(&target) else { break };
        // A relative link starts where it is; an absolute one replaces all of it.
        target = directory(&target).join(next);
    }
    let name = target.file_name().map(ToOwned::to_owned);
    match (fs::canonicalize(directory(&target)), name) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => target,
    }
}

/// `path` with `suffix` after its last character.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a file, if there is one, can be taken for ours: no link or device that somebody put in its place, and nobody's
/// but root's or the user's of this process.
///
/// # Errors
/// What it is, in words that follow "it".
pub(crate) fn ours(path: &Path) -> Result<(), String> {
    // Whoever uses it finds out, and says, what keeps us from looking.
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.is_file() {
        return Err(if file.is_symlink() { "is a symbolic link" } else { "is not a regular file" }.to_owned());
    }
    let own = rustix::process::geteuid().as_raw();
    // Root works on the files of services, too, which belong to whom their directory belongs.
    let service = || own == 0 && fs::metadata(directory(path)).is_ok_and(|directory| directory.uid() == file.uid());
    if [0, own].contains(&file.uid()) || service() {
        return Ok(());
    }
    Err(format!("belongs to another user (number {})", file.uid()))
}

/// Opens a file of ours, no link that somebody puts in its place just now. Never waits, as for the other end of a pipe.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.clone().custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes())).open(path)
}

/// Takes away what others may do with a file; says whether there was anything to take.
pub(crate) fn tighten(path: &Path) -> io::Result<bool> {
    let open = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if open {
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_somebody_made_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = create(&path, |draft| {
            fs::write(&path, "theirs")?;
            fs::write(draft, "ours")
        });
        assert_eq!(made.unwrap(), Made::Before);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn until_it_is_complete_there_is_no_file_of_that_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let failed = create(&path, |draft| {
            assert_eq!(fs::metadata(draft)?.permissions().mode() & 0o777, MODE);
            fs::write(draft, "half")?;
            assert!(!path.exists());
            Err(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(create(&path, |draft| fs::write(draft, "whole")).unwrap(), Made::Now);
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert!(!tighten(&path).unwrap());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(tighten(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }
}

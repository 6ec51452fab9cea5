//! Which file is read.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::raw::{FILE_VARIABLE, named_file};
use super::{ConfigError, Env};
use crate::private_file::own_uid;

/// What was found.
#[derive(Default)]
pub(super) struct Source {
    /// The configuration file and its text.
    pub(super) file: Option<(PathBuf, String)>,
    /// Others that are there and come later in the search order.
    pub(super) ignored: Vec<PathBuf>,
    /// A line for each that comes earlier and is not to be trusted.
    pub(super) left_alone: Vec<String>,
}

/// Reads the file the operator named (`-c`, then `MOLLY_CONF`), else the first one that is there and can be trusted.
pub(super) fn read(explicit: Option<&Path>, env: &Env) -> Result<Source, ConfigError> {
    let variable = named_file(env)?.map(|path| (FILE_VARIABLE, path));
    let named = explicit.map(|path| ("--config", path.to_owned())).or(variable);
    if let Some((by, path)) = named {
        return Ok(Source { file: Some((path.clone(), text(&path, Some(by))?)), ..Source::default() });
    }
    let mut left_alone = Vec::new();
    let mut there = candidates(env).into_iter().filter(|path| fs::metadata(path).is_ok());
    let trusted = there.find(|path| match trust(path) {
        Ok(()) => true,
        Err(why) => {
            left_alone.push(format!("{}: not used, because {why}", path.display()));
            false
        }
    });
    let Some(path) = trusted else { return Ok(Source { left_alone, ..Source::default() }) };
    let same = |other: &PathBuf| fs::canonicalize(other).ok() == fs::canonicalize(&path).ok();
    let ignored = there.filter(|other| !same(other)).collect();
    // A file that is there but cannot be read is an error: without its allow lists the server would be open.
    let text = text(&path, None)?;
    Ok(Source { file: Some((path, text)), ignored, left_alone })
}

/// Whether a file that nobody named may be used. Another user's could send passwords to a server of his, or have root run
/// his program.
fn trust(path: &Path) -> Result<(), String> {
    // Only root puts files there; they may belong to the service, whose commands root runs.
    if path.starts_with("/etc") {
        return Ok(());
    }
    let own = own_uid();
    for file in [fs::symlink_metadata(path), fs::metadata(path)] {
        // Whoever reads it finds out, and says, what keeps us from looking.
        let Ok(file) = file else { continue };
        if ![0, own].contains(&file.uid()) {
            return Err(format!(
                "it belongs to another user (number {}); if you trust it, name it with -c or MOLLY_CONF",
                file.uid()
            ));
        }
        // Where each user has a group of the same number, umask opens files to it (pam_umask(8), usergroups).
        let private_group = own != 0 && file.gid() == own;
        let others = if private_group { 0o002 } else { 0o022 };
        if !file.is_symlink() && file.mode() & others != 0 {
            return Err(format!(
                "other users may write it (mode {:04o}); `chmod go-w` it, or name it with -c or MOLLY_CONF",
                file.mode() & 0o7777
            ));
        }
    }
    Ok(())
}

/// The text of a file; `named_by` is the option or variable that named it, for the complaint.
pub(super) fn text(path: &Path, named_by: Option<&str>) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error, named_by))
}

/// Where a file is looked for when none is named, first one first.
pub(super) fn candidates(env: &Env) -> Vec<PathBuf> {
    // XDG Base Directory Specification: a relative XDG_CONFIG_HOME is to be ignored.
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("mollysocket/config.toml"));
    let others = ["./mollysocket.toml", "/etc/mollysocket/config.toml", "/etc/mollysocket/conf.toml"];
    home.into_iter().chain(others.map(PathBuf::from)).collect()
}

fn unreadable(path: &Path, error: &std::io::Error, named_by: Option<&str>) -> ConfigError {
    let path = path.display();
    let named = named_by.map(|by| format!(" (named by {by})")).unwrap_or_default();
    let (problem, remedy) = match error.kind() {
        ErrorKind::NotFound => ("there is no such file".to_owned(), "check the path"),
        ErrorKind::PermissionDenied => ("no permission to read it".to_owned(), "make it readable for this user"),
        ErrorKind::IsADirectory => ("it is a directory".to_owned(), "name the file in it"),
        ErrorKind::InvalidData => ("it is not UTF-8 text".to_owned(), "save it as UTF-8"),
        _ => (error.to_string(), "check the path"),
    };
    ConfigError(format!("{path}{named}: {problem}; {remedy}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn paths(env: &[(&str, &str)]) -> Vec<String> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        candidates(&env).iter().map(|p| p.display().to_string()).collect()
    }

    #[test]
    fn the_search_order_is_the_documented_one() {
        let rest = ["./mollysocket.toml", "/etc/mollysocket/config.toml", "/etc/mollysocket/conf.toml"];
        let with = |first: &'static str| [&[first][..], &rest[..]].concat();
        assert_eq!(paths(&[("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/xdg")]), with("/xdg/mollysocket/config.toml"));
        assert_eq!(paths(&[("HOME", "/home/u")]), with("/home/u/.config/mollysocket/config.toml"));
        let relative = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", "xdg")];
        assert_eq!(paths(&relative), with("/home/u/.config/mollysocket/config.toml"));
        assert_eq!(paths(&[]), rest, "no home at all");
    }
}

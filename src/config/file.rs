//! Which file is read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::raw::{FILE_VARIABLE, named_file};
use super::{ConfigError, Env};

/// A configuration file and its text.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Others that are there and come later in the search order.
    pub(super) ignored: Vec<PathBuf>,
}

/// Reads the file the operator named (`-c`, then `MOLLY_CONF`), else the first one that is there.
pub(super) fn read(explicit: Option<&Path>, env: &Env) -> Result<Option<Source>, ConfigError> {
    let variable = named_file(env)?.map(|path| (FILE_VARIABLE, path));
    let named = explicit.map(|path| ("--config", path.to_owned())).or(variable);
    if let Some((by, path)) = named {
        return Ok(Some(Source { text: text(&path, Some(by))?, path, ignored: Vec::new() }));
    }
    let mut there = candidates(env).into_iter().filter(|path| fs::metadata(path).is_ok());
    let Some(path) = there.next() else { return Ok(None) };
    let same = |other: &PathBuf| fs::canonicalize(other).ok() == fs::canonicalize(&path).ok();
    let ignored = there.filter(|other| !same(other)).collect();
    // A file that is there but cannot be read is an error: without its allow lists the server would be open.
    Ok(Some(Source { text: text(&path, None)?, path, ignored }))
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

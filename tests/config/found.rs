//! A file that nobody named counts only when no other user can have written it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use mollysocket::config::Config;
use tempfile::TempDir;

use crate::env;

const UUID: &str = "0f2b1a3c-1111-4222-8333-444455556666";

/// Some other user.
const OTHER: u32 = 54321;

/// A file found through XDG_CONFIG_HOME.
struct Found {
    dir: TempDir,
    file: PathBuf,
}

impl Found {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("mollysocket/config.toml");
        fs::create_dir(dir.path().join("mollysocket")).unwrap();
        fs::write(&file, "port = 5").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        Self { dir, file }
    }

    fn load(&self) -> Config {
        Config::load(None, &env(&[("XDG_CONFIG_HOME", &self.dir.path().display().to_string())])).unwrap()
    }

    fn is_used(&self) {
        let config = self.load();
        assert_eq!((config.port, config.file.as_deref()), (5, Some(self.file.as_path())), "{:?}", config.warnings);
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    /// It is named and left alone, but used when it is named.
    fn is_left_alone(&self, why: &str) {
        let config = self.load();
        assert_ne!(config.port, 5);
        let named = format!("{}: not used, because {why}", self.file.display());
        assert!(config.warnings.iter().any(|said| said.starts_with(&named)), "{:?}", config.warnings);
        let file = self.file.display().to_string();
        for config in [Config::load(Some(&self.file), &env(&[])), Config::load(None, &env(&[("MOLLY_CONF", &file)]))] {
            let config = config.unwrap();
            assert_eq!((config.port, config.warnings), (5, Vec::<String>::new()));
        }
    }
}

/// Makes it another user's, if this one may.
fn give_away(path: &Path) -> bool {
    lchown(path, Some(OTHER), None).is_ok()
}

#[test]
fn what_other_users_may_write_is_left_alone() {
    let found = Found::new();
    found.is_used();
    for mode in [0o666, 0o646, 0o602] {
        fs::set_permissions(&found.file, fs::Permissions::from_mode(mode)).unwrap();
        found.is_left_alone("other users may write it");
    }
    // Debian and others give each user a group of the same number, which his files are open to.
    fs::set_permissions(&found.file, fs::Permissions::from_mode(0o664)).unwrap();
    let file = fs::metadata(&found.file).unwrap();
    if file.uid() != 0 && file.uid() == file.gid() {
        found.is_used();
    } else {
        found.is_left_alone("other users may write it");
    }
}

#[test]
fn what_belongs_to_another_user_is_left_alone() {
    let found = Found::new();
    if !give_away(&found.file) {
        return;
    }
    found.is_left_alone("it belongs to another user (number 54321)");
    // His link to a file of ours.
    chown(&found.file, Some(fs::metadata(found.dir.path()).unwrap().uid()), None).unwrap();
    fs::rename(&found.file, found.dir.path().join("ours.toml")).unwrap();
    symlink(found.dir.path().join("ours.toml"), &found.file).unwrap();
    found.is_used();
    assert!(give_away(&found.file));
    found.is_left_alone("it belongs to another user");
}

/// As in /tmp, where anybody can put one.
#[test]
fn another_user_s_file_in_the_current_directory_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mollysocket.toml");
    let said = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
        let output = command.env_clear().current_dir(dir.path()).args(["test", "uuid", UUID]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    fs::write(&file, "allowed_uuids = []").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(said().0, Some(1), "our own counts");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, stderr) = said();
    assert_eq!(code, Some(0), "{stderr}");
    let named = "mollysocket: warning: ./mollysocket.toml: not used, because other users may write it (mode 0666)";
    assert!(stderr.lines().any(|line| line.starts_with(named)), "{stderr}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    if give_away(&file) {
        let (code, stderr) = said();
        assert!(code == Some(0) && stderr.contains("it belongs to another user (number 54321)"), "{stderr}");
    }
}

//! What is on this machine: configuration, key, database, and the server itself.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};

use super::shown::Shown;
use super::{Check, Doctor, Severity, split_remedy};
use crate::account::{Account, AccountId};
use crate::config::VapidSource;
use crate::net::ask_socket;
use crate::overview::fit::{Misfit, other_keys};
use crate::overview::{AccountView, Overview, Server, SideView, absence, admin_socket};
use crate::private_file;
use crate::store::{Store, StoreError};
use crate::vapid::{Create, Vapid, VapidError, VapidKey};

/// How long the server may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest status that is read.
const MOST: usize = 64 * 1024 * 1024;

/// What to do when the database fails for a reason that names nothing better.
const DISK: &str = "look at the disk and its file system";

/// What else to do without a key, but only where nobody uses one yet: phones know the key they were linked with.
const NO_KEY_YET: &str = "; if the server never ran, start it once";

impl Doctor<'_> {
    pub(super) fn configuration(&mut self) {
        let config = self.config;
        let what = match &config.file {
            Some(file) => format!("{} and the MOLLY_ variables are understood", self.shown.path(file)),
            None => "no file; the MOLLY_ variables are understood".to_owned(),
        };
        self.add(Check::ok("configuration", what));
        for file in &config.ignored {
            let what = format!("{} is ignored, because another one comes first", self.shown.path(file));
            self.add(Check::warning("configuration", what, "keep everything in one file, and remove the other"));
        }
        let no_push = config.allowed_endpoints.is_empty()
            || config.public_url.as_ref().is_some_and(|own| config.allowed_endpoints.is_only(own));
        for warning in &config.warnings {
            let fatal = no_push && warning.starts_with("allowed_endpoints");
            let verdict = if fatal { Severity::Failure } else { Severity::Warning };
            let remedy = if fatal { "name push servers, like allowed_endpoints = [\"https://ntfy.sh\"]" } else { "" };
            self.add(Check::new("configuration", verdict, self.shown.text(warning), remedy));
        }
    }

    /// Comes after the database and the server, which tell whether there may be no key yet.
    pub(super) fn vapid_key(&mut self) -> Option<Vapid> {
        let source = &self.config.vapid;
        let (key, origin) = match VapidKey::load(source, Create::Look) {
            Ok(loaded) => loaded,
            Err(error) => {
                let (mut what, mut remedy) = split_remedy(&error.to_string());
                if self.shown.report {
                    (what, remedy) = match error {
                        VapidError::Missing(_) => (
                            "there is none".to_owned(),
                            "start the server once if no phone is linked yet; else run this with its settings"
                                .to_owned(),
                        ),
                        _ => ("it cannot be used".to_owned(), String::new()),
                    };
                }
                if matches!(error, VapidError::Missing(_)) && !self.in_use {
                    remedy.push_str(NO_KEY_YET);
                }
                self.add(Check::failure("VAPID key", what, remedy));
                return None;
            }
        };
        self.add(Check::ok("VAPID key", if self.shown.report { "it is there".into() } else { origin }));
        if let VapidSource::File(file) | VapidSource::Generated(file) = source
            && let Ok(metadata) = fs::metadata(file)
            && let Some(remedy) = exposed(metadata.mode() & 0o777, in_our_group(metadata.gid()))
        {
            let (file, mode) = (self.shown.path(file), metadata.mode() & 0o777);
            let what = format!("other users of this machine can read {file} (mode {mode:04o})");
            self.add(Check::warning("VAPID key", what, format!("{remedy} {file}")));
        }
        let vapid = Vapid::new(key, self.config.vapid_contact.clone());
        for Misfit { what, remedy, .. } in other_keys(&self.stored, vapid.public()) {
            let unnamed = "accounts were registered with another VAPID key than the present one";
            let what = if self.shown.report { unnamed.to_owned() } else { what };
            self.add(Check::warning("VAPID key", what, remedy));
        }
        self.key = Some(vapid.public().to_owned());
        Some(vapid)
    }

    /// The accounts, where they can be read.
    pub(super) fn database(&mut self) -> Vec<Account> {
        let path = self.config.db.clone();
        if let Some(mode) = open_to_others(&path) {
            self.add(Check::warning(
                "database",
                format!("other users of this machine can read {} (mode {mode:04o})", self.shown.path(&path)),
                format!("chmod 600 {}; the server does it at its start", self.shown.path(&path)),
            ));
        }
        match Store::read(&path) {
            Ok(listing) => {
                self.in_use |= !listing.accounts.is_empty();
                self.shown.accounts = listing.accounts.iter().map(Account::id).collect();
                let what = format!("{}: {}", self.shown.path(&path), count(listing.accounts.len()));
                self.add(Check::ok("database", what));
                if !may_write(&path) {
                    let what = format!("{} cannot be written", self.shown.path(&path));
                    let remedy = "give it and its directory to the user that runs mollysocket";
                    self.add(Check::failure("database", what, remedy));
                }
                self.stored = listing;
                self.rows()
            }
            Err(error) => {
                self.in_use |= !matches!(error, StoreError::Missing(_) | StoreError::NoDirectory(_));
                let (what, remedy) = of_database(&self.shown.store(error));
                self.add(Check::failure("database", what, remedy));
                Vec::new()
            }
        }
    }

    fn rows(&mut self) -> Vec<Account> {
        if self.stored.accounts.is_empty() {
            self.add(Check::note("accounts", "there is none yet; link Molly to add one"));
        }
        for row in std::mem::take(&mut self.stored.unreadable) {
            let remedy =
                format!("`mollysocket connection list` shows it, `connection remove {}` removes it", row.name());
            self.add(Check::new("accounts", Severity::Note, format!("left out: {}", row.anonymized()), remedy));
        }
        self.stored.accounts.clone()
    }

    /// What the running server says of itself and its accounts.
    pub(super) async fn server(&mut self) {
        let socket = &admin_socket(self.config);
        let asked = async {
            let answer = ask_socket(socket, "/status", PATIENCE, MOST).await?;
            serde_json::from_str::<Overview>(&answer.body).map_err(io::Error::other)
        };
        let overview = match asked.await {
            Ok(overview) => overview,
            Err(error) => {
                // Else there may be one, which this user cannot ask.
                self.in_use |= !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
                let (mut what, remedy) = absence(socket, &error);
                if self.shown.report {
                    what = format!("no server answers at {} ({:?})", self.shown.path(socket), error.kind());
                }
                return self.add(Check::failure("server", what, remedy));
            }
        };
        self.in_use = true;
        let ours = env!("CARGO_PKG_VERSION");
        match &overview.server {
            Some(server) => {
                let version = self.shown.word(&overview.version);
                self.add(Check::ok("server", format!("version {version} runs as process {}", server.pid)));
                self.same_database(server);
            }
            None => self.add(Check::note("server", "it says nothing of itself")),
        }
        if overview.version != ours {
            let theirs = self.shown.word(&overview.version);
            let what = format!("version {theirs} runs, but this program is version {ours}");
            self.add(Check::warning("server", what, "restart it"));
        }
        for account in &overview.accounts {
            let other = self.only.is_some_and(|only| AccountId::parse(&account.uuid) != Ok(only));
            if account.needs_attention && !other {
                attention(&self.shown, account).into_iter().for_each(|check| self.add(check));
            }
        }
    }

    fn same_database(&mut self, server: &Server) {
        if let Some(problem) = &server.database_problem {
            let (what, remedy) = of_database(problem);
            self.add(Check::failure("server", self.shown.text(what), self.shown.text(remedy)));
        }
        let theirs = Path::new(&server.database);
        if !same_file(theirs, &self.config.db) {
            let what =
                format!("it uses {}, this command {}", self.shown.path(theirs), self.shown.path(&self.config.db));
            let remedy = "run this command with the server's configuration and variables (db, MOLLY_DB)";
            self.add(Check::failure("server", what, remedy));
        }
    }
}

/// Whether two names are of one file; of files that are not there, only those that are the same names.
fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
        _ => false,
    }
}

/// What the server says of the sides of an account that need attention.
fn attention(shown: &Shown, account: &AccountView) -> Vec<Check> {
    let name = match AccountId::parse(&account.uuid) {
        Ok(id) => format!("{}: server", shown.short(id)),
        Err(_) => "account: server".to_owned(),
    };
    let sides = [&account.signal, &account.push].into_iter().filter(|side| side.needs_attention);
    let check = |side: &SideView| {
        let (state, reason) = (shown.word(&side.state), shown.text(&side.reason));
        Check::failure(&name, format!("the server says {state}: {reason}"), shown.text(&side.remedy))
    };
    sides.map(check).collect()
}

/// What is wrong with a database, and what to do. Of what the operating system says only the first is known.
fn of_database(problem: &str) -> (String, String) {
    match split_remedy(problem) {
        (what, remedy) if !remedy.is_empty() && !problem.contains(" failed: ") => (what, remedy),
        _ => (problem.to_owned(), DISK.to_owned()),
    }
}

fn count(accounts: usize) -> String {
    format!("{accounts} {}", if accounts == 1 { "account" } else { "accounts" })
}

/// What takes the operator's key file from whom it is not for. Files that come from elsewhere, such as the secrets of
/// Kubernetes, may be the server's by its group alone.
fn exposed(mode: u32, our_group: bool) -> Option<&'static str> {
    match (mode & 0o007 != 0, mode & 0o070 != 0 && !our_group) {
        (true, true) => Some("give it to the user of the server alone: chmod go="),
        (true, false) => Some("give it to the user of the server alone: chmod o="),
        (false, true) => Some("unless its group is that of the server: chmod g="),
        (false, false) => None,
    }
}

fn in_our_group(group: u32) -> bool {
    let own = rustix::process::getgroups().unwrap_or_default();
    own.into_iter().chain([rustix::process::getegid()]).any(|own| own.as_raw() == group)
}

/// Whether this user may write the database, and beside it.
fn may_write(path: &Path) -> bool {
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    [file.as_path(), private_file::directory(&file)].iter().all(|path| access(*path, Access::WRITE_OK).is_ok())
}

/// The permissions of a file that others may do something with.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::account::DeviceId;
    use crate::overview::Now;
    use crate::status::{Cause, PushState, State, Status};
    use crate::supervisor::Snapshot;

    #[test]
    fn only_sides_that_need_attention_are_failures_and_each_has_a_remedy() {
        let (then, grace) = (Instant::now(), Duration::from_secs(300));
        let later = Now { instant: then + grace, ..Now::read() };
        for (signal, push, failures) in [
            (State::Connected, PushState::Ok, 0),
            (State::Paused, PushState::Ok, 0),
            (State::Paused, PushState::Unauthorized, 1),
            (State::Connected, PushState::Retrying, 1),
            (State::Connecting, PushState::Ok, 1),
            (State::Waiting, PushState::Retrying, 2),
            (State::Unlinked, PushState::Ok, 1),
        ] {
            let mut status = Status::new(signal, then);
            status.push.enter(push, Cause::new("why", "do"), None, then);
            let snapshot = Snapshot {
                id: AccountId::parse("0f2b1a3c-1111-4222-8333-444455556666").unwrap(),
                device: DeviceId::new(2).unwrap(),
                push_server: String::new(),
                status,
                owes: false,
                notice: None,
            };
            let checks = attention(&Shown::default(), &AccountView::of(&snapshot, later, grace));
            assert_eq!(checks.len(), failures, "{signal:?}, {push:?}: {checks:?}");
            assert!(checks.iter().all(|check| !check.remedy.is_empty()), "{checks:?}");
        }
    }

    #[test]
    fn files_that_are_not_there_are_one_only_by_name() {
        let here = tempfile::tempdir().unwrap();
        let there = |name: &str| here.path().join(name);
        fs::write(there("a"), "").unwrap();
        std::os::unix::fs::symlink("a", there("link")).unwrap();
        for (one, other, same) in [("a", "link", true), ("a", "b", false), ("b", "c", false), ("b", "b", true)] {
            assert_eq!(same_file(&there(one), &there(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn a_key_file_may_be_the_servers_by_its_group() {
        for (mode, our_group, bits) in [
            (0o600, false, None),
            (0o440, true, None),
            (0o660, true, None),
            (0o440, false, Some("g=")),
            (0o444, true, Some("o=")),
            (0o644, false, Some("go=")),
            (0o604, false, Some("o=")),
        ] {
            let remedy = exposed(mode, our_group);
            assert_eq!(remedy.and_then(|remedy| remedy.rsplit(' ').next()), bits, "{mode:o}, {our_group}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_a_database_has_a_remedy() {
        for (error, expected) in
            [(StoreError::Full(PathBuf::from("/a: b/db")), "free some space"), (StoreError::Closed, DISK)]
        {
            assert_eq!(of_database(&error.to_string()).1, expected);
        }
        let failed = "the database /db failed: disk I/O error: again";
        assert_eq!(of_database("the database /db did not answer within 1s").1, DISK);
        assert_eq!(
            of_database("the database /db failed: disk I/O error"),
            ("the database /db failed: disk I/O error".into(), DISK.into())
        );
        assert_eq!(of_database(failed), (failed.into(), DISK.into()));
    }
}

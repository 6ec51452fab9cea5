//! What the operator decided: file, environment and command line merged and checked once (design, section 4).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use crate::account::{Endpoint, Secret};

mod alert;
mod allow;
mod check;
mod entries;
mod file;
mod links;
pub(crate) mod nearest;
mod network;
mod raw;
mod reload;

pub(crate) use check::public_url;

pub use alert::AlertCommand;
pub use allow::{AllowedEndpoints, AllowedUuids, EntryError, Permission};
pub use network::Network;
pub use reload::Reloadable;

/// The variables of the process, passed in so that nothing reads them behind our back.
pub type Env = BTreeMap<String, String>;

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, if any.
    pub file: Option<PathBuf>,
    /// Files that would have been read if that one were not there.
    pub ignored: Vec<PathBuf>,
    /// Listening host of the web server: an address or a name.
    pub host: String,
    /// Listening port; 0 lets the system choose.
    pub port: u16,
    /// Whether the web server runs at all.
    pub webserver: bool,
    /// Push servers that may be used.
    pub allowed_endpoints: AllowedEndpoints,
    /// Accounts that may register.
    pub allowed_uuids: AllowedUuids,
    /// The database file.
    pub db: PathBuf,
    /// Where the VAPID key comes from.
    pub vapid: VapidSource,
    /// `sub` of the VAPID token (RFC 8292 section 2.1): a mailto: or https: URL.
    pub vapid_contact: String,
    /// How phones reach this server.
    pub public_url: Option<Url>,
    /// Signal's WebSocket.
    pub signal_url: Url,
    /// PEM file that replaces the pinned roots.
    pub signal_ca_file: Option<PathBuf>,
    /// User-Agents, tried in turn on 499. Never empty.
    pub user_agents: Vec<String>,
    /// PEM file trusted for push beside the system's roots.
    pub push_ca_file: Option<PathBuf>,
    /// Whether the phone's own sync messages wake it.
    pub wake_for_own_sync: bool,
    /// New registrations beyond this many accounts are refused.
    pub max_accounts: usize,
    /// Whose forwarding headers count.
    pub trusted_proxies: Vec<Network>,
    /// Whether `/metrics` is served by the web server.
    pub metrics: bool,
    /// The Unix socket for status and metrics.
    pub admin_socket: PathBuf,
    /// Run when an account needs attention, and when it is well again.
    pub alert_command: Option<AlertCommand>,
    /// Visited each minute while the server does its work.
    pub heartbeat_url: Option<Endpoint>,
    /// What the operator should know although the program starts: keys of old versions and the like.
    pub warnings: Vec<String>,
}

/// Where the VAPID key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VapidSource {
    /// `vapid_privkey`.
    Inline(Secret),
    /// `vapid_key_file`; must exist.
    File(PathBuf),
    /// A credential passed by the service manager (systemd.exec(5), "Credentials").
    Credential(PathBuf),
    /// Beside the database; made at the first start of `server`.
    Generated(PathBuf),
}

/// What is wrong with the configuration, where, and what to do: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Reads and checks everything. `explicit` is the file of `-c`.
    ///
    /// # Errors
    /// One line naming file or variable, key and remedy.
    pub fn load(explicit: Option<&Path>, env: &Env) -> Result<Self, ConfigError> {
        let source = file::read(explicit, env)?;
        let file = source.file.as_ref().map(|(path, text)| (path.as_path(), text.as_str()));
        let mut config = Self::merge(file, env, Path::exists)?;
        config.ignored = source.ignored;
        config.warnings.extend(source.left_alone);
        Ok(config)
    }

    /// Reads and checks the file at `path` alone, which may be meant for another machine: nothing it names is looked at.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check_file(path: &Path) -> Result<Self, ConfigError> {
        Self::from_text(Some((path, &file::text(path, None)?)), &Env::new())
    }

    /// Checks the text of a file, whose path is for messages, and variables. Looks at nothing else.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_text(file: Option<(&Path, &str)>, env: &Env) -> Result<Self, ConfigError> {
        Self::merge(file, env, |_| false)
    }

    fn merge(file: Option<(&Path, &str)>, env: &Env, exists: fn(&Path) -> bool) -> Result<Self, ConfigError> {
        let mut settings = raw::Settings::default();
        if let Some((path, text)) = file {
            settings.take_file(path, text)?;
        }
        settings.take_variables(env)?;
        check::check(settings, file.map(|(path, _)| path.to_owned()), env, exists)
    }
}

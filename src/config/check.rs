//! From the settings as written to the checked [`Config`]: every value is read here, once.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::alert::{self, AlertCommand};
use super::raw::{Found, Settings};
use super::{AllowedEndpoints, AllowedUuids, Config, ConfigError, Env, Network, VapidSource};
use crate::systemd;
use crate::vapid::VapidKey;

/// Path of Signal's message socket; the slash at its end is required (protocol note, section 1).
const SIGNAL_PATH: &str = "/v1/websocket/";

/// `sub` of the VAPID token when nothing better is known: the page of the reference implementation, as it sends it.
const PROJECT_PAGE: &str = env!("CARGO_PKG_REPOSITORY");

/// Longest User-Agent accepted, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;

/// Default of `db`, and the name the reference implementation gave it.
const DB: &str = "db.sqlite";
const OLD_DB: &str = "mollysocket.db";

/// Reads every setting. `exists` says whether a file of the current directory is there.
pub(super) fn check(
    settings: Settings,
    file: Option<PathBuf>,
    env: &Env,
    exists: fn(&Path) -> bool,
) -> Result<Config, ConfigError> {
    let mut warnings = settings.warnings.clone();
    let allowed_endpoints = list(&settings, "allowed_endpoints", &["*"], AllowedEndpoints::parse)?;
    let allowed_uuids = list(&settings, "allowed_uuids", &["*"], AllowedUuids::parse)?;
    let public_url = settings.text("public_url").map(|found| found.read(|t| public_url(t))).transpose()?;
    let public_url = public_url.map(|found| found.value);
    let db = database(settings.path("db"), exists, &mut warnings);
    if allowed_endpoints.is_empty() {
        warnings.push("allowed_endpoints is empty: no push server can be used".into());
    }
    if allowed_uuids.is_empty() {
        warnings.push("allowed_uuids is empty: no account can register".into());
    }
    if public_url.as_ref().is_some_and(|own| allowed_endpoints.is_only(own)) {
        warnings.push(
            "allowed_endpoints names only this server's own public_url; it must name push servers, like https://ntfy.sh/"
                .into(),
        );
    }
    Ok(Config {
        file,
        ignored: Vec::new(),
        host: one(&settings, "host", host)?.unwrap_or_else(|| "127.0.0.1".into()),
        port: number(&settings, "port", "must be a number from 0 to 65535 (0 lets the system choose)")?.unwrap_or(8020),
        webserver: settings.flag("webserver").unwrap_or(true),
        vapid: vapid_source(&settings, env, &db, &mut warnings)?,
        vapid_contact: one(&settings, "vapid_contact", contact)?
            .unwrap_or_else(|| public_url.as_ref().map_or(PROJECT_PAGE, Url::as_str).into()),
        signal_url: signal_url(&settings, &mut warnings)?,
        signal_ca_file: settings.path("signal_ca_file"),
        user_agents: list(&settings, "user_agents", &DEFAULT_USER_AGENTS, user_agents)?,
        push_ca_file: settings.path("push_ca_file"),
        wake_for_own_sync: settings.flag("wake_for_own_sync").unwrap_or(false),
        max_accounts: number(&settings, "max_accounts", "must not be negative")?.unwrap_or(10_000),
        trusted_proxies: list(&settings, "trusted_proxies", &["loopback"], networks)?,
        metrics: settings.flag("metrics").unwrap_or(false),
        admin_socket: settings.path("admin_socket").unwrap_or_else(|| default_admin_socket(env, &db)),
        alert_command: list(&settings, "alert_command", &[], AlertCommand::parse)?,
        heartbeat_url: one(&settings, "heartbeat_url", alert::heartbeat)?,
        allowed_endpoints,
        allowed_uuids,
        public_url,
        db,
        warnings,
    })
}

/// Our own name first; then the one Signal's spam filter is used to.
const DEFAULT_USER_AGENTS: [&str; 2] = [
    concat!("MollySocket/", env!("CARGO_PKG_VERSION")),
    concat!("Signal-Android/8.19.2 Android/36 MollySocket/", env!("CARGO_PKG_VERSION")),
];

/// A text key read by `reader`.
fn one<T, E: Display>(
    settings: &Settings,
    key: &str,
    reader: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ConfigError> {
    settings.text(key).map(|found| found.read(|text| reader(text)).map(|read| read.value)).transpose()
}

/// A number key that must fit `T`.
fn number<T: TryFrom<i64>>(settings: &Settings, key: &str, problem: &str) -> Result<Option<T>, ConfigError> {
    settings
        .number(key)
        .map(|found| found.read(|&n| T::try_from(n).map_err(|_| problem)).map(|read| read.value))
        .transpose()
}

/// A list key, or its default, read by `reader`.
fn list<T, E: Display>(
    settings: &Settings,
    key: &str,
    default: &[&str],
    reader: impl FnOnce(&[String]) -> Result<T, E>,
) -> Result<T, ConfigError> {
    let found =
        settings.list(key).unwrap_or_else(|| Found::new(default.iter().map(|s| (*s).to_owned()).collect(), key));
    found.read(|items| reader(items)).map(|read| read.value)
}

fn host(text: &str) -> Result<String, &'static str> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if inner.parse::<IpAddr>().is_ok() {
        return Ok(inner.to_owned());
    }
    // A port in it is the usual mistake.
    Host::parse(text).map(|host| host.to_string()).map_err(|_| "must be an address or a host name, without port")
}

/// Reads the URL at which phones reach this server. Molly takes https only.
///
/// # Errors
/// What is wrong, to be read after a name.
pub(crate) fn public_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL; write it like https://molly.example.org/")?;
    if url.scheme() != "https" {
        return Err("must begin with https://, because phones accept nothing else");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must have neither user name nor fragment");
    }
    Ok(url)
}

/// RFC 8292 section 2.1: a mailto: or https: URI. It is sent as it is written, and push servers compare its beginning:
/// what only a browser would mend, like `https:example.org`, is refused.
fn contact(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).ok();
    let usable = url.is_some_and(|url| match url.scheme() {
        "mailto" => text.starts_with("mailto:") && url.path().contains('@'),
        "https" => text.starts_with("https://") && url.has_host(),
        _ => false,
    });
    let printable = text.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if usable && printable {
        Ok(text.to_owned())
    } else {
        Err("must be like mailto:me@example.org or https://example.org/")
    }
}

fn user_agents(items: &[String]) -> Result<Vec<String>, String> {
    if items.is_empty() {
        return Err("must not be empty; remove it to use the default".into());
    }
    for (at, item) in items.iter().enumerate() {
        // RFC 9110 section 5.5: what a field value may hold, and no space at its ends.
        let legal = item.bytes().all(|b| (0x20..=0x7e).contains(&b)) && item.trim() == item;
        if item.is_empty() || item.len() > MAX_USER_AGENT_BYTES || !legal {
            return Err(format!("entry {} must be 1 to {MAX_USER_AGENT_BYTES} printable ASCII characters", at + 1));
        }
    }
    Ok(items.to_vec())
}

fn networks(items: &[String]) -> Result<Vec<Network>, String> {
    let mut all = Vec::new();
    for (at, item) in items.iter().enumerate() {
        match Network::parse(item) {
            _ if item.trim() == "loopback" => all.extend(Network::LOOPBACK),
            Some(network) => all.push(network),
            None => return Err(format!("entry {} must be an address, a block like 10.0.0.0/8, or loopback", at + 1)),
        }
    }
    Ok(all)
}

fn signal_url(settings: &Settings, warnings: &mut Vec<String>) -> Result<Url, ConfigError> {
    let host = match settings.text("signal_env") {
        None => "chat.signal.org",
        Some(found) => {
            let host = match found.value.to_ascii_lowercase().as_str() {
                "production" => "chat.signal.org",
                "staging" => "chat.staging.signal.org",
                _ => return Err(found.error("must be production or staging")),
            };
            if found.value != found.value.to_ascii_lowercase() {
                warnings.push(found.remark("write it in lower case; this is the spelling of old versions"));
            }
            host
        }
    };
    let given = one(settings, "signal_url", |text| {
        let problem = "must be like wss://chat.signal.org/v1/websocket/";
        let mut url = Url::parse(text).map_err(|_| problem)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if url.scheme() != "wss" || !url.has_host() || !plain || url.port() == Some(0) {
            return Err(problem);
        }
        if url.path() == "/" {
            url.set_path(SIGNAL_PATH);
        }
        Ok(url)
    })?;
    match given {
        Some(url) => Ok(url),
        None => Url::parse(&format!("wss://{host}{SIGNAL_PATH}")).map_err(|e| ConfigError(format!("signal_env: {e}"))),
    }
}

/// A file wins over a credential, and that over the text in the configuration, which is the easiest to read for others.
fn vapid_source(
    settings: &Settings,
    env: &Env,
    db: &Path,
    warnings: &mut Vec<String>,
) -> Result<VapidSource, ConfigError> {
    let inline = settings.text("vapid_privkey");
    let (source, better) = match (settings.path("vapid_key_file"), systemd::vapid_credential(env)) {
        (Some(file), _) => (VapidSource::File(file), "vapid_key_file is set"),
        (None, Some(credential)) => (VapidSource::Credential(credential), "there is a credential"),
        (None, None) => {
            let Some(inline) = inline else { return Ok(VapidSource::Generated(with_suffix(db, ".vapid"))) };
            let remedy = "put the output of `mollysocket vapid generate` there";
            let checked = inline.read(|text| VapidKey::parse(text).map_err(|error| format!("{error}: {remedy}")))?;
            return Ok(VapidSource::Inline(checked.value.to_private()));
        }
    };
    if let Some(inline) = inline {
        warnings.push(inline.remark(format_args!("not used, because {better}")));
    }
    Ok(source)
}

/// `db`, or its default. Where that is `db.sqlite` and only the file of the reference implementation is beside it, the
/// latter: its image and its documentation call it so.
fn database(set: Option<PathBuf>, exists: impl Fn(&Path) -> bool, warnings: &mut Vec<String>) -> PathBuf {
    let db = set.unwrap_or_else(|| DB.into());
    let old = db.with_file_name(OLD_DB);
    if db.file_name() != Some(DB.as_ref()) || !exists(&old) {
        return db;
    }
    let (ours, theirs) = (db.display(), old.display());
    if exists(&db) {
        warnings.push(format!(
            "{ours} is used, and {theirs} beside it is not; set db = \"{theirs}\" to use it, else move it away"
        ));
        return db;
    }
    warnings.push(format!("there is no {ours}: using {theirs} beside it; set db = \"{theirs}\" to make that clear"));
    old
}

fn default_admin_socket(env: &Env, db: &Path) -> PathBuf {
    // systemd separates several directories by colons (systemd.exec(5), RuntimeDirectory=).
    let runtime = env.get("RUNTIME_DIRECTORY").and_then(|dirs| dirs.split(':').find(|dir| !dir.is_empty()));
    runtime.map_or_else(|| with_suffix(db, ".sock"), |dir| Path::new(dir).join("admin.sock"))
}

/// `path` with `suffix` after its whole name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut whole = path.as_os_str().to_owned();
    whole.push(suffix);
    whole.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_old_database_is_used_only_when_it_is_alone_beside_the_default_and_is_named() {
        let pick = |set: Option<&str>, present: &'static [&str]| {
            let mut warnings = Vec::new();
            let exists = |p: &Path| present.iter().any(|n| Path::new(n) == p);
            let db = database(set.map(PathBuf::from), exists, &mut warnings);
            (db.display().to_string(), warnings.join("\n"))
        };
        let none = String::new;
        assert_eq!(pick(None, &[]), ("db.sqlite".into(), none()));
        assert_eq!(pick(None, &["db.sqlite"]), ("db.sqlite".into(), none()));
        assert_eq!(pick(Some("/data/x.sqlite"), &["/data/mollysocket.db"]), ("/data/x.sqlite".into(), none()));
        assert_eq!(pick(Some("/data/db.sqlite"), &["mollysocket.db"]), ("/data/db.sqlite".into(), none()));
        for (set, ours, old, both) in [
            (None, "db.sqlite", &["mollysocket.db"], &["db.sqlite", "mollysocket.db"]),
            (
                Some("/data/db.sqlite"),
                "/data/db.sqlite",
                &["/data/mollysocket.db"],
                &["/data/db.sqlite", "/data/mollysocket.db"],
            ),
        ] {
            let (db, warning) = pick(set, old);
            assert_eq!(db, old[0]);
            assert!(warning.contains(&format!("set db = \"{}\"", old[0])), "{warning}");
            let (db, warning) = pick(set, both);
            assert_eq!(db, ours);
            assert!(warning.starts_with(&format!("{ours} is used, and {} beside it is not", old[0])), "{warning}");
        }
    }
}

//! `connection`: the accounts in the database.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::args::{ConnectionAdd, ConnectionList};
use super::outbound::{Outbound, public_key};
use super::status::{answered, running};
use super::{Answer, CliError};
use crate::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};
use crate::config::Config;
use crate::net::tell_socket;
use crate::overview::{Pinged, SideView, admin_socket};
use crate::printable::{printable, printable_json};
use crate::push::{PushKind, SHOWS};
use crate::status::State;
use crate::store::{IfMissing, OddRow, Store};
use crate::supervisor::suspension;
use crate::systemd;

/// When a change of the database takes effect, for people. Whoever works in the wrong directory learns it from this.
pub(super) fn noticed(config: &Config) -> String {
    let same = |used: &str| fs::canonicalize(used).ok() == fs::canonicalize(&config.db).ok();
    match running(config).map(|overview| overview.server) {
        Ok(Some(server)) if !same(&server.database) => {
            format!("no server uses this database: the one that runs here uses {}", server.database)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            let elsewhere = systemd::service_hint(&config.db);
            format!("no server uses this database: start one with this `db`{elsewhere}")
        }
        // Asked for its status, it has looked at the database.
        Ok(Some(_)) => "the running server knows of it".to_owned(),
        // `Timings::store_poll`.
        _ => "a running server notices within 30 seconds".to_owned(),
    }
}

/// `connection add`: checks, stores, and sends a test push.
pub(super) fn add(config: &Config, args: &ConnectionAdd, out: &mut impl Write) -> Result<Answer, CliError> {
    let id = AccountId::parse(&args.uuid)?;
    let number = args.device.trim().parse().unwrap_or(0);
    let device = DeviceId::new(number)?;
    let password = Secret::password(&args.password)?;
    let endpoint = Endpoint::parse(&args.endpoint)?;
    if !config.allowed_uuids.permits(id) {
        return Err(CliError::failed(format_args!("{id} is not in allowed_uuids; to allow it, add \"{id}\" to it")));
    }
    let outbound = Outbound::new(config)?;
    outbound.block_on(async {
        let checked = outbound.net.check_endpoint(&config.allowed_endpoints, &endpoint).await;
        checked.map_err(|refusal| CliError::failed(format_args!("nothing stored: {refusal}")))?;
        let mut store = Store::open(&config.db, IfMissing::Create)?;
        if let Ok(key) = public_key(config) {
            store = store.with_key(&key);
        }
        let credentials = Credentials { id, device, password };
        let known = store.get(id).await?;
        if known.is_none() && store.count().await? >= config.max_accounts {
            let full =
                format_args!("nothing stored: there are max_accounts ({}) accounts; raise it", config.max_accounts);
            return Err(CliError::failed(full));
        }
        let paused = known.as_ref().is_some_and(|known| known.paused);
        // What Signal's clock says stays true for the same device only.
        let fetched_until =
            known.filter(|known| known.credentials == credentials).and_then(|known| known.fetched_until);
        let account = Account {
            credentials,
            endpoint: endpoint.clone(),
            forbidden: false,
            endpoint_gone: false,
            paused,
            last_registration: seconds(SystemTime::now()),
            fetched_until,
        };
        store.put(account).await?;
        writeln!(out, "stored {id}, device {device}, in {}; {}", shown(&config.db), noticed(config))?;
        if paused {
            writeln!(out, "it stays paused until `mollysocket connection resume {id}`")?;
        }
        let again = format!("mollysocket connection ping {id}");
        let kept = |why: &dyn std::fmt::Display| {
            CliError::failed(format_args!("the account is stored, but the test push failed: {why}; then try `{again}`"))
        };
        let pinged = send_test(config, id, &endpoint).map_err(|error| kept(&error))?;
        if !pinged.accepted {
            return Err(kept(&pinged));
        }
        writeln!(out, "test push accepted by {}: {SHOWS}", endpoint.origin())?;
        Ok(Answer::Yes)
    })
}

/// `connection list`.
pub(super) fn list(config: &Config, args: &ConnectionList, out: &mut impl Write) -> Result<Answer, CliError> {
    let listing = Store::read(&config.db)?;
    let rows: Vec<Row> = listing.accounts.iter().map(|account| Row::of(account, args.anonymized)).collect();
    let shown_row = |row: &OddRow| if args.anonymized { row.anonymized() } else { row.to_string() };
    let unreadable: Vec<String> = listing.unreadable.iter().map(shown_row).collect();
    if args.json {
        let accounts: Vec<_> = rows.iter().map(Row::to_json).collect();
        let all = json!({
            "database": shown(&config.db),
            "accounts": accounts,
            "unreadable": unreadable,
        });
        writeln!(out, "{:#}", printable_json(all))?;
        return Ok(Answer::Yes);
    }
    writeln!(out, "database: {}", shown(&config.db))?;
    writeln!(out, "accounts: {}", rows.len())?;
    for row in &rows {
        writeln!(out, "\n{}", row.to_text())?;
    }
    for what in &unreadable {
        writeln!(out, "\nunreadable: {}", printable(what))?;
    }
    Ok(Answer::Yes)
}

/// `connection remove UUID`. Of a row that no account can be made of also its name or what it has for an id.
pub(super) fn remove(config: &Config, uuid: &str, out: &mut impl Write) -> Result<Answer, CliError> {
    let parsed = AccountId::parse(uuid);
    if parsed.is_err()
        && let Ok(store) = Store::open(&config.db, IfMissing::Fail)
        && smol::block_on(store.remove_odd(uuid.to_owned()))?
    {
        writeln!(out, "removed the row from {}", shown(&config.db))?;
        return Ok(Answer::Yes);
    }
    let id = parsed?;
    let store = Store::open(&config.db, IfMissing::Fail)?;
    if smol::block_on(store.remove(id))? {
        writeln!(out, "removed {id} from {}; {}", shown(&config.db), noticed(config))?;
        Ok(Answer::Yes)
    } else {
        Err(unknown(id, &config.db))
    }
}

/// `connection pause UUID` and `connection resume UUID`.
pub(super) fn set_paused(
    config: &Config,
    uuid: &str,
    change: PauseChange,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    let id = AccountId::parse(uuid)?;
    let store = Store::open(&config.db, IfMissing::Fail)?;
    if !smol::block_on(store.set_paused(id, change == PauseChange::Pause))? {
        return Err(unknown(id, &config.db));
    }
    match change {
        PauseChange::Pause => {
            // A device that does not log in for 45 days is removed (protocol note, section 8).
            writeln!(
                out,
                "paused {id}; {}. Signal keeps its messages meanwhile; after 45 days it unlinks it",
                noticed(config)
            )?;
            writeln!(out, "to go on: mollysocket connection resume {id}")?;
        }
        PauseChange::Resume => writeln!(out, "resumed {id}; {}", noticed(config))?,
    }
    Ok(Answer::Yes)
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PauseChange {
    /// Stop serving it.
    Pause,
    /// Serve it again.
    Resume,
}

/// `connection ping UUID`: a test push, and what else keeps wake-ups from this phone.
pub(super) fn ping(config: &Config, uuid: &str, out: &mut impl Write) -> Result<Answer, CliError> {
    let id = AccountId::parse(uuid)?;
    let mut accounts = Store::read(&config.db)?.accounts.into_iter();
    let account = accounts.find(|account| account.id() == id).ok_or_else(|| unknown(id, &config.db))?;
    let pinged = send_test(config, id, &account.endpoint)?;
    if !pinged.accepted {
        return Err(CliError::failed(format_args!("the test push failed: {pinged}")));
    }
    let origin = account.endpoint.origin();
    if !pinged.remedy.is_empty() {
        writeln!(out, "push accepted ({origin}), but perhaps not by a push server: {pinged}")?;
        return Ok(Answer::No);
    }
    if account.endpoint_gone && !account.paused && !account.forbidden {
        // The push server was wrong, or changed its mind; the account may go on.
        let store = Store::open(&config.db, IfMissing::Fail)?;
        smol::block_on(store.set_endpoint_gone(id, account.endpoint, false))?;
        let label = State::EndpointGone.label();
        writeln!(out, "push OK ({origin}); the account was {label} and is resumed: {}", noticed(config))?;
        return Ok(Answer::Yes);
    }
    if let Some((state, reason)) = suspension(&account) {
        let (label, remedy) = (state.label(), state.remedy());
        writeln!(out, "push OK ({origin}), but the account is {label}: {reason}. To do: {remedy}")?;
        return Ok(Answer::No);
    }
    let signal = running(config).ok().and_then(|overview| {
        overview.accounts.into_iter().find(|account| account.uuid == id.to_string()).map(|account| account.signal)
    });
    match signal {
        Some(signal) if signal.state != State::Connected.label() => {
            let SideView { state, reason, remedy, .. } = signal;
            let remedy = if remedy.is_empty() { remedy } else { format!(". To do: {remedy}") };
            writeln!(out, "push OK ({origin}), but no wake-ups come from Signal: {state}: {reason}{remedy}")?;
            Ok(Answer::No)
        }
        Some(_) => {
            writeln!(out, "push OK ({origin}): {SHOWS}")?;
            Ok(Answer::Yes)
        }
        None => {
            writeln!(out, "push OK ({origin}): {SHOWS}; {}", noticed(config))?;
            Ok(Answer::Yes)
        }
    }
}

/// Sends a test push: by the running server, which has to know of the answer; without one by this process.
fn send_test(config: &Config, id: AccountId, endpoint: &Endpoint) -> Result<Pinged, CliError> {
    if let Ok(pinged) = pinged_by_server(config, id) {
        return Ok(pinged);
    }
    let outbound = Outbound::new(config)?;
    let pusher = outbound.pusher(config)?;
    Ok(outbound.block_on(pusher.send(endpoint, PushKind::Test)).into())
}

/// Has the running server send the test push.
fn pinged_by_server(config: &Config, id: AccountId) -> io::Result<Pinged> {
    let target = format!("/ping/{id}");
    let answer = smol::block_on(tell_socket(&admin_socket(config), &target, PATIENCE, 64 * 1024))?;
    // No such account, or none of its verbs: an older server, or one with another database.
    if answer.status != 200 {
        return Err(io::Error::other(format!("it answered {}", answer.status)));
    }
    answered(&answer.body)
}

/// A push has ten seconds, and may have to wait for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn unknown(id: AccountId, db: &Path) -> CliError {
    CliError::failed(format_args!("{id} is not in {}; `mollysocket connection list` shows what is", shown(db)))
}

/// What is shown of an account. Never the password.
struct Row {
    uuid: String,
    device: u8,
    endpoint: String,
    forbidden: bool,
    endpoint_gone: bool,
    paused: bool,
    /// RFC 3339, if known.
    last_registration: Option<String>,
}

impl Row {
    fn of(account: &Account, anonymized: bool) -> Self {
        let (uuid, endpoint) = if anonymized {
            (format!("{}…", account.id().short()), format!("{}/…", account.endpoint.origin()))
        } else {
            (account.id().to_string(), account.endpoint.as_str().to_owned())
        };
        let registered = Some(account.last_registration)
            .filter(|&at| at > 0)
            .and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)))
            .filter(|&at| at < UNIX_EPOCH + LAST_YEAR);
        Self {
            uuid,
            device: account.credentials.device.get(),
            endpoint,
            forbidden: account.forbidden,
            endpoint_gone: account.endpoint_gone,
            paused: account.paused,
            last_registration: registered.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        }
    }

    /// Scripts look for `forbidden: true` and `forbidden: false`, as in the reference implementation's list.
    fn to_text(&self) -> String {
        let why = |is: bool, state: State| match is {
            true => format!("true ({}: {})", state.label(), state.remedy()),
            false => "false".to_owned(),
        };
        format!(
            "account: {}\n  device: {}\n  endpoint: {}\n  forbidden: {}\n  endpoint gone: {}\n  paused: {}\n  \
             last registration: {}",
            self.uuid,
            self.device,
            self.endpoint,
            why(self.forbidden, State::Unlinked),
            why(self.endpoint_gone, State::EndpointGone),
            self.paused,
            self.last_registration.as_deref().unwrap_or("unknown"),
        )
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "uuid": self.uuid,
            "device_id": self.device,
            "endpoint": self.endpoint,
            "forbidden": self.forbidden,
            "endpoint_gone": self.endpoint_gone,
            "paused": self.paused,
            "last_registration": self.last_registration,
        })
    }
}

/// Beyond the year 9999 there is no RFC 3339 date; a row may hold any number.
const LAST_YEAR: Duration = Duration::from_secs(253_402_300_800);

/// Seconds since 1970.
fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The whole path of the database: relative ones are the usual reason why two people look at two files.
pub(super) fn shown(db: &Path) -> String {
    std::path::absolute(db).unwrap_or_else(|_| PathBuf::from(db)).display().to_string()
}

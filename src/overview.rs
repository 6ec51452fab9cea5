//! The state of everything as people and programs see it: what `GET /status`, `mollysocket status --json` and alerts
//! say (docs/operations.md). No password, key or path of an endpoint is in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::config::Config;
use crate::push::{Delivery, Outcome};
use crate::status::{Side, State};
use crate::store::{Listing, Store};
use crate::supervisor::{Snapshot, suspension};
use crate::systemd;

pub mod fit;
mod observer;

pub use observer::{Observer, Readiness};

/// Where the running server's admin socket is: where it noted beside the database, else where the configuration says.
/// The variables of the service manager, which decide the default, are the server's own.
pub fn admin_socket(config: &Config) -> PathBuf {
    // Who may not look there learns of it when connecting.
    let noted = Store::noted_socket(&config.db)
        .filter(|socket| socket.try_exists().unwrap_or_else(|_| !config.admin_socket.exists()));
    noted.unwrap_or_else(|| config.admin_socket.clone())
}

/// What is wrong when nobody answers at the admin socket, and what to do. A server may run there all the same.
pub fn absence(socket: &Path, error: &io::Error) -> (String, String) {
    let (why, remedy) = match error.kind() {
        io::ErrorKind::PermissionDenied => ("", "run this as the user of the server, or as root".to_owned()),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let elsewhere = systemd::service_hint(socket);
            let remedy = format!("start it, or use its settings here (db, admin_socket){elsewhere}");
            ("; the server is not running, or it uses another database", remedy)
        }
        _ => ("", "look at its log".to_owned()),
    };
    let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    (format!("no server answers at {} ({error}){why}", socket.display()), remedy)
}

/// A moment, to the second; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub SystemTime);

impl TryFrom<String> for Moment {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_rfc3339(&text).map(Self)
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

/// The same moment on both clocks. Everything is measured with the monotonic one; the other, which may be wrong and set at
/// any time, only makes dates of it, as it goes now.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// On the monotonic clock.
    pub instant: Instant,
    /// As a date.
    pub date: SystemTime,
}

impl Now {
    /// Reads both.
    pub fn read() -> Self {
        Self { instant: Instant::now(), date: SystemTime::now() }
    }

    /// The date of another moment, not before 1970: a machine without a clock of its own begins there.
    pub fn date_of(self, moment: Instant) -> Moment {
        let date = match self.instant.checked_duration_since(moment) {
            Some(age) => self.date.checked_sub(age),
            None => self.date.checked_add(moment.duration_since(self.instant)),
        };
        Moment(date.unwrap_or(self.date).max(UNIX_EPOCH))
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overview {
    /// Version of the program that made it.
    pub version: String,
    /// When it was made.
    pub at: Moment,
    /// Nothing needs attention: the server runs, its database works, every account is well, and Signal answers.
    pub healthy: bool,
    /// The running server; null when the database alone was read.
    pub server: Option<Server>,
    /// Every account, in order of their ids.
    pub accounts: Vec<AccountView>,
    /// Each row of the database that is left out, because no account can be made of it: what is wrong with it.
    pub unreadable: Vec<String>,
    /// What of the accounts does not fit the settings any more, and what to do: [`fit`].
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub since: Moment,
    /// The whole path of its database.
    pub database: String,
    /// Why the database cannot be read; null when it can.
    pub database_problem: Option<String>,
    /// Where the web server listens; null without one.
    pub web: Option<String>,
    /// Whether Signal answers; null when no account needs it.
    pub signal_reachable: Option<bool>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// The account.
    pub uuid: String,
    /// Number of its linked device.
    pub device_id: u8,
    /// Scheme, host and port of its endpoint.
    pub push_server: String,
    /// Whether somebody should look at it.
    pub needs_attention: bool,
    /// Signal's side.
    pub signal: SideView,
    /// The push side.
    pub push: SideView,
    /// Whether its phone is owed a wake-up.
    pub owes_wakeup: bool,
    /// Last message from Signal since the server started; null when there was none.
    pub last_envelope: Option<Moment>,
    /// Last push that was accepted since the server started; null when there was none.
    pub last_push: Option<Moment>,
    /// How long the oldest message it covered had waited, in milliseconds; null when it covered none.
    pub last_push_latency_ms: Option<u64>,
    /// Signal's last notice, such as `idle-primary-device`; null when there was none.
    pub notice: Option<String>,
}

/// One side of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideView {
    /// Its state (design, section 3), or `unknown` when no server runs.
    pub state: String,
    /// Whether somebody should look at this side.
    #[serde(default)]
    pub needs_attention: bool,
    /// Since when; null when unknown.
    pub since: Option<Moment>,
    /// Why; may be empty.
    pub reason: String,
    /// What people can do; may be empty.
    pub remedy: String,
    /// When it tries again; null when it does not wait.
    pub retry_at: Option<Moment>,
}

impl SideView {
    fn of<S>(side: &Side<S>, needs_attention: bool, label: &str, now: Now) -> Self {
        // An account that never got its turn has met no trouble of its own.
        let remedy = if needs_attention && side.reason.is_empty() { State::Waiting.remedy() } else { side.remedy };
        Self {
            state: label.to_owned(),
            needs_attention,
            since: Some(now.date_of(side.since)),
            reason: side.reason.clone(),
            remedy: remedy.to_owned(),
            retry_at: side.until.map(|until| now.date_of(until)),
        }
    }

    /// What a row alone tells.
    fn stored(state: &str, reason: &str, remedy: &str) -> Self {
        // The server that is not there is what needs it; of these, only states that stay.
        let stays = [State::Unlinked, State::EndpointGone].iter().any(|stays| state == stays.label());
        Self {
            state: state.to_owned(),
            needs_attention: stays,
            since: None,
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
            retry_at: None,
        }
    }
}

/// What a test push met, as `POST /ping/UUID` of the admin socket answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinged {
    /// The push server accepted it.
    pub accepted: bool,
    /// What it answered, for people.
    pub reason: String,
    /// What people can do; may be empty.
    pub remedy: String,
}

impl fmt::Display for Pinged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. To do: {}", self.reason, self.remedy)
    }
}

impl From<Delivery> for Pinged {
    fn from(delivery: Delivery) -> Self {
        let accepted = delivery.outcome == Outcome::Accepted;
        Self { accepted, reason: delivery.reason, remedy: delivery.remedy.to_owned() }
    }
}

/// The state of both sides when only the row was read and does not tell.
pub const UNKNOWN: &str = "unknown";

impl AccountView {
    /// A running account at `now`. Trouble that may pass counts after `grace`.
    pub fn of(snapshot: &Snapshot, now: Now, grace: Duration) -> Self {
        let status = &snapshot.status;
        let (signal, push) = (status.signal.state, status.push.state);
        let signal_needs = status.signal.needs_attention(now.instant, grace);
        let push_needs = status.push.needs_attention(now.instant, grace);
        Self {
            uuid: snapshot.id.to_string(),
            device_id: snapshot.device.get(),
            push_server: snapshot.push_server.clone(),
            needs_attention: signal_needs || push_needs,
            signal: SideView::of(&status.signal, signal_needs, signal.label(), now),
            push: SideView::of(&status.push, push_needs, push.label(), now),
            owes_wakeup: snapshot.owes,
            last_envelope: status.last_envelope.map(|at| now.date_of(at)),
            last_push: status.last_push.map(|at| now.date_of(at)),
            last_push_latency_ms: status.last_latency.and_then(|latency| u64::try_from(latency.as_millis()).ok()),
            notice: snapshot.notice.clone(),
        }
    }

    /// What the row alone tells.
    pub fn stored(account: &Account) -> Self {
        let signal = match suspension(account) {
            Some((state, reason)) => SideView::stored(state.label(), reason, state.remedy()),
            None => SideView::stored(UNKNOWN, "", ""),
        };
        Self {
            uuid: account.id().to_string(),
            device_id: account.credentials.device.get(),
            push_server: account.endpoint.origin(),
            needs_attention: signal.needs_attention,
            signal,
            push: SideView::stored(UNKNOWN, "", ""),
            owes_wakeup: false,
            last_envelope: None,
            last_push: None,
            last_push_latency_ms: None,
            notice: None,
        }
    }

    /// The beginning of the id, enough to tell accounts apart.
    pub fn short(&self) -> &str {
        self.uuid.get(..8).unwrap_or(&self.uuid)
    }
}

impl Overview {
    /// What the database alone tells.
    pub fn stored(listing: &Listing, warnings: Vec<String>, now: SystemTime) -> Self {
        let mut accounts: Vec<_> = listing.accounts.iter().map(AccountView::stored).collect();
        accounts.sort_by(|a, b| a.uuid.cmp(&b.uuid));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Moment(now),
            healthy: false,
            server: None,
            accounts,
            unreadable: listing.unreadable.iter().map(ToString::to_string).collect(),
            warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_changes_dates_and_no_age() {
        let (instant, day) = (Instant::now() + Duration::from_secs(9000), 86_400);
        let past = instant - Duration::from_secs(130);
        for date in [5 * day, 20_000 * day, 20_001 * day] {
            let now = Now { instant, date: UNIX_EPOCH + Duration::from_secs(date) };
            assert_eq!(now.date.duration_since(now.date_of(past).0).unwrap().as_secs(), 130);
            let next = now.date_of(instant + Duration::from_secs(59));
            assert_eq!(next.0.duration_since(now.date).unwrap().as_secs(), 59);
        }
        // A machine whose clock begins in 1970.
        let now = Now { instant, date: UNIX_EPOCH + Duration::from_secs(3) };
        assert_eq!(String::from(now.date_of(past)), "1970-01-01T00:00:00Z");
    }
}

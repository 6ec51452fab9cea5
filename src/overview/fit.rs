//! Stored accounts that do not fit the settings any more: another VAPID key, or other allow lists, than when they registered.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::config::{AllowedEndpoints, AllowedUuids, Config, Reloadable, VapidSource};
use crate::net::Net;
use crate::store::Listing;

/// Accounts that are told by name; the rest is counted.
const NAMED: usize = 5;

/// Characters of a public key that are shown, enough to tell keys apart.
const SHOWN: usize = 12;

/// What does not fit. No endpoint's path and no whole id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What, in one line.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it keeps wake-ups from phones.
    pub silences: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// The settings that stored accounts must fit.
#[derive(Debug)]
pub struct Settings {
    uuids: Reloadable<AllowedUuids>,
    endpoints: Reloadable<AllowedEndpoints>,
    /// The public VAPID key.
    key: String,
    /// Where it is, if the server made it.
    key_file: Option<PathBuf>,
}

impl Settings {
    /// Of a server with this public VAPID key.
    pub fn new(config: &Config, key: &str) -> Self {
        let key_file = match &config.vapid {
            VapidSource::Generated(file) => Some(file.clone()),
            _ => None,
        };
        let (uuids, endpoints) = (config.allowed_uuids.clone().into(), config.allowed_endpoints.clone().into());
        Self { uuids, endpoints, key: key.to_owned(), key_file }
    }

    /// The same with allow lists that may be reloaded.
    #[must_use]
    pub fn with_lists(self, uuids: Reloadable<AllowedUuids>, endpoints: Reloadable<AllowedEndpoints>) -> Self {
        Self { uuids, endpoints, ..self }
    }

    /// What of these accounts does not fit.
    pub fn misfits(&self, listing: &Listing) -> Vec<Misfit> {
        let mut misfits = other_keys(listing, &self.key);
        if let Some(file) = self.key_file.as_deref().filter(|file| !listing.accounts.is_empty() && !file.exists()) {
            misfits.push(vanished(file));
        }
        let mut strangers = Vec::new();
        let mut refused: BTreeMap<_, Vec<&Account>> = BTreeMap::new();
        let (uuids, endpoints) = (self.uuids.get(), self.endpoints.get());
        for account in &listing.accounts {
            if !uuids.permits(account.id()) {
                strangers.push(account);
            }
            if let Err(refusal) = Net::check_without_look_up(&endpoints, &account.endpoint) {
                refused.entry((refusal.what, refusal.remedy)).or_default().push(account);
            }
        }
        if !strangers.is_empty() {
            misfits.push(Misfit {
                what: format!(
                    "not in allowed_uuids: {}; still served, but unable to register again",
                    names(&strangers)
                ),
                remedy: "add them to allowed_uuids, or remove them; `mollysocket connection list` shows the whole ids"
                    .to_owned(),
                silences: false,
            });
        }
        misfits.extend(refused.into_iter().map(|((what, remedy), accounts)| Misfit {
            what: format!("{what}, so no push is sent to {}", names(&accounts)),
            remedy,
            silences: true,
        }));
        misfits
    }
}

/// The accounts that were registered with another key than this public one.
pub fn other_keys(listing: &Listing, key: &str) -> Vec<Misfit> {
    let mut others: BTreeMap<&str, Vec<&Account>> = BTreeMap::new();
    for account in &listing.accounts {
        if let Some(other) = listing.keys.get(&account.id()).filter(|other| *other != key) {
            others.entry(other).or_default().push(account);
        }
    }
    let misfit = |(other, accounts): (&str, Vec<_>)| Misfit {
        what: format!(
            "registered with another VAPID key ({}…) than the present one ({}…): {}; push servers that check it refuse each \
             wake-up",
            beginning(other),
            beginning(key),
            names(&accounts)
        ),
        remedy: "give the server that key again, or link these phones again".to_owned(),
        // Not every push server checks it; one that does is seen on the push side.
        silences: false,
    };
    others.into_iter().map(misfit).collect()
}

fn vanished(file: &Path) -> Misfit {
    Misfit {
        what: format!("the VAPID key file {} is gone, and the server will not start without it", file.display()),
        remedy: "restore it from a backup; with another key each phone must be linked again".to_owned(),
        // The one that runs has it in memory.
        silences: false,
    }
}

/// The part of a public key that is shown.
pub fn beginning(key: &str) -> &str {
    key.get(..SHOWN).unwrap_or(key)
}

fn names(accounts: &[&Account]) -> String {
    let mut names: Vec<String> = accounts.iter().map(|account| account.id().short()).collect();
    names.sort();
    let (count, more) = (names.len(), names.len().saturating_sub(NAMED));
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    format!("{count} {} ({})", if count == 1 { "account" } else { "accounts" }, names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::sample;

    #[test]
    fn many_accounts_are_counted_and_a_few_are_named() {
        let account = sample();
        let accounts = vec![&account; NAMED + 2];
        let text = names(&accounts);
        assert!(text.starts_with("7 accounts (11111111, ") && text.ends_with(", and 2 more)"), "{text}");
        assert_eq!(names(&accounts[..1]), "1 account (11111111)");
    }
}

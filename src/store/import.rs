//! Accounts that another instance exported: all of them are stored, or none is.

use rusqlite::Connection;

use super::rows;
use crate::account::{Account, AccountId};

/// What becomes of an account that is here already, but not as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfDifferent {
    /// Nothing at all is imported.
    Refuse,
    /// It is replaced.
    Replace,
}

/// What became of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// Every account is stored.
    Done {
        /// How many were not here before.
        added: usize,
        /// How many were here, and differed.
        replaced: usize,
        /// How many were here as they came; their rows were not touched.
        unchanged: usize,
    },
    /// Nothing was stored: these are here already and differ.
    Different(Vec<Difference>),
    /// Nothing was stored: there would be this many rows, more than allowed.
    Full(usize),
}

/// An account that is here already, but not as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The account.
    pub id: AccountId,
    /// What differs, by name; no values. Of a row that cannot be read, that.
    pub what: Vec<&'static str>,
}

/// What differs when there is nothing to compare with.
const UNREADABLE: &str = "its row cannot be read";

/// Compares first and writes then, so that a refusal leaves no trace in the transaction. `accounts` are of different ids.
pub(super) fn import(
    transaction: &Connection,
    accounts: Vec<Account>,
    if_different: IfDifferent,
    max_accounts: usize,
    key: Option<&str>,
) -> rusqlite::Result<Import> {
    let (mut added, mut unchanged) = (0, 0);
    let (mut differences, mut changes) = (Vec::new(), Vec::new());
    for account in accounts {
        match rows::known(transaction, account.id())? {
            None => {
                added += 1;
                changes.push(account);
            }
            // It may be damaged by hand, and mended by hand. Not ours to throw away unasked.
            Some(Err(_)) => {
                differences.push(Difference { id: account.id(), what: vec![UNREADABLE] });
                changes.push(account);
            }
            Some(Ok(known)) => {
                let what = differing(&known, &account);
                if what.is_empty() {
                    unchanged += 1;
                    continue;
                }
                differences.push(Difference { id: account.id(), what });
                // What Signal's clock says stays true for the same device only.
                let fetched_until = known.fetched_until.filter(|_| known.credentials == account.credentials);
                changes.push(Account { fetched_until, ..account });
            }
        }
    }
    if if_different == IfDifferent::Refuse && !differences.is_empty() {
        return Ok(Import::Different(differences));
    }
    let rows = rows::count(transaction)? + added;
    if added > 0 && rows > max_accounts {
        return Ok(Import::Full(rows));
    }
    for account in &changes {
        rows::put(transaction, account, key)?;
    }
    Ok(Import::Done { added, replaced: differences.len(), unchanged })
}

/// What differs. Not the time of the last registration: the same account may have registered at both.
fn differing(known: &Account, account: &Account) -> Vec<&'static str> {
    let (ours, theirs) = (&known.credentials, &account.credentials);
    [
        ("device", ours.device != theirs.device),
        ("password", ours.password != theirs.password),
        ("endpoint", known.endpoint != account.endpoint),
        ("forbidden", known.forbidden != account.forbidden),
        ("endpoint_gone", known.endpoint_gone != account.endpoint_gone),
        ("paused", known.paused != account.paused),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

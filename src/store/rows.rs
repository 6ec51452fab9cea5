//! Rows and accounts. Columns are found by name and values read whatever their type, because the reference bound
//! everything as text and older layouts differ.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, ToSql, params};

use super::spellings::Spellings;
use super::{Known, Listing, OddRow, Put};
use crate::account::{Account, AccountError, AccountId, Credentials, DeviceId, Endpoint, Secret, ServerTime};

/// A row and what could be made of it.
struct Entry {
    rowid: i64,
    id: Option<AccountId>,
    /// The id as it is stored.
    stored_id: String,
    registered: u64,
    account: Result<Account, AccountError>,
}

/// Where the columns are in a result.
struct Columns {
    rowid: usize,
    uuid: usize,
    device: usize,
    password: usize,
    endpoint: usize,
    forbidden: usize,
    registered: Option<usize>,
    gone: Option<usize>,
    paused: Option<usize>,
    covered: Option<usize>,
}

impl Columns {
    fn of(statement: &Statement<'_>) -> rusqlite::Result<Self> {
        let optional = |name| statement.column_index(name).ok();
        Ok(Self {
            rowid: 0,
            uuid: statement.column_index("uuid")?,
            device: statement.column_index("device_id")?,
            password: statement.column_index("password")?,
            endpoint: statement.column_index("endpoint")?,
            forbidden: statement.column_index("forbidden")?,
            registered: optional("last_registration"),
            gone: optional("endpoint_gone"),
            paused: optional("paused"),
            covered: optional("covered_until"),
        })
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<Entry> {
        let text = |at| row.get_ref(at).map(as_text);
        let number = |at| row.get_ref(at).map(as_number);
        let optional = |at: Option<usize>| at.map_or(Ok(None), number);
        let stored_id = text(self.uuid)?;
        let id = AccountId::parse(&stored_id);
        let device = DeviceId::new(number(self.device)?.unwrap_or(0));
        let password = Secret::password(&text(self.password)?);
        let endpoint = Endpoint::parse(&text(self.endpoint)?);
        let forbidden = number(self.forbidden)? == Some(1);
        let last_registration = optional(self.registered)?.unwrap_or(0);
        let endpoint_gone = optional(self.gone)? == Some(1);
        let paused = optional(self.paused)? == Some(1);
        let covered_until = optional(self.covered)?.map(ServerTime);
        let account = (|| {
            Ok(Account {
                credentials: Credentials { id: id.clone()?, device: device?, password: password? },
                endpoint: endpoint?,
                forbidden,
                endpoint_gone,
                paused,
                last_registration,
                covered_until,
            })
        })();
        Ok(Entry { rowid: row.get(self.rowid)?, id: id.ok(), stored_id, registered: last_registration, account })
    }
}

/// The text of a value; empty for what is none, which no parser accepts.
fn as_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap_or_default(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => String::new(),
    }
}

fn as_number(value: ValueRef<'_>) -> Option<u64> {
    match value {
        ValueRef::Integer(number) => u64::try_from(number).ok(),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    }
}

/// SQLite's integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn entries(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection.prepare("SELECT rowid, * FROM connections ORDER BY rowid")?;
    let columns = Columns::of(&statement)?;
    statement.query_map([], |row| columns.read(row))?.collect()
}

/// Finds the rows of accounts within one transaction: to prepare a statement takes longer than to run it.
struct Finder<'a> {
    connection: &'a Connection,
    spellings: &'a Spellings,
    by_id: Statement<'a>,
    columns: Columns,
}

impl<'a> Finder<'a> {
    fn new(connection: &'a Connection, spellings: &'a mut Spellings) -> rusqlite::Result<Self> {
        spellings.follow(connection)?;
        let by_id = connection.prepare("SELECT rowid, * FROM connections WHERE uuid = ?1")?;
        Ok(Self { connection, spellings, columns: Columns::of(&by_id)?, by_id })
    }

    /// The rows of one account, the one that counts first.
    fn entries(&mut self, id: AccountId) -> rusqlite::Result<Vec<Entry>> {
        let Self { connection, spellings, by_id, columns } = self;
        let mut found = read(by_id, columns, id.to_string())?;
        let odd = spellings.of(id);
        if !odd.is_empty() {
            let mut by_row = connection.prepare("SELECT rowid, * FROM connections WHERE rowid = ?1")?;
            for &rowid in odd {
                found.extend(read(&mut by_row, columns, rowid)?);
            }
        }
        found.retain(|entry| entry.id == Some(id));
        found.sort_by_key(|entry| std::cmp::Reverse((entry.account.is_ok(), entry.registered, entry.rowid)));
        found.dedup_by_key(|entry| entry.rowid);
        Ok(found)
    }
}

fn read(statement: &mut Statement<'_>, columns: &Columns, value: impl ToSql) -> rusqlite::Result<Vec<Entry>> {
    statement.query_map([value], |row| columns.read(row))?.collect()
}

fn entries_of(connection: &Connection, spellings: &mut Spellings, id: AccountId) -> rusqlite::Result<Vec<Entry>> {
    Finder::new(connection, spellings)?.entries(id)
}

/// See [`super::Store::list`].
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Listing> {
    let mut listing = Listing::default();
    let mut readable: Vec<(i64, u64, Account)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for entry in entries(connection)? {
        let Entry { rowid, stored_id, registered, account, .. } = entry;
        match account {
            Err(error) => listing.unreadable.push(odd(rowid, &stored_id, error.to_string())),
            Ok(account) => match places.get(&account.id()).copied() {
                None => {
                    places.insert(account.id(), readable.len());
                    readable.push((rowid, registered, account));
                }
                Some(place) => {
                    let kept: &mut (i64, u64, Account) = &mut readable[place];
                    let mut other = (rowid, registered, account);
                    if (other.1, other.0) > (kept.1, kept.0) {
                        std::mem::swap(kept, &mut other);
                    }
                    let problem = format!("row-{} of the same account is newer", kept.0);
                    listing.unreadable.push(odd(other.0, &stored_id, problem));
                }
            },
        }
    }
    listing.accounts = readable.into_iter().map(|(_, _, account)| account).collect();
    Ok(listing)
}

/// What is shown of an id is what can be typed: anybody may have stored it.
fn odd(rowid: i64, stored_id: &str, problem: String) -> OddRow {
    OddRow { rowid, id: stored_id.chars().filter(|c| c.is_ascii_graphic()).take(64).collect(), problem }
}

/// What the row of an account says, or why it cannot be read. `None`: there is no row.
pub(super) fn known(
    connection: &Connection,
    spellings: &mut Spellings,
    id: AccountId,
) -> rusqlite::Result<Option<Result<Account, AccountError>>> {
    Ok(entries_of(connection, spellings, id)?.into_iter().next().map(|entry| entry.account))
}

/// See [`super::Store::get`].
pub(super) fn get(
    connection: &Connection,
    spellings: &mut Spellings,
    id: AccountId,
) -> rusqlite::Result<Option<Account>> {
    Ok(known(connection, spellings, id)?.and_then(Result::ok))
}

/// See [`super::Store::count`].
pub(super) fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM connections", [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or(0))
}

/// See [`super::Store::put`].
pub(super) fn put(transaction: &Connection, spellings: &mut Spellings, account: &Account) -> rusqlite::Result<()> {
    remove(transaction, spellings, account.id())?;
    insert(transaction, account)
}

/// See [`super::Store::look`].
pub(super) fn look(connection: &Connection, spellings: &mut Spellings, id: AccountId) -> rusqlite::Result<Known> {
    Ok(match known(connection, spellings, id)? {
        None => Known::No { accounts: count(connection)? },
        Some(Ok(account)) => Known::Yes(Box::new(account)),
        Some(Err(_)) => Known::Unreadable,
    })
}

/// See [`super::Store::put_if`].
pub(super) fn put_if(
    transaction: &Connection,
    spellings: &mut Spellings,
    expected: &Known,
    account: &Account,
    max_accounts: usize,
) -> rusqlite::Result<Put> {
    match (expected, look(transaction, spellings, account.id())?) {
        (Known::No { .. }, Known::No { accounts }) if accounts >= max_accounts => return Ok(Put::Full),
        (Known::No { .. }, Known::No { .. }) | (Known::Unreadable, Known::Unreadable) => {}
        (Known::Yes(expected), Known::Yes(stored)) if *expected == stored => {}
        _ => return Ok(Put::Changed),
    }
    put(transaction, spellings, account)?;
    Ok(Put::Stored)
}

fn insert(transaction: &Connection, account: &Account) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare(
        "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration, endpoint_gone,
                                  covered_until, paused) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    statement.execute(params![
        account.id().to_string(),
        account.credentials.device.get(),
        account.credentials.password.expose(),
        account.endpoint.as_str(),
        account.forbidden,
        signed(account.last_registration),
        account.endpoint_gone,
        account.covered_until.map(|time| signed(time.0)),
        account.paused,
    ])?;
    Ok(())
}

/// See [`super::Store::remove`].
pub(super) fn remove(transaction: &Connection, spellings: &mut Spellings, id: AccountId) -> rusqlite::Result<bool> {
    let found = entries_of(transaction, spellings, id)?;
    for entry in &found {
        transaction.prepare("DELETE FROM connections WHERE rowid = ?1")?.execute([entry.rowid])?;
    }
    Ok(!found.is_empty())
}

/// See [`super::Store::remove_odd`].
pub(super) fn remove_odd(transaction: &Connection, name: &str) -> rusqlite::Result<bool> {
    let mut found = list(transaction)?.unreadable;
    found.retain(|row| row.name() == name || row.id == name);
    for row in &found {
        transaction.execute("DELETE FROM connections WHERE rowid = ?1", [row.rowid])?;
    }
    Ok(!found.is_empty())
}

/// A change of one column.
pub(super) enum Change {
    /// `last_registration`, in seconds since 1970.
    Registered(u64),
    /// `forbidden`, to true.
    Forbidden,
    /// `endpoint_gone`.
    EndpointGone(bool),
    /// `paused`.
    Paused(bool),
}

/// Applies `change` to the account's row if it still is as `expected`; says whether it was. Another process may have
/// edited the row since the caller read it, and its edit wins.
pub(super) fn change(
    transaction: &Connection,
    spellings: &mut Spellings,
    id: AccountId,
    expected: impl Fn(&Account) -> bool,
    change: &Change,
) -> rusqlite::Result<bool> {
    let matches = |entry: &Entry| entry.account.as_ref().is_ok_and(&expected);
    let entry = entries_of(transaction, spellings, id)?.into_iter().find(matches);
    let Some(Entry { rowid, .. }) = entry else {
        return Ok(false);
    };
    let (column, value) = match *change {
        Change::Registered(at) => ("last_registration", signed(at)),
        Change::Forbidden => ("forbidden", 1),
        Change::EndpointGone(gone) => ("endpoint_gone", i64::from(gone)),
        Change::Paused(paused) => ("paused", i64::from(paused)),
    };
    let sql = format!("UPDATE connections SET {column} = ?1 WHERE rowid = ?2");
    transaction.prepare(&sql)?.execute([value, rowid])?;
    Ok(true)
}

/// See [`super::Store::set_covered`].
pub(super) fn cover(
    transaction: &Connection,
    spellings: &mut Spellings,
    covers: &[(Credentials, ServerTime)],
) -> rusqlite::Result<()> {
    let mut finder = Finder::new(transaction, spellings)?;
    let mut update = transaction.prepare("UPDATE connections SET covered_until = ?1 WHERE rowid = ?2")?;
    for (credentials, until) in covers {
        let same = |entry: &Entry| entry.account.as_ref().is_ok_and(|row| row.credentials == *credentials);
        if let Some(Entry { rowid, .. }) = finder.entries(credentials.id)?.into_iter().find(same) {
            update.execute([signed(until.0), rowid])?;
        }
    }
    Ok(())
}

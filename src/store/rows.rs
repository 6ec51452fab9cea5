//! Rows and accounts. Columns are found by name and values read whatever their type, because the reference bound
//! everything as text and older layouts differ.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, params};

use super::schema::SAME_ID;
use super::{Known, Listing, OddRow, Put};
use crate::account::{Account, AccountError, AccountId, Credentials, DeviceId, Endpoint, Secret, ServerTime};

/// A row and what could be made of it.
struct StoredRow {
    rowid: i64,
    id: Option<AccountId>,
    /// The id as it is stored.
    stored_id: String,
    registered: u64,
    /// The public VAPID key it was registered with, if known.
    key: Option<String>,
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
    fetched_until: Option<usize>,
    key: Option<usize>,
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
            fetched_until: optional("covered_until"),
            key: optional("vapid_public"),
        })
    }

    fn read(&self, row: &Row<'_>) -> rusqlite::Result<StoredRow> {
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
        let fetched_until = optional(self.fetched_until)?.map(ServerTime);
        let key = self.key.map(text).transpose()?.filter(|key| !key.is_empty());
        let account = (|| {
            Ok(Account {
                credentials: Credentials { id: id.clone()?, device: device?, password: password? },
                endpoint: endpoint?,
                forbidden,
                endpoint_gone,
                paused,
                last_registration,
                fetched_until,
            })
        })();
        let (rowid, registered) = (row.get(self.rowid)?, last_registration);
        Ok(StoredRow { rowid, id: id.ok(), stored_id, registered, key, account })
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

fn entries(connection: &Connection) -> rusqlite::Result<Vec<StoredRow>> {
    let mut statement = connection.prepare("SELECT rowid, * FROM connections ORDER BY rowid")?;
    let columns = Columns::of(&statement)?;
    statement.query_map([], |row| columns.read(row))?.collect()
}

/// Finds the rows of accounts within one transaction: to prepare a statement takes longer than to run it.
struct Finder<'a> {
    by_id: Statement<'a>,
    columns: Columns,
}

impl<'a> Finder<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        let by_id = connection.prepare(&format!("SELECT rowid, * FROM connections WHERE {SAME_ID} = ?1"))?;
        Ok(Self { columns: Columns::of(&by_id)?, by_id })
    }

    /// The rows of one account, the one that counts first.
    fn entries(&mut self, id: AccountId) -> rusqlite::Result<Vec<StoredRow>> {
        let columns = &self.columns;
        let rows = self.by_id.query_map([id.digits()], |row| columns.read(row))?;
        let mut found: Vec<StoredRow> = rows.collect::<Result<_, _>>()?;
        found.retain(|entry| entry.id == Some(id));
        found.sort_by_key(|entry| std::cmp::Reverse((entry.account.is_ok(), entry.registered, entry.rowid)));
        Ok(found)
    }
}

fn entries_of(connection: &Connection, id: AccountId) -> rusqlite::Result<Vec<StoredRow>> {
    Finder::new(connection)?.entries(id)
}

/// See [`super::Store::list`].
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Listing> {
    let entries = entries(connection)?;
    let mut newest: HashMap<AccountId, (u64, i64)> = HashMap::new();
    for StoredRow { rowid, registered, account, .. } in &entries {
        if let Ok(account) = account {
            let newest = newest.entry(account.id()).or_default();
            *newest = (*newest).max((*registered, *rowid));
        }
    }
    let mut listing = Listing::default();
    for StoredRow { rowid, stored_id, key, account, .. } in entries {
        let account = account.map_err(|error| error.to_string()).and_then(|account| match newest.get(&account.id()) {
            Some(&(_, counts)) if counts != rowid => Err(format!("row-{counts} of the same account is newer")),
            _ => Ok(account),
        });
        match account {
            Err(problem) => listing.unreadable.push(odd(rowid, &stored_id, problem)),
            Ok(account) => {
                listing.keys.extend(key.map(|key| (account.id(), key)));
                listing.accounts.push(account);
            }
        }
    }
    Ok(listing)
}

/// What is shown of an id is what can be typed: anybody may have stored it.
fn odd(rowid: i64, stored_id: &str, problem: String) -> OddRow {
    OddRow { rowid, id: stored_id.chars().filter(|c| c.is_ascii_graphic()).take(64).collect(), problem }
}

/// What the row of an account says, or why it cannot be read. `None`: there is no row.
pub(super) fn known(connection: &Connection, id: AccountId) -> rusqlite::Result<Option<Result<Account, AccountError>>> {
    Ok(entries_of(connection, id)?.into_iter().next().map(|entry| entry.account))
}

/// See [`super::Store::get`].
pub(super) fn get(connection: &Connection, id: AccountId) -> rusqlite::Result<Option<Account>> {
    Ok(known(connection, id)?.and_then(Result::ok))
}

/// See [`super::Store::count`].
pub(super) fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM connections", [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or(0))
}

/// See [`super::Store::put`].
pub(super) fn put(transaction: &Connection, account: &Account, key: Option<&str>) -> rusqlite::Result<()> {
    let found = entries_of(transaction, account.id())?;
    // The phone knows the key by which it got its endpoint and its device. The same again tells of no other.
    let same = |row: &Account| (&row.credentials, &row.endpoint) == (&account.credentials, &account.endpoint);
    let known = found.iter().find(|entry| entry.account.as_ref().is_ok_and(same));
    let key = known.and_then(|entry| entry.key.as_deref()).or(key);
    delete(transaction, &found)?;
    insert(transaction, account, key)
}

/// See [`super::Store::adopt`].
pub(super) fn adopt(transaction: &Connection, key: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE connections SET vapid_public = ?1 WHERE vapid_public IS NULL";
    transaction.execute(sql, [key]).map(|_| ())
}

fn delete(transaction: &Connection, rows: &[StoredRow]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare("DELETE FROM connections WHERE rowid = ?1")?;
    rows.iter().try_for_each(|row| delete.execute([row.rowid]).map(|_| ()))
}

/// See [`super::Store::look`].
pub(super) fn look(connection: &Connection, id: AccountId) -> rusqlite::Result<Known> {
    Ok(match known(connection, id)? {
        None => Known::No { accounts: count(connection)? },
        Some(Ok(account)) => Known::Yes(Box::new(account)),
        Some(Err(_)) => Known::Unreadable,
    })
}

/// See [`super::Store::put_if`].
pub(super) fn put_if(
    transaction: &Connection,
    expected: &Known,
    account: &Account,
    max_accounts: usize,
    key: Option<&str>,
) -> rusqlite::Result<Put> {
    match (expected, look(transaction, account.id())?) {
        (Known::No { .. }, Known::No { accounts }) if accounts >= max_accounts => return Ok(Put::Full),
        (Known::No { .. }, Known::No { .. }) | (Known::Unreadable, Known::Unreadable) => {}
        (Known::Yes(expected), Known::Yes(stored)) if *expected == stored => {}
        _ => return Ok(Put::Changed),
    }
    put(transaction, account, key)?;
    Ok(Put::Stored)
}

fn insert(transaction: &Connection, account: &Account, key: Option<&str>) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare(
        "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration, endpoint_gone,
                                  covered_until, paused, vapid_public) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    statement.execute(params![
        account.id().to_string(),
        account.credentials.device.get(),
        account.credentials.password.expose(),
        account.endpoint.as_str(),
        account.forbidden,
        signed(account.last_registration),
        account.endpoint_gone,
        account.fetched_until.map(|time| signed(time.0)),
        account.paused,
        key,
    ])?;
    Ok(())
}

/// See [`super::Store::remove`].
pub(super) fn remove(transaction: &Connection, id: AccountId) -> rusqlite::Result<bool> {
    let found = entries_of(transaction, id)?;
    delete(transaction, &found)?;
    Ok(!found.is_empty())
}

/// See [`super::Store::remove_odd`].
pub(super) fn remove_odd(transaction: &Connection, name: &str) -> rusqlite::Result<bool> {
    let mut found = list(transaction)?.unreadable;
    // Of an id that nobody can type nothing is shown, and nothing names no row.
    found.retain(|row| row.name() == name || (row.id == name && !name.is_empty()));
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
    id: AccountId,
    expected: impl Fn(&Account) -> bool,
    change: &Change,
) -> rusqlite::Result<bool> {
    let matches = |entry: &StoredRow| entry.account.as_ref().is_ok_and(&expected);
    let entry = entries_of(transaction, id)?.into_iter().find(matches);
    let Some(StoredRow { rowid, .. }) = entry else {
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

/// See [`super::Store::set_fetched_until`].
pub(super) fn set_fetched_until(transaction: &Connection, times: &[(Credentials, ServerTime)]) -> rusqlite::Result<()> {
    let mut finder = Finder::new(transaction)?;
    let mut update = transaction.prepare("UPDATE connections SET covered_until = ?1 WHERE rowid = ?2")?;
    for (credentials, until) in times {
        let same = |entry: &StoredRow| entry.account.as_ref().is_ok_and(|row| row.credentials == *credentials);
        if let Some(StoredRow { rowid, .. }) = finder.entries(credentials.id)?.into_iter().find(same) {
            update.execute([signed(until.0), rowid])?;
        }
    }
    Ok(())
}

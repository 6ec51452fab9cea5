//! Rows and accounts. Columns are found by name and values read whatever their type, because the reference bound
//! everything as text and older layouts differ.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, params};

use super::Listing;
use crate::account::{Account, AccountError, AccountId, Credentials, DeviceId, Endpoint, Secret, ServerTime};

/// A row and what could be made of it.
struct Entry {
    rowid: i64,
    id: Option<AccountId>,
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
        let id = AccountId::parse(&text(self.uuid)?);
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
        Ok(Entry { rowid: row.get(self.rowid)?, id: id.ok(), registered: last_registration, account })
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

/// How ids are spelt in the file. Old versions stored them as they got them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// All as we spell them: an account has one row, and the index finds it.
    Ours,
    /// Some otherwise: an account may have several rows, and every row has to be looked at.
    Any,
}

impl Spelling {
    /// Looks at every row. What is 36 characters long, has no capitals and is a UUID is spelt as we do.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM connections WHERE (length(uuid) = 36 AND uuid = lower(uuid)) IS NOT TRUE)";
        Ok(if connection.query_row(sql, [], |row| row.get(0))? { Self::Any } else { Self::Ours })
    }
}

/// The rows of one account, the one that counts first. The comparison is of UUIDs; SQL only narrows the search.
fn entries_of(connection: &Connection, id: AccountId, spelling: Spelling) -> rusqlite::Result<Vec<Entry>> {
    if spelling == Spelling::Ours {
        return Ok(entry_of(connection, id)?.into_iter().collect());
    }
    let mut statement =
        connection.prepare("SELECT rowid, * FROM connections WHERE instr(lower(replace(uuid, '-', '')), ?1) > 0")?;
    let columns = Columns::of(&statement)?;
    let digits = id.to_string().replace('-', "");
    let mut found = statement
        .query_map([digits], |row| columns.read(row))?
        .filter(|entry| !matches!(entry, Ok(entry) if entry.id != Some(id)))
        .collect::<rusqlite::Result<Vec<Entry>>>()?;
    found.sort_by_key(|entry| std::cmp::Reverse((entry.account.is_ok(), entry.registered, entry.rowid)));
    Ok(found)
}

/// The row of one account that is spelt as we spell it: nearly always the only one, and found by the index.
fn entry_of(connection: &Connection, id: AccountId) -> rusqlite::Result<Option<Entry>> {
    let mut statement = connection.prepare("SELECT rowid, * FROM connections WHERE uuid = ?1")?;
    let columns = Columns::of(&statement)?;
    let mut found = statement.query_map([id.to_string()], |row| columns.read(row))?;
    found.next().transpose()
}

/// See [`super::Store::list`].
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Listing> {
    let mut listing = Listing::default();
    let mut readable: Vec<(i64, u64, Account)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for entry in entries(connection)? {
        let Entry { rowid, id, registered, account } = entry;
        let whose = id.map_or_else(String::new, |id| format!(" (account {})", id.short()));
        match account {
            Err(error) => listing.unreadable.push(format!("row {rowid}{whose}: {error}")),
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
                    let text = format!("row {}{whose}: row {} of the same account is newer", other.0, kept.0);
                    listing.unreadable.push(text);
                }
            },
        }
    }
    listing.accounts = readable.into_iter().map(|(_, _, account)| account).collect();
    Ok(listing)
}

/// See [`super::Store::get`].
pub(super) fn get(connection: &Connection, id: AccountId, spelling: Spelling) -> rusqlite::Result<Option<Account>> {
    Ok(entries_of(connection, id, spelling)?.into_iter().next().and_then(|entry| entry.account.ok()))
}

/// See [`super::Store::count`].
pub(super) fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let rows: i64 = connection.query_row("SELECT count(*) FROM connections", [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or(0))
}

/// See [`super::Store::put`].
pub(super) fn put(connection: &Connection, account: &Account, spelling: Spelling) -> rusqlite::Result<()> {
    remove(connection, account.id(), spelling)?;
    insert(connection, account)
}

/// See [`super::Store::put_within`].
pub(super) fn put_within(
    connection: &Connection,
    account: &Account,
    max_accounts: usize,
    spelling: Spelling,
) -> rusqlite::Result<bool> {
    let room = remove(connection, account.id(), spelling)? || count(connection)? < max_accounts;
    if room {
        insert(connection, account)?;
    }
    Ok(room)
}

fn insert(connection: &Connection, account: &Account) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
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
pub(super) fn remove(connection: &Connection, id: AccountId, spelling: Spelling) -> rusqlite::Result<bool> {
    let found = entries_of(connection, id, spelling)?;
    for entry in &found {
        connection.prepare("DELETE FROM connections WHERE rowid = ?1")?.execute([entry.rowid])?;
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
    /// `covered_until`.
    Covered(ServerTime),
    /// `paused`.
    Paused(bool),
}

/// Applies `change` to the account's row if it still is as `expected`; says whether it was. Another process may have
/// edited the row since the caller read it, and its edit wins.
pub(super) fn change(
    connection: &Connection,
    id: AccountId,
    expected: impl Fn(&Account) -> bool,
    change: &Change,
    spelling: Spelling,
) -> rusqlite::Result<bool> {
    let matches = |entry: &Entry| entry.account.as_ref().is_ok_and(&expected);
    let entry = match entry_of(connection, id)?.filter(matches) {
        Some(entry) => Some(entry),
        None => entries_of(connection, id, spelling)?.into_iter().find(matches),
    };
    let Some(Entry { rowid, .. }) = entry else {
        return Ok(false);
    };
    let (column, value) = match *change {
        Change::Registered(at) => ("last_registration", signed(at)),
        Change::Forbidden => ("forbidden", 1),
        Change::EndpointGone(gone) => ("endpoint_gone", i64::from(gone)),
        Change::Covered(until) => ("covered_until", signed(until.0)),
        Change::Paused(paused) => ("paused", i64::from(paused)),
    };
    let sql = format!("UPDATE connections SET {column} = ?1 WHERE rowid = ?2");
    connection.prepare(&sql)?.execute([value, rowid])?;
    Ok(true)
}

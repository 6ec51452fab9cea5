//! The layout of the file and how older ones become it.

use rusqlite::{Connection, Transaction};

/// `PRAGMA application_id` of our files ("MSkt"). The reference leaves it 0.
pub(super) const APPLICATION_ID: i64 = 0x4d53_6b74;

/// Columns a table must have to be taken for the reference's. `last_registration` came later than the others.
const NEEDED: [&str; 5] = ["uuid", "device_id", "password", "endpoint", "forbidden"];

/// The table as it is now. The reference reads its six columns by position and inserts them by name, so they come
/// first, in its order and with its constraints; ours follow and have defaults.
const TABLE: &str = "(
    uuid TEXT UNIQUE ON CONFLICT REPLACE,
    device_id INTEGER,
    password TEXT,
    endpoint TEXT,
    forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0, 1)),
    last_registration INTEGER,
    endpoint_gone INTEGER NOT NULL DEFAULT 0,
    covered_until INTEGER,
    paused INTEGER NOT NULL DEFAULT 0,
    vapid_public TEXT
)";

/// The digits of an account's id, whatever its spelling: old versions stored what they got, and other programs may still.
/// There is an index on it.
pub(super) const SAME_ID: &str = "replace(replace(replace(replace(lower(trim(uuid, ' ' || char(9, 10, 13))), 'urn:uuid:', ''), '-', ''), '{', ''), '}', '')";

/// Steps from each version to the next; the version (`PRAGMA user_version`) is the number of steps taken. Only ever add
/// at the end. Version 0 is every layout of the reference.
const STEPS: &[fn(&Transaction<'_>) -> rusqlite::Result<()>] =
    &[rebuild_the_reference_table, add_paused, add_key_and_index];

/// The version this program writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Fills an empty database.
pub(super) fn create(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!("CREATE TABLE connections {TABLE}"))?;
    index(transaction)?;
    stamp(transaction)
}

/// Takes the steps from `version` to [`VERSION`].
pub(super) fn migrate(transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<()> {
    let taken = usize::try_from(version).unwrap_or(0);
    for step in STEPS.iter().skip(taken) {
        step(transaction)?;
    }
    stamp(transaction)
}

fn stamp(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)
}

/// 0 → 1. Versions up to 0.2.3 have a column `strategy` in the middle, which hides the later ones from readers by
/// position; some rows may be older than `last_registration`. Copying by name cures both. Rows are copied as they are,
/// also those we cannot read.
fn rebuild_the_reference_table(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let columns = columns(transaction)?;
    let registered = if columns.iter().any(|c| c == "last_registration") { "last_registration" } else { "NULL" };
    transaction.execute_batch(&format!(
        "ALTER TABLE connections RENAME TO connections_before;
         CREATE TABLE connections {TABLE};
         INSERT INTO connections (rowid, uuid, device_id, password, endpoint, forbidden, last_registration)
             SELECT rowid, uuid, device_id, password, endpoint,
                    CASE WHEN forbidden IN (0, 1) THEN forbidden ELSE 0 END, {registered}
             FROM connections_before ORDER BY rowid;
         DROP TABLE connections_before;"
    ))
}

/// 1 → 2.
fn add_paused(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    add(transaction, "paused", "INTEGER NOT NULL DEFAULT 0")
}

/// 2 → 3.
fn add_key_and_index(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    add(transaction, "vapid_public", "TEXT")?;
    index(transaction)
}

/// Adds a column. The first step makes the table as it is now, so it may be there.
fn add(transaction: &Transaction<'_>, column: &str, kind: &str) -> rusqlite::Result<()> {
    if columns(transaction)?.iter().any(|there| there == column) {
        return Ok(());
    }
    transaction.execute_batch(&format!("ALTER TABLE connections ADD COLUMN {column} {kind}"))
}

fn index(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!("CREATE INDEX accounts ON connections ({SAME_ID})"))
}

/// What is wrong with the tables of a database of version `version`, if anything.
pub(super) fn objection(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let columns = columns(connection)?;
    if columns.is_empty() {
        return Ok(Some("it has no table `connections`".to_owned()));
    }
    let missing = NEEDED.iter().find(|needed| !columns.iter().any(|c| c == *needed));
    Ok(missing.map(|name| format!("its table `connections` has no column `{name}`")))
}

/// Names of the columns of the table `connections` in lower case, in order; empty when there is no such table.
fn columns(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT lower(c.name) FROM sqlite_schema AS s, pragma_table_info(s.name) AS c
             WHERE s.type = 'table' AND s.name = 'connections' ORDER BY c.cid",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

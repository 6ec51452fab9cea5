//! Which rows spell their account's UUID in another way than we do. Old versions stored whatever they got, and other
//! processes may still. All rows but these are found by the index; looking through the whole table for each account
//! that strangers invent would keep the one thread of the database busy.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::account::AccountId;

/// The rows with odd spellings, as of one state of the file.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    /// `PRAGMA data_version` of that state. We spell ids in one way, so our own changes add nothing.
    version: Option<i64>,
    /// Row numbers by account. A number may have come to stand for another row of ours: look at its id again.
    rows: HashMap<AccountId, Vec<i64>>,
}

impl Spellings {
    /// Reads the table when another process has changed the file since. The caller's transaction makes sure that none
    /// does so before it has read the rows.
    pub(super) fn follow(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version != Some(version) {
            self.rows = read(connection)?;
            self.version = Some(version);
        }
        Ok(())
    }

    /// The numbers of the rows that may be those of `id`, as of [`Self::follow`].
    pub(super) fn of(&self, id: AccountId) -> &[i64] {
        self.rows.get(&id).map_or(&[], Vec::as_slice)
    }
}

fn read(connection: &Connection) -> rusqlite::Result<HashMap<AccountId, Vec<i64>>> {
    let ours = [8, 4, 4, 4, 12].map(|digits| "[0-9a-f]".repeat(digits)).join("-");
    let mut statement =
        connection.prepare("SELECT rowid, CAST(uuid AS TEXT) FROM connections WHERE uuid NOT GLOB ?1")?;
    let mut odd = statement.query([ours])?;
    let mut rows: HashMap<_, Vec<_>> = HashMap::new();
    while let Some(row) = odd.next()? {
        // What is no UUID at all is nobody's row.
        if let Some(id) = row.get_ref(1)?.as_str().ok().and_then(|text| AccountId::parse(text).ok()) {
            rows.entry(id).or_default().push(row.get(0)?);
        }
    }
    Ok(rows)
}

//! Who may stay connected. There may be only so many connections, and a slow client must never keep a good one out: when
//! there is no room, somebody who keeps us waiting gives way to the newcomer.
//!
//! Who that is: of the client with the most connections that keep us waiting, the one that has done so the longest. A
//! good client needs a few round trips at any time, so it is hardly ever the one. A request that is complete and being
//! worked on is not cut off, except where the client has closed its sending side and may be gone (`stream`); when all are
//! being worked on, the newcomer is told to come again.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use smol::channel::{self, Receiver, Sender};

use super::client::Key;
use crate::runtime::lock;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// This client has as many connections as one may have.
    #[error("too many connections from one address")]
    Client,
    /// All clients together have as many as there may be.
    #[error("the server has too many connections; try again soon")]
    All,
}

/// The limit. A handle; all clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimit(Arc<Mutex<Table>>);

/// One connection that was let in, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    number: u64,
    limit: ConnectionLimit,
    evicted: Receiver<Full>,
    /// Tells who waits for this connection to go that it has.
    _open: Sender<()>,
}

/// A connection that was told to go.
#[derive(Debug)]
pub(crate) struct Evicted(Receiver<()>);

impl Evicted {
    /// Resolves when it has gone.
    pub(crate) async fn gone(self) {
        let _ = self.0.recv().await;
    }
}

impl ConnectionLimit {
    /// `most` connections, `per_client` of them of any one client.
    pub(crate) fn new(most: usize, per_client: usize) -> Self {
        let (most, per_client) = (most.max(1), per_client.max(1));
        Self(Arc::new(Mutex::new(Table { most, per_client, events: 0, open: HashMap::new() })))
    }

    /// Lets a newcomer in, and says who has to go for it. `client` is `None` as long as it is not known.
    ///
    /// # Errors
    /// When everybody who could give way is being served.
    pub(crate) fn admit(&self, client: Option<Key>) -> Result<(Admitted, Option<Evicted>), Full> {
        let mut table = self.table();
        let evicted = match client.filter(|client| table.has_its_share(*client)) {
            Some(_) => Some(table.evict(client, Full::Client)?),
            None if table.open.len() >= table.most => Some(table.evict(None, Full::All)?),
            None => None,
        };
        let (evict, told) = channel::bounded(1);
        let (open, gone) = channel::bounded(1);
        let number = table.event();
        let handle = EvictionHandle { evict, gone };
        table.open.insert(number, ConnectionEntry { client, waiting_since: Some(number), handle });
        Ok((Admitted { number, limit: self.clone(), evicted: told, _open: open }, evicted))
    }

    /// Tells a quarter of those who keep us waiting to go: descriptors are short.
    pub(crate) fn shed(&self) {
        let mut table = self.table();
        let waiting = table.open.values().filter(|entry| entry.waiting_since.is_some()).count();
        for _ in 0..waiting.div_ceil(4) {
            let _ = table.evict(None, Full::All);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0)
    }
}

impl Admitted {
    /// The head says whose connection it is.
    ///
    /// # Errors
    /// When this client has too many, and none of the others can give way.
    pub(crate) fn belongs_to(&self, client: Key) -> Result<(), Full> {
        let mut table = self.limit.table();
        let known = table.open.get(&self.number).is_none_or(|entry| entry.client == Some(client));
        if !known && table.has_its_share(client) {
            table.evict(Some(client), Full::Client)?;
        }
        table.change(self.number, |entry| entry.client = Some(client));
        Ok(())
    }

    /// From now on the client waits for us.
    pub(crate) fn working(&self) {
        self.limit.table().change(self.number, |entry| entry.waiting_since = None);
    }

    /// From now on we wait for the client again: to read its answer, or to go.
    pub(crate) fn waiting(&self) {
        let mut table = self.limit.table();
        let event = table.event();
        table.change(self.number, |entry| entry.waiting_since = Some(event));
    }

    /// Resolves when the room is wanted for somebody else.
    pub(crate) async fn evicted(&self) -> Full {
        self.evicted.recv().await.unwrap_or(Full::All)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limit.table().open.remove(&self.number);
    }
}

/// How to have a connection go.
#[derive(Debug)]
struct EvictionHandle {
    evict: Sender<Full>,
    gone: Receiver<()>,
}

#[derive(Debug)]
struct ConnectionEntry {
    client: Option<Key>,
    /// Since which event we wait for the client; `None` while it waits for us.
    waiting_since: Option<u64>,
    handle: EvictionHandle,
}

/// Those told to go are in it no more. A few hundred entries: looking through all of them takes microseconds.
#[derive(Debug)]
struct Table {
    most: usize,
    per_client: usize,
    /// Counts arrivals and turns: says what was earlier without a clock.
    events: u64,
    open: HashMap<u64, ConnectionEntry>,
}

impl Table {
    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut ConnectionEntry)) {
        self.open.get_mut(&number).map(change);
    }

    fn has_its_share(&self, client: Key) -> bool {
        self.open.values().filter(|entry| entry.client == Some(client)).count() >= self.per_client
    }

    /// Tells one to go: of those that keep us waiting, and are this client's where one is named, the longest waiting of the
    /// client with the most. One whose client is not known counts as a client of its own: a proxy's connections are many
    /// people's.
    fn evict(&mut self, only: Option<Key>, why: Full) -> Result<Evicted, Full> {
        let mut by_client = HashMap::<_, usize>::new();
        for entry in self.open.values().filter(|entry| entry.waiting_since.is_some()) {
            *by_client.entry(entry.client).or_default() += 1;
        }
        let candidates = self.open.iter().filter(|(_, entry)| only.is_none() || entry.client == only);
        let ranked = candidates.filter_map(|(number, entry)| {
            let since = entry.waiting_since?;
            let of_client = entry.client.map_or(1, |_| by_client[&entry.client]);
            Some((of_client, Reverse(since), *number))
        });
        let (.., number) = ranked.max().ok_or(why)?;
        let EvictionHandle { evict, gone } = self.open.remove(&number).ok_or(why)?.handle;
        // Room for one word, and this is the only one ever sent.
        let _ = evict.try_send(why);
        Ok(Evicted(gone))
    }
}

#[cfg(test)]
mod tests;

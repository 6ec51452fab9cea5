//! Who may stay connected. There are only so many seats, and a slow client must never keep a good one out: when no
//! seat is free, somebody who keeps us waiting gives way to the newcomer.
//!
//! Who that is: of the client with the most connections that keep us waiting, the one that has done so the longest. A
//! good client needs a few round trips at any time, so it is hardly ever the one. A request that is complete and being
//! worked on is not cut off, except where the client has closed its sending side and may be gone (`half_closed`); when
//! all are being worked on, the newcomer is told to come again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol::channel::{self, Receiver, Sender};

use super::client::Key;

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// This client has as many connections as one may have.
    #[error("too many connections from one address")]
    Client,
    /// All clients together have as many as there may be.
    #[error("the server has too many connections; try again soon")]
    All,
}

/// The seats. A handle; all clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Seats(Arc<Mutex<Table>>);

/// One connection's seat, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    seats: Seats,
    must_leave: Receiver<Full>,
    /// Tells who waits for this seat that it is free.
    _left: Sender<()>,
}

/// Somebody who was told to leave.
#[derive(Debug)]
pub(crate) struct Leaving(Receiver<()>);

impl Leaving {
    /// Resolves when the seat's owner has dropped it.
    pub(crate) async fn gone(self) {
        let _ = self.0.recv().await;
    }
}

impl Seats {
    /// `most` seats, `per_client` of them for any one client.
    pub(crate) fn new(most: usize, per_client: usize) -> Self {
        let table = Table { most: most.max(1), per_client: per_client.max(1), ..Table::default() };
        Self(Arc::new(Mutex::new(table)))
    }

    /// A seat for a newcomer, and who has to leave for it. `client` is `None` as long as it is not known.
    ///
    /// # Errors
    /// When everybody who could give way is being served.
    pub(crate) fn take(&self, client: Option<Key>) -> Result<(Seat, Option<Leaving>), Full> {
        let (tell, must_leave) = channel::bounded(1);
        let (left, gone) = channel::bounded(1);
        let (number, leaving) = self.table().arrive(client, Present { tell, gone })?;
        Ok((Seat { number, seats: self.clone(), must_leave, _left: left }, leaving))
    }

    /// Tells a quarter of those who keep us waiting to leave: descriptors are short.
    pub(crate) fn shed(&self) {
        let mut table = self.table();
        let waiting = table.entries.values().filter(|entry| entry.waiting_since.is_some()).count();
        for _ in 0..waiting.div_ceil(4) {
            let _ = table.anybody();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The head says whose connection it is.
    ///
    /// # Errors
    /// When this client has too many, and none of the others can give way.
    pub(crate) fn belongs_to(&self, client: Key) -> Result<(), Full> {
        self.seats.table().name(self.number, client)
    }

    /// From now on the client waits for us.
    pub(crate) fn working(&self) {
        self.seats.table().turn(self.number, false);
    }

    /// From now on we wait for the client again: to read its answer, or to go.
    pub(crate) fn waiting(&self) {
        self.seats.table().turn(self.number, true);
    }

    /// Resolves when the seat is wanted for somebody else.
    pub(crate) async fn must_leave(&self) -> Full {
        self.must_leave.recv().await.unwrap_or(Full::All)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.table().leave(self.number);
    }
}

/// How to reach the owner of a seat.
#[derive(Debug)]
struct Present {
    tell: Sender<Full>,
    gone: Receiver<()>,
}

#[derive(Debug)]
struct Entry {
    client: Option<Key>,
    /// Since which event we wait for the client; `None` while it waits for us.
    waiting_since: Option<u64>,
    present: Present,
}

/// One client's connections.
#[derive(Debug, Default)]
struct Crowd {
    seats: usize,
    /// Those that keep us waiting: since when, and which.
    waiting: BTreeSet<(u64, u64)>,
}

/// The rules. Those told to leave are in it no more.
#[derive(Debug, Default)]
struct Table {
    most: usize,
    per_client: usize,
    /// Counts arrivals and turns: says what was earlier without a clock.
    events: u64,
    entries: HashMap<u64, Entry>,
    /// Says the same as `entries`, by client; never an empty crowd.
    crowds: HashMap<Key, Crowd>,
    /// The waiting ones whose client is not known.
    nameless: BTreeSet<(u64, u64)>,
}

impl Table {
    fn arrive(&mut self, client: Option<Key>, present: Present) -> Result<(u64, Option<Leaving>), Full> {
        let leaving = match client.filter(|client| self.has_its_share(*client)) {
            Some(client) => Some(self.one_of(client).ok_or(Full::Client)?),
            None if self.entries.len() >= self.most => Some(self.anybody().ok_or(Full::All)?),
            None => None,
        };
        let number = self.event();
        self.enter(number, Entry { client, waiting_since: Some(number), present });
        Ok((number, leaving))
    }

    fn name(&mut self, number: u64, client: Key) -> Result<(), Full> {
        if self.entries.get(&number).is_none_or(|entry| entry.client == Some(client)) {
            return Ok(());
        }
        if self.has_its_share(client) {
            self.one_of(client).ok_or(Full::Client)?;
        }
        self.change(number, |entry| entry.client = Some(client));
        Ok(())
    }

    fn turn(&mut self, number: u64, waiting: bool) {
        let event = self.event();
        self.change(number, |entry| entry.waiting_since = waiting.then_some(event));
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn has_its_share(&self, client: Key) -> bool {
        self.crowds.get(&client).is_some_and(|crowd| crowd.seats >= self.per_client)
    }

    /// Tells this client's longest waiting to leave.
    fn one_of(&mut self, client: Key) -> Option<Leaving> {
        let (_, number) = *self.crowds.get(&client)?.waiting.first()?;
        self.dismiss(number, Full::Client)
    }

    /// Tells the longest waiting of the largest waiting crowd to leave. Whoever is nameless is a crowd of one: a proxy's
    /// connections are many people's.
    fn anybody(&mut self) -> Option<Leaving> {
        let nameless = self.nameless.first().map(|first| (1, first));
        let crowds = self.crowds.values().filter_map(|crowd| Some((crowd.waiting.len(), crowd.waiting.first()?)));
        let (_, (_, number)) = crowds.chain(nameless).max_by_key(|(size, (since, _))| (*size, Reverse(*since)))?;
        self.dismiss(*number, Full::All)
    }

    fn dismiss(&mut self, number: u64, why: Full) -> Option<Leaving> {
        let Present { tell, gone } = self.leave(number)?.present;
        // Room for one word, and this is the only one ever sent.
        let _ = tell.try_send(why);
        Some(Leaving(gone))
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.leave(number) {
            change(&mut entry);
            self.enter(number, entry);
        }
    }

    fn enter(&mut self, number: u64, entry: Entry) {
        let waiting = match entry.client {
            Some(client) => {
                let crowd = self.crowds.entry(client).or_default();
                crowd.seats += 1;
                &mut crowd.waiting
            }
            None => &mut self.nameless,
        };
        waiting.extend(entry.waiting_since.map(|since| (since, number)));
        self.entries.insert(number, entry);
    }

    fn leave(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        let place = entry.waiting_since.map(|since| (since, number));
        let Some(client) = entry.client else {
            place.map(|place| self.nameless.remove(&place));
            return Some(entry);
        };
        if let Some(crowd) = self.crowds.get_mut(&client) {
            crowd.seats -= 1;
            place.map(|place| crowd.waiting.remove(&place));
            if crowd.seats == 0 {
                self.crowds.remove(&client);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests;

//! Who may stay connected. There are only so many seats, and a slow client must never keep a good one out: when no
//! seat is free, somebody who keeps us waiting gives way to the newcomer.
//!
//! Who that is: of the client with the most connections that keep us waiting, the one that has done so the longest. A
//! good client needs a few round trips at any time, so it is hardly ever the one. A request that is complete and being
//! worked on is never cut off; when all are, the newcomer is told to come again.

use std::collections::{BTreeMap, HashMap};
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
            let _ = table.give_way(None, Full::All);
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
        self.seats.table().entries.remove(&self.number);
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

/// The rules. Those told to leave are in it no more.
#[derive(Debug, Default)]
struct Table {
    most: usize,
    per_client: usize,
    /// Counts arrivals and turns: says what was earlier without a clock.
    events: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Table {
    fn arrive(&mut self, client: Option<Key>, present: Present) -> Result<(u64, Option<Leaving>), Full> {
        let leaving = if client.is_some_and(|client| self.seats_of(client) >= self.per_client) {
            Some(self.give_way(client, Full::Client).ok_or(Full::Client)?)
        } else if self.entries.len() >= self.most {
            Some(self.give_way(None, Full::All).ok_or(Full::All)?)
        } else {
            None
        };
        let number = self.event();
        self.entries.insert(number, Entry { client, waiting_since: Some(number), present });
        Ok((number, leaving))
    }

    fn name(&mut self, number: u64, client: Key) -> Result<(), Full> {
        let Some(entry) = self.entries.get(&number) else { return Ok(()) };
        if entry.client != Some(client) && self.seats_of(client) >= self.per_client {
            self.give_way(Some(client), Full::Client).ok_or(Full::Client)?;
        }
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.client = Some(client);
        }
        Ok(())
    }

    fn turn(&mut self, number: u64, waiting: bool) {
        let event = self.event();
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.waiting_since = waiting.then_some(event);
        }
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn seats_of(&self, client: Key) -> usize {
        self.entries.values().filter(|entry| entry.client == Some(client)).count()
    }

    /// Tells one to leave: of `client`, or of anybody.
    fn give_way(&mut self, client: Option<Key>, why: Full) -> Option<Leaving> {
        let waiting = || {
            let entries = self.entries.iter().filter(|(_, entry)| client.is_none() || entry.client == client);
            entries.filter_map(|(number, entry)| Some((*number, entry.client, entry.waiting_since?)))
        };
        let mut by_client: HashMap<Key, usize> = HashMap::new();
        for client in waiting().filter_map(|(_, client, _)| client) {
            *by_client.entry(client).or_default() += 1;
        }
        // Who is not known counts as one: a proxy's connections are many people's.
        let of = |client: Option<Key>| client.and_then(|client| by_client.get(&client).copied()).unwrap_or(1);
        let (number, ..) = waiting().max_by_key(|(_, client, since)| (of(*client), std::cmp::Reverse(*since)))?;
        let entry = self.entries.remove(&number)?;
        // Room for one word, and this is the only one ever sent.
        let _ = entry.present.tell.try_send(why);
        Some(Leaving(entry.present.gone))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::web::client::Client;

    fn key(n: u8) -> Key {
        Client::Address(IpAddr::from([198, 51, 100, n])).key().unwrap()
    }

    fn told(seat: &Seat) -> Option<Full> {
        seat.must_leave.try_recv().ok()
    }

    fn take(seats: &Seats, client: Option<Key>) -> Seat {
        seats.take(client).unwrap().0
    }

    /// Which of them were told to leave.
    fn gone(all: &[Seat]) -> Vec<usize> {
        all.iter().enumerate().filter(|(_, seat)| told(seat).is_some()).map(|(n, _)| n).collect()
    }

    #[test]
    fn the_longest_waiting_gives_way_to_each_newcomer() {
        let seats = Seats::new(3, 3);
        let mut all: Vec<Seat> = (0..3).map(|n| take(&seats, Some(key(n)))).collect();
        assert_eq!(gone(&all), [0; 0]);
        all.push(take(&seats, Some(key(9))));
        assert_eq!(gone(&all), [0]);
        drop(all.remove(1));
        all.push(take(&seats, None));
        assert_eq!(gone(&all), [0; 0], "a free seat is used first");
        all[1].working();
        all[1].waiting();
        all.push(take(&seats, None));
        assert_eq!(gone(&all), [2], "who moved on is not the longest waiting any more");
    }

    #[test]
    fn who_is_being_served_stays_and_the_newcomer_is_told() {
        let seats = Seats::new(2, 2);
        let all = [take(&seats, None), take(&seats, None)];
        for seat in &all {
            seat.working();
        }
        assert_eq!(seats.take(None).err(), Some(Full::All));
        all[1].waiting();
        let _third = take(&seats, None);
        assert_eq!(gone(&all), [1]);
        assert_eq!(seats.take(None).map(|_| ()), Ok(()));
    }

    #[test]
    fn one_client_s_crowd_gives_way_before_anybody_else() {
        let seats = Seats::new(10, 8);
        let mut all = vec![take(&seats, Some(key(1))), take(&seats, None)];
        all.extend((0..8).map(|_| take(&seats, Some(key(2)))));
        for newcomer in 0..7 {
            all.push(take(&seats, Some(key(100 + newcomer))));
        }
        assert_eq!(gone(&all), [2, 3, 4, 5, 6, 7, 8]);
        all.push(take(&seats, None));
        assert_eq!(gone(&all), [0], "all even: the longest waiting");
    }

    #[test]
    fn beyond_its_share_a_client_gives_way_to_itself() {
        let seats = Seats::new(10, 2);
        let mut all = vec![take(&seats, Some(key(1))), take(&seats, Some(key(2))), take(&seats, Some(key(2)))];
        let (newcomer, leaving) = seats.take(Some(key(2))).unwrap();
        assert!(leaving.is_some());
        assert_eq!(told(&all[1]), Some(Full::Client));
        all[2].working();
        newcomer.working();
        assert_eq!(seats.take(Some(key(2))).err(), Some(Full::Client), "both are being served");
        // Behind a proxy it shows only once the head is there.
        let late = take(&seats, None);
        assert_eq!(late.belongs_to(key(2)), Err(Full::Client));
        all[2].waiting();
        assert_eq!(late.belongs_to(key(2)), Ok(()));
        assert_eq!(told(&all[2]), Some(Full::Client));
        assert_eq!(late.belongs_to(key(2)), Ok(()), "its own seat is not one too many");
        all.push(take(&seats, Some(key(1))));
        assert_eq!(gone(&all), [0; 0], "others are not concerned");
    }

    #[test]
    fn a_newcomer_can_wait_until_the_seat_is_free() {
        let seats = Seats::new(1, 1);
        let first = take(&seats, None);
        let (_second, leaving) = seats.take(None).unwrap();
        let mut gone = Box::pin(leaving.unwrap().gone());
        let poll = |gone: &mut _| smol::block_on(futures_lite::future::poll_once(gone));
        assert!(poll(&mut gone).is_none());
        drop(first);
        assert!(poll(&mut gone).is_some());
    }

    #[test]
    fn shedding_frees_a_quarter_and_nobody_who_is_served() {
        let seats = Seats::new(20, 20);
        let all: Vec<Seat> = (0..10).map(|_| take(&seats, None)).collect();
        all[0].working();
        seats.shed();
        assert_eq!(gone(&all), [1, 2, 3]);
        for seat in &all {
            seat.working();
        }
        seats.shed();
        assert_eq!(gone(&all), [0; 0]);
    }

    #[test]
    fn the_table_holds_those_present_and_no_more() {
        let seats = Seats::new(64, 4);
        for n in 0..10_000_u32 {
            let seat = take(&seats, Some(key(n as u8)));
            let _ = seat.belongs_to(key((n / 7) as u8));
            if n % 3 == 0 {
                seat.working();
            }
            assert!(seats.table().entries.len() <= 64);
        }
        assert_eq!(seats.table().entries.len(), 0);
    }
}

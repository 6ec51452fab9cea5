//! One registration at a time per account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use smol::lock::MutexGuardArc;

use crate::account::AccountId;

type Cells = Mutex<HashMap<AccountId, Arc<smol::lock::Mutex<()>>>>;

/// Locks by account. Holds only those in use, so it is never larger than the number of registrations under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locks(Arc<Cells>);

/// Held while one registration of the account is decided and carried out.
#[derive(Debug)]
pub(crate) struct Guard {
    // Dropped in this order: the lock is free before the ticket looks whether anybody else wants it.
    _lock: MutexGuardArc<()>,
    _ticket: Ticket,
}

/// Keeps the account's lock in the map; the last one takes it out, also when its owner gave up waiting.
#[derive(Debug)]
struct Ticket {
    cells: Arc<Cells>,
    id: AccountId,
}

impl Locks {
    /// Waits for every earlier registration of the account.
    pub(crate) async fn lock(&self, id: AccountId) -> Guard {
        let (ticket, cell) = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = cells.entry(id).or_default().clone();
            (Ticket { cells: self.0.clone(), id }, cell)
        };
        Guard { _lock: cell.lock_arc().await, _ticket: ticket }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        // Others hold a clone while they wait or work; without any, only the map's own is left.
        if cells.get(&self.id).is_some_and(|cell| Arc::strong_count(cell) == 1) {
            cells.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future;
    use smol::block_on;

    fn id(n: u8) -> AccountId {
        AccountId::parse(&format!("0f2b1a3c-1111-4222-8333-4444555566{n:02x}")).unwrap()
    }

    fn size(locks: &Locks) -> usize {
        locks.0.lock().unwrap().len()
    }

    #[test]
    fn one_account_waits_for_itself_and_for_nobody_else() {
        block_on(async {
            let locks = Locks::default();
            let first = locks.lock(id(1)).await;
            let _other = locks.lock(id(2)).await;
            let mut second = Box::pin(locks.lock(id(1)));
            assert!(future::poll_once(&mut second).await.is_none());
            drop(first);
            second.await;
        });
    }

    #[test]
    fn the_map_empties_itself_even_when_waiters_give_up() {
        block_on(async {
            let locks = Locks::default();
            for n in 0..100 {
                drop(locks.lock(id(n)).await);
            }
            assert_eq!(size(&locks), 0);
            let held = locks.lock(id(1)).await;
            let mut waiting = Box::pin(locks.lock(id(1)));
            assert!(future::poll_once(&mut waiting).await.is_none());
            drop(held);
            assert_eq!(size(&locks), 1, "somebody still waits");
            drop(waiting);
            assert_eq!(size(&locks), 0);
        });
    }
}

//! The database, with a thousand rows in it. Each change is on the disk when it returns.

use std::hint::black_box;

use mollysocket::account::ServerTime;
use mollysocket::store::{IfMissing, Store};
use smol::future::block_on;
use tempfile::TempDir;

use super::{Once, account};

const ROWS: u32 = 1000;

/// Reads all rows, as at the start.
pub(super) fn list() -> Once {
    let (store, directory) = filled();
    Box::new(move || {
        let _ = &directory;
        assert_eq!(block_on(store.list()).expect("it can be read").accounts.len(), ROWS as usize);
    })
}

/// Reads one row.
pub(super) fn get() -> Once {
    let (store, directory) = filled();
    let id = account(ROWS / 2).id();
    Box::new(move || {
        let _ = &directory;
        assert!(black_box(block_on(store.get(id))).expect("it can be read").is_some());
    })
}

/// A new account each time.
pub(super) fn register() -> Once {
    let (store, directory) = filled();
    let mut n = ROWS;
    Box::new(move || {
        let _ = &directory;
        n += 1;
        block_on(store.put(account(n))).expect("it can be written");
    })
}

/// The same account with the same credentials.
pub(super) fn register_again() -> Once {
    let (store, directory) = filled();
    let id = account(ROWS / 2).id();
    let mut at = 1_700_000_000;
    Box::new(move || {
        let _ = &directory;
        at += 1;
        block_on(store.touch(id, at)).expect("it can be written");
    })
}

/// A new account, which is removed again.
pub(super) fn register_and_remove() -> Once {
    let (store, directory) = filled();
    let new = account(ROWS + 1);
    Box::new(move || {
        let _ = &directory;
        block_on(store.put(new.clone())).expect("it can be written");
        assert!(block_on(store.remove(new.id())).expect("it can be written"));
    })
}

/// Until when the envelopes of a hundred accounts are fetched, as is noted when the program ends.
pub(super) fn fetched_until() -> Once {
    let (store, directory) = filled();
    let whose: Vec<_> = (0..100).map(|n| account(n * 10).credentials).collect();
    let mut until = 1_700_000_000_000;
    Box::new(move || {
        let _ = &directory;
        until += 60_000;
        let times = whose.iter().map(|credentials| (credentials.clone(), ServerTime(until))).collect();
        block_on(store.set_fetched_until(times)).expect("it can be written");
    })
}

fn filled() -> (Store, TempDir) {
    let directory = TempDir::new().expect("a temporary directory");
    let store = Store::open(&directory.path().join("db.sqlite"), IfMissing::Create).expect("a new database");
    // Together, so that they share transactions.
    block_on(async {
        let executor = smol::Executor::new();
        let puts: Vec<_> = (0..ROWS).map(|n| executor.spawn(store.put(account(n)))).collect();
        executor
            .run(async {
                for put in puts {
                    put.await.expect("it can be written");
                }
            })
            .await;
    });
    (store, directory)
}

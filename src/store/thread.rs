//! The thread that owns the connection. SQLite calls block; here they block nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::StoreError;
use super::spellings::Spellings;
use super::{Access, Database, open};

/// Something to do with the database, in turn.
enum Job {
    /// In whatever way.
    Other(Box<dyn FnOnce(&mut Database) + Send>),
    /// A change, which shares a transaction with those that wait behind it: what takes time is to bring a transaction to
    /// the disk.
    Write(Write),
}

/// A change. It is given the connection within a transaction, or why there is none.
type Write = Box<dyn FnOnce(Result<(&Connection, &mut Spellings), StoreError>) -> Written + Send>;

/// Tells whoever waits for a change how the commit went.
type Tell = Box<dyn FnOnce(Result<(), StoreError>)>;

/// What became of a change.
enum Written {
    /// It is to be committed; whoever waits is to be told how that went.
    Done(Tell),
    /// It failed, and is to be undone. Whoever waits knows.
    Failed,
}

/// Changes that share one transaction at most, also those that fail. Readers wait meanwhile.
const TOGETHER: usize = 64;

/// Sends work to the thread, which ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    jobs: mpsc::Sender<Job>,
    /// The file, for messages.
    path: Arc<Path>,
}

impl Handle {
    /// Gives `database` a thread.
    pub(super) fn start(database: Database) -> Result<Self, StoreError> {
        let path: Arc<Path> = database.path.as_path().into();
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(database, &queue))
            .map_err(|error| StoreError::io(&path, &error))?;
        Ok(Self { jobs, path })
    }

    /// Runs `work` on the thread. It runs to its end even if the caller stops waiting.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = smol::channel::bounded(1);
        let job = Job::Other(Box::new(move |database| {
            // Nobody waits any more: nothing to do.
            let _ = answer.try_send(work(database));
        }));
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        wait.recv().await.map_err(|_| StoreError::Closed)?
    }

    /// Reads one state of the file.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Spellings) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| {
            database.follow()?;
            let Database { path, connection, spellings, .. } = database;
            let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
            let transaction = connection.transaction().map_err(on_sqlite)?;
            work(&transaction, spellings).map_err(on_sqlite)
        })
        .await
    }

    /// Writes in a transaction, which is on the disk when this returns. When `work` fails nothing of it stays.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Spellings) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = smol::channel::bounded(1);
        let path = self.path.clone();
        let write: Write = Box::new(move |transaction| {
            let done = transaction.and_then(|(connection, spellings)| {
                work(connection, spellings).map_err(|error| StoreError::sqlite(&path, &error))
            });
            match done {
                Ok(value) => Written::Done(Box::new(move |committed| {
                    // Nobody waits any more: nothing to do.
                    let _ = answer.try_send(committed.map(|()| value));
                })),
                Err(error) => {
                    let _ = answer.try_send(Err(error));
                    Written::Failed
                }
            }
        });
        self.jobs.send(Job::Write(write)).map_err(|_| StoreError::Closed)?;
        wait.recv().await.map_err(|_| StoreError::Closed)?
    }

    /// See [`super::Store::writable`].
    pub(super) async fn writable(&self) -> Result<bool, StoreError> {
        self.run(|database| Ok(database.access == Access::ReadWrite)).await
    }

    /// See [`super::Store::data_version`].
    pub(super) async fn data_version(&self) -> Result<i64, StoreError> {
        self.run(|database| {
            database.follow()?;
            let version: i64 = database
                .connection
                .pragma_query_value(None, "data_version", |row| row.get(0))
                .map_err(|error| StoreError::sqlite(&database.path, &error))?;
            // A connection counts from where it likes: a new one is a change.
            Ok((i64::from(database.epoch) << 32) | (version & 0xffff_ffff))
        })
        .await
    }
}

fn serve(mut database: Database, queue: &mpsc::Receiver<Job>) {
    let mut left = None;
    while let Some(job) = left.take().or_else(|| queue.recv().ok()) {
        match job {
            // The caller learns of a panic by the answer that never comes; the next one is served all the same.
            Job::Other(work) => drop(survive(|| work(&mut database))),
            Job::Write(first) => left = database.write_together(first, queue),
        }
    }
}

/// Makes one change of several. When it fails only this one is undone.
fn one_of_them(
    transaction: &mut Transaction<'_>,
    write: Write,
    spellings: &mut Spellings,
    path: &Path,
) -> Option<Tell> {
    let savepoint = match transaction.savepoint() {
        Ok(savepoint) => savepoint,
        Err(error) => {
            drop(survive(|| write(Err(StoreError::sqlite(path, &error)))));
            return None;
        }
    };
    // Dropped without a commit, the savepoint undoes what was done since.
    let Written::Done(tell) = survive(|| write(Ok((&savepoint, spellings))))? else { return None };
    match savepoint.commit() {
        Ok(()) => Some(tell),
        Err(error) => {
            tell(Err(StoreError::sqlite(path, &error)));
            None
        }
    }
}

fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        log::error!("a database operation panicked; this is a bug");
    }
    done
}

impl Database {
    /// Makes the `first` change and those that wait behind it, in one transaction. What came behind them is returned.
    fn write_together(&mut self, first: Write, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        if let Err(error) = self.follow().and_then(|()| self.become_writable()) {
            drop(survive(|| first(Err(error))));
            return None;
        }
        let Self { path, connection, spellings, .. } = self;
        let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut transaction = match begun.map_err(on_sqlite) {
            Ok(transaction) => transaction,
            Err(error) => {
                drop(survive(|| first(Err(error))));
                return None;
            }
        };
        let (mut made, mut done, mut left, mut next) = (0, Vec::new(), None, Some(first));
        while let Some(write) = next.take() {
            made += 1;
            done.extend(one_of_them(&mut transaction, write, spellings, path));
            // After some errors SQLite has undone everything: the commit fails, and all are told.
            if made < TOGETHER && !transaction.is_autocommit() {
                match queue.try_recv() {
                    Ok(Job::Write(write)) => next = Some(write),
                    Ok(other) => left = Some(other),
                    Err(_) => {}
                }
            }
        }
        let committed = transaction.commit().map_err(on_sqlite);
        for tell in done {
            tell(committed.clone());
        }
        left
    }

    /// Follows the name when somebody put another file there (a backup, say): what would be written to the old one is
    /// lost with it. And refuses a file that was damaged meanwhile, of which SQLite may only see what it remembers.
    fn follow(&mut self) -> Result<(), StoreError> {
        let identity = open::identity(&self.path)?;
        if let Err(error) = open::look_again(&self.path) {
            self.suspect = true;
            return Err(error);
        }
        if identity == self.identity {
            self.log = open::log_identity(&self.path);
            return if self.suspect { self.reopen() } else { Ok(()) };
        }
        // The new file may have come with a log of its own; ours belongs to the old one.
        if self.log.is_some() && open::log_identity(&self.path) == self.log {
            open::remove_log(&self.path)?;
        }
        self.reopen()
    }

    /// A file that could only be read may have become writable.
    fn become_writable(&mut self) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly {
            self.reopen()?;
        }
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(StoreError::ReadOnly(self.path.clone())),
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closing must not move what is remembered of a damaged or replaced file into the one that is there now.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let path: &Path = &self.path;
        let epoch = self.epoch.wrapping_add(1) & 0x7fff_ffff;
        *self = Self { epoch, ..open::connect(path)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use futures_lite::future::poll_once;

    use super::*;
    use crate::store::IfMissing;

    #[test]
    fn changes_that_fail_do_not_hold_up_those_they_share_a_transaction_with() {
        let folder = tempfile::tempdir().unwrap();
        let database = open::open(&folder.path().join("db"), IfMissing::Create).unwrap();
        let handle = Handle::start(database).unwrap();
        let (start, started) = mpsc::channel::<()>();
        let (told, learnt) = mpsc::channel::<()>();
        let (last, ended) = mpsc::channel();
        smol::block_on(async {
            // Runs when everything below waits behind it.
            let mut good =
                Box::pin(handle.write(move |_, _| started.recv().map_err(|_| rusqlite::Error::InvalidQuery)));
            assert!(poll_once(&mut good).await.is_none());
            let bad = || Err::<(), _>(rusqlite::Error::InvalidQuery);
            for _ in 0..2 * TOGETHER {
                poll_once(Box::pin(handle.write(move |_, _| bad()))).await;
            }
            let end = handle.write(move |_, _| {
                last.send(learnt.recv_timeout(Duration::from_secs(10)).is_ok()).unwrap();
                bad()
            });
            poll_once(Box::pin(end)).await;
            start.send(()).unwrap();
            good.await.unwrap();
        });
        // Nobody listens any more if it took too long.
        let _ = told.send(());
        assert!(ended.recv().unwrap(), "whoever made the first change waited for all that failed after it");
    }
}

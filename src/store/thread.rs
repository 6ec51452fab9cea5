//! The thread that owns the connection. SQLite calls block; here they block nobody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::StoreError;
use super::{Access, Database, open};

/// Something to do with the database, in turn.
type Job = Box<dyn FnOnce(&mut Database) + Send>;

/// Sends work to the thread, which ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    jobs: mpsc::Sender<Job>,
}

impl Handle {
    /// Gives `database` a thread.
    pub(super) fn start(database: Database) -> Result<Self, StoreError> {
        let path = database.path.clone();
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || serve(database, &queue))
            .map_err(|error| StoreError::io(&path, &error))?;
        Ok(Self { jobs })
    }

    /// Runs `work` on the thread. It runs to its end even if the caller stops waiting.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = smol::channel::bounded(1);
        let job: Job = Box::new(move |database| {
            // Nobody waits any more: nothing to do.
            let _ = answer.try_send(work(database));
        });
        self.jobs.send(job).map_err(|_| StoreError::Closed)?;
        wait.recv().await.map_err(|_| StoreError::Closed)?
    }

    /// Reads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| {
            database.follow()?;
            work(&database.connection).map_err(|error| StoreError::sqlite(&database.path, &error))
        })
        .await
    }

    /// Writes in one transaction, which is on the disk when this returns.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| {
            database.follow()?;
            database.become_writable()?;
            let Database { path, connection, .. } = database;
            let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(on_sqlite)?;
            let value = work(&transaction).map_err(on_sqlite)?;
            transaction.commit().map_err(on_sqlite)?;
            Ok(value)
        })
        .await
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
    while let Ok(job) = queue.recv() {
        // The caller learns of a panic by the answer that never comes; the next one is served all the same.
        if catch_unwind(AssertUnwindSafe(|| job(&mut database))).is_err() {
            log::error!("a database operation panicked; this is a bug");
        }
    }
}

impl Database {
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

//! The thread that owns the connection. SQLite calls block; here they block nobody else. Reads overtake changes, which may
//! have to wait for another program's lock.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::StoreError;
use super::{Access, Database, open, reading};

/// Something to do with the database.
enum Job {
    /// Reads are done first.
    Read(Read),
    /// A change, which shares a transaction with others that wait: what takes time is to bring a transaction to the disk.
    Write(Write),
    /// Changes of other programs are to be told from now on.
    Watch(FileWatch),
}

/// Looks now and then whether another program changed the file. Here, because the thread may wake by itself for that, and
/// nobody else has to.
struct FileWatch {
    every: Duration,
    next: Instant,
    /// What was seen last.
    seen: Option<i64>,
    changed: Box<dyn Fn() + Send>,
}

impl FileWatch {
    /// A file that cannot be read counts as changed.
    fn check(&mut self, database: &Database) {
        self.next = Instant::now() + self.every;
        let version = database.data_version().ok();
        if version.is_none() || version != self.seen {
            (self.changed)();
        }
        self.seen = version;
    }
}

/// A read. It is given the database, or why there is none, and says whether whoever waits was told. If not, another program
/// has the file locked, and it is to be run again.
type Read = Box<dyn FnMut(Result<&mut Database, StoreError>) -> bool + Send>;

/// A change. It is given the connection within a transaction, or why there is none.
type Write = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Written + Send>;

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

/// How long the end of the program waits for the file to be closed: a checkpoint of the write-ahead log, on a slow disk.
const CLOSING: Duration = Duration::from_secs(3);

/// Sends work to the thread, which ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Handle(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    /// `None` once the thread is told to end.
    jobs: Option<mpsc::Sender<Job>>,
    /// Disconnected when the file is closed. Behind a lock because it is shared, though only the last owner uses it.
    closed: Mutex<mpsc::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
    /// The file, for messages.
    path: Arc<Path>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        if closed.recv_timeout(CLOSING) == Err(mpsc::RecvTimeoutError::Timeout) {
            // What was answered is on the disk; the next start finds the log and takes it in.
            return log::warn!(
                "the database {} did not close within {CLOSING:?}; nothing is lost",
                self.path.display()
            );
        }
        if let Some(thread) = self.thread.take() {
            // It catches the panics of its work.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// Gives `database` a thread.
    pub(super) fn start(database: Database) -> Result<Self, StoreError> {
        let path: Arc<Path> = database.path.as_path().into();
        let (jobs, queue) = mpsc::channel::<Job>();
        let (open, closed) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                serve(database, &queue);
                drop(open);
            })
            .map_err(|error| StoreError::io(&path, &error))?;
        Ok(Self(Arc::new(Thread { jobs: Some(jobs), closed: Mutex::new(closed), thread: Some(thread), path })))
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.0.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).map_err(|_| StoreError::Closed)
    }

    /// Looks at the database. It runs to its end even if the caller stops waiting.
    async fn with_database<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = smol::channel::bounded(1);
        self.send(Job::Read(Box::new(move |database| {
            let result = match database.map(&work) {
                Ok(Err(StoreError::Busy(_))) => return false,
                Ok(result) => result,
                Err(error) => Err(error),
            };
            // Nobody waits any more: nothing to do.
            let _ = answer.try_send(result);
            true
        })))?;
        wait.recv().await.map_err(|_| StoreError::Closed)?
    }

    /// Reads one state of the file.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with_database(move |Database { path, connection, .. }| {
            let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
            let transaction = connection.transaction().map_err(on_sqlite)?;
            work(&transaction).map_err(on_sqlite)
        })
        .await
    }

    /// Writes in a transaction, which is on the disk when this returns. When `work` fails nothing of it stays.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, wait) = smol::channel::bounded(1);
        let path = self.0.path.clone();
        let write: Write = Box::new(move |transaction| {
            let done =
                transaction.and_then(|connection| work(connection).map_err(|error| StoreError::sqlite(&path, &error)));
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
        self.send(Job::Write(write))?;
        wait.recv().await.map_err(|_| StoreError::Closed)?
    }

    /// See [`super::Store::writable`].
    pub(super) async fn writable(&self) -> Result<bool, StoreError> {
        self.with_database(|database| Ok(database.access == Access::ReadWrite)).await
    }

    /// See [`super::Store::data_version`].
    pub(super) async fn data_version(&self) -> Result<i64, StoreError> {
        self.with_database(|database| database.data_version()).await
    }

    /// See [`super::Store::watch`].
    pub(super) fn watch(&self, every: Duration, seen: Option<i64>, changed: impl Fn() + Send + 'static) {
        let watch = FileWatch { every, next: Instant::now() + every, seen, changed: Box::new(changed) };
        // Closed only with the last handle.
        let _ = self.send(Job::Watch(watch));
    }
}

/// What waits for the thread.
#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    writes: VecDeque<Write>,
    watch: Option<FileWatch>,
}

impl Waiting {
    fn add(&mut self, job: Job) {
        match job {
            Job::Read(read) => self.reads.push_back(read),
            Job::Write(write) => self.writes.push_back(write),
            Job::Watch(watch) => self.watch = Some(watch),
        }
    }

    /// Waits for something to do, and looks at the file meanwhile.
    fn next(&mut self, queue: &mpsc::Receiver<Job>, database: &Database) -> Option<Job> {
        while let Some(watch) = &mut self.watch {
            match queue.recv_timeout(watch.next.saturating_duration_since(Instant::now())) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => watch.check(database),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        queue.recv().ok()
    }

    fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    fn fail(&mut self, error: &StoreError) {
        for mut read in self.reads.drain(..) {
            catch_panic(|| read(Err(error.clone())));
        }
        for write in self.writes.drain(..) {
            drop(catch_panic(|| write(Err(error.clone()))));
        }
    }
}

fn serve(mut database: Database, queue: &mpsc::Receiver<Job>) {
    let mut waiting = Waiting::default();
    // Since when another program keeps the file locked.
    let mut locked: Option<Instant> = None;
    loop {
        if waiting.is_empty() {
            let Some(job) = waiting.next(queue, &database) else { return };
            waiting.add(job);
        }
        let more = loop {
            match queue.try_recv() {
                Ok(job) => waiting.add(job),
                Err(end) => break end,
            }
        };
        let read = database.read_all(&mut waiting.reads);
        match read.and_then(|()| database.write_together(&mut waiting.writes)) {
            Ok(()) => locked = None,
            // All of them: if each waited as long as the first, the last would wait for minutes.
            Err(error)
                if !matches!(error, StoreError::Busy(_)) || locked.is_some_and(|at| at.elapsed() >= open::BUSY) =>
            {
                waiting.fail(&error);
                locked = None;
            }
            // Nobody waits any more.
            Err(_) if more == mpsc::TryRecvError::Disconnected => return,
            Err(_) => {
                locked.get_or_insert_with(Instant::now);
            }
        }
    }
}

/// Makes one change of several. When it fails only this one is undone.
fn one_of_them(transaction: &mut Transaction<'_>, write: Write, path: &Path) -> Option<Tell> {
    let savepoint = match transaction.savepoint() {
        Ok(savepoint) => savepoint,
        Err(error) => {
            drop(catch_panic(|| write(Err(StoreError::sqlite(path, &error)))));
            return None;
        }
    };
    // Dropped without a commit, the savepoint undoes what was done since.
    let Written::Done(tell) = catch_panic(|| write(Ok(&savepoint)))? else { return None };
    match savepoint.commit() {
        Ok(()) => Some(tell),
        Err(error) => {
            tell(Err(StoreError::sqlite(path, &error)));
            None
        }
    }
}

/// The caller of what panics learns of it by the answer that never comes; the next one is served all the same.
fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        log::error!("a database operation panicked; this is a bug");
    }
    done
}

impl Database {
    /// A number that changes when another connection changed the file. A connection counts from where it likes: a new one
    /// is a change.
    fn data_version(&self) -> Result<i64, StoreError> {
        let version = self.connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0));
        let version = version.map_err(|error| StoreError::sqlite(&self.path, &error))?;
        Ok((i64::from(self.epoch) << 32) | (version & 0xffff_ffff))
    }

    /// Runs all `reads`, up to the first that finds the file locked.
    fn read_all(&mut self, reads: &mut VecDeque<Read>) -> Result<(), StoreError> {
        while let Some(mut read) = reads.pop_front() {
            if catch_panic(|| read(Ok(&mut *self))) == Some(false) {
                reads.push_front(read);
                return Err(StoreError::Busy(self.path.clone()));
            }
        }
        Ok(())
    }

    /// Makes some of the changes, in one transaction; none when there can be no transaction.
    fn write_together(&mut self, writes: &mut VecDeque<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.become_writable()?;
        let Self { path, connection, .. } = self;
        let on_sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
        // Exclusive, because without a write-ahead log the commit would have to wait for readers.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Exclusive);
        let mut transaction = begun.map_err(on_sqlite)?;
        let (mut made, mut done) = (0, Vec::new());
        // After some errors SQLite has undone everything, and what came next would be committed by itself.
        while made < TOGETHER
            && !transaction.is_autocommit()
            && let Some(write) = writes.pop_front()
        {
            made += 1;
            done.extend(one_of_them(&mut transaction, write, path));
        }
        let committed = transaction.commit().map_err(on_sqlite);
        for tell in done {
            tell(committed.clone());
        }
        Ok(())
    }

    /// A file that could only be read may have become writable.
    fn become_writable(&mut self) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly {
            let epoch = self.epoch.wrapping_add(1) & 0x7fff_ffff;
            // Closed before: a new connection would share its shared memory, which it cannot write, and to close it later
            // could take the locks of the new one with it.
            self.connection = Connection::open_in_memory().map_err(|error| StoreError::sqlite(&self.path, &error))?;
            let opened = open::connect(&self.path).inspect_err(|_| {
                // What can be read goes on being read.
                if let Ok(connection) = reading::connect(&self.path) {
                    self.connection = connection;
                }
            });
            *self = Self { epoch, ..opened? };
        }
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(StoreError::ReadOnly(self.path.clone())),
        }
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
            let mut good = Box::pin(handle.write(move |_| started.recv().map_err(|_| rusqlite::Error::InvalidQuery)));
            assert!(poll_once(&mut good).await.is_none());
            let bad = || Err::<(), _>(rusqlite::Error::InvalidQuery);
            for _ in 0..2 * TOGETHER {
                poll_once(Box::pin(handle.write(move |_| bad()))).await;
            }
            let end = handle.write(move |_| {
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

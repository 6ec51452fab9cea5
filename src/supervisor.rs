//! Owns the running accounts: one task each, never two for the same account. The database is the truth: after a change
//! there, [`Supervisor::refresh`] makes what runs agree with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use smol::channel::{self, Receiver, Sender};
use smol::{Executor, Task, Timer};

use crate::account::{Account, AccountId, Credentials, Endpoint};
use crate::account_state::AccountState;
use crate::push::Delivery;
use crate::runtime::lock;
use crate::signal::session::FAREWELL;
use crate::status::State;
use crate::store::{OddRow, StoreError};

mod exit;
mod task;
mod view;

use exit::{ExitNotice, end};
pub use task::Tools;
pub use view::{Snapshot, Tally};

/// What is told to the supervisor.
#[derive(Debug)]
enum Command {
    Refresh(AccountId, TestPush),
    RefreshAll,
    /// Answered when it is done.
    Look(Sender<()>),
    Ended(AccountId, u64),
}

/// Whether a refreshed account's phone also gets a test push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestPush {
    /// Send one.
    Send,
    /// Send none.
    Skip,
}

/// One account known to the supervisor.
struct AccountEntry {
    /// How it logs in. Shared with its task.
    credentials: Arc<Credentials>,
    account_state: Arc<AccountState>,
    /// Tells a task from its successors, also when the account was removed in between: the end of an old one says nothing
    /// about the new one. 0 before the first.
    generation: u64,
    phase: TaskPhase,
}

/// What an account's task is doing.
enum TaskPhase {
    /// There is none.
    Resting,
    /// It keeps the account connected.
    Running(Task<()>),
    /// It was told to end; this task waits for that. Nothing is started beside it.
    Stopping(Task<()>),
}

type Entries = Arc<Mutex<HashMap<AccountId, AccountEntry>>>;

/// A handle to the supervisor.
#[derive(Clone)]
pub struct Supervisor {
    commands: Sender<Command>,
    /// Asks for a sign of life; apart from the commands, which may have to wait for the database.
    questions: Sender<Sender<()>>,
    entries: Entries,
}

impl Supervisor {
    /// The row of `id` changed, was added or removed.
    pub async fn refresh(&self, id: AccountId, test: TestPush) {
        // Closed only when the program ends; then nothing is left to refresh.
        let _ = self.commands.send(Command::Refresh(id, test)).await;
    }

    /// Any row may have changed.
    pub async fn refresh_all(&self) {
        let _ = self.commands.send(Command::RefreshAll).await;
    }

    /// Resolves when what other programs changed in the database is known, or the supervisor is no more.
    pub async fn look(&self) {
        let (answer, answered) = channel::bounded(1);
        if self.commands.send(Command::Look(answer)).await.is_ok() {
            let _ = answered.recv().await;
        }
    }

    /// Asks for a sign of life, which comes when the supervisor's task runs, whatever the database does.
    pub fn ask(&self) -> Receiver<()> {
        let (answer, answered) = channel::bounded(1);
        // The channel has no bound, and is closed only when the program ends.
        let _ = self.questions.try_send(answer);
        answered
    }

    /// A test push for `id` that was sent to `endpoint` beside its task ended.
    pub fn test_ended(&self, id: AccountId, endpoint: &Endpoint, delivery: &Delivery) {
        let account_state = lock(&self.entries).get(&id).map(|entry| entry.account_state.clone());
        if let Some(account_state) = account_state {
            account_state.test_ended(endpoint, delivery, Instant::now());
        }
    }
}

/// The supervisor itself.
pub struct Runner {
    tools: Arc<Tools>,
    executor: Arc<Executor<'static>>,
    commands: Receiver<Command>,
    sender: Sender<Command>,
    /// Answered at once.
    questions: Receiver<Sender<()>>,
    entries: Entries,
    /// Of the task that was started last, of whichever account.
    generation: AtomicU64,
    data_version: Option<i64>,
    /// The database could not be read the last time; said once.
    unreadable: bool,
    /// Rows that could not be understood; each is said once.
    odd_rows: Vec<OddRow>,
}

impl Runner {
    /// A supervisor that runs nothing yet, and its handle. Account tasks run on `executor`.
    pub fn new(tools: Tools, executor: Arc<Executor<'static>>) -> (Supervisor, Self) {
        let (sender, commands) = channel::unbounded();
        let (asking, questions) = channel::unbounded();
        let entries = Entries::default();
        let handle = Supervisor { commands: sender.clone(), questions: asking, entries: entries.clone() };
        let runner = Self {
            tools: Arc::new(tools),
            executor,
            commands,
            sender,
            questions,
            entries,
            generation: AtomicU64::default(),
            data_version: None,
            unreadable: false,
            odd_rows: Vec::new(),
        };
        (handle, runner)
    }

    /// Starts every account, then follows changes until `stop` resolves, then ends every account in order.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let questions = self.questions.clone();
        let answer = async {
            while let Ok(answer) = questions.recv().await {
                // Who asked may have stopped waiting.
                let _ = answer.try_send(());
            }
            futures_lite::future::pending().await
        };
        let follow = async {
            self.follow_changes().await;
        };
        follow.or(answer).or(stop).await;
        self.end_all().await;
    }

    async fn follow_changes(&mut self) {
        let (poll, retry) = (self.tools.signal.timings.store_poll, self.tools.signal.timings.store_retry);
        self.refresh_all().await;
        let sender = self.sender.clone();
        self.tools.store.watch(poll, self.data_version, move || {
            // The channel has no bound. Nobody waits for an answer.
            let _ = sender.try_send(Command::Look(channel::bounded(1).0));
        });
        loop {
            let commands = &self.commands;
            let command = async { commands.recv().await.ok() };
            let unreadable = self.unreadable;
            let tick = async {
                if unreadable {
                    Timer::after(retry).await;
                } else {
                    futures_lite::future::pending::<()>().await;
                }
                None
            };
            match command.or(tick).await {
                Some(Command::Refresh(id, test)) => self.refresh(id, test).await,
                Some(Command::RefreshAll) => self.refresh_all().await,
                Some(Command::Look(answer)) => {
                    self.look_for_foreign_changes().await;
                    // Who asked may have stopped waiting.
                    let _ = answer.try_send(());
                }
                Some(Command::Ended(id, generation)) => self.ended(id, generation).await,
                None => self.look_for_foreign_changes().await,
            }
        }
    }

    /// The command line and other programs edit the file beside us; SQLite's data version tells.
    async fn look_for_foreign_changes(&mut self) {
        match self.tools.store.data_version().await {
            Ok(version) if Some(version) == self.data_version => {}
            Ok(_) => self.refresh_all().await,
            Err(error) => self.cannot_read(&error),
        }
    }

    /// Said once until it can be read again: it is tried every `store_retry`.
    fn cannot_read(&mut self, error: &StoreError) {
        // Unknown, so that the next look reads everything.
        self.data_version = None;
        let level = if self.unreadable { log::Level::Debug } else { log::Level::Error };
        self.unreadable = true;
        log::log!(level, "the database cannot be read; accounts go on as they are, and it is tried again: {error}");
    }

    async fn refresh_all(&mut self) {
        // The version first: a change between the two reads is then noticed at the next look.
        let version = self.tools.store.data_version().await;
        let listing = match (version, self.tools.store.list().await) {
            (Ok(version), Ok(listing)) => {
                self.data_version = Some(version);
                listing
            }
            (Err(error), _) | (_, Err(error)) => return self.cannot_read(&error),
        };
        if std::mem::take(&mut self.unreadable) {
            log::info!("the database can be read again");
        }
        for row in listing.unreadable.iter().filter(|row| !self.odd_rows.contains(row)) {
            log::warn!("a row of the database is left out: {row}");
        }
        self.odd_rows = listing.unreadable;
        let rows: HashMap<_, _> = listing.accounts.into_iter().map(|account| (account.id(), account)).collect();
        let gone: Vec<_> = lock(&self.entries).keys().filter(|id| !rows.contains_key(id)).copied().collect();
        for id in gone {
            self.remove(id);
        }
        for (_, account) in rows {
            self.apply(account, TestPush::Skip);
        }
    }

    async fn refresh(&mut self, id: AccountId, test: TestPush) {
        match self.tools.store.get(id).await {
            Ok(Some(account)) => self.apply(account, test),
            Ok(None) => self.remove(id),
            Err(error) => {
                self.cannot_read(&error);
                let (sender, pause) = (self.sender.clone(), self.tools.signal.timings.store_retry);
                self.executor
                    .spawn(async move {
                        Timer::after(pause).await;
                        let _ = sender.send(Command::Refresh(id, test)).await;
                    })
                    .detach();
            }
        }
    }

    /// Makes what runs agree with this row. A task that has to end first is told to; its end brings us here again.
    fn apply(&mut self, account: Account, test: TestPush) {
        let id = account.id();
        let suspended = suspension(&account);
        let mut entries = lock(&self.entries);
        let entry = entries.entry(id).or_insert_with(|| {
            let account_state = AccountState::new(&account, self.tools.wake_for_own_sync, &self.tools.signal.timings);
            let credentials = Arc::new(account.credentials.clone());
            AccountEntry {
                credentials,
                account_state: Arc::new(account_state),
                generation: 0,
                phase: TaskPhase::Resting,
            }
        });
        let account_state = entry.account_state.clone();
        let new_credentials = *entry.credentials != account.credentials;
        if account_state.endpoint() != account.endpoint {
            account_state.set_endpoint(account.endpoint);
        }
        if test == TestPush::Send {
            account_state.enqueue_test();
        }
        // Only then: its task holds the old ones, and each change of any row leads here for every account.
        if new_credentials {
            entry.credentials = Arc::new(account.credentials);
        }
        match &entry.phase {
            // Stopped: the old endpoint was found gone, and replaced before that was written down.
            TaskPhase::Running(_)
                if new_credentials || suspended.is_some() || account_state.stop_reason().is_some() =>
            {
                self.stop(entry)
            }
            TaskPhase::Running(_) | TaskPhase::Stopping(_) => {}
            TaskPhase::Resting => match suspended {
                None => self.start(entry),
                Some((state, reason)) if account_state.status().signal.state != state => {
                    task::suspend(&account_state, state, reason);
                }
                Some(_) => {}
            },
        }
    }

    fn start(&self, entry: &mut AccountEntry) {
        entry.generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        entry.account_state.resume();
        let (tools, sender) = (self.tools.clone(), self.sender.clone());
        let (account_state, credentials, generation) =
            (entry.account_state.clone(), entry.credentials.clone(), entry.generation);
        entry.phase = TaskPhase::Running(self.executor.spawn(async move {
            let _exit_notice = ExitNotice { sender, id: credentials.id, generation };
            task::run(tools, account_state, credentials).await;
        }));
    }

    /// Tells an account's task to end. Others do not wait for it: it may still be busy with a push.
    fn stop(&self, entry: &mut AccountEntry) {
        let TaskPhase::Running(task) = std::mem::replace(&mut entry.phase, TaskPhase::Resting) else { return };
        entry.account_state.stop();
        let (sender, patience) = (self.sender.clone(), self.patience());
        let (id, generation) = (entry.credentials.id, entry.generation);
        entry.phase = TaskPhase::Stopping(self.executor.spawn(async move {
            let _exit_notice = ExitNotice { sender, id, generation };
            end(task, patience).await;
        }));
    }

    /// A task ended, by itself or because it was told to. What happens next is in the row.
    async fn ended(&mut self, id: AccountId, generation: u64) {
        {
            let mut entries = lock(&self.entries);
            match entries.get_mut(&id) {
                Some(entry) if entry.generation == generation => entry.phase = TaskPhase::Resting,
                _ => return,
            }
        }
        self.refresh(id, TestPush::Skip).await;
    }

    /// The row is gone: so is the account, once its task has ended.
    fn remove(&mut self, id: AccountId) {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(&id) else { return };
        match entry.phase {
            TaskPhase::Running(_) => self.stop(entry),
            TaskPhase::Stopping(_) => {}
            TaskPhase::Resting => {
                entries.remove(&id);
                log::info!("{}: removed", id.short());
            }
        }
    }

    /// For a push on its way, then for the Close frame.
    fn patience(&self) -> Duration {
        self.tools.signal.timings.shutdown + FAREWELL
    }
}

/// The state, and why, in which a row says that its account must not run.
pub(crate) fn suspension(account: &Account) -> Option<(State, &'static str)> {
    if account.paused {
        Some((State::Paused, "the operator paused it"))
    } else if account.forbidden {
        Some((State::Unlinked, "Signal refused the login before"))
    } else if account.endpoint_gone {
        Some((State::EndpointGone, "the push server answered 404 or 410 for half an hour before"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

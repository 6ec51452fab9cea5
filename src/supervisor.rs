//! Owns the running accounts: one task each, never two for the same account. The database is the truth: after a change
//! there, [`Supervisor::refresh`] makes what runs agree with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_lite::{FutureExt, StreamExt};
use smol::channel::{self, Receiver, Sender};
use smol::{Executor, Task, Timer};

use crate::account::{Account, AccountId};
use crate::live::Live;
use crate::metrics::Gauges;
use crate::signal::session::FAREWELL;
use crate::status::{State, Status};

mod task;

pub use task::Tools;

/// What is told to the supervisor.
#[derive(Debug)]
enum Command {
    Refresh(AccountId, TestPush),
    RefreshAll,
    Ended(AccountId, u64),
    Alive(Sender<()>),
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
struct Entry {
    /// The row as last read.
    account: Account,
    live: Arc<Live>,
    /// Tells a task from its successors: the end of an old one says nothing about the new one.
    generation: u64,
    task: Option<Task<()>>,
}

type Entries = Arc<Mutex<HashMap<AccountId, Entry>>>;

/// A handle to the supervisor.
#[derive(Clone)]
pub struct Supervisor {
    commands: Sender<Command>,
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

    /// Resolves when the supervisor has done everything it was told before; false when it is no more.
    pub async fn alive(&self) -> bool {
        let (answer, answered) = channel::bounded(1);
        self.commands.send(Command::Alive(answer)).await.is_ok() && answered.recv().await.is_ok()
    }

    /// The status of every account.
    pub fn statuses(&self) -> Vec<(AccountId, Status)> {
        lock(&self.entries).iter().map(|(id, entry)| (*id, entry.live.status())).collect()
    }

    /// What the metrics page shows of the accounts.
    pub fn gauges(&self) -> Gauges {
        let entries = lock(&self.entries);
        let mut states: Vec<_> = State::ALL.map(|state| (state.label(), 0)).to_vec();
        let mut owed = 0;
        for entry in entries.values() {
            let label = entry.live.status().signal.state.label();
            if let Some((_, n)) = states.iter_mut().find(|(name, _)| *name == label) {
                *n += 1;
            }
            owed += usize::from(entry.live.owes());
        }
        let of = |state: State| states.iter().find(|(name, _)| *name == state.label()).map_or(0, |(_, n)| *n);
        Gauges { connected: of(State::Connected), forbidden: of(State::Unlinked), owed, states }
    }
}

/// The supervisor itself.
pub struct Runner {
    tools: Arc<Tools>,
    executor: Arc<Executor<'static>>,
    commands: Receiver<Command>,
    sender: Sender<Command>,
    entries: Entries,
    generation: u64,
    data_version: Option<i64>,
}

impl Runner {
    /// A supervisor that runs nothing yet, and its handle. Account tasks run on `executor`.
    pub fn new(tools: Tools, executor: Arc<Executor<'static>>) -> (Supervisor, Self) {
        let (sender, commands) = channel::unbounded();
        let entries = Entries::default();
        let handle = Supervisor { commands: sender.clone(), entries: entries.clone() };
        let runner =
            Self { tools: Arc::new(tools), executor, commands, sender, entries, generation: 0, data_version: None };
        (handle, runner)
    }

    /// Starts every account, then follows changes until `stop` resolves, then ends every account in order.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let follow = async {
            self.follow_changes().await;
        };
        follow.or(stop).await;
        self.end_all().await;
    }

    async fn follow_changes(&mut self) {
        let poll = self.tools.signal.timings.store_poll;
        let mut ticks = Timer::interval(poll);
        self.refresh_all().await;
        loop {
            let commands = &self.commands;
            let command = async { commands.recv().await.ok() };
            let tick = async {
                ticks.next().await;
                None
            };
            match command.or(tick).await {
                Some(Command::Refresh(id, test)) => self.refresh(id, test).await,
                Some(Command::RefreshAll) => self.refresh_all().await,
                Some(Command::Ended(id, generation)) => self.ended(id, generation).await,
                Some(Command::Alive(answer)) => {
                    // Who asked may have stopped waiting.
                    let _ = answer.try_send(());
                }
                None => self.look_for_foreign_changes().await,
            }
        }
    }

    /// The command line edits the file beside us; SQLite's data version tells.
    async fn look_for_foreign_changes(&mut self) {
        match self.tools.store.data_version().await {
            Ok(version) if Some(version) == self.data_version => {}
            Ok(_) => self.refresh_all().await,
            Err(error) => log::error!("the database cannot be read, trying again: {error}"),
        }
    }

    async fn refresh_all(&mut self) {
        // The version first: a change between the two reads is then noticed at the next look.
        let version = self.tools.store.data_version().await;
        let listing = match (version, self.tools.store.list().await) {
            (Ok(version), Ok(listing)) => {
                self.data_version = Some(version);
                listing
            }
            (Err(error), _) | (_, Err(error)) => {
                // The version stays unknown, so the next tick tries again.
                self.data_version = None;
                log::error!("the database cannot be read, trying again: {error}");
                return;
            }
        };
        for row in &listing.unreadable {
            log::warn!("a row of the database is left out: {row}");
        }
        let rows: HashMap<_, _> = listing.accounts.into_iter().map(|account| (account.id(), account)).collect();
        let gone: Vec<_> = lock(&self.entries).keys().filter(|id| !rows.contains_key(id)).copied().collect();
        for id in gone {
            self.remove(id).await;
        }
        for (_, account) in rows {
            self.apply(account, TestPush::Skip).await;
        }
    }

    async fn refresh(&mut self, id: AccountId, test: TestPush) {
        match self.tools.store.get(id).await {
            Ok(Some(account)) => self.apply(account, test).await,
            Ok(None) => self.remove(id).await,
            Err(error) => {
                log::error!("the database cannot be read, trying again: {error}");
                let (sender, pause) = (self.sender.clone(), self.tools.signal.timings.store_poll);
                self.executor
                    .spawn(async move {
                        Timer::after(pause).await;
                        let _ = sender.send(Command::Refresh(id, test)).await;
                    })
                    .detach();
            }
        }
    }

    /// Makes what runs agree with this row.
    async fn apply(&mut self, account: Account, test: TestPush) {
        let id = account.id();
        let suspended = suspension(&account);
        let runnable = suspended.is_none();
        let known = lock(&self.entries).get(&id).map(|e| (e.account.clone(), e.live.clone(), e.task.is_some()));
        let (live, running) = match known {
            None => (Arc::new(Live::new(&account, self.tools.wake_for_own_sync, &self.tools.signal.timings)), false),
            Some((old, live, mut running)) => {
                let new_credentials = old.credentials != account.credentials;
                if running && (new_credentials || !runnable) {
                    self.stop(id).await;
                    running = false;
                }
                if new_credentials {
                    live.forget_covered();
                }
                if live.endpoint() != account.endpoint {
                    live.set_endpoint(account.endpoint.clone());
                    // Found gone, and replaced before that was written down.
                    if running && live.halt().is_some() {
                        self.stop(id).await;
                        running = false;
                    }
                }
                (live, running)
            }
        };
        if test == TestPush::Send {
            live.owe_test();
        }
        let mut task = None;
        if runnable && !running {
            live.resume();
            self.generation += 1;
            task = Some(self.spawn(live.clone(), account.clone(), self.generation));
        } else if let Some((state, reason)) = suspended
            && live.status().signal.state != state
        {
            live.enter(state, state.label(), reason, None);
        }
        let mut entries = lock(&self.entries);
        let generation = self.generation;
        let entry =
            entries.entry(id).or_insert_with(|| Entry { account: account.clone(), live, generation, task: None });
        entry.account = account;
        if task.is_some() {
            entry.task = task;
            entry.generation = generation;
        }
    }

    fn spawn(&self, live: Arc<Live>, account: Account, generation: u64) -> Task<()> {
        let (tools, sender) = (self.tools.clone(), self.sender.clone());
        self.executor.spawn(async move {
            let id = account.id();
            task::run(tools, live, account).await;
            let _ = sender.send(Command::Ended(id, generation)).await;
        })
    }

    /// A task ended by itself. Its reason is in the row, unless the row changed meanwhile.
    async fn ended(&mut self, id: AccountId, generation: u64) {
        {
            let mut entries = lock(&self.entries);
            match entries.get_mut(&id) {
                Some(entry) if entry.generation == generation => entry.task = None,
                _ => return,
            }
        }
        self.refresh(id, TestPush::Skip).await;
    }

    async fn remove(&mut self, id: AccountId) {
        self.stop(id).await;
        if lock(&self.entries).remove(&id).is_some() {
            log::info!("{}: removed", id.short());
        }
    }

    /// Ends an account's task and waits until its connection is closed, so that no two ever live side by side.
    async fn stop(&self, id: AccountId) {
        let stopped = lock(&self.entries).get_mut(&id).and_then(|e| Some((e.task.take()?, e.live.clone())));
        if let Some((task, live)) = stopped {
            live.stop();
            end(task, self.patience()).await;
        }
    }

    /// For a push on its way, then for the Close frame.
    fn patience(&self) -> Duration {
        self.tools.signal.timings.shutdown + FAREWELL
    }

    async fn end_all(&self) {
        let stopped: Vec<_> = {
            let mut entries = lock(&self.entries);
            entries.values_mut().filter_map(|e| Some((e.task.take()?, e.live.clone()))).collect()
        };
        for (_, live) in &stopped {
            live.stop();
        }
        let mut tasks: Vec<_> = stopped.into_iter().map(|(task, _)| task).collect();
        let all = async {
            while let Some(task) = tasks.pop() {
                task.await;
            }
        };
        let patience = async {
            Timer::after(self.patience()).await;
        };
        all.or(patience).await;
    }
}

/// The state, and why, in which a row says that its account must not run.
fn suspension(account: &Account) -> Option<(State, &'static str)> {
    if account.forbidden {
        Some((State::Unlinked, "Signal refused the login before"))
    } else if account.endpoint_gone {
        Some((State::EndpointGone, "the push server said before that the endpoint no longer exists"))
    } else {
        None
    }
}

/// Waits for a task that was told to end, and drops it when it does not.
async fn end(task: Task<()>, patience: Duration) {
    let mut task = task;
    let ended = async {
        (&mut task).await;
        true
    };
    let timeout = async {
        Timer::after(patience).await;
        false
    };
    if !ended.or(timeout).await {
        task.cancel().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make the table less true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! How the tasks of accounts end: each by itself or when it is told to, and all of them with the program.

use std::time::Duration;

use smol::Task;
use smol::channel::Sender;

use super::{Command, Runner, TaskPhase};
use crate::account::{AccountId, Credentials, ServerTime};
use crate::runtime::{lock, timeout};

impl Runner {
    /// Ends every account, and stores until when each has fetched.
    pub(super) async fn end_all(&self) {
        // One transaction for all, where each account's own would come to more than there is time for. The accounts find
        // it done; those whose push is accepted meanwhile note that themselves.
        let times = self.unsaved_times();
        let save = async {
            if let Err(error) = self.tools.store.set_fetched_until(times).await {
                log::debug!("the times until which messages are fetched were not stored: {error}");
            }
        };
        let mut tasks = Vec::new();
        for entry in lock(&self.entries).values_mut() {
            match std::mem::replace(&mut entry.phase, TaskPhase::Resting) {
                TaskPhase::Resting => {}
                TaskPhase::Running(task) => {
                    entry.account_state.stop();
                    tasks.push(task);
                }
                TaskPhase::Stopping(task) => tasks.push(task),
            }
        }
        let all = async {
            save.await;
            while let Some(task) = tasks.pop() {
                task.await;
            }
        };
        timeout(self.patience(), all).await;
    }

    /// Until when each account has fetched, as far as the database does not know it. From now on it counts as known.
    fn unsaved_times(&self) -> Vec<(Credentials, ServerTime)> {
        let entries = lock(&self.entries);
        // Those that are being stopped may have other credentials by now; they note it themselves.
        let running = entries.values().filter(|entry| matches!(entry.phase, TaskPhase::Running(_)));
        let unsaved = running.filter_map(|entry| {
            let until = entry.account_state.unsaved_fetched_until()?;
            entry.account_state.fetched_until_saved(until);
            Some((Credentials::clone(&entry.credentials), until))
        });
        unsaved.collect()
    }
}

/// Says that an account's task ended however it ends: one that panics must not count as running for ever.
pub(super) struct ExitNotice {
    pub(super) sender: Sender<Command>,
    pub(super) id: AccountId,
    pub(super) generation: u64,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        // The channel has no bound, and is closed only when the program ends.
        let _ = self.sender.try_send(Command::Ended(self.id, self.generation));
    }
}

/// Waits for a task that was told to end, and drops it when it does not.
pub(super) async fn end(task: Task<()>, patience: Duration) {
    let mut task = task;
    if timeout(patience, &mut task).await.is_none() {
        task.cancel().await;
    }
}

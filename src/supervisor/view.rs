//! What is seen of the running accounts from outside.

use std::time::{Duration, Instant};

use super::{Supervisor, lock};
use crate::account::{AccountId, DeviceId};
use crate::status::{State, Status};

/// One account at a moment. Holds no secret.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The account.
    pub id: AccountId,
    /// Its linked device.
    pub device: DeviceId,
    /// Origin of its endpoint.
    pub push_server: String,
    /// Both sides.
    pub status: Status,
    /// Whether its phone is owed a wake-up.
    pub owes: bool,
    /// Signal's last notice, such as `idle-primary-device`.
    pub notice: Option<String>,
}

/// How many accounts there are, and how they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub accounts: usize,
    /// Signal delivers to these.
    pub connected: usize,
    /// Somebody should look at these.
    pub in_trouble: usize,
}

impl Supervisor {
    /// Counts the accounts at `now`. Trouble that may pass counts after `grace`.
    pub fn tally(&self, now: Instant, grace: Duration) -> Tally {
        let entries = lock(&self.entries);
        let mut tally = Tally { accounts: entries.len(), connected: 0, in_trouble: 0 };
        for entry in entries.values() {
            let status = entry.live.status();
            tally.connected += usize::from(status.signal.state == State::Connected);
            tally.in_trouble += usize::from(status.needs_attention(now, grace));
        }
        tally
    }

    /// Every account, in order of their ids.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = lock(&self.entries)
            .iter()
            .map(|(id, entry)| Snapshot {
                id: *id,
                device: entry.credentials.device,
                push_server: entry.live.endpoint().origin(),
                status: entry.live.status(),
                owes: entry.live.owes(),
                notice: entry.live.notice(),
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.id);
        all
    }
}

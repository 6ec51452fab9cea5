//! What is seen of the running accounts from outside.

use std::time::{Duration, Instant};

use super::Supervisor;
use crate::account::{AccountId, DeviceId};
use crate::metrics::Gauges;
use crate::runtime::lock;
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

impl Tally {
    /// Counts the accounts at `now`. Trouble that may pass counts after `grace`.
    pub fn of(accounts: &[Snapshot], now: Instant, grace: Duration) -> Self {
        let count = |of: &dyn Fn(&Status) -> bool| accounts.iter().filter(|account| of(&account.status)).count();
        Self {
            accounts: accounts.len(),
            connected: count(&|status| status.signal.state == State::Connected),
            in_trouble: count(&|status| status.needs_attention(now, grace)),
        }
    }
}

impl Supervisor {
    /// Every account, in order of their ids. All that is shown of them is made from this.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = lock(&self.entries)
            .iter()
            .map(|(id, entry)| Snapshot {
                id: *id,
                device: entry.credentials.device,
                push_server: entry.account_state.endpoint().origin(),
                status: entry.account_state.status(),
                owes: entry.account_state.owes(),
                notice: entry.account_state.notice(),
            })
            .collect();
        all.sort_by_key(|snapshot| snapshot.id);
        all
    }

    /// What the metrics page shows of the accounts.
    pub fn gauges(&self) -> Gauges {
        let accounts = self.snapshots();
        let of = |state| accounts.iter().filter(|account| account.status.signal.state == state).count();
        Gauges {
            states: State::ALL.map(|state| (state.label(), of(state))).to_vec(),
            connected: of(State::Connected),
            forbidden: of(State::Unlinked),
            owed: accounts.iter().filter(|account| account.owes).count(),
        }
    }
}

//! What is seen of the running accounts from outside.

use super::{Supervisor, lock};
use crate::account::{AccountId, DeviceId};
use crate::status::Status;

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

impl Supervisor {
    /// Every account, in order of their ids.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let mut all: Vec<_> = lock(&self.entries)
            .iter()
            .map(|(id, entry)| Snapshot {
                id: *id,
                device: entry.account.credentials.device,
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

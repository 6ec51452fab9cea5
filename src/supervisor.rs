//! Owns the running accounts: one task each, never two for the same account. The database is the truth: after a change
//! there, [`Supervisor::refresh`] makes what runs agree with it.

use crate::account::AccountId;
use crate::metrics::Gauges;

/// A handle to the supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor {
    _todo: (),
}

/// Whether a refreshed account's phone also gets a test push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestPush {
    /// Send one.
    Send,
    /// Send none.
    Skip,
}

impl Supervisor {
    /// The row of `id` changed, was added or removed.
    pub async fn refresh(&self, _id: AccountId, _test: TestPush) {
        unimplemented!()
    }

    /// Any row may have changed.
    pub async fn refresh_all(&self) {
        unimplemented!()
    }

    /// What the metrics page shows of the accounts.
    pub fn gauges(&self) -> Gauges {
        unimplemented!()
    }
}

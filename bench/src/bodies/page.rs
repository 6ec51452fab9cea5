//! What the admin socket tells of all accounts.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use mollysocket::account_state::AccountState;
use mollysocket::overview::{AccountView, Now};
use mollysocket::status::{Cause, State};
use mollysocket::supervisor::Snapshot;
use mollysocket::timings::Timings;

use super::{Once, account};

/// The states of a thousand accounts, as JSON.
pub(super) fn status() -> Once {
    let timings = Timings::default();
    let running: Vec<_> = (0..1000)
        .map(|n| {
            let account = account(n);
            let account_state = AccountState::new(&account, false, &timings);
            account_state.enter(State::Connected, "", Cause::default(), None);
            (account, account_state)
        })
        .collect();
    let now = Now { instant: Instant::now(), date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
    Box::new(move || {
        let views: Vec<_> = running
            .iter()
            .map(|(account, account_state)| Snapshot {
                id: account.id(),
                device: account.credentials.device,
                push_server: account_state.endpoint().origin(),
                status: account_state.status(),
                owes: account_state.owes(),
                notice: account_state.notice(),
            })
            .map(|snapshot| AccountView::of(&snapshot, now, timings.attention))
            .collect();
        assert!(black_box(serde_json::to_string(&views)).expect("text and numbers").len() > 100_000);
    })
}

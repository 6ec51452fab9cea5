//! What the admin socket tells of all accounts.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use mollysocket::live::Live;
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
            let live = Live::new(&account, false, &timings);
            live.enter(State::Connected, "", Cause::default(), None);
            (account, live)
        })
        .collect();
    let now = Now { instant: Instant::now(), date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
    Box::new(move || {
        let views: Vec<_> = running
            .iter()
            .map(|(account, live)| Snapshot {
                id: account.id(),
                device: account.credentials.device,
                push_server: live.endpoint().origin(),
                status: live.status(),
                owes: live.owes(),
                notice: live.notice(),
            })
            .map(|snapshot| AccountView::of(&snapshot, now, timings.attention))
            .collect();
        assert!(black_box(serde_json::to_string(&views)).expect("text and numbers").len() > 100_000);
    })
}

//! What is news about which account. Pure: takes the time.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::overview::AccountView;
use crate::rate::Bucket;
use crate::status::{Phases as _, PushState, State};
use crate::timings::Rate;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlertEvent {
    /// It needs attention, or needs it for another reason than before.
    NeedsAttention,
    /// It is well again.
    Well,
}

/// One alert to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Alert {
    pub(super) event: AlertEvent,
    pub(super) account: AccountView,
}

/// What each side of an account, Signal's first, needs attention for.
type Trouble = [Option<String>; 2];

fn trouble(account: &AccountView) -> Trouble {
    [&account.signal, &account.push].map(|side| side.needs_attention.then(|| side.state.clone()))
}

/// Whether each side is as it should be. On the way there is not there yet: a displaced account connects now and then,
/// and is displaced again.
fn is_well(account: &AccountView) -> [bool; 2] {
    let signal = [State::Connected, State::Paused].iter().any(|state| state.label() == account.signal.state);
    [signal, account.push.state == PushState::Ok.label()]
}

/// Whether `now` is only another phase of what was told: an outage alternates between trying and waiting.
fn continues(told: Option<&str>, now: &str) -> bool {
    let state = |label: &str| State::ALL.into_iter().find(|state| state.label() == label);
    let Some(told) = told else { return false };
    told == now || state(told).zip(state(now)).is_some_and(|(told, now)| told.continues_as(&now))
}

/// What was told of an account, and when the last attempt was.
#[derive(Debug)]
struct AccountAlerts {
    told: Trouble,
    tried: Instant,
    /// Since when each side is well.
    well_since: [Option<Instant>; 2],
}

/// Remembers what was told.
#[derive(Debug)]
pub(super) struct AlertWatch {
    /// Accounts that are not here were never told of: they were always well.
    known: HashMap<String, AccountAlerts>,
    pause: Duration,
    settle: Duration,
    rate: Rate,
    bucket: Bucket,
}

impl AlertWatch {
    /// Tells of one account at most once per `pause`, of all together at `rate`. A trouble is over when it has been for
    /// `settle`.
    pub(super) fn new(pause: Duration, settle: Duration, rate: Rate) -> Self {
        Self { known: HashMap::new(), pause, settle, rate, bucket: Bucket::default() }
    }

    /// What is to be told next. What has to wait is told later, if it is still so then: telling takes time, so look again
    /// before each.
    pub(super) fn next_alert(&mut self, accounts: &[AccountView], now: Instant) -> Option<Alert> {
        let there: HashSet<&str> = accounts.iter().map(|account| account.uuid.as_str()).collect();
        self.known.retain(|uuid, _| there.contains(uuid.as_str()));
        for account in accounts {
            let trouble = trouble(account);
            let event = match self.known.get_mut(&account.uuid) {
                Some(known) => known.event(account, &trouble, self.settle, now),
                None => trouble.iter().any(Option::is_some).then_some(AlertEvent::NeedsAttention),
            };
            let Some(event) = event else { continue };
            let waits = self.known.get(&account.uuid).is_some_and(|known| now < known.tried + self.pause);
            if waits || self.bucket.take(self.rate, now).is_err() {
                continue;
            }
            let new = || AccountAlerts { told: Trouble::default(), tried: now, well_since: [None; 2] };
            self.known.entry(account.uuid.clone()).or_insert_with(new).tried = now;
            return Some(Alert { event, account: account.clone() });
        }
        None
    }

    /// It was told. What was not is news again after the pause.
    pub(super) fn delivered(&mut self, alert: &Alert) {
        let Some(known) = self.known.get_mut(&alert.account.uuid) else { return };
        match alert.event {
            AlertEvent::Well => known.told = Trouble::default(),
            AlertEvent::NeedsAttention => {
                for (told, now) in known.told.iter_mut().zip(trouble(&alert.account)) {
                    // A side that only tries again at this moment may be back in the trouble that was told.
                    *told = now.or_else(|| told.take());
                }
            }
        }
    }
}

impl AccountAlerts {
    /// What is news about it.
    fn event(
        &mut self,
        account: &AccountView,
        trouble: &Trouble,
        settle: Duration,
        now: Instant,
    ) -> Option<AlertEvent> {
        for (since, well) in self.well_since.iter_mut().zip(is_well(account)) {
            *since = well.then(|| since.unwrap_or(now));
        }
        let settled = self.well_since.map(|since| since.is_some_and(|since| now >= since + settle));
        if settled == [true; 2] {
            return self.told.iter().any(Option::is_some).then_some(AlertEvent::Well);
        }
        for (side, settled) in settled.into_iter().enumerate() {
            // It is over, though the account is not well: the same again is news.
            if settled && trouble[1 - side].is_some() {
                self.told[side] = None;
            }
        }
        let is_news = |(now, told): (&Option<String>, &Option<String>)| {
            now.as_ref().is_some_and(|now| !continues(told.as_deref(), now))
        };
        trouble.iter().zip(&self.told).any(is_news).then_some(AlertEvent::NeedsAttention)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::overview::SideView;

    const PAUSE: Duration = Duration::from_secs(300);
    const SETTLE: Duration = Duration::from_secs(60);
    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(60) };

    /// States end with `!` where they need attention.
    fn account(n: u32, signal: &str, push: &str) -> AccountView {
        let side = |state: &str| SideView {
            state: state.trim_end_matches('!').into(),
            needs_attention: state.ends_with('!'),
            since: None,
            reason: String::new(),
            remedy: String::new(),
            retry_at: None,
        };
        AccountView {
            uuid: format!("{n:08x}-1111-4222-8333-444455556666"),
            device_id: 2,
            push_server: String::new(),
            needs_attention: signal.ends_with('!') || push.ends_with('!'),
            signal: side(signal),
            push: side(push),
            owes_wakeup: false,
            last_envelope: None,
            last_push: None,
            last_push_latency_ms: None,
            notice: None,
        }
    }

    /// Looks and tells.
    fn told(watch: &mut AlertWatch, accounts: &[AccountView], now: Instant) -> Vec<AlertEvent> {
        let mut events = Vec::new();
        while let Some(alert) = watch.next_alert(accounts, now) {
            watch.delivered(&alert);
            events.push(alert.event);
        }
        events
    }

    /// Seconds, the states of both sides then, and what is told.
    type Row = (u64, &'static str, &'static str, &'static [AlertEvent]);

    fn goes(rows: &[Row]) {
        let (mut watch, start) = (AlertWatch::new(PAUSE, SETTLE, RATE), Instant::now());
        for &(seconds, signal, push, expected) in rows {
            let at = start + Duration::from_secs(seconds);
            assert_eq!(told(&mut watch, &[account(1, signal, push)], at), expected, "{seconds} s: {signal}, {push}");
        }
    }

    const TROUBLE: &[AlertEvent] = &[AlertEvent::NeedsAttention];
    const WELL: &[AlertEvent] = &[AlertEvent::Well];

    #[test]
    fn each_change_is_told_once_and_not_more_often_than_the_pause() {
        goes(&[
            (0, "connected", "ok", &[]),
            (1, "unlinked!", "ok", TROUBLE),
            (2, "unlinked!", "ok", &[]),
            (3, "connected", "ok", &[]),
            (4, "unlinked!", "ok", &[]),
            (400, "unlinked!", "ok", &[]),
            (401, "displaced!", "ok", TROUBLE),
            (402, "connected", "ok", &[]),
            (701, "connected", "ok", WELL),
            (702, "connected", "ok", &[]),
        ]);
    }

    #[test]
    fn the_phases_of_one_outage_are_told_once() {
        goes(&[
            (0, "waiting", "ok", &[]),
            (300, "connecting!", "ok", TROUBLE),
            (700, "waiting!", "ok", &[]),
            (1100, "connecting!", "ok", &[]),
            (1500, "waiting!", "ok", &[]),
            (1900, "connected", "ok", &[]),
            (1930, "waiting", "ok", &[]),
            (2230, "waiting!", "ok", &[]),
            (3000, "connected", "ok", &[]),
            (3060, "connected", "ok", WELL),
            (4000, "waiting!", "ok", TROUBLE),
        ]);
    }

    #[test]
    fn an_account_that_only_tries_again_is_not_well() {
        for state in ["displaced!", "refused!"] {
            goes(&[
                (0, state, "ok", TROUBLE),
                (1000, "connecting", "ok", &[]),
                (1010, state, "ok", &[]),
                (5000, "connecting", "ok", &[]),
                (5001, "connected", "ok", &[]),
                (5010, state, "ok", &[]),
                (9000, "waiting", "ok", &[]),
                (9200, "waiting", "ok", &[]),
                (9300, "connected", "ok", &[]),
                (9400, "connected", "retrying", &[]),
                (9410, "connected", "ok", &[]),
                (9470, "paused", "ok", WELL),
            ]);
        }
    }

    #[test]
    fn each_side_is_told_of_by_itself() {
        goes(&[
            (0, "connected", "unauthorized!", TROUBLE),
            (400, "waiting", "unauthorized!", &[]),
            (700, "waiting!", "unauthorized!", TROUBLE),
            (1100, "connected", "unauthorized!", &[]),
            (1200, "connected", "unauthorized!", &[]),
            (1500, "connecting!", "unauthorized!", TROUBLE),
            (2000, "connecting!", "ok", &[]),
            (2100, "connecting!", "ok", &[]),
            (2500, "connected", "ok", &[]),
            (2600, "connected", "ok", WELL),
        ]);
    }

    #[test]
    fn what_could_not_be_told_is_told_after_the_pause() {
        let (mut watch, start) = (AlertWatch::new(PAUSE, SETTLE, RATE), Instant::now());
        let accounts = [account(1, "refused!", "ok")];
        assert!(watch.next_alert(&accounts, start).is_some());
        assert!(watch.next_alert(&accounts, start + PAUSE / 2).is_none());
        assert_eq!(told(&mut watch, &accounts, start + PAUSE), [AlertEvent::NeedsAttention]);
        assert!(watch.next_alert(&accounts, start + PAUSE * 3).is_none());
    }

    #[test]
    fn many_at_once_are_told_one_after_the_other_and_none_is_forgotten() {
        let (mut watch, start) = (AlertWatch::new(PAUSE, SETTLE, RATE), Instant::now());
        let accounts: Vec<_> = (0..10).map(|n| account(n, "unlinked!", "ok")).collect();
        assert_eq!(told(&mut watch, &accounts, start).len(), 3);
        assert_eq!(told(&mut watch, &accounts, start).len(), 0);
        let later = (1..=7).map(|minute| told(&mut watch, &accounts, start + RATE.every * minute).len());
        assert_eq!(later.collect::<Vec<_>>(), [1; 7]);
        assert_eq!(told(&mut watch, &accounts, start + RATE.every * 60).len(), 0);
    }

    #[test]
    fn a_removed_account_is_forgotten() {
        let (mut watch, start) = (AlertWatch::new(PAUSE, SETTLE, RATE), Instant::now());
        assert_eq!(told(&mut watch, &[account(1, "unlinked!", "ok")], start).len(), 1);
        assert_eq!(told(&mut watch, &[], start).len(), 0);
        assert!(watch.known.is_empty());
    }
}

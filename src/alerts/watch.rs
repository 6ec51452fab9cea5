//! What is news about which account. Pure: takes the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::overview::AccountView;
use crate::rate::Bucket;
use crate::timings::Rate;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// It needs attention, or needs it for another reason than before.
    NeedsAttention,
    /// It is well again.
    Well,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct News {
    pub(super) event: Event,
    pub(super) account: AccountView,
}

/// The states of both sides of an account that needs attention; `None` of one that is well.
type Trouble = Option<(String, String)>;

fn trouble(account: &AccountView) -> Trouble {
    account.needs_attention.then(|| (account.signal.state.clone(), account.push.state.clone()))
}

/// What was told of an account, and when the last attempt was.
#[derive(Debug)]
struct Known {
    told: Trouble,
    tried: Instant,
}

/// Remembers what was told.
#[derive(Debug)]
pub(super) struct Watch {
    /// Accounts that are not here were never told of: they were always well.
    known: HashMap<String, Known>,
    pause: Duration,
    rate: Rate,
    bucket: Bucket,
}

impl Watch {
    /// Tells of one account at most once per `pause`, of all together at `rate`.
    pub(super) fn new(pause: Duration, rate: Rate) -> Self {
        Self { known: HashMap::new(), pause, rate, bucket: Bucket::default() }
    }

    /// What is to be told now. What has to wait is told later, if it is still so then.
    pub(super) fn look(&mut self, accounts: &[AccountView], now: Instant) -> Vec<News> {
        self.known.retain(|uuid, _| accounts.iter().any(|account| account.uuid == *uuid));
        let mut news = Vec::new();
        for account in accounts {
            let (known, trouble) = (self.known.get(&account.uuid), trouble(account));
            let is_news = known.map_or(&None, |known| &known.told) != &trouble;
            let waits = known.is_some_and(|known| now < known.tried + self.pause);
            if !is_news || waits || self.bucket.take(self.rate, now).is_err() {
                continue;
            }
            let event = if trouble.is_some() { Event::NeedsAttention } else { Event::Well };
            self.known.entry(account.uuid.clone()).or_insert(Known { told: None, tried: now }).tried = now;
            news.push(News { event, account: account.clone() });
        }
        news
    }

    /// It was told. What was not is news again after the pause.
    pub(super) fn told(&mut self, news: &News) {
        if let Some(known) = self.known.get_mut(&news.account.uuid) {
            known.told = trouble(&news.account);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::overview::SideView;

    const PAUSE: Duration = Duration::from_secs(300);
    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(60) };

    fn account(n: u32, state: &str) -> AccountView {
        let side = |state: &str| SideView {
            state: state.into(),
            since: None,
            reason: String::new(),
            remedy: String::new(),
            retry_at: None,
        };
        AccountView {
            uuid: format!("{n:08x}-1111-4222-8333-444455556666"),
            device_id: 2,
            push_server: String::new(),
            needs_attention: state != "connected",
            signal: side(state),
            push: side("ok"),
            owes_wakeup: false,
            last_envelope: None,
            last_push: None,
            last_push_latency_ms: None,
            notice: None,
        }
    }

    /// Looks and tells.
    fn told(watch: &mut Watch, accounts: &[AccountView], now: Instant) -> Vec<Event> {
        let news = watch.look(accounts, now);
        news.iter().for_each(|news| watch.told(news));
        news.into_iter().map(|news| news.event).collect()
    }

    #[test]
    fn each_change_is_told_once_and_not_more_often_than_the_pause() {
        let (mut watch, start) = (Watch::new(PAUSE, RATE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, state, expected) in [
            (0, "connected", &[][..]),
            (1, "unlinked", &[Event::NeedsAttention]),
            (2, "unlinked", &[]),
            (3, "connected", &[]),
            (4, "unlinked", &[]),
            (400, "unlinked", &[]),
            (401, "displaced", &[Event::NeedsAttention]),
            (402, "connected", &[]),
            (701, "connected", &[Event::Well]),
            (702, "connected", &[]),
        ] {
            assert_eq!(told(&mut watch, &[account(1, state)], at(seconds)), expected, "{seconds} s: {state}");
        }
    }

    #[test]
    fn what_could_not_be_told_is_told_after_the_pause() {
        let (mut watch, start) = (Watch::new(PAUSE, RATE), Instant::now());
        let accounts = [account(1, "refused")];
        assert_eq!(watch.look(&accounts, start).len(), 1);
        assert_eq!(watch.look(&accounts, start + PAUSE / 2).len(), 0);
        assert_eq!(told(&mut watch, &accounts, start + PAUSE), [Event::NeedsAttention]);
        assert_eq!(watch.look(&accounts, start + PAUSE * 3).len(), 0);
    }

    #[test]
    fn many_at_once_are_told_one_after_the_other_and_none_is_forgotten() {
        let (mut watch, start) = (Watch::new(PAUSE, RATE), Instant::now());
        let accounts: Vec<_> = (0..10).map(|n| account(n, "unlinked")).collect();
        assert_eq!(told(&mut watch, &accounts, start).len(), 3);
        assert_eq!(told(&mut watch, &accounts, start).len(), 0);
        let later = (1..=7).map(|minute| told(&mut watch, &accounts, start + RATE.every * minute).len());
        assert_eq!(later.collect::<Vec<_>>(), [1; 7]);
        assert_eq!(told(&mut watch, &accounts, start + RATE.every * 60).len(), 0);
    }

    #[test]
    fn a_removed_account_is_forgotten() {
        let (mut watch, start) = (Watch::new(PAUSE, RATE), Instant::now());
        assert_eq!(told(&mut watch, &[account(1, "unlinked")], start).len(), 1);
        assert_eq!(told(&mut watch, &[], start).len(), 0);
        assert!(watch.known.is_empty());
    }
}

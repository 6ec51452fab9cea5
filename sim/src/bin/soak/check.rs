//! The proof: every message acked, none before its wake-up, none without. Pure: records in, problems out.
//!
//! The rule of an ack (design, section 2): a wake-up was accepted before it that was *sent after the envelope arrived*
//! on that connection, or that was sent more than the margin after Signal had taken the envelope in. Push servers see
//! a wake-up no earlier than it was sent and begin their answer no later than the daemon reads it; Signal hands an
//! envelope over no later than the daemon reads it and sees the ack no earlier than it was written. So a correct
//! daemon can never break the rule as it is checked here, however slow the machine is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sim::signal::Guid;

#[cfg(test)]
mod tests;

/// What a wake-up must be younger than an envelope to cover it by Signal's clock.
const COVER_MARGIN: Duration = Duration::from_secs(3);
/// Signal's clock counts whole milliseconds and is read twice; the wall clock it follows may be slewed.
const CLOCK_ERROR: Duration = Duration::from_millis(50);
/// Two requests of one account that overlap for less are one that was given up and its successor: how soon the push
/// server notices that a client has gone depends on how busy it is.
const OVERLAP: Duration = Duration::from_secs(1);
/// How long after an account moved a wake-up may still reach the old endpoint: the program looks at its database every
/// two seconds, and a push may take ten.
const MOVED: Duration = Duration::from_secs(15);

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing but its ack.
    Nothing,
    /// A wake-up.
    Wake,
    /// A wake-up, and it cannot be covered by Signal's clock: its time cannot be read.
    WakeUnread,
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    /// Just before Signal took it in.
    sent: Instant,
    needs: Needs,
    /// A wake-up was accepted that was sent later.
    woken: bool,
    /// Its device was unlinked: it may never be acked.
    dropped: bool,
}

/// An accepted wake-up.
#[derive(Debug, Clone, Copy)]
struct Wake {
    /// When the push server had the request.
    received: Instant,
    /// When its answer began.
    answered: Instant,
}

#[derive(Debug, Default)]
struct Account {
    outstanding: HashMap<Guid, Outstanding>,
    wakes: Vec<Wake>,
    /// Requests that are being answered: number and since when.
    in_flight: Vec<(u64, Instant)>,
    /// When a push failed last.
    failed: Option<Instant>,
}

/// One push request as the push servers saw it so far.
#[derive(Debug, Clone, Copy)]
struct Request {
    account: usize,
    received: Instant,
    wake: bool,
    /// Since when the account is elsewhere.
    moved: Option<Instant>,
    accepted: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) urgent: u64,
    pub(crate) acked: u64,
    pub(crate) wakes: u64,
    pub(crate) tests: u64,
    pub(crate) refused_pushes: u64,
    pub(crate) dropped: u64,
}

/// What became of everything so far.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    accounts: Vec<Account>,
    /// By push server and number.
    requests: HashMap<(usize, u64), Request>,
    counts: Counts,
    problems: Vec<String>,
}

impl Checker {
    pub(crate) fn new(accounts: usize) -> Self {
        Self { accounts: (0..accounts).map(|_| Account::default()).collect(), ..Self::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn problem(&mut self, text: String) {
        // The first ones tell; a broken run could have millions.
        if self.problems.len() < 50 {
            self.problems.push(text);
        }
    }

    /// A message was handed to Signal; `sent` is a moment just before.
    pub(crate) fn sent(&mut self, account: usize, guid: Guid, needs: Needs, sent: Instant) {
        self.counts.messages += 1;
        self.counts.urgent += u64::from(needs != Needs::Nothing);
        let message = Outstanding { sent, needs, woken: needs == Needs::Nothing, dropped: false };
        self.accounts[account].outstanding.insert(guid, message);
    }

    /// The account's device was unlinked, and with it its queue.
    pub(crate) fn unlinked(&mut self, account: usize) {
        for message in self.accounts[account].outstanding.values_mut().filter(|m| !m.dropped) {
            message.dropped = true;
            self.counts.dropped += 1;
        }
    }

    /// A push server has a request. `moved` says since when the account has another endpoint.
    pub(crate) fn push_received(
        &mut self,
        id: (usize, u64),
        account: usize,
        wake: bool,
        moved: Option<Instant>,
        received: Instant,
    ) {
        self.requests.insert(id, Request { account, received, wake, moved, accepted: false });
        self.accounts[account].in_flight.push((id.1, received));
    }

    /// A push server answers.
    pub(crate) fn push_answered(&mut self, id: (usize, u64), status: u16, answered: Instant) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !(200..300).contains(&status) {
            self.counts.refused_pushes += 1;
            return;
        }
        request.accepted = true;
        let Request { account, received, wake, moved, .. } = *request;
        if !wake {
            self.counts.tests += 1;
            return;
        }
        self.counts.wakes += 1;
        if let Some(moved) = moved
            && received > moved + MOVED
        {
            let late = received - moved;
            self.problem(format!("account {account}: a wake-up went to an endpoint it had left {late:.1?} before"));
        }
        let state = &mut self.accounts[account];
        state.wakes.push(Wake { received, answered });
        for message in state.outstanding.values_mut().filter(|m| m.sent <= received) {
            message.woken = true;
        }
    }

    /// An answer ended, or its client has gone.
    pub(crate) fn push_ended(&mut self, id: (usize, u64), ended: Instant) {
        let Some(Request { account, received, accepted, .. }) = self.requests.remove(&id) else { return };
        if !accepted {
            self.accounts[account].failed = Some(ended);
        }
        let in_flight = &mut self.accounts[account].in_flight;
        in_flight.retain(|(number, since)| (*number, *since) != (id.1, received));
        let overlap = in_flight.iter().map(|(_, since)| ended.saturating_duration_since(received.max(*since))).max();
        if let Some(overlap) = overlap.filter(|overlap| *overlap > OVERLAP) {
            self.problem(format!("account {account}: two pushes were in flight side by side for {overlap:.1?}"));
        }
    }

    /// A message was acked. Wake-ups answered before must have been told already.
    pub(crate) fn acked(&mut self, account: usize, guid: Guid, delivered: Instant, at: Instant) {
        let state = &mut self.accounts[account];
        let Some(message) = state.outstanding.remove(&guid) else {
            return self.problem(format!("account {account}: {guid} was acked again after Signal had deleted it"));
        };
        self.counts.acked += 1;
        let by_clock =
            |wake: &Wake| message.needs == Needs::Wake && wake.received + CLOCK_ERROR > message.sent + COVER_MARGIN;
        let covered = |wake: &Wake| wake.answered <= at && (wake.received >= delivered || by_clock(wake));
        if message.needs != Needs::Nothing && !state.wakes.iter().any(covered) {
            let waited = at.saturating_duration_since(delivered);
            self.problem(format!(
                "account {account}: {guid} was acked early: {waited:.1?} after its delivery, with no accepted wake-up for it"
            ));
        }
    }

    /// The most message sockets a device had at once. `excused`: Signal could not see the end of the older one.
    pub(crate) fn sockets(&mut self, account: usize, most: usize, excused: bool) {
        if most > 1 && !excused {
            self.problem(format!("account {account}: {most} message sockets at once"));
        }
    }

    /// Forgets wake-ups that can matter to no message any more.
    pub(crate) fn prune(&mut self) {
        for account in &mut self.accounts {
            match account.outstanding.values().map(|m| m.sent).min() {
                None => account.wakes.clear(),
                Some(oldest) => account.wakes.retain(|w| w.received >= oldest),
            }
        }
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_settled(&self, account: usize) -> bool {
        self.accounts[account].outstanding.values().all(|m| m.dropped)
    }

    /// When the oldest message was sent that still lacks a wake-up.
    pub(crate) fn unwoken_since(&self, account: usize) -> Option<Instant> {
        let state = &self.accounts[account];
        state.outstanding.values().filter(|m| !m.woken && !m.dropped).map(|m| m.sent).min()
    }

    /// Whether a push of the account failed after `since`.
    pub(crate) fn failed_since(&self, account: usize, since: Instant) -> bool {
        self.accounts[account].failed.is_some_and(|at| at > since)
    }

    /// Messages of all accounts that are neither acked nor dropped.
    pub(crate) fn owed(&self) -> usize {
        self.accounts.iter().flat_map(|a| a.outstanding.values()).filter(|m| !m.dropped).count()
    }

    /// Everything must be acked now. The problems, in the order they were found.
    pub(crate) fn finish(mut self) -> Vec<String> {
        for account in 0..self.accounts.len() {
            let left = self.accounts[account].outstanding.values().filter(|m| !m.dropped);
            let (lost, unacked) = left.fold((0, 0), |(l, u), m| (l + usize::from(!m.woken), u + 1));
            if lost > 0 {
                self.problem(format!(
                    "account {account}: {lost} urgent messages without any wake-up: wake-ups were lost"
                ));
            }
            if unacked > 0 {
                self.problem(format!("account {account}: {unacked} messages were never acked"));
            }
        }
        self.problems
    }
}

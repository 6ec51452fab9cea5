//! Whether the daemon is correct: each urgent message has an accepted wake-up sent after it arrived, and is acked only
//! then. A daemon that is fast because it forgets is not measured.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sim::push::{Progress, Step};
use sim::signal::{Guid, Records};

/// A message that Signal had held for this long, less what clocks are rounded by, when a wake-up was sent is covered by that wake-up.
const HELD: Duration = Duration::from_millis(2990);

/// A message on its way.
#[derive(Debug)]
struct Sent {
    account: usize,
    at: Instant,
}

/// A wake-up that reached a push server.
#[derive(Debug)]
struct Push {
    received: Instant,
    accepted: Option<Instant>,
}

/// What was sent, what came of it, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    sent: HashMap<Guid, Sent>,
    /// By account, since the last [`Self::take_latencies`].
    pushes: HashMap<usize, Vec<Push>>,
    /// Which push a request of a push server is: account and index.
    requests: HashMap<(usize, u64), (usize, usize)>,
    latencies: Vec<Duration>,
    wakes: usize,
    messages: usize,
    early: usize,
    unknown: usize,
    refused: usize,
    doubled: HashSet<String>,
}

impl Checker {
    /// A message is about to be handed to Signal, or just was.
    pub(crate) fn sent(&mut self, guid: Guid, account: usize, at: Instant) {
        self.messages += 1;
        self.sent.insert(guid, Sent { account, at });
    }

    /// Messages not acked yet.
    pub(crate) fn open(&self) -> usize {
        self.sent.len()
    }

    /// Wake-ups that reached a push server so far.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes
    }

    /// Takes in what the servers saw.
    pub(crate) fn saw(&mut self, records: &Records, pushes: &[(usize, Vec<Progress>)]) {
        for (server, progress) in pushes {
            for step in progress {
                self.step(*server, step);
            }
        }
        for ack in &records.acks {
            if !ack.is_success() {
                self.refused += 1;
                continue;
            }
            let Some(sent) = self.sent.remove(&ack.guid) else {
                self.unknown += 1;
                continue;
            };
            let pushes = self.pushes.get(&sent.account).map_or(&[][..], Vec::as_slice);
            // A wake-up makes the phone fetch all that Signal holds, so it may also be one from before the delivery.
            let since = ack.delivered_at.min(sent.at + HELD);
            let covers = |p: &&Push| p.received >= since && p.accepted.is_some_and(|at| at <= ack.at);
            if !pushes.iter().any(|p| covers(&p)) {
                self.early += 1;
            }
            if let Some(first) = pushes.iter().find(|p| p.received >= sent.at) {
                self.latencies.push(first.received - sent.at);
            }
        }
        for (device, counters) in &records.devices {
            if counters.max_open > 1 || counters.displaced > 0 {
                self.doubled.insert(device.aci.to_string());
            }
        }
    }

    fn step(&mut self, server: usize, progress: &Progress) {
        match &progress.step {
            Step::Received { path, .. } => {
                let Some(account) = account(path) else { return };
                let pushes = self.pushes.entry(account).or_default();
                self.requests.insert((server, progress.request), (account, pushes.len()));
                pushes.push(Push { received: progress.at, accepted: None });
                self.wakes += 1;
            }
            Step::Answered(status) if (200..300).contains(status) => {
                let push = self.requests.remove(&(server, progress.request));
                if let Some(push) = push.and_then(|(account, n)| self.pushes.get_mut(&account)?.get_mut(n)) {
                    push.accepted = Some(progress.at);
                }
            }
            Step::Answered(_) | Step::Ended => {
                self.requests.remove(&(server, progress.request));
            }
        }
    }

    /// The latencies of the messages acked since the last time. To be called when nothing is on its way.
    pub(crate) fn take_latencies(&mut self) -> Vec<Duration> {
        self.pushes.clear();
        self.requests.clear();
        std::mem::take(&mut self.latencies)
    }

    /// What is wrong so far, one sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut tell = |n: usize, what: &str| {
            if n > 0 {
                problems.push(format!("{n} {what}"));
            }
        };
        tell(self.sent.len(), "urgent messages were never acked");
        tell(self.early, "messages were acked before a wake-up sent after them was accepted");
        tell(self.unknown, "messages were acked that were never sent, or twice");
        tell(self.refused, "messages were answered with something else than 200");
        tell(self.doubled.len(), "accounts had two connections at once");
        problems
    }

    /// Urgent messages sent so far.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }
}

/// Whose endpoint it is.
fn account(path: &str) -> Option<usize> {
    let rest = path.strip_prefix("/push/up")?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use sim::signal::{AckRecord, DeviceAddress};

    use super::*;

    const ACI: &str = "11111111-2222-4333-8444-555555555555";

    /// One message, handed to the daemon at 10 ms and acked at `acked`; pushes as (received, accepted).
    fn judged(pushes: &[(u64, u64)], acked: Option<u64>) -> Vec<String> {
        judged_at(10, pushes, acked)
    }

    fn judged_at(delivered: u64, pushes: &[(u64, u64)], acked: Option<u64>) -> Vec<String> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut check = Checker::default();
        let guid = Guid::nil();
        check.sent(guid, 7, at(9));
        let progress = pushes.iter().zip(0..).flat_map(|((received, accepted), request)| {
            let step = Step::Received { path: "/push/up00007r3".into(), body: Vec::new() };
            [
                Progress { request, at: at(*received), step },
                Progress { request, at: at(*accepted), step: Step::Answered(201) },
            ]
        });
        let progress = progress.collect();
        let device = DeviceAddress::new(ACI, 2);
        let ack = |ms| AckRecord {
            device,
            guid,
            request_id: 1,
            status: 200,
            message: "OK".into(),
            at: at(ms),
            delivered_at: at(delivered),
        };
        let records = Records { acks: acked.map(ack).into_iter().collect(), ..Records::default() };
        check.saw(&records, &[(0, progress)]);
        check.problems()
    }

    #[test]
    fn an_ack_after_an_accepted_wake_up_is_right() {
        assert_eq!(judged(&[(11, 12)], Some(13)), Vec::<String>::new());
    }

    #[test]
    fn a_wake_up_from_before_the_delivery_covers_what_signal_held_long_before() {
        // Delivered at 4 s, sent at 9 ms.
        assert_eq!(judged_at(4000, &[(3100, 3101)], Some(4001)), Vec::<String>::new());
        assert!(judged_at(4000, &[(2900, 2901)], Some(4001))[0].contains("before a wake-up"));
    }

    #[test]
    fn what_is_lost_or_acked_too_early_is_found() {
        assert!(judged(&[(11, 12)], None)[0].contains("never acked"));
        assert!(judged(&[], Some(13))[0].contains("before a wake-up"));
        // Sent before the message arrived; accepted only after the ack.
        assert!(judged(&[(8, 12)], Some(13))[0].contains("before a wake-up"));
        assert!(judged(&[(11, 14)], Some(13))[0].contains("before a wake-up"));
    }
}

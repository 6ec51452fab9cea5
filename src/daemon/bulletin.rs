//! What the service manager shows of the daemon (`systemctl status`), and when it is told anew. Pure: takes the time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::supervisor::Tally;

/// What was told last, and when.
#[derive(Debug)]
pub(super) struct Bulletin {
    web: Option<SocketAddr>,
    pause: Duration,
    told: Option<Tally>,
    /// When counts were last told by themselves; what the start and reloads say does not count.
    at: Option<Instant>,
}

impl Bulletin {
    /// For a web server at `web`. Changes are told at most once per `pause`.
    pub(super) fn new(web: Option<SocketAddr>, pause: Duration) -> Self {
        Self { web, pause, told: None, at: None }
    }

    /// What is to be told now, if anything: the counts have changed, and the last time is long enough ago. What has to
    /// wait is told later, if it is still so then.
    pub(super) fn look(&mut self, tally: Tally, now: Instant) -> Option<String> {
        if self.told == Some(tally) || self.at.is_some_and(|at| now < at + self.pause) {
            return None;
        }
        self.at = Some(now);
        Some(self.tell(tally))
    }

    /// The line for these counts, which is told now in any case.
    pub(super) fn tell(&mut self, tally: Tally) -> String {
        self.told = Some(tally);
        let Tally { accounts, connected, in_trouble } = tally;
        let mut line = counted(accounts);
        if accounts > 0 {
            line += &format!(", {connected} connected");
        }
        if in_trouble > 0 {
            line += &format!(", {in_trouble} in trouble (see `mollysocket status`)");
        }
        match self.web {
            Some(addr) => line + &format!(", listening on http://{addr}/"),
            None => line + ", no web server",
        }
    }
}

/// So many accounts, in words.
pub(super) fn counted(accounts: usize) -> String {
    format!("{accounts} {}", if accounts == 1 { "account" } else { "accounts" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    fn tally(accounts: usize, connected: usize, in_trouble: usize) -> Tally {
        Tally { accounts, connected, in_trouble }
    }

    #[test]
    fn changes_are_told_once_and_at_most_once_a_minute() {
        let (mut bulletin, start) = (Bulletin::new(None, PAUSE), Instant::now());
        assert_eq!(bulletin.tell(tally(3, 0, 0)), "3 accounts, 0 connected, no web server");
        for (seconds, counts, told) in [
            (0, tally(3, 0, 0), None),
            (1, tally(3, 1, 0), Some("3 accounts, 1 connected, no web server")),
            (2, tally(3, 3, 0), None),
            (60, tally(3, 3, 0), None),
            (61, tally(3, 3, 0), Some("3 accounts, 3 connected, no web server")),
            // What passes meanwhile is not told.
            (62, tally(3, 2, 0), None),
            (122, tally(3, 3, 0), None),
            (
                500,
                tally(3, 2, 1),
                Some("3 accounts, 2 connected, 1 in trouble (see `mollysocket status`), no web server"),
            ),
            (501, tally(2, 2, 0), None),
            (560, tally(2, 2, 0), Some("2 accounts, 2 connected, no web server")),
            (9999, tally(2, 2, 0), None),
        ] {
            assert_eq!(bulletin.look(counts, start + Duration::from_secs(seconds)).as_deref(), told, "{seconds} s");
        }
    }

    #[test]
    fn what_a_reload_told_is_not_told_again() {
        let (mut bulletin, start) = (Bulletin::new("127.0.0.1:80".parse().ok(), PAUSE), Instant::now());
        assert_eq!(bulletin.tell(tally(1, 1, 0)), "1 account, 1 connected, listening on http://127.0.0.1:80/");
        assert_eq!(bulletin.look(tally(1, 1, 0), start), None);
    }
}

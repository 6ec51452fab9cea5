//! The keepalive: ask every so often, and know when the peer has been silent for too long. Pure.

use std::time::{Duration, Instant};

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a keepalive with this id.
    Send(u64),
    /// The connection is dead.
    Dead,
    /// Nothing yet.
    Wait,
}

#[derive(Debug)]
enum KeepalivePhase {
    /// The next one is due then.
    Idle { due: Instant },
    /// Sent then, and nothing has come from the peer since.
    Asked { at: Instant },
}

/// The keepalive of one connection. Its clock starts when the connection is open, never before: a slow handshake must
/// not count (reference issue 128).
#[derive(Debug)]
pub struct Keepalive {
    interval: Duration,
    patience: Duration,
    last_id: u64,
    phase: KeepalivePhase,
    /// When the last one was sent, until it is answered.
    sent: Option<Instant>,
}

impl Keepalive {
    /// The first one is due `first` after `now`; then one every `interval`. After one the peer may be silent for `patience`.
    pub fn new(interval: Duration, patience: Duration, first: Duration, now: Instant) -> Self {
        Self { interval, patience, last_id: 0, phase: KeepalivePhase::Idle { due: now + first }, sent: None }
    }

    /// What to do at `now`. After [`Action::Send`] the keepalive counts as sent.
    pub fn poll(&mut self, now: Instant) -> Action {
        match self.phase {
            KeepalivePhase::Idle { due } if now < due => Action::Wait,
            KeepalivePhase::Idle { .. } => {
                self.last_id += 1;
                self.phase = KeepalivePhase::Asked { at: now };
                self.sent = Some(now);
                Action::Send(self.last_id)
            }
            KeepalivePhase::Asked { at } if now < at + self.patience => Action::Wait,
            KeepalivePhase::Asked { .. } => Action::Dead,
        }
    }

    /// When [`Self::poll`] has something to do next.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            KeepalivePhase::Idle { due } => due,
            KeepalivePhase::Asked { at } => at + self.patience,
        }
    }

    /// Something came from the peer, whatever it is: it lives.
    pub fn heard(&mut self) {
        if let KeepalivePhase::Asked { at } = self.phase {
            self.phase = KeepalivePhase::Idle { due: at + self.interval };
        }
    }

    /// An answer arrived. The round trip, if it is the one waited for.
    pub fn answered(&mut self, id: u64, now: Instant) -> Option<Duration> {
        let at = self.sent.filter(|_| id == self.last_id)?;
        self.sent = None;
        Some(now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn asks_at_its_interval_while_answers_come() {
        let start = Instant::now();
        let mut k = Keepalive::new(30 * S, 15 * S, 10 * S, start);
        assert_eq!((k.poll(start), k.deadline()), (Action::Wait, start + 10 * S));
        assert_eq!(k.poll(start + 10 * S), Action::Send(1));
        k.heard();
        assert_eq!((k.answered(1, start + 11 * S), k.answered(1, start + 11 * S)), (Some(S), None));
        assert_eq!((k.poll(start + 39 * S), k.deadline()), (Action::Wait, start + 40 * S));
        assert_eq!(k.poll(start + 40 * S), Action::Send(2));
    }

    #[test]
    fn is_dead_when_nothing_comes_for_too_long_and_not_a_moment_earlier() {
        let start = Instant::now();
        let mut k = Keepalive::new(30 * S, 15 * S, Duration::ZERO, start);
        assert_eq!(k.poll(start), Action::Send(1));
        assert_eq!((k.poll(start + 14 * S), k.deadline()), (Action::Wait, start + 15 * S));
        assert_eq!(k.poll(start + 15 * S), Action::Dead);
    }

    #[test]
    fn answers_to_other_requests_tell_no_round_trip() {
        let start = Instant::now();
        let mut k = Keepalive::new(30 * S, 15 * S, Duration::ZERO, start);
        assert_eq!(k.answered(0, start), None);
        assert_eq!(k.poll(start), Action::Send(1));
        assert_eq!(k.answered(7, start + S), None);
        assert_eq!(k.answered(1, start + 2 * S), Some(2 * S), "the right one may still come");
    }

    #[test]
    fn a_peer_that_says_anything_lives_and_is_asked_all_the_same() {
        let start = Instant::now();
        let mut k = Keepalive::new(30 * S, 15 * S, Duration::ZERO, start);
        for round in 0..100 {
            let at = start + round * 30 * S;
            assert_eq!(k.poll(at), Action::Send(u64::from(round) + 1));
            assert_eq!(k.poll(at + 14 * S), Action::Wait);
            k.heard();
            assert_eq!((k.poll(at + 29 * S), k.deadline()), (Action::Wait, at + 30 * S));
        }
        let last = start + 100 * 30 * S;
        assert!(matches!(k.poll(last), Action::Send(_)));
        assert_eq!(k.poll(last + 15 * S), Action::Dead);
    }
}

use super::*;

const S: Duration = Duration::from_secs(1);

struct Bench {
    notifier: Notifier,
    now: Instant,
    rng: Rng,
}

impl Bench {
    fn new() -> Self {
        Self { notifier: Notifier::new(&Timings::default()), now: Instant::now(), rng: Rng::with_seed(7) }
    }

    fn next(&self) -> Next {
        self.notifier.next(self.now)
    }

    /// Sends what is due and reports how it ended.
    fn push(&mut self, outcome: Outcome) -> PushEffect {
        let Next::Send(kind) = self.next() else { panic!("nothing is due: {:?}", self.next()) };
        self.notifier.started(kind);
        self.notifier.finished(&outcome, self.now, &mut self.rng)
    }

    /// Goes to the moment something is due.
    fn advance(&mut self) -> Duration {
        let Next::Wait(at) = self.next() else { panic!("nothing to wait for: {:?}", self.next()) };
        let waited = at - self.now;
        self.now = at;
        waited
    }

    fn enqueue(&mut self) -> WakeSeq {
        self.notifier.enqueue(None, self.now)
    }
}

#[test]
fn the_first_wake_up_goes_out_at_once() {
    let mut b = Bench::new();
    assert_eq!(b.next(), Next::Idle);
    b.enqueue();
    assert_eq!(b.next(), Next::Send(PushKind::Wake));
}

#[test]
fn only_an_accepted_wake_up_sent_after_the_envelope_covers_it() {
    let mut b = Bench::new();
    let first = b.enqueue();
    b.notifier.started(PushKind::Wake);
    let during = b.enqueue();
    assert!(b.notifier.accepted() < first, "nothing is accepted yet");
    b.notifier.finished(&Outcome::Accepted, b.now, &mut b.rng);
    assert_eq!(b.notifier.accepted(), first);
    assert!(b.notifier.accepted() < during && b.notifier.owes(), "an envelope that came meanwhile is still owed");
    b.advance();
    b.push(Outcome::Accepted);
    assert_eq!(b.notifier.accepted(), during);
    assert!(!b.notifier.owes());
}

#[test]
fn failures_cover_nothing() {
    for outcome in [Outcome::Gone, Outcome::Unauthorized, Outcome::Limited(None), Outcome::Failed, Outcome::Rejected] {
        let mut b = Bench::new();
        let seq = b.enqueue();
        b.push(outcome.clone());
        assert!(b.notifier.accepted() < seq && b.notifier.owes(), "{outcome:?}");
    }
}

#[test]
fn a_burst_costs_two_wake_ups() {
    let mut b = Bench::new();
    b.enqueue();
    b.push(Outcome::Accepted);
    for _ in 0..1000 {
        b.enqueue();
    }
    assert_eq!(b.advance(), S);
    b.push(Outcome::Accepted);
    assert_eq!(b.next(), Next::Idle);
}

#[test]
fn quiet_time_doubles_to_ten_seconds_while_trailing_wake_ups_come_and_falls_back_after_thirty() {
    let mut b = Bench::new();
    b.enqueue();
    b.push(Outcome::Accepted);
    for expected in [1, 2, 4, 8, 10, 10] {
        b.enqueue();
        assert_eq!(b.advance(), expected * S);
        b.push(Outcome::Accepted);
    }
    b.now += 29 * S;
    b.enqueue();
    b.push(Outcome::Accepted);
    b.enqueue();
    assert_eq!(b.advance(), 10 * S, "thirty seconds without a trailing one have not passed");
    b.push(Outcome::Accepted);
    b.now += 31 * S;
    b.enqueue();
    b.push(Outcome::Accepted);
    b.enqueue();
    assert_eq!(b.advance(), S);
}

#[test]
fn failed_pushes_are_retried_from_one_second_doubling_to_five_minutes_whatever_arrives_meanwhile() {
    let mut b = Bench::new();
    b.enqueue();
    for ceiling in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        b.push(Outcome::Failed);
        b.enqueue();
        let waited = b.advance();
        assert!(waited <= ceiling * S && waited >= ceiling * S * 3 / 4, "{waited:?} of {ceiling}");
    }
    b.push(Outcome::Accepted);
    assert!(!b.notifier.owes(), "one wake-up covers all that waited");
    b.now += 2 * S;
    b.enqueue();
    b.push(Outcome::Failed);
    assert!(b.advance() <= S, "success starts the clock again");
}

#[test]
fn refused_pushes_are_retried_from_a_minute_doubling_to_an_hour() {
    let mut b = Bench::new();
    b.enqueue();
    for ceiling in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        assert!(matches!(b.push(Outcome::Unauthorized), PushEffect::Retry(_)));
        let waited = b.advance();
        assert!(waited <= ceiling * S && waited >= ceiling * S * 3 / 4, "{waited:?} of {ceiling}");
    }
}

#[test]
fn retry_after_is_honoured_within_one_second_and_one_hour() {
    for (said, kept) in [(0, 1), (1, 1), (17, 17), (3600, 3600), (86_400, 3600)] {
        let mut b = Bench::new();
        b.enqueue();
        assert!(matches!(b.push(Outcome::Limited(Some(said * S))), PushEffect::Retry(_)));
        b.enqueue();
        b.notifier.enqueue_test();
        let waited = b.advance();
        assert!(waited >= kept * S && waited <= (kept * S).mul_f64(1.1).min(3600 * S), "{waited:?} of {said}");
    }
}

#[test]
fn accounts_that_were_limited_together_do_not_return_together() {
    let mut rng = Rng::with_seed(3);
    let mut moments: Vec<_> = (0..40)
        .map(|_| {
            let mut b = Bench { rng: Rng::with_seed(rng.u64(..)), ..Bench::new() };
            b.enqueue();
            b.push(Outcome::Limited(Some(60 * S)));
            b.advance()
        })
        .collect();
    moments.sort();
    assert!(moments[39] - moments[0] > 4 * S, "{moments:?}");
}

#[test]
fn a_limit_lasts_until_a_push_is_accepted_whatever_the_endpoint() {
    for failure in [Outcome::Failed, Outcome::Unauthorized, Outcome::Rejected] {
        let mut b = Bench::new();
        b.enqueue();
        b.push(Outcome::Limited(Some(60 * S)));
        b.notifier.endpoint_changed();
        assert!(b.advance() >= 60 * S, "a new endpoint is no way around it");
        b.push(failure);
        b.notifier.endpoint_changed();
        assert!(b.notifier.is_limited());
        b.push(Outcome::Accepted);
        assert!(!b.notifier.is_limited());
    }
}

#[test]
fn limits_without_retry_after_start_at_five_seconds() {
    let mut b = Bench::new();
    b.enqueue();
    for ceiling in [5, 10, 20, 40] {
        b.push(Outcome::Limited(None));
        let waited = b.advance();
        assert!(waited <= ceiling * S && waited >= ceiling * S * 3 / 4);
    }
}

#[test]
fn rejected_requests_are_retried_hourly() {
    let mut b = Bench::new();
    b.enqueue();
    for _ in 0..3 {
        b.push(Outcome::Rejected);
        assert_eq!(b.advance(), 3600 * S);
    }
}

#[test]
fn only_four_gone_answers_over_half_an_hour_suspend() {
    let mut b = Bench::new();
    let seq = b.enqueue();
    let start = b.now;
    for ceiling in [60, 120, 240, 480, 600] {
        assert!(matches!(b.push(Outcome::Gone), PushEffect::Retry(_)), "{:?}", b.now - start);
        let waited = b.advance();
        assert!(waited <= ceiling * S && waited >= ceiling * S * 3 / 4, "{waited:?} of {ceiling}");
    }
    // Other failures between are no sign of life.
    b.push(Outcome::Failed);
    b.advance();
    b.now = start + 1799 * S;
    assert!(matches!(b.push(Outcome::Gone), PushEffect::Retry(_)), "not for half an hour yet");
    b.advance();
    assert_eq!(b.push(Outcome::Gone), PushEffect::Gone);
    assert!(b.notifier.accepted() < seq && b.notifier.owes(), "it stays owed");
}

#[test]
fn few_gone_answers_prove_nothing_however_far_apart_nor_many_of_a_short_time() {
    let mut b = Bench::new();
    b.enqueue();
    for _ in 0..3 {
        assert!(matches!(b.push(Outcome::Gone), PushEffect::Retry(_)));
        b.now += 3600 * S;
    }
    let mut b = Bench::new();
    b.enqueue();
    for _ in 0..100 {
        assert!(matches!(b.push(Outcome::Gone), PushEffect::Retry(at) if at > b.now));
        b.notifier.endpoint_changed();
    }
    // Nor do tests, of which nothing tries again.
    let mut b = Bench::new();
    for _ in 0..10 {
        b.notifier.enqueue_test();
        assert_eq!(b.push(Outcome::Gone), PushEffect::TestFailed);
        b.now += 3600 * S;
    }
}

#[test]
fn an_accepted_push_between_gone_answers_starts_the_count_again() {
    let mut b = Bench::new();
    for _ in 0..20 {
        b.enqueue();
        for _ in 0..3 {
            assert!(matches!(b.push(Outcome::Gone), PushEffect::Retry(_)));
            b.now += 600 * S;
        }
        b.push(Outcome::Accepted);
        b.now += 600 * S;
    }
}

#[test]
fn a_gone_endpoint_suspends_and_the_debt_goes_to_the_next_one_at_once() {
    let mut b = Bench::new();
    b.enqueue();
    for _ in 0..3 {
        b.push(Outcome::Gone);
        b.now += 600 * S;
    }
    assert_eq!(b.push(Outcome::Gone), PushEffect::Gone);
    b.enqueue();
    b.notifier.enqueue_test();
    assert_eq!(b.next(), Next::Idle);
    b.notifier.endpoint_changed();
    assert_eq!(b.next(), Next::Send(PushKind::Wake));
}

#[test]
fn an_endpoint_change_clears_waits_and_takes_back_what_is_on_its_way() {
    let mut b = Bench::new();
    let seq = b.enqueue();
    b.push(Outcome::Failed);
    b.notifier.endpoint_changed();
    assert_eq!(b.next(), Next::Send(PushKind::Wake));
    b.notifier.started(PushKind::Wake);
    b.notifier.endpoint_changed();
    assert!(b.notifier.accepted() < seq);
    assert_eq!(b.next(), Next::Send(PushKind::Wake));
}

#[test]
fn a_test_is_sent_once_beside_wake_ups_and_acks_nothing() {
    let mut b = Bench::new();
    b.notifier.enqueue_test();
    b.notifier.enqueue_test();
    let seq = b.enqueue();
    assert_eq!(b.next(), Next::Send(PushKind::Wake), "wake-ups first");
    b.push(Outcome::Failed);
    assert_eq!(b.next(), Next::Send(PushKind::Test), "a failed wake-up does not hold back a test");
    b.push(Outcome::Accepted);
    assert!(b.notifier.accepted() < seq, "a locked phone ignores tests");
    assert_eq!(b.next(), Next::Send(PushKind::Wake), "an accepted test ends the waiting");
    b.push(Outcome::Accepted);
    assert_eq!(b.next(), Next::Idle);
}

#[test]
fn latency_counts_from_the_oldest_envelope_through_all_retries() {
    let mut b = Bench::new();
    let start = b.now;
    b.enqueue();
    b.push(Outcome::Failed);
    b.now += S;
    b.enqueue();
    b.now += 9 * S;
    assert_eq!(b.push(Outcome::Accepted), PushEffect::Accepted(Some(b.now - start)));
}

#[test]
fn a_backlog_that_arrives_during_its_wake_up_needs_no_second_one() {
    let at = |s: u64| Some(ServerTime(s * 1000));
    for (arrives, fetched) in [(at(50), true), (at(99), true), (at(100), false), (at(150), false), (None, false)] {
        let mut b = Bench::new();
        b.notifier.enqueue(at(10), b.now);
        b.notifier.started(PushKind::Wake);
        let seq = b.notifier.enqueue(at(20), b.now).max(b.notifier.enqueue(arrives, b.now));
        b.notifier.finished(&Outcome::Accepted, b.now, &mut b.rng);
        b.notifier.mark_fetched(ServerTime(100_000));
        assert_eq!(b.notifier.accepted() >= seq, fetched, "{arrives:?}");
        assert_eq!(b.next() == Next::Idle, fetched);
    }
}

#[test]
fn what_a_failed_wake_up_should_have_covered_still_counts_as_new() {
    let mut b = Bench::new();
    b.notifier.enqueue(Some(ServerTime(200)), b.now);
    b.push(Outcome::Failed);
    b.notifier.enqueue(Some(ServerTime(10)), b.now);
    b.notifier.mark_fetched(ServerTime(100));
    assert!(b.notifier.owes());
}

#[test]
fn a_new_endpoint_owes_the_old_one_s_quiet_time_nothing() {
    let mut b = Bench::new();
    b.enqueue();
    b.push(Outcome::Accepted);
    b.enqueue();
    assert!(matches!(b.next(), Next::Wait(_)));
    b.notifier.endpoint_changed();
    assert_eq!(b.next(), Next::Send(PushKind::Wake));
}

#[test]
fn a_failed_test_is_not_tried_again() {
    for outcome in [Outcome::Failed, Outcome::Unauthorized, Outcome::Limited(None), Outcome::Rejected] {
        let mut b = Bench::new();
        b.notifier.enqueue_test();
        assert_eq!(b.push(outcome), PushEffect::TestFailed);
        assert_eq!(b.next(), Next::Idle);
    }
}

#[test]
fn what_is_told_of_the_next_attempt_is_when_it_happens() {
    for outcome in [Outcome::Failed, Outcome::Gone, Outcome::Unauthorized, Outcome::Rejected, Outcome::Limited(None)] {
        let mut b = Bench::new();
        b.enqueue();
        let PushEffect::Retry(at) = b.push(outcome.clone()) else { panic!("{outcome:?}") };
        assert_eq!(b.next(), Next::Wait(at), "{outcome:?}");
    }
}

#[test]
fn a_push_that_is_given_up_is_owed_again_as_what_it_was() {
    for kind in [PushKind::Wake, PushKind::Test] {
        let mut b = Bench::new();
        match kind {
            PushKind::Wake => {
                b.enqueue();
            }
            PushKind::Test => b.notifier.enqueue_test(),
        }
        assert!(!b.notifier.in_flight());
        b.notifier.started(kind);
        assert!(b.notifier.in_flight() && b.next() == Next::Idle);
        b.notifier.abandoned();
        assert!(!b.notifier.in_flight());
        assert_eq!(b.next(), Next::Send(kind));
        b.push(Outcome::Accepted);
        assert_eq!(b.next(), Next::Idle, "nothing else came of it");
    }
}

use super::*;

const A: &str = "https://a.example";
const B: &str = "https://b.example";
const S: Duration = Duration::from_secs(1);

struct Lab {
    origins: Origins,
    start: Instant,
    rng: Rng,
}

impl Lab {
    fn new() -> Self {
        let origins = Origins::new(&Timings::default(), &Limits::default());
        Self { origins, start: Instant::now(), rng: Rng::with_seed(1) }
    }

    fn limited(&mut self, origin: &str, endpoint: u32, after: Option<u32>, at: Duration) -> Change {
        let after = after.map(|seconds| S * seconds);
        self.origins.limited(origin, &format!("{origin}/{endpoint}"), after, self.start + at, &mut self.rng)
    }

    fn accepted(&mut self, origin: &str, at: Duration) -> Change {
        self.origins.accepted(origin, self.start + at)
    }

    /// How long after `at` there is a turn; zero took it.
    fn turn(&mut self, origin: &str, at: Duration) -> Duration {
        let now = self.start + at;
        self.origins.turn(origin, now).map_or(Duration::ZERO, |due| due - now)
    }

    /// Slowed down at second 0, with this `Retry-After`.
    fn slowed(after: Option<u32>) -> Self {
        let mut lab = Self::new();
        for endpoint in 0..3 {
            assert!(lab.origins.line(A).is_none());
            lab.limited(A, endpoint, after, Duration::ZERO);
        }
        assert!(lab.origins.line(A).is_some());
        lab
    }
}

#[test]
fn three_endpoints_limited_within_a_minute_slow_their_origin_and_no_other() {
    let mut lab = Lab::new();
    assert_eq!(lab.limited(A, 1, Some(30), Duration::ZERO), Change::Nothing);
    assert_eq!(lab.limited(A, 2, Some(30), S * 10), Change::Nothing);
    assert_eq!(lab.turn(A, S * 11), Duration::ZERO, "two phones may have reasons of their own");
    assert_eq!(lab.limited(A, 3, Some(30), S * 20), Change::Slowed);
    assert_eq!(lab.turn(A, S * 20), S * 30, "the server's Retry-After");
    assert_eq!(lab.turn(B, S * 20), Duration::ZERO);
    assert!(lab.origins.line(B).is_none() && lab.origins.held_until(B, lab.start).is_none());
}

#[test]
fn one_phone_slow_answers_or_a_success_between_do_not_slow_anybody() {
    let mut lab = Lab::new();
    for second in 0..20 {
        assert_eq!(lab.limited(A, 7, None, S * second), Change::Nothing, "one phone");
    }
    for (endpoint, second) in [(1, 100), (2, 130), (3, 161), (4, 222), (5, 240)] {
        assert_eq!(lab.limited(A, endpoint, None, S * second), Change::Nothing, "never three in a minute");
    }
    for endpoint in 0..20 {
        lab.limited(A, endpoint, None, S * 500);
        if endpoint % 2 == 1 {
            lab.accepted(A, S * 500);
        }
    }
    assert_eq!(lab.turn(A, S * 500), Duration::ZERO);
}

#[test]
fn after_the_pause_one_goes_at_a_time_and_successes_release_step_by_step() {
    let mut lab = Lab::slowed(Some(10));
    let mut at = S * 10;
    assert_eq!(lab.turn(A, at - Duration::from_millis(1)), Duration::from_millis(1));
    assert_eq!(lab.turn(A, at), Duration::ZERO);
    let mut gaps = Vec::new();
    loop {
        let gap = lab.turn(A, at);
        let change = lab.accepted(A, at);
        if change == Change::Released {
            break;
        }
        gaps.push(gap);
        at += lab.turn(A, at);
        assert_eq!(lab.turn(A, at), Duration::ZERO);
    }
    let millis: Vec<_> = gaps.iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [1000, 500, 250, 125]);
    for _ in 0..100 {
        assert_eq!(lab.turn(A, at), Duration::ZERO);
    }
    assert!(lab.origins.known.is_empty());
}

#[test]
fn being_limited_again_pauses_again_and_spaces_out_to_a_bound() {
    let mut lab = Lab::slowed(None);
    let first = lab.turn(A, Duration::ZERO);
    assert!(first > S && first <= S * 60, "{first:?}");
    // Late answers to what was under way change nothing.
    assert_eq!(lab.limited(A, 9, Some(60), first / 2), Change::Nothing);
    assert_eq!(lab.turn(A, Duration::ZERO), first);
    let mut at = first;
    let mut spacings = Vec::new();
    for _ in 0..8 {
        assert_eq!(lab.turn(A, at), Duration::ZERO);
        lab.limited(A, 1, Some(5), at);
        assert_eq!(lab.turn(A, at).max(S * 5), lab.turn(A, at), "never before Retry-After");
        at += lab.turn(A, at);
        assert_eq!(lab.turn(A, at), Duration::ZERO);
        spacings.push(lab.turn(A, at).as_secs());
        at += lab.turn(A, at);
    }
    assert_eq!(spacings, [2, 4, 8, 10, 10, 10, 10, 10]);
}

#[test]
fn a_server_that_asks_for_an_hour_is_asked_again_after_a_minute() {
    for (said, held) in [(Some(3600), 60), (Some(60), 60), (Some(0), 1)] {
        assert_eq!(Lab::slowed(said).turn(A, Duration::ZERO), S * held, "{said:?}");
    }
}

#[test]
fn failures_of_other_kinds_do_not_block_the_line_and_a_quiet_minute_ends_it() {
    let mut lab = Lab::slowed(Some(1));
    // A turn whose push failed is never reported here: the next one comes all the same.
    for n in 1..10 {
        assert_eq!(lab.turn(A, S * n), Duration::ZERO);
        assert_eq!(lab.turn(A, S * n), S);
    }
    assert_eq!(lab.turn(A, S * 71), Duration::ZERO);
    assert_eq!(lab.turn(A, S * 71), Duration::ZERO, "forgotten");
}

#[test]
fn memory_is_bounded_and_old_origins_make_room() {
    let mut lab = Lab::new();
    for n in 0..5000 {
        lab.limited(&format!("https://{n}.example"), 1, None, Duration::ZERO);
    }
    assert_eq!(lab.origins.known.len(), MOST);
    for endpoint in 0..100 {
        lab.limited("https://0.example", endpoint, None, Duration::ZERO);
    }
    assert!(lab.origins.known["https://0.example"].limited.len() < 3);
    assert_eq!(lab.limited(A, 1, None, S * 61), Change::Nothing);
    assert!(lab.origins.known.contains_key(A));
}

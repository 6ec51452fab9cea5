//! The checker must find what is planted: else the proof proves nothing.
#![allow(clippy::unwrap_used)]

use super::*;

/// Seconds after some start.
struct Clock(Instant);

impl Clock {
    fn at(&self, secs: f64) -> Instant {
        self.0 + Duration::from_secs_f64(secs)
    }
}

fn guid(n: u128) -> Guid {
    Guid::from_u128(n)
}

fn world() -> (Checker, Clock) {
    (Checker::new(2), Clock(Instant::now()))
}

/// A push of account 0, accepted.
fn push(checker: &mut Checker, number: u64, wake: bool, received: Instant, answered: Instant) {
    checker.push_received((0, number), 0, wake, None, received);
    checker.push_answered((0, number), 201, answered);
    checker.push_ended((0, number), answered);
}

#[track_caller]
fn found(checker: Checker, what: &str) {
    let problems = checker.finish();
    assert!(problems.len() == 1 && problems[0].contains(what), "{what}: {problems:?}");
}

#[test]
fn a_run_in_order_has_no_problems() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    c.sent(0, guid(2), Needs::Nothing, t.at(0.0));
    c.sent(0, guid(3), Needs::WakeUnread, t.at(0.0));
    c.acked(0, guid(2), t.at(0.1), t.at(0.2));
    push(&mut c, 1, true, t.at(0.3), t.at(0.4));
    c.acked(0, guid(1), t.at(0.1), t.at(0.5));
    c.acked(0, guid(3), t.at(0.1), t.at(0.5));
    c.sockets(0, 1, false);
    assert!(c.is_settled(0) && c.owed() == 0);
    assert_eq!(c.finish(), Vec::<String>::new());
}

#[test]
fn an_ack_without_a_wake_up_is_early() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    c.acked(0, guid(1), t.at(0.1), t.at(0.2));
    found(c, "acked early");
}

#[test]
fn an_ack_before_the_answer_is_early() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    push(&mut c, 1, true, t.at(0.2), t.at(0.4));
    c.acked(0, guid(1), t.at(0.1), t.at(0.3));
    found(c, "acked early");
}

#[test]
fn a_wake_up_sent_before_the_delivery_does_not_do() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    push(&mut c, 1, true, t.at(0.2), t.at(0.4));
    c.acked(0, guid(1), t.at(0.3), t.at(0.5));
    found(c, "acked early");
}

#[test]
fn nor_does_a_refused_one_a_test_or_another_accounts() {
    for plant in [
        |c: &mut Checker, t: &Clock| {
            c.push_received((0, 1), 0, true, None, t.at(0.2));
            c.push_answered((0, 1), 503, t.at(0.3));
        },
        |c: &mut Checker, t: &Clock| push(c, 1, false, t.at(0.2), t.at(0.3)),
        |c: &mut Checker, t: &Clock| {
            c.push_received((0, 1), 1, true, None, t.at(0.2));
            c.push_answered((0, 1), 201, t.at(0.3));
        },
        // Received, and not answered at all.
        |c: &mut Checker, t: &Clock| c.push_received((0, 1), 0, true, None, t.at(0.2)),
    ] {
        let (mut c, t) = world();
        c.sent(0, guid(1), Needs::Wake, t.at(0.0));
        plant(&mut c, &t);
        c.acked(0, guid(1), t.at(0.1), t.at(0.5));
        found(c, "acked early");
    }
}

#[test]
fn signals_clock_covers_beyond_the_margin_and_only_what_it_can_date() {
    for (needs, received, fits) in
        [(Needs::Wake, 3.2, true), (Needs::Wake, 2.8, false), (Needs::WakeUnread, 3.2, false)]
    {
        let (mut c, t) = world();
        c.sent(0, guid(1), needs, t.at(0.0));
        push(&mut c, 1, true, t.at(received), t.at(3.3));
        // Delivered again after the wake-up.
        c.acked(0, guid(1), t.at(5.0), t.at(5.1));
        let problems = c.finish();
        assert_eq!(problems.is_empty(), fits, "{needs:?} {received}: {problems:?}");
    }
}

#[test]
fn pruning_forgets_nothing_that_matters() {
    let (mut c, t) = world();
    push(&mut c, 1, true, t.at(0.1), t.at(0.2));
    c.sent(0, guid(1), Needs::Wake, t.at(1.0));
    push(&mut c, 2, true, t.at(1.5), t.at(1.6));
    c.prune();
    assert_eq!(c.accounts[0].wakes.len(), 1);
    c.acked(0, guid(1), t.at(1.2), t.at(1.7));
    c.prune();
    assert!(c.accounts[0].wakes.is_empty());
    assert_eq!(c.finish(), Vec::<String>::new());
}

#[test]
fn a_lost_wake_up_is_found() {
    let (mut c, t) = world();
    push(&mut c, 1, true, t.at(0.1), t.at(0.2));
    c.sent(0, guid(1), Needs::Wake, t.at(1.0));
    assert_eq!(c.unwoken_since(0), Some(t.at(1.0)));
    let problems = c.finish();
    assert!(problems[0].contains("wake-ups were lost") && problems[1].contains("never acked"), "{problems:?}");
}

#[test]
fn a_message_that_is_never_acked_is_found() {
    for (needs, what) in [(Needs::Wake, "never acked"), (Needs::Nothing, "never acked")] {
        let (mut c, t) = world();
        c.sent(0, guid(1), needs, t.at(0.0));
        push(&mut c, 1, true, t.at(0.1), t.at(0.2));
        found(c, what);
    }
}

#[test]
fn a_second_ack_is_found() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Nothing, t.at(0.0));
    c.acked(0, guid(1), t.at(0.1), t.at(0.2));
    c.acked(0, guid(1), t.at(0.1), t.at(0.3));
    found(c, "acked again");
}

#[test]
fn an_unlinked_device_may_leave_messages_but_not_ack_them_early() {
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    c.unlinked(0);
    assert!(c.is_settled(0));
    c.acked(0, guid(1), t.at(0.1), t.at(0.2));
    found(c, "acked early");
    let (mut c, t) = world();
    c.sent(0, guid(1), Needs::Wake, t.at(0.0));
    c.unlinked(0);
    c.sent(0, guid(2), Needs::Nothing, t.at(1.0));
    found(c, "1 messages were never acked");
}

#[test]
fn two_sockets_are_found_unless_signal_could_not_see_the_end_of_one() {
    let (mut c, _) = world();
    c.sockets(0, 2, true);
    c.sockets(1, 2, false);
    found(c, "account 1: 2 message sockets");
}

#[test]
fn two_pushes_side_by_side_are_found() {
    let (mut c, t) = world();
    c.push_received((0, 1), 0, true, None, t.at(0.0));
    c.push_received((1, 1), 0, true, None, t.at(0.5));
    c.push_ended((0, 1), t.at(4.0));
    c.push_ended((1, 1), t.at(4.0));
    found(c, "side by side for 3.5s");
    // One that was given up, noticed a little late.
    let (mut c, t) = world();
    c.push_received((0, 1), 0, true, None, t.at(0.0));
    c.push_received((0, 2), 0, true, None, t.at(3.5));
    c.push_ended((0, 1), t.at(4.0));
    c.push_ended((0, 2), t.at(6.0));
    // Of another account.
    c.push_received((0, 3), 1, true, None, t.at(3.5));
    c.push_ended((0, 3), t.at(6.0));
    assert_eq!(c.finish(), Vec::<String>::new());
}

#[test]
fn a_wake_up_to_an_endpoint_left_long_ago_is_found() {
    let (mut c, t) = world();
    c.push_received((0, 1), 0, true, Some(t.at(0.0)), t.at(5.0));
    c.push_answered((0, 1), 201, t.at(5.0));
    c.push_received((0, 2), 0, true, Some(t.at(0.0)), t.at(20.0));
    c.push_answered((0, 2), 201, t.at(20.0));
    found(c, "had left 20.0s before");
}

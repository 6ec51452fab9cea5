use super::*;
use crate::net::{DialError, Stage};

const S: Duration = Duration::from_secs(1);

fn bench(timings: &Timings, agents: usize) -> (Policy<'_>, Rng) {
    (Policy::new(timings, agents), Rng::with_seed(3))
}

fn refusal(status: u16, by_signal: bool, retry_after: Option<Duration>) -> ConnectError {
    ConnectError::Refused(UpgradeRefusal { status, by_signal, retry_after })
}

fn retry(step: Step) -> Retry {
    match step {
        Step::Retry(retry) => retry,
        Step::Unlinked => panic!("unlinked"),
    }
}

/// Refused by Signal: the waits between until the account ends.
fn refused_until_unlinked(p: &mut Policy<'_>, rng: &mut Rng) -> Vec<Duration> {
    let mut waits = Vec::new();
    loop {
        match p.failed(&refusal(403, true, None), rng) {
            Step::Unlinked => return waits,
            Step::Retry(retry) => {
                assert!(retry.state == State::Waiting && !retry.ends_with_outage);
                waits.push(retry.after);
            }
        }
    }
}

#[test]
fn only_three_403s_of_signal_over_a_minute_end_the_account() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    let waits = refused_until_unlinked(&mut p, &mut rng);
    assert_eq!(waits.len(), 2);
    let over: Duration = waits.iter().sum();
    assert!(over >= 60 * S && over <= 90 * S, "{waits:?}");
}

#[test]
fn the_403s_must_follow_each_other() {
    for between in [None, Some(refusal(500, true, None)), Some(refusal(403, false, None))] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        for _ in 0..2 {
            retry(p.failed(&refusal(403, true, None), &mut rng));
        }
        match &between {
            None => p.accepted(),
            Some(other) => drop(retry(p.failed(other, &mut rng))),
        }
        assert_eq!(refused_until_unlinked(&mut p, &mut rng).len(), 2, "{between:?}");
    }
}

#[test]
fn a_network_failure_does_not_forget_the_403s() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    retry(p.failed(&refusal(403, true, None), &mut rng));
    retry(p.failed(&ConnectError::Timeout("upgrade"), &mut rng));
    assert_eq!(refused_until_unlinked(&mut p, &mut rng).len(), 1);
}

#[test]
fn a_403_of_a_proxy_and_all_other_answers_only_back_off() {
    for error in [
        refusal(403, false, None),
        refusal(401, true, None),
        refusal(429, true, None),
        refusal(500, true, None),
        refusal(502, false, None),
        refusal(503, false, None),
        refusal(508, true, None),
        refusal(302, false, None),
        ConnectError::Dial(DialError { stage: Stage::Dns, reason: "x".into() }),
        ConnectError::Dial(DialError { stage: Stage::Tcp, reason: "x".into() }),
        ConnectError::Dial(DialError { stage: Stage::Tls, reason: "x".into() }),
        ConnectError::Timeout("upgrade"),
        ConnectError::Handshake("x".into()),
    ] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        for step in 0..20 {
            let r = retry(p.failed(&error, &mut rng));
            let ceiling = (S * 2u32.pow(step.min(10))).min(60 * S);
            assert!(r.after <= ceiling && r.state == State::Waiting, "{error:?}: {:?} of {ceiling:?}", r.after);
        }
    }
}

#[test]
fn waits_after_404_grow_to_ten_minutes() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    let longest = (0..60).map(|_| retry(p.failed(&refusal(404, true, None), &mut rng)).after).max().unwrap();
    assert!(longest > 300 * S && longest <= 600 * S, "{longest:?}");
}

#[test]
fn retry_after_wins_within_a_second() {
    for status in [429, 503, 500, 403, 508] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        let r = retry(p.failed(&refusal(status, false, Some(777 * S)), &mut rng));
        assert!(r.after >= 777 * S && r.after <= 778 * S, "{status}: {:?}", r.after);
        assert!(!r.ends_with_outage);
    }
}

#[test]
fn a_retry_after_of_nothing_starts_no_storm() {
    for error in [refusal(429, true, Some(Duration::ZERO)), refusal(503, false, Some(Duration::ZERO))] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        let waits: Vec<_> = (0..40).map(|_| retry(p.failed(&error, &mut rng)).after).collect();
        assert!(waits.iter().all(|w| *w >= S), "{waits:?}");
        assert!(waits.iter().any(|w| *w > 20 * S), "it must grow: {waits:?}");
    }
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    assert!(retry(p.failed(&refusal(499, false, Some(Duration::ZERO)), &mut rng)).after > 3000 * S);
}

#[test]
fn an_absurd_retry_after_silences_no_account_for_ever() {
    for status in [429, 503, 499] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        let r = retry(p.failed(&refusal(status, false, Some(crate::retry_after::LONGEST)), &mut rng));
        assert!(r.after >= 24 * 3600 * S && r.after <= 24 * 3600 * S + S, "{status}: {:?}", r.after);
    }
}

#[test]
fn a_499_tries_each_user_agent_then_waits_an_hour_as_refused() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 3);
    for next in [1, 2] {
        let r = retry(p.failed(&refusal(499, false, None), &mut rng));
        assert!(r.after <= S && r.state == State::Waiting);
        assert_eq!(p.agent(), next);
    }
    for _ in 0..2 {
        let r = retry(p.failed(&refusal(499, false, None), &mut rng));
        assert_eq!((r.state, p.agent()), (State::Refused, 0));
        assert!(r.after >= 3200 * S && r.after <= 4000 * S);
        retry(p.failed(&refusal(499, false, None), &mut rng));
        retry(p.failed(&refusal(499, false, None), &mut rng));
    }
}

#[test]
fn an_accepted_user_agent_is_kept() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 2);
    retry(p.failed(&refusal(499, false, None), &mut rng));
    p.accepted();
    retry(p.ended(&Disconnect::Lost("x".into()), 90 * S, &mut rng));
    assert_eq!(p.agent(), 1);
}

#[test]
fn a_499_never_unlinks() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    for _ in 0..10 {
        assert_eq!(retry(p.failed(&refusal(499, true, None), &mut rng)).state, State::Refused);
    }
}

#[test]
fn displacement_backs_off_from_a_minute_to_an_hour_and_only_an_hour_of_peace_resets_it() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    let elsewhere = Disconnect::Closed(4409, "Connected elsewhere".into());
    for ceiling in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        let r = retry(p.ended(&elsewhere, 120 * S, &mut rng));
        assert_eq!(r.state, State::Displaced);
        assert!(r.after <= ceiling * S && r.after >= ceiling * S * 3 / 4, "{:?} of {ceiling}", r.after);
    }
    assert!(retry(p.ended(&elsewhere, 3599 * S, &mut rng)).after > 2000 * S);
    assert!(retry(p.ended(&elsewhere, 3600 * S, &mut rng)).after <= 60 * S);
}

#[test]
fn a_request_for_a_new_login_is_followed_within_seconds() {
    for _ in 0..50 {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        let mut asked = |connected| retry(p.ended(&Disconnect::Closed(4401, String::new()), connected, &mut rng));
        let first = asked(S);
        assert!(first.after <= 3 * S && first.state == State::Waiting);
        // A server that asks each time is not stormed, and one that asks again after an hour is heard at once.
        let longest = (0..50).map(|_| asked(S).after).max().unwrap();
        assert!(longest > 20 * S && longest <= 60 * S, "{longest:?}");
        assert!(asked(3600 * S).after <= 3 * S);
    }
}

#[test]
fn every_other_end_backs_off_and_a_minute_connected_resets_it() {
    for ended in [
        Disconnect::Closed(1000, String::new()),
        Disconnect::Closed(1001, String::new()),
        Disconnect::Closed(1011, String::new()),
        Disconnect::Lost("eof".into()),
        Disconnect::KeepaliveTimeout,
        Disconnect::WriteTimeout,
        Disconnect::TooLarge,
        Disconnect::Protocol("x".into()),
    ] {
        let timings = Timings::default();
        let (mut p, mut rng) = bench(&timings, 1);
        let longest = (0..50).map(|_| retry(p.ended(&ended, 10 * S, &mut rng)).after).max().unwrap();
        assert!(longest > 20 * S && longest <= 60 * S, "{ended:?} {longest:?}");
        assert!(retry(p.ended(&ended, 60 * S, &mut rng)).after <= S, "{ended:?}");
    }
}

#[test]
fn a_socket_that_never_delivered_does_not_reset_the_back_off() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    let longest = (0..50).map(|_| retry(p.ended(&Disconnect::Silent, Duration::ZERO, &mut rng)).after).max().unwrap();
    assert!(longest > 20 * S, "{longest:?}");
}

#[test]
fn a_close_without_words_is_told_without_a_gap() {
    let timings = Timings::default();
    let (mut p, mut rng) = bench(&timings, 1);
    for (text, told) in [("", "(1001)"), ("Connection Idle Timeout", "(1001 Connection Idle Timeout)")] {
        let retry = retry(p.ended(&Disconnect::Closed(1001, text.into()), S, &mut rng));
        assert!(retry.cause.reason.ends_with(told), "{}", retry.cause.reason);
    }
}

#[test]
fn a_renewal_is_no_trouble() {
    let timings = Timings::default();
    let mut policy = Policy::new(&timings, 1);
    let step = policy.ended(&Disconnect::Renewed, Duration::from_secs(86_400), &mut Rng::with_seed(1));
    let Step::Retry(retry) = step else { panic!("{step:?}") };
    assert_eq!((retry.state, retry.cause.remedy), (State::Connecting, ""));
    assert!(retry.after <= timings.backoff_base, "{retry:?}");
}

#[test]
fn who_refuses_decides_what_to_do() {
    let timings = Timings::default();
    let refused = |status, by_signal| -> &'static str {
        let refusal = UpgradeRefusal { status, by_signal, retry_after: None };
        match Policy::new(&timings, 1).failed(&ConnectError::Refused(refusal), &mut Rng::with_seed(1)) {
            Step::Retry(retry) => retry.cause.remedy,
            Step::Unlinked => panic!("not yet"),
        }
    };
    assert!(refused(403, false).contains("captive portal"));
    assert!(refused(404, true).contains("signal_url"));
    assert_eq!((refused(499, true), refused(503, false)), (State::Refused.remedy(), State::Waiting.remedy()));
    assert_eq!(refused(403, true), "", "it is asked again first");
}

use super::*;
use crate::account::sample;

fn account() -> Account {
    Account { endpoint: endpoint("old"), ..sample() }
}

fn endpoint(token: &str) -> Endpoint {
    Endpoint::parse(&format!("https://push.example/{token}")).unwrap()
}

fn urgent(ms: u64) -> Option<Envelope> {
    Some(Envelope { urgent: true, server_timestamp: Some(ServerTime(ms)), from_own_phone: false })
}

/// One push, ended like this; whether its end was news.
fn push(account_state: &AccountState, outcome: Outcome, meanwhile: impl FnOnce()) -> Option<PushEffect> {
    let (_, generation) = account_state.push_started(PushKind::Wake, Instant::now());
    meanwhile();
    let delivery = Delivery { outcome, reason: "told".into(), remedy: "" };
    account_state.push_finished(PushKind::Wake, generation, &delivery, Instant::now(), &mut Rng::with_seed(1))
}

#[test]
fn the_end_of_a_push_to_an_old_endpoint_says_nothing_about_the_new_one() {
    for outcome in [Outcome::Accepted, Outcome::Gone, Outcome::Failed] {
        let account_state = AccountState::new(&account(), false, &Timings::default());
        let seq = account_state.on_envelope(urgent(1), Instant::now()).unwrap();
        assert_eq!(push(&account_state, outcome, || account_state.set_endpoint(endpoint("new"))), None);
        assert!(account_state.accepted() < seq && account_state.stop_reason().is_none());
        assert_eq!(account_state.next_push(Instant::now()), Next::Send(PushKind::Wake));
    }
}

#[test]
fn the_late_end_of_a_push_says_nothing_about_the_one_that_took_its_place() {
    for outcome in [Outcome::Accepted, Outcome::Gone, Outcome::Unauthorized, Outcome::Failed] {
        for renew in [
            |account_state: &AccountState| account_state.resume(),
            |account_state: &AccountState| account_state.set_endpoint(endpoint("new")),
        ] {
            let account_state = AccountState::new(&account(), false, &Timings::default());
            account_state.note_server_time(Some(ServerTime(1_000_000)), Instant::now());
            let seq = account_state.on_envelope(urgent(2_000_000), Instant::now()).unwrap();
            let meanwhile = || {
                renew(&account_state);
                account_state.push_started(PushKind::Wake, Instant::now());
            };
            assert_eq!(push(&account_state, outcome.clone(), meanwhile), None, "{outcome:?}");
            assert!(
                account_state.push_in_flight() && account_state.owes() && account_state.accepted() < seq,
                "{outcome:?}"
            );
            assert_eq!(
                (account_state.stop_reason(), account_state.gone_endpoint(), account_state.unsaved_fetched_until()),
                (None, None, None),
                "{outcome:?}"
            );
            assert_eq!(account_state.status().push.state, PushState::Ok, "{outcome:?}");
        }
    }
}

#[test]
fn the_endpoint_that_is_gone_is_the_one_that_was_pushed_to() {
    let account_state =
        AccountState::new(&account(), false, &Timings { push_gone: Duration::ZERO, ..Timings::default() });
    account_state.on_envelope(urgent(1), Instant::now());
    for _ in 0..4 {
        assert_eq!(account_state.stop_reason(), None);
        push(&account_state, Outcome::Gone, || ());
    }
    account_state.set_endpoint(endpoint("new"));
    assert_eq!(account_state.stop_reason(), Some(StopReason::EndpointGone));
    assert_eq!(account_state.gone_endpoint(), Some((endpoint("old"), "told".into())));
    account_state.stop();
    assert_eq!(account_state.stop_reason(), Some(StopReason::EndpointGone), "its reason still has to be written down");
}

#[test]
fn a_server_whose_clock_ran_ahead_silences_nobody() {
    let day = 86_400_000;
    let account_state = AccountState::new(&account(), false, &Timings::default());
    account_state.note_server_time(Some(ServerTime(2 * day)), Instant::now());
    account_state.on_envelope(urgent(2 * day), Instant::now());
    push(&account_state, Outcome::Accepted, || ());
    assert_eq!(account_state.on_envelope(urgent(day), Instant::now()), None, "already fetched by that clock");
    account_state.note_server_time(Some(ServerTime(day)), Instant::now());
    assert!(account_state.on_envelope(urgent(day), Instant::now()).is_some(), "the others' clock says it is new");
}

#[test]
fn a_stored_time_counts_only_once_signals_clock_was_heard() {
    let mut stored = account();
    stored.fetched_until = Some(ServerTime(1_000_000));
    let account_state = AccountState::new(&stored, false, &Timings::default());
    assert!(account_state.on_envelope(urgent(1), Instant::now()).is_some());
    account_state.note_server_time(Some(ServerTime(2_000_000)), Instant::now());
    assert_eq!(account_state.on_envelope(urgent(1), Instant::now()), None);
}

#[test]
fn a_failed_test_push_promises_nothing() {
    let account_state = AccountState::new(&account(), false, &Timings::default());
    account_state.enqueue_test();
    let (_, generation) = account_state.push_started(PushKind::Test, Instant::now());
    let delivery = Delivery { outcome: Outcome::Failed, reason: "told".into(), remedy: "" };
    account_state.push_finished(PushKind::Test, generation, &delivery, Instant::now(), &mut Rng::with_seed(1));
    assert_eq!((account_state.status().push.state, account_state.status().push.until), (PushState::Retrying, None));
    assert_eq!(account_state.next_push(Instant::now()), Next::Idle);
}

#[test]
fn a_limit_follows_the_account_to_its_next_endpoint_and_not_to_another_push_server() {
    let account_state = AccountState::new(&account(), false, &Timings::default());
    account_state.on_envelope(urgent(1), Instant::now());
    push(&account_state, Outcome::Limited(Some(Duration::from_secs(60))), || ());
    for token in ["new", "newer"] {
        account_state.set_endpoint(endpoint(token));
        assert!(matches!(account_state.next_push(Instant::now()), Next::Wait(_)), "{token}");
        assert_eq!(
            (account_state.target().2, account_state.status().push.state),
            (Lane::Limited, PushState::Retrying),
            "{token}"
        );
    }
    account_state.set_endpoint(Endpoint::parse("https://elsewhere.example/x").unwrap());
    assert_eq!(account_state.next_push(Instant::now()), Next::Send(PushKind::Wake));
    assert_eq!((account_state.target().2, account_state.status().push.state), (Lane::Normal, PushState::Ok));
}

#[test]
fn the_push_side_takes_the_state_an_answer_means_whichever_push_met_it() {
    let refusals = [
        (Outcome::Unauthorized, PushState::Unauthorized),
        (Outcome::Gone, PushState::Retrying),
        (Outcome::Rejected, PushState::Retrying),
        (Outcome::Failed, PushState::Retrying),
        (Outcome::Limited(None), PushState::Retrying),
    ];
    for beside_the_loop in [false, true] {
        for owes in [false, true] {
            for (outcome, state) in refusals.clone() {
                let account_state = AccountState::new(&account(), false, &Timings::default());
                let test = |outcome: &Outcome| {
                    let delivery = Delivery { outcome: outcome.clone(), reason: "told".into(), remedy: "do" };
                    if beside_the_loop {
                        return account_state.test_ended(&account_state.endpoint(), &delivery, Instant::now());
                    }
                    account_state.enqueue_test();
                    let (_, generation) = account_state.push_started(PushKind::Test, Instant::now());
                    account_state.push_finished(
                        PushKind::Test,
                        generation,
                        &delivery,
                        Instant::now(),
                        &mut Rng::with_seed(1),
                    );
                };
                if owes {
                    account_state.on_envelope(urgent(1), Instant::now());
                }
                test(&outcome);
                let push = account_state.status().push;
                assert_eq!((push.state, push.until), (state, None), "{outcome:?}");
                assert_eq!((push.reason.as_str(), push.remedy), ("told", "do"), "{outcome:?}");
                test(&Outcome::Accepted);
                assert_eq!(account_state.status().push.state, PushState::Ok, "{outcome:?}");
            }
        }
    }
}

#[test]
fn an_accepted_ping_sends_what_is_owed_at_once() {
    for outcome in [Outcome::Failed, Outcome::Unauthorized, Outcome::Rejected, Outcome::Limited(None)] {
        let account_state = AccountState::new(&account(), false, &Timings::default());
        account_state.on_envelope(urgent(1), Instant::now());
        push(&account_state, outcome.clone(), || ());
        assert!(matches!(account_state.next_push(Instant::now()), Next::Wait(_)), "{outcome:?}");
        let accepted = Delivery { outcome: Outcome::Accepted, reason: "told".into(), remedy: "" };
        account_state.test_ended(&endpoint("elsewhere"), &accepted, Instant::now());
        assert!(
            matches!(account_state.next_push(Instant::now()), Next::Wait(_)),
            "of another endpoint it says nothing"
        );
        account_state.test_ended(&endpoint("old"), &accepted, Instant::now());
        assert_eq!(account_state.next_push(Instant::now()), Next::Send(PushKind::Wake), "{outcome:?}");
    }
}

#[test]
fn an_acceptance_that_is_doubtful_counts_and_is_told_until_a_better_one() {
    let account_state = AccountState::new(&account(), false, &Timings::default());
    for (reason, told) in [
        ("https://h answered 200 OK: that is a web page", true),
        ("https://h answered 200 OK: that is a web page", true),
        ("https://h answered 201 Created", false),
    ] {
        let seq = account_state.on_envelope(urgent(1), Instant::now()).unwrap();
        let (_, generation) = account_state.push_started(PushKind::Wake, Instant::now());
        let remedy = if told { "check" } else { "" };
        let delivery = Delivery { outcome: Outcome::Accepted, reason: reason.into(), remedy };
        account_state.push_finished(PushKind::Wake, generation, &delivery, Instant::now(), &mut Rng::with_seed(1));
        let push = account_state.status().push;
        assert!(account_state.accepted() >= seq && push.state == PushState::Ok);
        assert_eq!(push.reason.contains("web page"), told, "{push:?}");
    }
}

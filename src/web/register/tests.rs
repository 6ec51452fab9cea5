//! The decision table, row by row.

use super::*;
use crate::account::{DeviceId, Secret, ServerTime};

const ID: &str = "0f2b1a3c-1111-4222-8333-444455556666";
const NOW: u64 = 1_800_000_000;

fn body(uuid: &str, endpoint: &str) -> Body {
    Body {
        uuid: uuid.to_owned(),
        device: DeviceId::new(2).unwrap(),
        password: Secret::new("password"),
        endpoint: endpoint.to_owned(),
        test: TestPush::Skip,
    }
}

fn a_claim() -> Claim {
    claim(body(ID, "https://push.example/one"), |_| true).unwrap()
}

/// What is stored after `a_claim` was accepted some time ago.
fn stored() -> Account {
    Account {
        credentials: a_claim().credentials,
        endpoint: a_claim().endpoint,
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 1,
        covered_until: Some(ServerTime(77)),
    }
}

fn decided(claim: &Claim, account: &Account) -> Result<Plan, Refused> {
    decide(claim, &Known::Yes(Box::new(account.clone())), 10, NOW)
}

fn other_password() -> Claim {
    let mut claim = a_claim();
    claim.credentials.password = Secret::new("another");
    claim
}

fn other_endpoint() -> Claim {
    Claim { endpoint: Endpoint::parse("https://push.example/two").unwrap(), ..a_claim() }
}

fn delivery(outcome: Outcome) -> Delivery {
    Delivery { outcome, reason: "because".to_owned() }
}

#[test]
fn what_the_operator_paused_stays_paused() {
    for paused in [true, false] {
        let known = Known::Yes(Box::new(Account { paused, ..stored() }));
        let fresh = after_ask(Asked::Replacement, Verdict::Accepted, &other_password(), NOW).unwrap();
        match keep_paused(Work::Save(Box::new(fresh)), &known) {
            Work::Save(saved) => assert_eq!(saved.account.paused, paused),
            other => panic!("{other:?}"),
        }
    }
}

fn saved(plan: Result<Plan, Refused>) -> Saved {
    match plan {
        Ok(Plan::Do(Work::Save(saved))) => *saved,
        other => panic!("{other:?}"),
    }
}

fn status<T: std::fmt::Debug>(refused: Result<T, Refused>) -> Status {
    refused.expect_err("refused").status()
}

#[test]
fn the_words_on_the_wire_are_the_five_molly_knows() {
    let all = [Status::Ok, Status::Forbidden, Status::InvalidUuid, Status::InvalidEndpoint, Status::InternalError];
    let words = ["ok", "forbidden", "invalid_uuid", "invalid_endpoint", "internal_error"];
    assert_eq!(all.map(Status::as_str), words);
}

#[test]
fn uuid_malformed_or_not_allowed_is_invalid_uuid_before_anything_else() {
    assert_eq!(status(claim(body("anything", "nonsense"), |_| true)), Status::InvalidUuid);
    assert_eq!(status(claim(body("\0", "https://h/x"), |_| true)), Status::InvalidUuid);
    assert_eq!(status(claim(body(ID, "nonsense"), |_| false)), Status::InvalidUuid);
}

#[test]
fn endpoint_malformed_or_not_allowed_is_invalid_endpoint() {
    for endpoint in ["", "nonsense", "ftp://h/x", "https://h/a\0b"] {
        assert_eq!(status(claim(body(ID, endpoint), |_| true)), Status::InvalidEndpoint, "{endpoint:?}");
    }
    assert_eq!(Refused::EndpointNotAllowed("private".to_owned()).status(), Status::InvalidEndpoint);
}

#[test]
fn unknown_account_is_first_asked_about() {
    assert!(matches!(decide(&a_claim(), &Known::No { accounts: 9 }, 10, NOW), Ok(Plan::Ask(Asked::New))));
}

#[test]
fn unknown_account_beyond_max_accounts_is_internal_error_and_names_the_setting() {
    for accounts in [10, 11] {
        let refused = decide(&a_claim(), &Known::No { accounts }, 10, NOW).unwrap_err();
        assert_eq!((refused.status(), refused.level()), (Status::InternalError, log::Level::Warn));
        assert!(refused.to_string().contains("max_accounts"));
    }
    // Those who are in stay in.
    assert!(decide(&a_claim(), &Known::Yes(Box::new(stored())), 0, NOW).is_ok());
}

#[test]
fn unknown_account_accepted_or_undecided_is_stored_and_tested() {
    for verdict in [Verdict::Accepted, Verdict::Undecided("timeout".to_owned())] {
        let saved = after_ask(Asked::New, verdict, &a_claim(), NOW).unwrap();
        assert_eq!(saved.account, Account { last_registration: NOW, covered_until: None, ..stored() });
        assert_eq!(saved.test, TestPush::Send);
    }
}

#[test]
fn unknown_account_refused_by_signal_is_forbidden() {
    assert_eq!(status(after_ask(Asked::New, Verdict::Refused, &a_claim(), NOW)), Status::Forbidden);
}

#[test]
fn unknown_account_is_not_stored_while_signal_limits_us() {
    let refused = after_ask(Asked::New, Verdict::Limited("429".to_owned()), &a_claim(), NOW).unwrap_err();
    assert_eq!((refused.status(), refused.level()), (Status::InternalError, log::Level::Warn));
    assert!(refused.to_string().contains("429"));
}

#[test]
fn same_credentials_and_unlinked_is_forbidden_whatever_the_endpoint() {
    for gone in [false, true] {
        let account = Account { forbidden: true, endpoint_gone: gone, ..stored() };
        assert_eq!(status(decided(&a_claim(), &account)), Status::Forbidden);
        assert_eq!(status(decided(&other_endpoint(), &account)), Status::Forbidden);
    }
}

#[test]
fn same_endpoint_while_gone_is_probed_once() {
    let account = Account { endpoint_gone: true, ..stored() };
    for test in [TestPush::Skip, TestPush::Send] {
        assert!(matches!(decided(&Claim { test, ..a_claim() }, &account), Ok(Plan::Do(Work::Probe))));
    }
}

#[test]
fn a_probe_resumes_refuses_or_leaves_it_open() {
    assert!(after_probe(delivery(Outcome::Accepted)).is_ok());
    for outcome in [Outcome::Gone, Outcome::Unauthorized, Outcome::Rejected] {
        assert_eq!(status(after_probe(delivery(outcome))), Status::InvalidEndpoint);
    }
    for outcome in [Outcome::Failed, Outcome::Limited(None)] {
        assert_eq!(status(after_probe(delivery(outcome))), Status::InternalError);
    }
}

#[test]
fn same_credentials_other_endpoint_moves_and_tests_only_if_asked() {
    for gone in [false, true] {
        for test in [TestPush::Skip, TestPush::Send] {
            let account = Account { endpoint_gone: gone, ..stored() };
            let saved = saved(decided(&Claim { test, ..other_endpoint() }, &account));
            let moved = Account {
                endpoint: other_endpoint().endpoint,
                endpoint_gone: false,
                paused: false,
                last_registration: NOW,
                ..stored()
            };
            assert_eq!(saved.account, moved, "what is covered stays covered: the phone fetches the same queue");
            assert_eq!(saved.test, test);
        }
    }
}

#[test]
fn same_everything_is_only_touched() {
    assert!(matches!(decided(&a_claim(), &stored()), Ok(Plan::Do(Work::Touch))));
}

#[test]
fn other_credentials_after_unlinking_are_stored_and_tested() {
    let account = Account { forbidden: true, endpoint_gone: true, ..stored() };
    let saved = saved(decided(&other_password(), &account));
    assert_eq!(saved.account.credentials, other_password().credentials);
    assert!(!saved.account.forbidden && !saved.account.endpoint_gone);
    assert_eq!((saved.account.covered_until, saved.test), (None, TestPush::Send));
}

#[test]
fn other_credentials_otherwise_are_asked_about_whatever_the_endpoint() {
    let mut other_device = a_claim();
    other_device.credentials.device = DeviceId::new(3).unwrap();
    let other_both = Claim { endpoint: other_endpoint().endpoint, ..other_password() };
    for gone in [false, true] {
        for claim in [&other_password(), &other_device, &other_both] {
            let account = Account { endpoint_gone: gone, ..stored() };
            assert!(matches!(decided(claim, &account), Ok(Plan::Ask(Asked::Replacement))));
        }
    }
}

#[test]
fn replacement_accepted_by_signal_replaces_and_forgets_what_was_covered() {
    let saved = after_ask(Asked::Replacement, Verdict::Accepted, &other_password(), NOW).unwrap();
    assert_eq!(saved.account.credentials, other_password().credentials);
    assert_eq!((saved.account.covered_until, saved.test), (None, TestPush::Send));
}

#[test]
fn replacement_refused_or_undecided_is_internal_error_and_changes_nothing() {
    let others = [Verdict::Limited("429".to_owned()), Verdict::Undecided("timeout".to_owned())];
    for verdict in others.into_iter().chain([Verdict::Refused]) {
        assert_eq!(status(after_ask(Asked::Replacement, verdict, &other_password(), NOW)), Status::InternalError);
    }
}

#[test]
fn what_the_database_cannot_keep_is_never_ok() {
    let refused = Refused::from(StoreError::Empty("db.sqlite".into()));
    assert_eq!((refused.status(), refused.level()), (Status::InternalError, log::Level::Error));
    assert_eq!(Refused::Late("asking Signal").status(), Status::InternalError);
}

#[test]
fn nothing_printed_holds_a_secret() {
    let mut claim = a_claim();
    claim.credentials.password = Secret::new("hunter2");
    claim.endpoint = Endpoint::parse("https://push.example/CAPABILITY").unwrap();
    let shown = format!(
        "{claim:?} {:?} {:?}",
        decided(&claim, &Account { forbidden: true, ..stored() }),
        after_ask(Asked::New, Verdict::Accepted, &claim, NOW)
    );
    assert!(!shown.contains("hunter2") && !shown.contains("CAPABILITY"), "{shown}");
}

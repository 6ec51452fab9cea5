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
        fetched_until: Some(ServerTime(77)),
    }
}

fn decided(claim: &Claim, account: &Account) -> Result<Plan, Refused> {
    decide(claim, &Known::Yes(Box::new(account.clone())), None, 10, NOW)
}

/// After Signal was asked.
fn told(claim: &Claim, account: &Account, verdict: &CredentialVerdict) -> Result<Plan, Refused> {
    decide(claim, &Known::Yes(Box::new(account.clone())), Some(verdict), 10, NOW)
}

/// The same for an account nobody knows.
fn told_of_new(verdict: &CredentialVerdict) -> Result<Plan, Refused> {
    decide(&a_claim(), &Known::No { accounts: 9 }, Some(verdict), 10, NOW)
}

fn verdicts() -> [CredentialVerdict; 4] {
    let why = "because".to_owned();
    [
        CredentialVerdict::Accepted,
        CredentialVerdict::Refused,
        CredentialVerdict::Limited(why.clone()),
        CredentialVerdict::Undecided(why),
    ]
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
    Delivery { outcome, reason: "because".to_owned(), remedy: "" }
}

/// The one rule that keeps strangers out, over every state of a row, every claim and every word of Signal.
#[test]
fn nothing_stored_changes_unless_signal_accepted_or_the_credentials_are_the_stored_ones() {
    let flags = [false, true];
    let mut states = vec![Known::No { accounts: 0 }, Known::No { accounts: 10 }, Known::Unreadable];
    for (forbidden, endpoint_gone, paused) in
        flags.into_iter().flat_map(|f| flags.into_iter().flat_map(move |g| flags.map(|p| (f, g, p))))
    {
        states.push(Known::Yes(Box::new(Account { forbidden, endpoint_gone, paused, ..stored() })));
    }
    let mut other_device = a_claim();
    other_device.credentials.device = DeviceId::new(3).unwrap();
    let mut claims = vec![a_claim(), other_password(), other_device];
    claims.extend(claims.clone().into_iter().map(|claim| Claim { endpoint: other_endpoint().endpoint, ..claim }));
    claims.extend(claims.clone().into_iter().map(|claim| Claim { test: TestPush::Send, ..claim }));
    for known in &states {
        for claim in &claims {
            check(known, claim, None);
            verdicts().iter().for_each(|verdict| check(known, claim, Some(verdict)));
        }
    }
}

fn check(known: &Known, claim: &Claim, verdict: Option<&CredentialVerdict>) {
    let plan = decide(claim, known, verdict, 10, NOW);
    let row = if let Known::Yes(row) = known { Some(row) } else { None };
    let own = row.is_some_and(|row| row.credentials == claim.credentials && !row.forbidden);
    let accepted = verdict == Some(&CredentialVerdict::Accepted);
    let undecided_new = matches!((known, verdict), (Known::No { .. }, Some(CredentialVerdict::Undecided(_))));
    let about = format!("{known:?} {claim:?} {verdict:?}: {plan:?}");
    match plan {
        Ok(Plan::Ask(_)) => assert!(verdict.is_none() && !own, "{about}"),
        Ok(Plan::Do(work)) => {
            assert!(own || accepted || undecided_new, "{about}");
            let Work::Save(saved) = work else { return };
            let account = &saved.account;
            assert_eq!((&account.credentials, &account.endpoint), (&claim.credentials, &claim.endpoint), "{about}");
            assert!(!account.forbidden && !account.endpoint_gone, "{about}");
            assert_eq!(account.paused, row.is_some_and(|row| row.paused), "what the operator paused stays paused");
        }
        Err(_) => assert!(!own, "{about}"),
    }
}

fn saved(plan: Result<Plan, Refused>) -> Saved {
    match plan {
        Ok(Plan::Do(Work::Save(saved))) => *saved,
        other => panic!("{other:?}"),
    }
}

fn status<T: std::fmt::Debug>(refused: Result<T, Refused>) -> RegistrationStatus {
    refused.expect_err("refused").status
}

#[test]
fn the_words_on_the_wire_are_the_five_molly_knows() {
    let all = [
        RegistrationStatus::Ok,
        RegistrationStatus::Forbidden,
        RegistrationStatus::InvalidUuid,
        RegistrationStatus::InvalidEndpoint,
        RegistrationStatus::InternalError,
    ];
    let words = ["ok", "forbidden", "invalid_uuid", "invalid_endpoint", "internal_error"];
    assert_eq!(all.map(RegistrationStatus::as_str), words);
}

#[test]
fn uuid_malformed_or_not_allowed_is_invalid_uuid_before_anything_else() {
    assert_eq!(status(claim(body("anything", "nonsense"), |_| true)), RegistrationStatus::InvalidUuid);
    assert_eq!(status(claim(body("\0", "https://h/x"), |_| true)), RegistrationStatus::InvalidUuid);
    assert_eq!(status(claim(body(ID, "nonsense"), |_| false)), RegistrationStatus::InvalidUuid);
}

#[test]
fn endpoint_malformed_or_not_allowed_is_invalid_endpoint() {
    for endpoint in ["", "nonsense", "ftp://h/x", "https://h/a\0b"] {
        assert_eq!(status(claim(body(ID, endpoint), |_| true)), RegistrationStatus::InvalidEndpoint, "{endpoint:?}");
    }
}

#[test]
fn unknown_account_is_first_asked_about() {
    assert!(matches!(decide(&a_claim(), &Known::No { accounts: 9 }, None, 10, NOW), Ok(Plan::Ask(Asked::New))));
}

#[test]
fn unknown_account_beyond_max_accounts_is_internal_error_and_names_the_setting() {
    for accounts in [10, 11] {
        let refused = decide(&a_claim(), &Known::No { accounts }, None, 10, NOW).unwrap_err();
        assert_eq!((refused.status, refused.level), (RegistrationStatus::InternalError, log::Level::Warn));
        assert!(refused.why.contains("max_accounts"));
    }
    // Those who are in stay in.
    assert!(decide(&a_claim(), &Known::Yes(Box::new(stored())), None, 0, NOW).is_ok());
}

#[test]
fn unknown_account_accepted_or_undecided_is_stored_and_tested() {
    for verdict in [CredentialVerdict::Accepted, CredentialVerdict::Undecided("timeout".to_owned())] {
        let saved = saved(told_of_new(&verdict));
        assert_eq!(saved.account, Account { last_registration: NOW, fetched_until: None, ..stored() });
        assert_eq!(saved.test, TestPush::Send);
    }
}

#[test]
fn unknown_account_refused_by_signal_is_forbidden() {
    assert_eq!(status(told_of_new(&CredentialVerdict::Refused)), RegistrationStatus::Forbidden);
}

#[test]
fn unknown_account_is_not_stored_while_signal_limits_us() {
    let refused = told_of_new(&CredentialVerdict::Limited("429".to_owned())).unwrap_err();
    assert_eq!((refused.status, refused.level), (RegistrationStatus::InternalError, log::Level::Warn));
    assert!(refused.why.contains("429"));
}

#[test]
fn same_credentials_and_unlinked_is_asked_about_and_resumes_only_when_signal_accepts() {
    for (endpoint_gone, claim) in [(false, a_claim()), (true, a_claim()), (true, other_endpoint())] {
        let account = Account { forbidden: true, endpoint_gone, ..stored() };
        assert!(matches!(decided(&claim, &account), Ok(Plan::Ask(Asked::Resumption))));
        for verdict in verdicts() {
            match told(&claim, &account, &verdict) {
                Ok(plan) => {
                    assert_eq!(verdict, CredentialVerdict::Accepted);
                    let saved = saved(Ok(plan));
                    assert_eq!((saved.account.endpoint, saved.test), (claim.endpoint.clone(), TestPush::Send));
                    assert!(!saved.account.forbidden && !saved.account.endpoint_gone);
                }
                Err(refused) => assert_eq!(refused.status, RegistrationStatus::Forbidden),
            }
        }
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
        assert_eq!(status(after_probe(delivery(outcome))), RegistrationStatus::InvalidEndpoint);
    }
    for outcome in [Outcome::Failed, Outcome::Limited(None)] {
        assert_eq!(status(after_probe(delivery(outcome))), RegistrationStatus::InternalError);
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
            assert_eq!(saved.account, moved, "what is fetched stays fetched: the phone has the same queue");
            assert_eq!(saved.test, test);
        }
    }
}

#[test]
fn same_everything_is_only_touched() {
    assert!(matches!(decided(&a_claim(), &stored()), Ok(Plan::Do(Work::Touch))));
}

#[test]
fn other_credentials_are_asked_about_whatever_the_state_and_the_endpoint() {
    let mut other_device = a_claim();
    other_device.credentials.device = DeviceId::new(3).unwrap();
    let other_both = Claim { endpoint: other_endpoint().endpoint, ..other_password() };
    for (forbidden, endpoint_gone) in [(false, false), (false, true), (true, false), (true, true)] {
        for claim in [&other_password(), &other_device, &other_both] {
            let account = Account { forbidden, endpoint_gone, ..stored() };
            assert!(matches!(decided(claim, &account), Ok(Plan::Ask(Asked::Replacement))));
        }
    }
    let unreadable = decide(&a_claim(), &Known::Unreadable, None, 10, NOW);
    assert!(matches!(unreadable, Ok(Plan::Ask(Asked::Replacement))));
}

#[test]
fn replacement_accepted_by_signal_replaces_and_forgets_what_was_fetched() {
    for forbidden in [false, true] {
        let account = Account { forbidden, endpoint_gone: true, ..stored() };
        let saved = saved(told(&other_password(), &account, &CredentialVerdict::Accepted));
        assert_eq!(saved.account.credentials, other_password().credentials);
        assert_eq!((saved.account.fetched_until, saved.test), (None, TestPush::Send));
    }
}

#[test]
fn replacement_refused_or_undecided_is_internal_error_and_changes_nothing() {
    for forbidden in [false, true] {
        for verdict in &verdicts()[1..] {
            let refused = told(&other_password(), &Account { forbidden, ..stored() }, verdict);
            assert_eq!(status(refused), RegistrationStatus::InternalError);
        }
    }
}

#[test]
fn what_the_database_cannot_keep_is_never_ok() {
    let refused = Refused::from(StoreError::Empty("db.sqlite".into()));
    assert_eq!((refused.status, refused.level), (RegistrationStatus::InternalError, log::Level::Error));
}

#[test]
fn nothing_printed_holds_a_secret() {
    let mut claim = a_claim();
    claim.credentials.password = Secret::new("hunter2");
    claim.endpoint = Endpoint::parse("https://push.example/CAPABILITY").unwrap();
    let shown = format!(
        "{claim:?} {:?} {:?}",
        decided(&claim, &Account { forbidden: true, ..stored() }),
        decide(&claim, &Known::No { accounts: 0 }, Some(&CredentialVerdict::Accepted), 10, NOW)
    );
    assert!(!shown.contains("hunter2") && !shown.contains("CAPABILITY"), "{shown}");
}

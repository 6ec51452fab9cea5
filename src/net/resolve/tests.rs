//! What registrations look up must not cost pushes anything.

use super::*;

/// Never answers for names under `.hangs`.
struct Hangs;

#[async_trait::async_trait]
impl Resolve for Hangs {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host.ends_with(".hangs") {
            futures_lite::future::pending::<()>().await;
        }
        Ok(vec![IpAddr::from([192, 0, 2, 1])])
    }
}

const SOON: Duration = Duration::from_millis(30);
const LATE: Duration = Duration::from_secs(10);

const KEEP: Keep = Keep { found: LATE, failed: LATE, old: LATE, patience: SOON, names: 4 };

fn with_lookup(test: impl AsyncFnOnce(Lookup)) {
    with_lookup_that_keeps(KEEP, test);
}

fn with_lookup_that_keeps(keep: Keep, test: impl AsyncFnOnce(Lookup)) {
    let executor = Arc::new(Executor::new());
    let lookup = Lookup::new(Arc::new(Hangs), executor.clone(), 6, keep);
    smol::block_on(executor.run(test(lookup)));
}

#[test]
fn registrations_with_hanging_names_do_not_keep_pushes_or_signal_waiting() {
    with_lookup(async |lookup| {
        for n in 0..8 {
            let junk = lookup.addresses(&format!("{n}.hangs"), Purpose::Check, SOON).await;
            assert_eq!(junk, Err(LookupError::Late));
        }
        assert_eq!(lookup.addresses("push.example", Purpose::Check, SOON).await, Err(LookupError::Late));
        for purpose in [Purpose::Push, Purpose::Signal] {
            assert!(lookup.addresses("push.example", purpose, LATE).await.is_ok(), "{purpose:?}");
        }
        assert!(lookup.addresses("push.example", Purpose::Check, SOON).await.is_ok(), "known from the push");
    });
}

#[test]
fn names_of_accounts_are_remembered_longer_than_those_of_registrations() {
    with_lookup(async |lookup| {
        let kept = |purpose, name: &str| lock(&lookup.names).kept.contains_key(&(purpose, name.to_owned()));
        lookup.addresses("signal.example", Purpose::Signal, LATE).await.unwrap();
        lookup.addresses("push.example", Purpose::Push, LATE).await.unwrap();
        for n in 0..20 {
            lookup.addresses(&format!("{n}.example"), Purpose::Check, LATE).await.unwrap();
        }
        assert!(kept(Purpose::Signal, "signal.example") && kept(Purpose::Push, "push.example"));
        assert!(kept(Purpose::Check, "19.example") && !kept(Purpose::Check, "1.example"));
        assert_eq!(lock(&lookup.names).kept.len(), 4);
    });
}

/// Every place for look-ups of pushes is taken by names that hang.
async fn block(lookup: &Lookup) {
    for n in 0..8 {
        assert_eq!(lookup.addresses(&format!("{n}.hangs"), Purpose::Push, SOON).await, Err(LookupError::Late));
    }
}

#[test]
fn names_of_accounts_that_hang_do_not_delay_pushes_to_names_seen_before() {
    let moment = Duration::from_millis(1);
    with_lookup_that_keeps(Keep { found: moment, failed: moment, ..KEEP }, async |lookup| {
        let begun = Instant::now();
        lookup.addresses("push.example", Purpose::Push, LATE).await.unwrap();
        // Somebody registered it a moment ago.
        lookup.addresses("new.example", Purpose::Check, LATE).await.unwrap();
        block(&lookup).await;
        for _ in 0..3 {
            for name in ["push.example", "new.example"] {
                assert!(lookup.addresses(name, Purpose::Push, LATE).await.is_ok(), "{name}");
            }
        }
        assert!(begun.elapsed() < LATE / 2, "{:?}", begun.elapsed());
        assert_eq!(lookup.addresses("other.example", Purpose::Push, SOON).await, Err(LookupError::Late), "never seen");
    });
}

#[test]
fn old_addresses_serve_for_a_while_only_and_no_registration() {
    let keep = Keep { found: Duration::from_millis(1), old: LATE, ..KEEP };
    with_lookup_that_keeps(keep, async |lookup| {
        lookup.addresses("push.example", Purpose::Push, LATE).await.unwrap();
        block(&lookup).await;
        assert!(lookup.addresses("push.example", Purpose::Push, LATE).await.is_ok());
        // A registration waits with the push whose look-up is under way.
        assert_eq!(lookup.addresses("push.example", Purpose::Check, SOON).await, Err(LookupError::Late));
        let lookup = Lookup { keep: Keep { old: SOON, ..keep }, ..lookup };
        Timer::after(SOON).await;
        assert_eq!(lookup.addresses("push.example", Purpose::Push, SOON).await, Err(LookupError::Late));
    });
}

#[test]
fn a_failure_meanwhile_does_not_forget_the_addresses_of_before() {
    let mut names = Names::default();
    let key = (Purpose::Push, "push.example".to_owned());
    let found = vec![IpAddr::from([192, 0, 2, 1])];
    names.keep(&key, &Ok(found.clone()), KEEP);
    names.keep(&key, &Err("no answer".to_owned()), KEEP);
    assert!(names.kept[&key].found.is_err());
    assert_eq!(names.kept[&key].last.as_ref().map(|(addresses, _)| addresses), Some(&found));
}

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

fn with_lookup(test: impl AsyncFnOnce(Lookup)) {
    let executor = Arc::new(Executor::new());
    let keep = Keep { found: LATE, failed: LATE, names: 4 };
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

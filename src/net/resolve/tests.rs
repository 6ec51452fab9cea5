//! What registrations look up must not cost pushes anything.

use smol::Timer;

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

const TTL: CacheTtl = CacheTtl { found: LATE, failed: LATE, old: LATE, patience: SOON, names: 4 };

fn with_lookup(test: impl AsyncFnOnce(Lookup)) {
    with_lookup_that_keeps(TTL, test);
}

fn with_lookup_that_keeps(ttl: CacheTtl, test: impl AsyncFnOnce(Lookup)) {
    let executor = Arc::new(Executor::new());
    let lookup = Lookup::new(Arc::new(Hangs), executor.clone(), 6, ttl);
    smol::block_on(executor.run(test(lookup)));
}

#[test]
fn registrations_with_hanging_names_do_not_keep_pushes_or_signal_waiting() {
    with_lookup(async |lookup| {
        for n in 0..8 {
            let junk = lookup.addresses(&format!("{n}.hangs"), LookupPurpose::Check, SOON).await;
            assert_eq!(junk, Err(LookupError::Late));
        }
        assert_eq!(lookup.addresses("push.example", LookupPurpose::Check, SOON).await, Err(LookupError::Late));
        for purpose in [LookupPurpose::Push, LookupPurpose::Signal] {
            assert!(lookup.addresses("push.example", purpose, LATE).await.is_ok(), "{purpose:?}");
        }
    });
}

#[test]
fn the_name_nobody_asked_for_the_longest_makes_room_and_none_of_another_purpose() {
    with_lookup(async |lookup| {
        let kept = |names: &Names, name: &str| lock(&names.known).contains_key(name);
        lookup.addresses("signal.example", LookupPurpose::Signal, LATE).await.unwrap();
        lookup.addresses("push.example", LookupPurpose::Push, LATE).await.unwrap();
        for n in 0..20 {
            lookup.addresses("often.example", LookupPurpose::Check, LATE).await.unwrap();
            lookup.addresses(&format!("{n}.example"), LookupPurpose::Check, LATE).await.unwrap();
        }
        assert!(kept(&lookup.signal, "signal.example") && kept(&lookup.pushes, "push.example"));
        for (name, expected) in [("often", true), ("19", true), ("17", true), ("16", false)] {
            assert_eq!(kept(&lookup.checks, &format!("{name}.example")), expected, "{name}");
        }
        assert_eq!(lock(&lookup.checks.known).len(), TTL.names);
    });
}

/// Every place for look-ups of pushes is taken by names that hang.
async fn block(lookup: &Lookup) {
    for n in 0..8 {
        assert_eq!(lookup.addresses(&format!("{n}.hangs"), LookupPurpose::Push, SOON).await, Err(LookupError::Late));
    }
}

#[test]
fn names_of_accounts_that_hang_do_not_delay_pushes_to_names_seen_before() {
    let moment = Duration::from_millis(1);
    with_lookup_that_keeps(CacheTtl { found: moment, failed: moment, ..TTL }, async |lookup| {
        let begun = Instant::now();
        lookup.addresses("push.example", LookupPurpose::Push, LATE).await.unwrap();
        block(&lookup).await;
        for _ in 0..3 {
            assert!(lookup.addresses("push.example", LookupPurpose::Push, LATE).await.is_ok());
        }
        assert!(begun.elapsed() < LATE / 2, "{:?}", begun.elapsed());
        assert_eq!(
            lookup.addresses("other.example", LookupPurpose::Push, SOON).await,
            Err(LookupError::Late),
            "never seen"
        );
    });
}

#[test]
fn old_addresses_serve_for_a_while_only_and_no_registration() {
    let ttl = CacheTtl { found: Duration::from_millis(1), old: LATE, ..TTL };
    with_lookup_that_keeps(ttl, async |lookup| {
        lookup.addresses("push.example", LookupPurpose::Push, LATE).await.unwrap();
        block(&lookup).await;
        assert!(lookup.addresses("push.example", LookupPurpose::Push, LATE).await.is_ok());
        // A registration has a look-up of its own.
        assert!(lookup.addresses("push.example", LookupPurpose::Check, LATE).await.is_ok());
        let lookup = Lookup { ttl: CacheTtl { old: SOON, ..ttl }, ..lookup };
        Timer::after(SOON).await;
        assert_eq!(lookup.addresses("push.example", LookupPurpose::Push, SOON).await, Err(LookupError::Late));
    });
}

/// Knows the name the first time only, and counts.
#[derive(Default)]
struct Once(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Resolve for Once {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        match self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Ok(vec![IpAddr::from([192, 0, 2, 1])]),
            _ => futures_lite::future::pending().await,
        }
    }
}

#[test]
fn however_many_ask_and_give_up_one_look_up_is_under_way_and_the_old_answer_serves() {
    let moment = Duration::from_millis(1);
    with_lookup_that_keeps(CacheTtl { found: moment, failed: moment, ..TTL }, async |lookup| {
        let resolver = Arc::new(Once::default());
        let lookup = lookup.with(resolver.clone());
        lookup.addresses("push.example", LookupPurpose::Push, LATE).await.unwrap();
        Timer::after(moment * 2).await;
        for _ in 0..3 {
            let asks = (0..50).map(|_| lookup.addresses("push.example", LookupPurpose::Push, LATE));
            assert!(futures_util::future::join_all(asks).await.iter().all(Result::is_ok));
        }
        assert_eq!(resolver.0.load(std::sync::atomic::Ordering::Relaxed), 2);
    });
}

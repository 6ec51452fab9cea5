//! Whose end it is, and how much room an account takes.

use super::*;
use crate::account::{Credentials, Secret, sample};
use crate::config::AllowedEndpoints;
use crate::metrics::Metrics;
use crate::net::{Lane, Net, NetOptions};
use crate::push::Pusher;
use crate::signal::Signal;
use crate::signal::circuit_breaker::CircuitBreaker;
use crate::signal::connect::ConnectPurpose;
use crate::store::{IfMissing, Store};
use crate::timings::{Limits, Timings};
use crate::vapid::{Vapid, VapidKey};

fn account(password: &str) -> Account {
    let account = sample();
    Account { credentials: Credentials { password: Secret::new(password), ..account.credentials }, ..account }
}

/// With all its parts, and a Signal that cannot be reached.
fn runner(directory: &std::path::Path, executor: &Arc<Executor<'static>>) -> Runner {
    supervised(directory, executor).1
}

/// The same with its handle.
fn supervised(directory: &std::path::Path, executor: &Arc<Executor<'static>>) -> (Supervisor, Runner) {
    let (timings, limits) = (Timings::default(), Limits::default());
    let net = Net::new(&NetOptions::default(), timings.clone(), limits.clone(), executor.clone()).unwrap();
    let net = Arc::new(net);
    let vapid = Arc::new(Vapid::new(VapidKey::generate(), "mailto:admin@example.org".to_owned()));
    let pusher = Pusher::new(net.clone(), vapid, AllowedEndpoints::parse(&["*"]).unwrap());
    let url = url::Url::parse("wss://127.0.0.1:1/").unwrap();
    let (breaker, metrics, user_agents) =
        (CircuitBreaker::new(&limits), Arc::new(Metrics::default()), vec!["x".to_owned()]);
    let signal = Arc::new(Signal { net, url, user_agents, breaker, metrics, timings, limits });
    let store = Store::open(&directory.join("db.sqlite"), IfMissing::Create).unwrap();
    Runner::new(Tools { signal, pusher: Arc::new(pusher), store, wake_for_own_sync: false }, executor.clone())
}

/// Whether the account runs, and as which generation.
fn running(runner: &Runner, id: AccountId) -> (bool, u64) {
    let entries = lock(&runner.entries);
    let entry = &entries[&id];
    (matches!(entry.phase, TaskPhase::Running(_)) && entry.account_state.stop_reason().is_none(), entry.generation)
}

#[test]
fn the_end_of_an_old_task_says_nothing_about_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let executor = Arc::new(Executor::new());
    smol::block_on(executor.run(async {
        let mut runner = runner(directory.path(), &executor);
        let id = account("old").id();
        let store = runner.tools.store.clone();
        store.put(account("old")).await.unwrap();
        runner.refresh(id, TestPush::Skip).await;
        assert_eq!(running(&runner, id), (true, 1));

        store.put(account("new")).await.unwrap();
        runner.refresh(id, TestPush::Skip).await;
        assert_eq!(running(&runner, id), (false, 1), "the old one ends first");
        // The task and the one that waits for it both say so.
        let Ok(Command::Ended(ended, 1)) = runner.commands.recv().await else { panic!("no end") };
        runner.ended(ended, 1).await;
        assert_eq!(running(&runner, id), (true, 2));
        for stale in [1, 0, 1] {
            runner.ended(id, stale).await;
            assert_eq!(running(&runner, id), (true, 2), "{stale}");
        }

        // Removed, and registered anew while an old end is still on its way.
        store.remove(id).await.unwrap();
        runner.refresh(id, TestPush::Skip).await;
        runner.ended(id, 2).await;
        assert!(lock(&runner.entries).is_empty());
        store.put(account("newest")).await.unwrap();
        runner.refresh(id, TestPush::Skip).await;
        for stale in [2, 1, 0] {
            runner.ended(id, stale).await;
            assert_eq!(running(&runner, id), (true, 3), "{stale}");
        }
    }));
}

#[test]
fn a_sign_of_life_does_not_wait_for_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let executor = Arc::new(Executor::new());
    smol::block_on(executor.run(async {
        let (supervisor, runner) = supervised(directory.path(), &executor);
        let store = runner.tools.store.clone();
        let slow = "CREATE VIEW slow AS
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i FROM n;
                    CREATE TRIGGER slowly BEFORE INSERT ON connections BEGIN SELECT count(*) FROM slow; END";
        rusqlite::Connection::open(directory.path().join("db.sqlite")).unwrap().execute_batch(slow).unwrap();
        let mut busy = Box::pin(store.put(account("x")));
        assert!(futures_lite::future::poll_once(&mut busy).await.is_none());
        let _running = executor.spawn(runner.run(std::future::pending()));
        supervisor.refresh_all().await;
        let alive = async { supervisor.ask().recv().await.ok().map(|()| "alive") };
        let done = async { busy.await.ok().map(|()| "stored") };
        assert_eq!(done.or(alive).await, Some("alive"));
    }));
}

#[test]
fn an_idle_account_takes_little_room() {
    let directory = tempfile::tempdir().unwrap();
    let runner = runner(directory.path(), &Arc::new(Executor::new()));
    let account = account("x");
    let account_state = Arc::new(AccountState::new(&account, false, &Timings::default()));
    let run = size_of_val(&task::run_loops(&runner.tools, &account_state, &account.credentials));
    let task = size_of_val(&task::run(runner.tools.clone(), account_state, Arc::new(account.credentials)));
    // Ten thousand of each idle for months. Box what is only needed now and then (docs/performance.md).
    assert!(run <= 1600 && task <= 600, "{run} and {task} bytes");
}

#[test]
fn an_account_that_waits_for_its_turn_takes_little_room() {
    let directory = tempfile::tempdir().unwrap();
    let tools = runner(directory.path(), &Arc::new(Executor::new())).tools;
    let account = account("x");
    let attempt = size_of_val(&tools.signal.attempt(Some(&account.credentials), 0, ConnectPurpose::Messages));
    let turn = size_of_val(&tools.pusher.permit(&account.endpoint, Lane::Normal));
    // All of them wait for the circuit breaker after an outage, and for a permit when all get a message. What the turn
    // itself needs is some KiB, which would stay between what lives on: a third more memory for good (docs/performance.md).
    assert!(attempt <= 600 && turn <= 1000, "{attempt} and {turn} bytes");
}

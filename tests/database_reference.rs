//! Databases of the reference open here, and ours open there.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/place.rs"]
mod place;

use std::fs;
use std::time::Instant;

use mollysocket::account::{Account, ServerTime};
use mollysocket::store::StoreError;
use place::{OLD_REFERENCE, OTHER, Place, REFERENCE, UUID, account, close, id, mode, run};
use rusqlite::Connection;

#[test]
fn both_layouts_of_the_reference_open_and_keep_their_rows() {
    for table in [REFERENCE, OLD_REFERENCE] {
        let place = Place::with(table);
        place.reference_insert(UUID, "2", "https://push.example/upSECRET", "0");
        place.reference_insert(OTHER, "127", "http://10.0.0.1:8080/x", "1");
        let listing = run(place.open().list()).unwrap();
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        let [one, two] = &listing.accounts[..] else { panic!("{listing:?}") };
        assert_eq!((one.id(), one.credentials.device.get(), one.forbidden), (id(UUID), 2, false));
        assert_eq!((one.credentials.password.expose(), one.last_registration), ("hunter2", 1_700_000_000));
        assert_eq!((one.endpoint.as_str(), one.fetched_until), ("https://push.example/upSECRET", None));
        assert_eq!((two.id(), two.credentials.device.get(), two.forbidden), (id(OTHER), 127, true));
    }
}

#[test]
fn the_reference_reads_and_writes_what_we_wrote() {
    for table in ["", REFERENCE, OLD_REFERENCE] {
        let place = if table.is_empty() { Place::new() } else { Place::with_reference_row(table) };
        let store = place.open();
        let mut stored = account(UUID);
        stored.endpoint_gone = true;
        stored.paused = true;
        stored.fetched_until = Some(ServerTime(7));
        run(store.put(stored.clone())).unwrap();
        close(store, &place);

        // As the reference does it: its own CREATE, all columns by position, everything bound as text.
        let sql = place.sql();
        sql.execute_batch(&REFERENCE.replace("TABLE", "TABLE IF NOT EXISTS")).unwrap();
        let row = sql
            .query_row("SELECT * FROM connections", [], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, u32>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, bool>(4)?,
                    row.get::<_, i64>(5)?,
                ))
            })
            .unwrap();
        let password = stored.credentials.password.expose().to_owned();
        let endpoint = "https://push.example/upSECRET?up=1".to_owned();
        assert_eq!(row, (UUID.to_owned(), 2, password, endpoint, false, 1_700_000_000));
        drop(sql);
        place.reference_insert(UUID, "3", "https://push.example/new", "0");
        place.reference_insert(OTHER, "4", "https://push.example/other", "1");

        let listing = run(place.open().list()).unwrap();
        let [one, two] = &listing.accounts[..] else { panic!("the reference replaces a row: {listing:?}") };
        assert_eq!((one.credentials.device.get(), one.endpoint_gone, one.paused), (3, false, false));
        assert_eq!((two.credentials.device.get(), two.forbidden), (4, true));
    }
}

#[test]
fn a_copy_is_kept_before_rows_of_the_reference_are_migrated() {
    let place = Place::with_reference_row(OLD_REFERENCE);
    drop(place.open());
    let copy = place.directory.path().join("db.sqlite.before-2.0");
    assert_eq!(mode(&copy), 0o600);
    let strategy: Option<String> =
        Connection::open(&copy).unwrap().query_row("SELECT strategy FROM connections", [], |r| r.get(0)).unwrap();
    assert_eq!(strategy, None);

    // Opening again migrates nothing, and an empty database needs no copy.
    let before = fs::read(&copy).unwrap();
    let store = place.open();
    close(store, &place);
    assert_eq!(place.names(), ["db.sqlite", "db.sqlite.before-2.0"]);
    assert_eq!(fs::read(&copy).unwrap(), before);
    let empty = Place::with(REFERENCE);
    close(empty.open(), &empty);
    assert_eq!(empty.names(), ["db.sqlite"]);
}

#[test]
fn an_earlier_copy_is_never_replaced() {
    let place = Place::with_reference_row(REFERENCE);
    let first = place.directory.path().join("db.sqlite.before-2.0");
    fs::write(&first, "precious").unwrap();
    drop(place.open());
    assert_eq!(fs::read_to_string(&first).unwrap(), "precious");
    assert!(place.directory.path().join("db.sqlite.before-2.0-2").exists());
}

#[test]
fn a_migration_that_cannot_keep_its_copy_changes_nothing() {
    let place = Place::with_reference_row(OLD_REFERENCE);
    fs::create_dir(place.directory.path().join("db.sqlite.before-2.0")).unwrap();
    for n in 2..100 {
        fs::write(place.directory.path().join(format!("db.sqlite.before-2.0-{n}")), "").unwrap();
    }
    let before = fs::read(&place.db).unwrap();
    assert!(matches!(place.refused(), StoreError::Failed { .. }));
    assert_eq!(fs::read(&place.db).unwrap(), before);
}

#[test]
fn rows_nobody_can_read_are_reported_and_left_alone() {
    let place = Place::with(REFERENCE);
    place.reference_insert("anything", "2", "https://push.example/up1", "0");
    place.reference_insert(UUID, "0", "https://push.example/SECRET", "0");
    place.reference_insert(OTHER, "2", "not a url SECRET", "1");
    place.sql().execute("INSERT INTO connections VALUES (NULL, NULL, NULL, x'ff', 0, 'x')", []).unwrap();
    let good = "11111111-2222-4333-8444-555555555555";
    place.reference_insert(good, "2", "https://push.example/up1", "0");
    let store = place.open();

    let listing = run(store.list()).unwrap();
    assert_eq!(listing.accounts.iter().map(Account::id).collect::<Vec<_>>(), [id(good)]);
    assert_eq!(listing.unreadable.len(), 4, "{:?}", listing.unreadable);
    let text = listing.unreadable.iter().map(|row| format!("{row}\n")).collect::<String>();
    assert!(text.contains("row-1 (anything)") && text.contains(UUID) && text.contains("device"), "{text}");
    let anonymized = listing.unreadable.iter().map(|row| row.anonymized()).collect::<String>();
    for secret in ["SECRET", "hunter2"] {
        assert!(!text.contains(secret) && !anonymized.contains(secret), "{text}");
    }
    assert!(!anonymized.contains("anything") && !anonymized.contains(UUID), "{anonymized}");
    assert_eq!(run(store.count()).unwrap(), 5);
    assert_eq!(run(store.get(id(UUID))).unwrap(), None);

    // Registering the account replaces its broken row; the others stay.
    run(store.put(account(UUID))).unwrap();
    assert_eq!(run(store.get(id(UUID))).unwrap(), Some(account(UUID)));
    assert_eq!((run(store.count()).unwrap(), run(store.list()).unwrap().unreadable.len()), (5, 3));

    // What is shown of a row removes it, and nothing else does.
    for (name, left) in
        [("nothing", 3), ("", 3), (UUID, 3), ("row-5", 3), ("anything", 2), ("anything", 2), ("row-4", 1)]
    {
        let before = run(store.list()).unwrap().unreadable.len();
        assert_eq!(run(store.remove_odd(name.to_owned())).unwrap(), before > left, "{name}");
        assert_eq!(run(store.list()).unwrap().unreadable.len(), left, "{name}");
    }
    assert_eq!(run(store.list()).unwrap().accounts.len(), 2);
}

#[test]
fn an_account_has_one_row_whatever_the_spelling_of_its_id() {
    let spellings = [UUID.to_uppercase(), UUID.replace('-', ""), format!("{{{UUID}}}"), format!("urn:uuid:{UUID}")];
    for spelling in &spellings {
        let place = Place::with(REFERENCE);
        place.reference_insert(spelling, "2", "https://push.example/old", "0");
        let store = place.open();
        let found = run(store.get(id(UUID))).unwrap().unwrap();
        assert!(run(store.set_forbidden(found.credentials.clone())).unwrap(), "{spelling}");
        assert!(run(store.list()).unwrap().accounts[0].forbidden);
        run(store.put(account(UUID))).unwrap();
        assert_eq!(run(store.count()).unwrap(), 1, "{spelling}");
        let stored: String = place.sql().query_row("SELECT uuid FROM connections", [], |row| row.get(0)).unwrap();
        assert_eq!(stored, UUID);
    }
    // Two rows of one account: the newer registration counts, the other is reported, and both go together.
    let place = Place::with(REFERENCE);
    place.reference_insert(UUID, "2", "https://push.example/old", "0");
    place.reference_insert(&UUID.to_uppercase(), "3", "https://push.example/new", "0");
    let store = place.open();
    let listing = run(store.list()).unwrap();
    assert_eq!((listing.accounts.len(), listing.unreadable.len()), (1, 1));
    assert_eq!(listing.accounts[0].credentials.device.get(), 3);
    assert_eq!(run(store.get(id(UUID))).unwrap().as_ref(), listing.accounts.first());
    assert!(run(store.set_forbidden(listing.accounts[0].credentials.clone())).unwrap());
    assert!(run(store.get(id(UUID))).unwrap().unwrap().forbidden);
    assert!(run(store.remove(id(UUID))).unwrap());
    assert_eq!(run(store.count()).unwrap(), 0);
}

#[test]
fn odd_spellings_that_others_write_meanwhile_are_found() {
    let place = Place::with(REFERENCE);
    let store = place.open();
    assert_eq!(run(store.get(id(UUID))).unwrap(), None);
    for round in 0..3 {
        place.reference_insert(&UUID.to_uppercase(), "3", "https://push.example/theirs", "0");
        let found = run(store.get(id(UUID))).unwrap().expect("its row");
        assert_eq!(found.credentials.device.get(), 3, "{round}");
        run(store.put(account(UUID))).unwrap();
        run(store.put(account(OTHER))).unwrap();
        assert_eq!(run(store.get(id(UUID))).unwrap(), Some(account(UUID)), "{round}");
        assert_eq!(run(store.get(id(OTHER))).unwrap(), Some(account(OTHER)), "{round}");
        assert_eq!(run(store.count()).unwrap(), 2, "{round}: it took the place of theirs");
        place.reference_insert(&UUID.replace('-', ""), "4", "https://push.example/theirs", "0");
        assert!(run(store.remove(id(UUID))).unwrap());
        assert_eq!(run(store.get(id(UUID))).unwrap(), None, "{round}: both rows went");
        assert_eq!(run(store.count()).unwrap(), 1);
    }
}

#[test]
fn an_account_is_found_as_soon_among_ten_thousand() {
    let one = Place::with(REFERENCE);
    let many = Place::with(REFERENCE);
    one.reference_insert(UUID, "2", "https://push.example/up", "0");
    many.sql()
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO connections SELECT
                 -- Some of them spelt in the reference's way.
                 CASE WHEN i % 100 = 0 THEN upper(printf('%08x-0000-4000-8000-%012x', i, i))
                      ELSE printf('%08x-0000-4000-8000-%012x', i, i) END,
                 2, 'hunter2', 'https://push.example/up', 0, 1700000000 FROM n",
        )
        .unwrap();
    let took = |place: &Place| {
        let store = place.open();
        let stranger = |n: u32| id(&format!("{n:08x}-9999-4000-8000-000000000000"));
        run(store.get(stranger(0))).unwrap();
        // The best of some rounds: the machine has other things to do.
        let rounds = (0..8).map(|round| {
            let begun = Instant::now();
            for n in 0..25 {
                assert_eq!(run(store.get(stranger(round * 25 + n))).unwrap(), None);
            }
            begun.elapsed()
        });
        rounds.min().unwrap()
    };
    let (few, many) = (took(&one), took(&many));
    // Looking through the table would take over a hundred times as long.
    assert!(many < few * 12, "{many:?} instead of {few:?} for 25 accounts that are not there");
}

//! `connection`: the accounts in the database, and the test push.

use std::fs;
use std::io::{self, Write as _};
use std::process::Stdio;

use mollysocket::status::State;
use sim::push::Answer;

use crate::world::{OTHER_UUID, PASSWORD, Run, TOKEN, UUID, World};

#[test]
fn the_line_molly_copies_stores_the_account_and_wakes_the_phone() {
    let (world, push) = World::pushing();
    let endpoint = format!("{}?up=1&x=a+b", push.endpoint(TOKEN));
    let out = world.add(&endpoint).ok();
    assert!(out.contains(&world.path("db.sqlite").display().to_string()), "names the database: {out}");
    assert!(out.contains("no server uses this database") && out.contains("accepted"), "{out}");
    let requests = push.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].text(), r#"{"test":true}"#);
    let stored: (String, i64, String, String, bool) = rusqlite::Connection::open(world.path("db.sqlite"))
        .unwrap()
        .query_row("SELECT uuid, device_id, password, endpoint, forbidden FROM connections", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    assert_eq!(stored, (UUID.to_owned(), 2, PASSWORD.to_owned(), endpoint, false));
}

#[test]
fn the_line_may_come_by_standard_input_so_that_no_other_user_sees_the_password() {
    let (world, push) = World::pushing();
    let feed = |words: &[&str], line: &str| {
        let mut command = world.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let arguments = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        assert!(!String::from_utf8_lossy(&arguments).contains(PASSWORD));
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        Run::of(child.wait_with_output().unwrap())
    };
    for (n, before) in ["", "connection add ", "mollysocket connection add "].iter().enumerate() {
        let endpoint = push.endpoint(&format!("up-{n}?x=1&y=2"));
        let line = format!("{before}{UUID} 2 {PASSWORD} {endpoint}\n");
        let out = feed(&["connection", "add", "-"], &line).ok();
        assert!(out.contains("stored") && out.contains("accepted"), "{out}");
        assert_eq!(world.account()["endpoint"], endpoint);
    }
    let before = world.account();
    for line in ["", "\n", &format!("{UUID} {PASSWORD}\n"), &format!("remove {UUID} 2 {PASSWORD} https://h/x\n")] {
        feed(&["-v", "c", "a", "-"], line).fails(2, &["standard input", "connection add UUID"]);
    }
    feed(&["connection", "add", "-"], &format!("nonsense 2 {PASSWORD} https://h/x\n")).fails(2, &["UUID"]);
    feed(&["connection", "add", "-", "2"], "").fails(2, &["missing"]);
    assert_eq!(world.account(), before);
}

#[test]
fn passwords_and_endpoints_are_taken_verbatim() {
    let (world, push) = World::pushing();
    for password in ["-c+/=", "--x", "a b", "-vw=="] {
        let endpoint = push.endpoint("up-1");
        world.run(&["connection", "add", UUID, "2", password, &endpoint]).ok();
        let stored: String = rusqlite::Connection::open(world.path("db.sqlite"))
            .unwrap()
            .query_row("SELECT password FROM connections", [], |row| row.get(0))
            .unwrap();
        assert_eq!(stored, password);
    }
}

#[test]
fn a_refused_account_or_endpoint_is_not_stored() {
    let (mut world, push) = World::pushing();
    world.set("MOLLY_ALLOWED_UUIDS", OTHER_UUID);
    world.add(&push.endpoint(TOKEN)).fails(1, &["allowed_uuids", UUID]);
    world.unset("MOLLY_ALLOWED_UUIDS");
    world.add("https://elsewhere.example/upX").fails(1, &["allowed_endpoints", "https://elsewhere.example"]);
    world.unset("MOLLY_ALLOWED_ENDPOINTS");
    world.add(&push.endpoint(TOKEN)).fails(1, &["allowed_endpoints", "127.0.0.1"]);
    assert_eq!(push.requests().len(), 0);
    world.line("connection remove 0f2b1a3c-1111-4222-8333-444455556666");
    if world.path("db.sqlite").exists() {
        assert!(world.line("connection list").ok().contains("accounts: 0"));
    }
}

#[test]
fn no_more_than_max_accounts_are_added_but_known_ones_may_change() {
    let (mut world, push) = World::pushing();
    world.set("MOLLY_MAX_ACCOUNTS", "1");
    world.add(&push.endpoint("a")).ok();
    world.add(&push.endpoint("b")).ok();
    let endpoint = push.endpoint("c");
    world.run(&["connection", "add", OTHER_UUID, "2", "pw", &endpoint]).fails(1, &["max_accounts", "nothing stored"]);
    assert_eq!(push.requests_for("/push/c").len(), 0);
}

#[test]
fn a_failed_test_push_is_told_and_the_account_is_stored_all_the_same() {
    let (mut world, push) = World::pushing();
    push.set_default(Answer::status(507));
    world.add(&push.endpoint(TOKEN)).code_1_after_storing(&["507"]);
    assert_eq!(world.account()["forbidden"], false);
    push.set_default(Answer::status(403));
    world.add(&push.endpoint(TOKEN)).code_1_after_storing(&["403"]);
    push.refuse(true);
    world.add(&push.endpoint(TOKEN)).code_1_after_storing(&["connection ping"]);
    push.refuse(false);
    world.set("MOLLY_VAPID_KEY_FILE", "");
    world.add(&push.endpoint(TOKEN)).code_1_after_storing(&["VAPID"]);
    assert_eq!(world.account()["uuid"], UUID);
}

impl crate::world::Run {
    /// It stored the account, said so, and then failed for a reason that holds `parts`.
    fn code_1_after_storing(self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stdout.starts_with("stored "), "{self:?}");
        let line = self.stderr.lines().find(|line| line.starts_with("mollysocket: the account is stored")).unwrap();
        parts.iter().for_each(|part| assert!(line.contains(part), "{line:?} lacks {part:?}"));
    }
}

#[test]
fn adding_again_replaces_and_keeps_what_is_still_true() {
    let (world, push) = World::pushing();
    let fetched = || -> Option<i64> {
        rusqlite::Connection::open(world.path("db.sqlite"))
            .unwrap()
            .query_row("SELECT covered_until FROM connections", [], |row| row.get(0))
            .unwrap()
    };
    world.add(&push.endpoint("a")).ok();
    world.sql("UPDATE connections SET forbidden = 1, endpoint_gone = 1, covered_until = 1700000000000");
    world.add(&push.endpoint("b")).ok();
    let account = world.account();
    assert_eq!(account["endpoint"], push.endpoint("b"));
    assert_eq!((&account["forbidden"], &account["endpoint_gone"]), (&false.into(), &false.into()));
    assert_eq!(fetched(), Some(1_700_000_000_000), "same device: the phone knows what it knew");
    world.run(&["connection", "add", UUID, "3", PASSWORD, &push.endpoint("b")]).ok();
    assert_eq!(fetched(), None, "another device has another queue");
    assert!(world.line("connection list").ok().contains("accounts: 1"));
}

#[test]
fn lists_are_for_people_scripts_and_programs() {
    let (world, push) = World::pushing();
    world.add(&push.endpoint(TOKEN)).ok();
    let out = world.line("connection list").ok();
    for part in [UUID, TOKEN, "forbidden: false", "device: 2", "last registration: 20"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    for line in ["connection list -a", "connection list --anonymized", "c l -a --json"] {
        let out = world.line(line).ok();
        let origin = format!("https://localhost:{}", push.addr().port());
        assert!(out.contains("0f2b1a3c…") && out.contains(&origin), "{out}");
        assert!(!out.contains("4222") && !out.contains(TOKEN) && !out.contains("push/"), "{out}");
    }
    world.sql("UPDATE connections SET forbidden = 1");
    let out = world.line("connection list").ok();
    assert!(out.contains("forbidden: true"), "{out}");
    let account = world.account();
    assert_eq!(
        (&account["uuid"], &account["device_id"], &account["forbidden"]),
        (&UUID.into(), &2.into(), &true.into())
    );
    assert_eq!(account["endpoint"], push.endpoint(TOKEN));
    assert!(account.get("password").is_none());
}

#[test]
fn odd_rows_are_shown_as_such_and_stay_until_they_are_removed() {
    let (world, push) = World::pushing();
    world.add(&push.endpoint(TOKEN)).ok();
    // What the reference implementation accepted: its own list panicked on some of these.
    world.sql(
        "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden, last_registration) VALUES
         ('x', 2, 'oddSECRET', 'https://h/oddSECRET', 0, 1),
         ('', 2, 'p', 'https://h', 0, 1),
         ('2f2b1a3c-1111-4222-8333-444455556666', 2, 'p', 'data:,', 0, 1),
         ('3f2b1a3c-1111-4222-8333-444455556666', 900, 'p', 'https://h/a', 0, 1),
         ('4f2b1a3c-1111-4222-8333-444455556666', 2, 'p', 'https://h', 0, 9223372036854775807)",
    );
    for line in ["connection list", "connection list -a", "connection list --json", "connection list -a --json"] {
        let out = world.line(line).ok();
        assert!(!out.contains("oddSECRET"), "{out}");
        if line.ends_with("--json") {
            let all: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(all["unreadable"].as_array().unwrap().len(), 4, "{out}");
            assert_eq!(all["accounts"].as_array().unwrap().len(), 2, "{out}");
        } else {
            assert_eq!(out.matches("unreadable: ").count(), 4, "{out}");
        }
    }
    assert!(world.line("connection list").ok().contains("unreadable: row-2 (x): the account id is not a UUID"));
    assert!(!world.line("connection list -a").ok().contains("(x)"));
    let rows: i64 = rusqlite::Connection::open(world.path("db.sqlite"))
        .unwrap()
        .query_row("SELECT count(*) FROM connections", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 6);
    for name in ["x", "row-3"] {
        world.line(&format!("connection remove {name}")).ok();
        world.line(&format!("connection remove {name}")).fails(2, &["UUID"]);
    }
    assert_eq!(world.line("connection list").ok().matches("unreadable: ").count(), 2);
}

#[test]
fn removing_says_whether_there_was_anything() {
    let (world, push) = World::pushing();
    world.add(&push.endpoint(TOKEN)).ok();
    world.run(&["connection", "remove", OTHER_UUID]).fails(1, &[OTHER_UUID]);
    assert!(world.run(&["connection", "remove", &UUID.to_uppercase()]).ok().contains("removed"));
    world.run(&["connection", "remove", UUID]).fails(1, &[UUID]);
    assert!(world.line("connection list").ok().contains("accounts: 0"));
}

#[test]
fn ping_sends_a_test_push_and_tells_what_else_is_wrong() {
    let (world, push) = World::pushing();
    world.add(&push.endpoint(TOKEN)).ok();
    push.clear();
    assert!(world.run(&["connection", "ping", UUID]).ok().contains("push OK"));
    assert_eq!(push.requests()[0].text(), r#"{"test":true}"#);
    world.run(&["connection", "ping", OTHER_UUID]).fails(1, &[OTHER_UUID]);

    // A captive portal takes everything, and wakes nobody.
    push.set_default(Answer::status(200).header("Content-Type", "text/html").body("<title>Welcome</title>"));
    let run = world.run(&["connection", "ping", UUID]);
    assert!(run.code == Some(1) && run.stdout.contains("perhaps not by a push server"), "{run:?}");
    push.set_default(Answer::ok());

    world.sql("UPDATE connections SET forbidden = 1");
    let run = world.run(&["connection", "ping", UUID]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("push OK") && run.stdout.contains("but the account is unlinked"), "{run:?}");
    // One state, one word and one remedy, wherever it is shown.
    let remedy = State::Unlinked.remedy();
    assert!(run.stdout.contains(remedy), "{run:?}");
    let list = world.line("connection list").ok();
    assert!(list.contains(&format!("  forbidden: true (unlinked: {remedy})\n")), "{list}");
    let status = world.line("status");
    assert!(status.stdout.contains("unlinked") && status.stdout.contains(remedy), "{status:?}");

    world.sql("UPDATE connections SET forbidden = 0, endpoint_gone = 1");
    push.set_default(Answer::status(410));
    world.run(&["connection", "ping", UUID]).fails(1, &["410"]);
    assert_eq!(world.account()["endpoint_gone"], true);
    push.set_default(Answer::ok());
    assert!(world.run(&["connection", "ping", UUID]).ok().contains("resumed"));
    assert_eq!(world.account()["endpoint_gone"], false);
}

#[test]
fn only_add_and_import_make_a_database() {
    let world = World::keyed();
    for line in
        ["connection list", "connection list --json", &format!("c remove {UUID}"), &format!("connection ping {UUID}")]
    {
        world.line(line).fails(1, &["db.sqlite"]);
    }
    assert!(!world.path("db.sqlite").exists());
    fs::write(world.path("db.sqlite"), "this is no database, only text that is long enough to be read").unwrap();
    world.line("connection list").fails(1, &["db.sqlite"]);
}

#[test]
fn the_old_database_name_is_found_and_named() {
    let (mut world, push) = World::pushing();
    world.add(&push.endpoint(TOKEN)).ok();
    world.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::rename(world.path("db.sqlite"), world.path("mollysocket.db")).unwrap();
    // The image of a container sets it, whatever is in the volume.
    for set in [None, Some(world.path("db.sqlite"))] {
        if let Some(db) = &set {
            world.set("MOLLY_DB", db.to_str().unwrap());
        }
        let run = world.line("connection list");
        assert!(run.stderr.contains("warning") && run.stderr.contains("mollysocket.db"), "{run:?}");
        assert!(run.ok().contains(&world.path("mollysocket.db").display().to_string()), "{set:?}");
        assert!(!world.path("db.sqlite").exists(), "{set:?}");
    }
}

#[test]
fn a_reader_that_left_does_not_keep_the_push_from_being_sent() {
    let (world, push) = World::pushing();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let endpoint = push.endpoint(TOKEN);
    let mut command = world.command(&["connection", "add", UUID, "2", PASSWORD, &endpoint]);
    let output = command.stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert_eq!((output.code(), push.requests().len()), (Some(0), 1));
}

#[test]
fn a_certificate_file_that_cannot_be_used_is_a_configuration_error() {
    let (mut world, push) = World::pushing();
    world.set("MOLLY_PUSH_CA_FILE", "missing.pem");
    world.add(&push.endpoint(TOKEN)).fails(2, &["missing.pem", "push_ca_file"]);
    fs::write(world.path("missing.pem"), "no certificate").unwrap();
    world.add(&push.endpoint(TOKEN)).fails(2, &["missing.pem"]);
}

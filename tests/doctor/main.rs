//! `doctor` finds what is wrong, names the remedy, and complains of nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

mod case;
mod faults;
mod machine;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::sync::Arc;

use case::{Case, Findings};
use faults::{AT_SIGNAL, AT_THE_PUSH_SERVER, BEFORE_THE_SERVER, Fault};
use machine::ON_THIS_MACHINE;
use mollysocket::doctor::{Check, Doctor, Severity};
use mollysocket::net::resolve::Resolve;
use mollysocket::status::State;
use sim::push::Answer;
use sim::signal::{Envelope, Handshake, Mode, UaRule};
use support::{DEVICE, PATIENCE, World};

/// Whether a check has this name, perhaps with an account before or a server behind it.
fn is_check(name: &str, check: &str) -> bool {
    name == check || name.ends_with(&format!(": {check}")) || name.starts_with(&format!("{check} https://"))
}

fn is_found(fault: &Fault) {
    let mut case = Case::new();
    (fault.plant)(&mut case);
    let findings = case.examine(&[]);
    let all: Vec<_> = findings.complaints().collect();
    let found = |(_, name, said): &&(String, String, String)| {
        is_check(name, fault.found) && fault.says.iter().all(|part| said.contains(part))
    };
    assert!(all.iter().any(found), "{}: not found in {all:#?}", fault.name);
    for (_, name, said) in &all {
        let expected = std::iter::once(&fault.found).chain(fault.also).any(|check| is_check(name, check));
        assert!(expected, "{}: also {name}: {said}", fault.name);
        assert!(!said.trim_end().ends_with("to do:"), "{}: no remedy: {name}: {said}", fault.name);
    }
    let fails = all.iter().any(|(verdict, _, _)| verdict == "failure");
    // Without a configuration nothing else can be checked.
    let code = if findings.checks.len() == 1 { 2 } else { i32::from(fails) };
    assert_eq!(findings.code, Some(code), "{}", fault.name);
    // Whatever is wrong, a report names nobody.
    let (_, report) = case.run(&["--report"]);
    let (phone, directory) = (&case.phone, case.world.dir.path().display().to_string());
    for secret in [&phone.uuid[..8], &phone.password, &phone.token, &directory, "localhost/", ".invalid"] {
        assert!(!report.contains(secret), "{}: {secret} in {report}", fault.name);
    }
}

#[test]
fn faults_on_this_machine_are_found_with_their_remedies() {
    ON_THIS_MACHINE.iter().for_each(is_found);
}

#[test]
fn faults_on_the_way_to_signal_are_found_with_their_remedies() {
    AT_SIGNAL.iter().for_each(is_found);
}

#[test]
fn faults_at_the_push_server_are_found_with_their_remedies() {
    AT_THE_PUSH_SERVER.iter().for_each(is_found);
}

#[test]
fn faults_before_the_server_are_found_with_their_remedies() {
    BEFORE_THE_SERVER.iter().for_each(is_found);
}

#[test]
fn where_all_is_well_there_is_no_complaint() {
    let case = Case::new();
    for args in [&[][..], &[case.phone.uuid.as_str()]] {
        let findings = case.examine(args);
        assert_eq!(findings.complaints().collect::<Vec<_>>(), Vec::<&(String, String, String)>::new());
        assert_eq!(findings.code, Some(0));
        for name in ["login", "push", "endpoint", "User-Agent", "TLS", "clock", "public_url", "database", "server"] {
            let fine = |(verdict, found, _): &(String, String, String)| {
                verdict == "ok" && (is_check(found, name) || found == &format!("Signal: {name}"))
            };
            assert!(findings.checks.iter().any(fine), "{name} was not checked: {:#?}", findings.checks);
        }
    }
    let (code, text) = case.run(&[]);
    assert!(code == Some(0) && text.ends_with("\nNo fault found.\n"), "{code:?}: {text}");
    // The simulator's own authority takes the place of the pinned ones.
    assert!(text.contains("ca.pem (signal_ca_file)") && !text.contains("pinned"), "{text}");
}

/// Sets what Signal answers to whom has no login; each account's own login is accepted.
fn findings_where_strangers_get(answer: Handshake) -> Findings {
    let case = Case::new();
    let signal = case.world.signal();
    signal.set_mode_for(&case.phone.uuid, DEVICE, Mode::Handshake(Handshake::Accept));
    signal.set_mode(Mode::Handshake(answer));
    case.examine(&[])
}

#[test]
fn any_answer_with_signals_time_stamp_shows_that_signal_is_there() {
    for (code, verdict) in [(403, "ok"), (429, "ok"), (400, "ok"), (500, "warning"), (503, "warning")] {
        let stamped = Handshake::Status { code, timestamp_header: true, retry_after: None };
        let findings = findings_where_strangers_get(stamped);
        let (said, _, what) =
            findings.checks.iter().find(|(_, name, _)| name == "Signal: answer").expect("it is told").clone();
        assert_eq!(said, verdict, "{what}");
        assert!(what.contains("Signal is there") && what.contains(&code.to_string()), "{what}");
        let login = findings.checks.iter().find(|(_, name, _)| is_check(name, "login")).expect("it is asked");
        assert_eq!(login.0, "ok", "{login:?}");
        assert_eq!(findings.code, Some(0));
    }
}

#[test]
fn a_user_agent_that_is_refused_is_no_fault_where_the_next_one_is_accepted() {
    let case = Case::new();
    case.world.signal().set_spqr(&case.phone.uuid, DEVICE, false);
    case.world.signal().set_mode(Mode::Handshake(Handshake::UserAgent(UaRule::require_spqr())));
    let findings = case.examine(&[]);
    assert_eq!(findings.complaints().collect::<Vec<_>>(), Vec::<&(String, String, String)>::new());
    assert_eq!(findings.code, Some(0));
}

/// The name of Signal's host, at addresses of both families.
struct Both(&'static str);

#[async_trait::async_trait]
impl Resolve for Both {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![self.0.parse().unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST)])
    }
}

/// What is said of IPv6 where Signal is reached by IPv4 and has this IPv6 address, and all complaints.
fn said_of_ipv6(case: &Case, address: &'static str) -> (Severity, Vec<Check>) {
    let config = case.world.config();
    let mut checks = Vec::new();
    let mut tell = |check| checks.push(check);
    let executor = Arc::new(smol::Executor::new());
    let doctor = Doctor::new(&config, None, &mut tell).with_resolver(Arc::new(Both(address)));
    smol::block_on(executor.run(doctor.examine(executor.clone())));
    let ipv6 = checks.iter().find(|check| check.name == "Signal: IPv6").expect("it is looked at").verdict;
    checks.retain(|check| matches!(check.verdict, Severity::Warning | Severity::Failure));
    (ipv6, checks)
}

#[test]
fn a_machine_with_one_family_is_no_fault_and_a_broken_one_is() {
    let mut case = Case::new();
    // Only public authorities would do for it.
    case.world.settings.clear();
    // No host has a multicast address, so the system refuses to connect at once, as it does without a route.
    assert_eq!(said_of_ipv6(&case, "ff02::1"), (Severity::Note, Vec::new()));
    // Nobody listens here, on machines that have it.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let (verdict, complaints) = said_of_ipv6(&case, "::1");
        assert!(verdict == Severity::Warning && complaints.len() == 1, "{complaints:?}");
        assert!(complaints[0].remedy.contains("repair IPv6"), "{complaints:?}");
    }
}

/// Every name is at one address.
struct Always(IpAddr);

#[async_trait::async_trait]
impl Resolve for Always {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

#[test]
fn a_dns_filter_is_told_as_one_for_signal_and_for_push_servers() {
    for answer in ["0.0.0.0", "::", "127.0.0.1"] {
        let mut case = Case::new();
        case.world.settings = "allowed_endpoints = [\"https://push.example\"]\n".into();
        let mut config = case.world.config();
        config.signal_url = "wss://chat.signal.example/v1/websocket/".parse().unwrap();
        let mut checks = Vec::new();
        let mut tell = |check| checks.push(check);
        let executor = Arc::new(smol::Executor::new());
        let resolver = Arc::new(Always(answer.parse().unwrap()));
        let doctor = Doctor::new(&config, None, &mut tell).with_resolver(resolver);
        smol::block_on(executor.run(doctor.examine(executor.clone())));
        let of = |name: &str| checks.iter().find(|check: &&Check| check.name == name).cloned().expect(name);
        let signal = of("Signal: name");
        assert!(signal.verdict != Severity::Ok && signal.remedy.contains("DNS filter"), "{signal:?}");
        let push = of("push server https://push.example");
        assert!(push.verdict == Severity::Failure && !push.remedy.contains("allowed_endpoints"), "{push:?}");
        assert!(answer == "127.0.0.1" || push.remedy.contains("DNS filter"), "{push:?}");
    }
}

#[test]
fn a_running_server_keeps_its_connection_and_its_messages() {
    let case = Case::new();
    let (world, phone) = (&case.world, &case.phone);
    world.push.set_default(Answer::status(500));
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    world.wait_push_state(phone, "retrying");
    let before = world.signal().counters(&phone.uuid, DEVICE);
    let since = |world: &World| world.daemon.as_ref().unwrap().supervisor.snapshots()[0].status.signal.since;
    let connected = since(world);
    case.examine(&[]);
    let after = world.signal().counters(&phone.uuid, DEVICE);
    assert_eq!((after.displaced, after.delivered, after.acked), (0, before.delivered, before.acked));
    assert_eq!((world.state(phone).0.as_str(), since(world)), (State::Connected.label(), connected));
    world.push.set_default(Answer::created());
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE));
}

#[test]
fn only_a_named_account_gets_a_notification() {
    let case = Case::new();
    let other = case.world.phone(2);
    case.world.store_phone(&other);
    let bodies = |case: &Case| {
        let all = case.world.push.requests().into_iter().filter(|request| request.method == "POST");
        let bodies: Vec<_> = all.map(|request| (request.target.clone(), request.text())).collect();
        case.world.push.clear();
        bodies
    };
    bodies(&case);
    case.examine(&[]);
    let sent = bodies(&case);
    assert!(sent.len() == 2 && sent.iter().all(|(_, body)| body == "{\"urgent\":true}"), "{sent:?}");
    case.examine(&[&other.uuid]);
    let sent = bodies(&case);
    assert!(sent.len() == 1 && sent[0].0.contains(&other.token) && sent[0].1 == "{\"test\":true}", "{sent:?}");
    let findings = case.examine(&["99999999-1111-4222-8333-444455556666"]);
    assert!(findings.complaints().any(|(_, name, said)| name == "account" && said.contains("connection list")));
}

#[test]
fn a_new_key_is_suggested_only_where_nobody_uses_one() {
    let mut case = Case::new();
    let said = |case: &Case| {
        let findings = case.examine(&[]);
        let (_, _, said) = findings.complaints().find(|(_, name, _)| name == "VAPID key").expect("there is no key");
        said.clone()
    };
    let once = "start it once";
    fs::remove_file(case.path("db.sqlite.vapid")).unwrap();
    assert!(!said(&case).contains(once), "{}", said(&case));
    case.world.stop();
    assert!(!said(&case).contains(once), "{}", said(&case));
    case.set("db", "\"new.sqlite\"");
    assert!(said(&case).contains(once), "{}", said(&case));
}

#[test]
fn a_key_file_for_the_group_of_this_process_is_no_fault() {
    let case = Case::new();
    case.key_file(0o440);
    let findings = case.examine(&[]);
    assert_eq!(findings.complaints().collect::<Vec<_>>(), Vec::<&(String, String, String)>::new());
}

#[test]
fn listed_push_servers_that_are_not_looked_at_are_mentioned() {
    let case = Case::new();
    let mentioned = |case: &Case| {
        let findings = case.examine(&[]);
        findings.checks.into_iter().find(|(_, name, _)| name == "push servers").map(|(_, _, said)| said)
    };
    // Nobody listens at these.
    let list =
        |n: u16| (1..n).map(|port| format!("https://localhost:{port}")).chain([case.origin()]).collect::<Vec<_>>();
    case.set("allowed_endpoints", &format!("{:?}", list(10)));
    assert_eq!(mentioned(&case), None);
    case.set("allowed_endpoints", &format!("{:?}", list(11)));
    let said = mentioned(&case).expect("one is left out");
    assert!(said.contains("of the 11") && said.contains("first 10"), "{said}");
}

#[test]
fn progress_is_shown_in_lines_with_what_to_do() {
    let case = Case::new();
    case.world.push.set_default(Answer::status(507));
    let (code, text) = case.run(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("\nFAILURE  account 00000001: push: https://localhost:"), "{text}");
    assert!(text.contains("\n         to do: open the distributor app"), "{text}");
    assert!(text.ends_with("\n1 failure, 0 warnings.\n") && !text.contains('\x1b'), "{text}");
}

#[test]
fn the_report_tells_nothing_about_anybody() {
    let mut case = Case::new();
    case.set("public_url", "\"https://molly.private-name.invalid/\"");
    case.set("vapid_contact", "\"mailto:somebody@private-name.invalid\"");
    // Nor about accounts that are not in the database, or that cannot be read from it.
    let (stranger, spoilt) = ("99999999-1111-4222-8333-444455556666", "1f2b1a3c-1111-4222-8333-444455556666");
    case.world.store_row(spoilt, 900);
    case.world.stop();
    let (code, text) = case.run(&["--report", stranger]);
    assert_eq!(code, Some(1));
    assert!(text.contains("ACCOUNT is not in") && text.contains("left out: row-2: the device id"), "{text}");
    assert!(!text.contains(&stranger[..8]) && !text.contains(&spoilt[..8]), "{text}");
    let (code, text) = case.run(&["--report"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("```text\nMollySocket ") && text.ends_with("```\n"), "{text}");
    assert!(text.contains("FAILURE: server: no server answers at DIRECTORY/db.sqlite.sock"), "{text}");
    assert!(text.contains("account-1: login") && text.contains("host-"), "{text}");
    let directory = case.world.dir.path().display().to_string();
    let phone = &case.phone;
    for secret in [&phone.uuid, &phone.uuid[..8], &phone.password, &phone.token, "private-name", &directory] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn the_report_garbles_no_word_whatever_things_are_called() {
    let mut case = Case::new();
    // Words of the report itself, and single letters.
    case.set("public_url", "\"https://server/ok\"");
    case.set("allowed_endpoints", &format!("[{:?}, \"https://e\", \"https://account\"]", case.origin()));
    case.set("vapid_contact", "\"mailto:a@e\"");
    case.world.stop();
    let (_, text) = case.run(&["--report"]);
    for line in [
        "FAILURE: server: no server answers at DIRECTORY/db.sqlite.sock",
        "ok: database: DIRECTORY/db.sqlite: 1 account\n",
        "ok: account-1: endpoint: https://localhost:",
        "FAILURE: push server https://host-1: ",
        "FAILURE: push server https://host-2: ",
        "FAILURE: public_url: ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for secret in ["https://e", "https://account", "https://server", "mailto", "/ok"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn the_report_leaves_out_what_others_wrote() {
    let case = Case::new();
    // A configuration that cannot be used is shown in full by the error, but not in a report.
    case.set("allowed_uuids", "[\"alice-private\"]");
    let (code, text) = case.run(&["--report"]);
    assert!(code == Some(2) && !text.contains("alice"), "{text}");
    assert!(text.contains("FAILURE: configuration: it cannot be used"), "{text}");
    let case = Case::new();
    case.world.push.set_default(Answer::status(403));
    let (_, text) = case.run(&["--report"]);
    assert!(text.contains("FAILURE: account-1: push: the push server's answer counts as unauthorized"), "{text}");
}

#[test]
fn the_report_names_no_directory_only_links_and_the_server_know() {
    let mut case = Case::new();
    // A link, and a server that has its things elsewhere.
    let own = case.path("alice");
    fs::create_dir(&own).unwrap();
    symlink("alice/linked.sqlite", case.path("link.sqlite")).unwrap();
    case.set("db", "\"link.sqlite\"");
    let (other, _) = World::connected();
    symlink(other.dir.path().join("db.sqlite.sock"), case.path("other.sock")).unwrap();
    case.set("admin_socket", "\"other.sock\"");
    let (_, text) = case.run(&["--report"]);
    assert!(text.contains("there is no database DIRECTORY/linked.sqlite | check"), "{text}");
    assert!(text.contains("it uses DIRECTORY/db.sqlite, this command DIRECTORY/link.sqlite"), "{text}");
    assert!(!text.contains("alice") && !text.contains(other.dir.path().to_str().unwrap()), "{text}");
    // Nobody is behind the one that is noted.
    case.world.stop();
    case.set("db", "\"db.sqlite\"");
    case.note_socket(&own.join("admin.sock"));
    fs::write(own.join("admin.sock"), "").unwrap();
    let (_, text) = case.run(&["--report"]);
    assert!(text.contains("no server answers at DIRECTORY/admin.sock") && !text.contains("alice"), "{text}");
}

//! The driver works: a small run measures everything, and the daemon is correct in it.
#![allow(missing_docs)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Runs the driver in `dir`: what it printed, whether it went well, and the figures it wrote.
fn driver(dir: &Path, args: &[&str]) -> (String, bool, serde_json::Value) {
    drive(Command::new(env!("CARGO_BIN_EXE_load")), dir, args)
}

/// The same by a command that ends as the driver.
fn drive(mut command: Command, dir: &Path, args: &[&str]) -> (String, bool, serde_json::Value) {
    let file = dir.join("figures.json");
    let run = command
        .args(args)
        .args(["--idle", "1", "--calm", "1", "--json"])
        .arg(&file)
        .env("TMPDIR", dir)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&run.stderr);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no figures: {said}{complaint}"));
    (said, run.status.success(), serde_json::from_str(&text).expect("JSON"))
}

/// Figures of a run this small say nothing about memory or speed; that they are there is what counts.
#[test]
fn a_small_run_measures_everything_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (said, correct, json) = driver(dir.path(), &["--accounts", "50", "--traffic", "2", "--origins", "3"]);
    assert!(correct && said.contains("woke and were acked only then") && said.ends_with("load: ok\n"), "{said}");
    let figures = json["a"]["figures"].as_object().expect("figures");
    for key in ["rss_per_account", "connect_paced", "connect_unpaced", "warm_p99", "cold_p50", "registrations", "stop"]
    {
        assert!(
            figures.get(key).is_some_and(|figure| figure["value"].as_f64().is_some_and(|v| v > 0.0)),
            "{key}: {json}"
        );
    }
    assert!(json["a"]["messages"].as_u64().is_some_and(|n| n > 1000), "{json}");
}

/// By the guide docs/performance.md, "Running it": two builds, and their figures in a file.
#[test]
fn two_builds_are_put_side_by_side() {
    let dir = tempfile::tempdir().expect("a directory");
    // A daemon of its own file: the driver as the daemon, by another name.
    let build = |name: &str| {
        let path = dir.path().join(name);
        let driver = env!("CARGO_BIN_EXE_load");
        std::fs::write(&path, format!("#!/bin/sh\nexec '{driver}' --as-daemon \"$@\"\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        path
    };
    let (one, other) = (build("mollysocket"), build("another-build"));
    let [one, other] = [&one, &other].map(|path| path.to_str().expect("a name in UTF-8"));
    let (said, correct, json) =
        driver(dir.path(), &["--accounts", "20", "--traffic", "1", "--daemon", one, "--vs", other]);
    assert!(correct && said.contains("mollysocket") && said.contains("another-build"), "{said}");
    for build in ["a", "b"] {
        assert!(json[build]["figures"]["rss_per_account"]["value"].is_f64(), "{build}: {json}");
    }
}

/// What was measured of one is printed, whatever the other does.
#[test]
fn a_build_that_fails_spoils_not_what_was_measured_of_the_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (said, correct, json) = driver(dir.path(), &["--accounts", "10", "--traffic", "1", "--vs", "/bin/false"]);
    assert!(!correct && said.ends_with("load: FAILED\n"), "{said}");
    assert!(said.contains("NOT CORRECT (false): it was not measured to the end"), "{said}");
    assert!(json["a"]["figures"]["warm_p99"]["value"].is_f64(), "{json}");
    assert_eq!(json["a"]["problems"].as_array().map(Vec::len), Some(0), "{json}");
}

#[test]
fn a_daemon_that_is_none_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = Command::new(env!("CARGO_BIN_EXE_load"))
        .env("TMPDIR", dir.path())
        .args(["--accounts", "10", "--daemon", "/bin/false", "--runs", "2"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(!run.status.success() && said.ends_with("load: FAILED\n"), "{said}");
    assert_eq!(said.matches("ended at its start").count(), 2, "each run is tried: {said}");
    for args in [["--accounts", "1"], ["--accounts", "1000000"], ["--addresses", "0"], ["--addresses", "13"]] {
        let refused = Command::new(env!("CARGO_BIN_EXE_load")).args(args).output().expect("it runs");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(args[0]), "{said}");
    }
}

/// In a network of its own with few ports, which one address of Signal does not serve all accounts with. That takes
/// root, or a kernel that lets everybody have name spaces.
#[test]
fn more_accounts_than_ports_take_several_addresses_of_signal() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "ip link set lo up && echo '40000 40099' > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let mut namespace = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        namespace.args(["--user", "--map-root-user"]);
    }
    namespace.args(["--net", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_load")]);
    let args = ["--accounts", "150", "--traffic", "1", "--origins", "2"];
    let (said, correct, json) = drive(namespace, dir.path(), &args);
    assert!(correct && said.ends_with("load: ok\n"), "{said}");
    assert_eq!(json["accounts"], 150, "{json}");
}

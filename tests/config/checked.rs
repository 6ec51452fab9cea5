//! `check-config FILE` says of a file what the server would say at its start, and looks at nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs it as a build sandbox does: a home that is not there, and variables that mean nothing.
fn run(dir: &TempDir, args: &[&str]) -> Output {
    let variables = [("HOME", "/homeless-shelter"), ("MOLLY_ALLOWED_UUID", "SECRET"), ("MOLLY_CONF", "missing.toml")];
    let mut command = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
    command.env_clear().envs(variables).current_dir(dir.path()).args(args);
    command.output().unwrap()
}

fn check(text: &str) -> (Option<i32>, String, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("conf.toml"), text).unwrap();
    said(&run(&dir, &["check-config", "conf.toml"]))
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_good_file_is_ok_and_nothing_it_names_is_touched() {
    let dir = TempDir::new().unwrap();
    let elsewhere = r#"
        host = "molly.example"
        db = "elsewhere/db.sqlite"
        vapid_key_file = "/nonexistent/key"
        signal_ca_file = "/nonexistent/signal.pem"
        push_ca_file = "/nonexistent/push.pem"
        admin_socket = "elsewhere/admin.sock"
        alert_command = ["/nonexistent/alert"]
        allowed_endpoints = ["https://push.nonexistent.example"]
    "#;
    fs::write(dir.path().join("good.toml"), elsewhere).unwrap();
    fs::write(dir.path().join("empty.toml"), "").unwrap();
    fs::write(dir.path().join("mollysocket.toml"), "broken").unwrap();
    fs::write(dir.path().join("mollysocket.db"), "").unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for file in ["good.toml", "empty.toml"] {
        for verb in ["check-config", "ch"] {
            let whole = dir.path().join(file).display().to_string();
            for path in [file, whole.as_str()] {
                let expected = (Some(0), format!("{path}: ok\n"), String::new());
                assert_eq!(said(&run(&dir, &[verb, path])), expected);
            }
        }
    }
    assert_eq!(names(), before);
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/config-sample.toml");
    assert_eq!(said(&run(&dir, &["check-config", sample])), (Some(0), format!("{sample}: ok\n"), String::new()));
}

#[test]
fn what_the_server_warns_of_is_said_and_the_file_is_ok() {
    let key = "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI";
    for (text, part) in [
        ("\nenvironment = \"Prod\"", "conf.toml: line 2: environment: it has no effect"),
        ("allowed_uuids = []", "allowed_uuids is empty"),
        (&format!("vapid_key_file = \"/k\"\nvapid_privkey = \"{key}\""), "conf.toml: line 2: vapid_privkey: not used"),
    ] {
        let (code, stdout, stderr) = check(text);
        assert_eq!((code, stdout.as_str()), (Some(0), "conf.toml: ok\n"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("mollysocket: warning: ") && stderr.contains(part), "{stderr}");
        assert!(!stderr.contains(key));
    }
}

/// Each mistake stands in the third line. The server says the same words.
#[test]
fn every_mistake_is_told_with_file_line_key_and_remedy() {
    for (line, key, part) in [
        ("allowed_uuid = [\"*\"]", "allowed_uuid", "did you mean allowed_uuids?"),
        ("\"allowed-uuids\" = [\"*\"]", "allowed-uuids", "did you mean allowed_uuids?"),
        ("[server]", "server", "there is no such key"),
        ("port = \"8020\"", "port", "a whole number"),
        ("port = 65536", "port", "65535"),
        ("webserver = 1", "webserver", "true or false"),
        ("allowed_uuids = \"*\"", "allowed_uuids", "a list of strings"),
        ("allowed_uuids = [\n\"me\"]", "allowed_uuids", "entry 1 is neither * nor a UUID"),
        ("allowed_uuids = [\"*\", \"0f2b1a3c-1111-4222-8333-44445555666\"]", "allowed_uuids", "entry 2"),
        ("allowed_endpoints = [\"ntfy.sh\"]", "allowed_endpoints", "write it like https://"),
        ("allowed_endpoints = [\"wss://ntfy.sh\"]", "allowed_endpoints", "not an http or https URL"),
        ("allowed_endpoints = [\"https://*.ntfy.sh\"]", "allowed_endpoints", "entry 1"),
        ("allowed_endpoints = [\"https://a.example,https://b.example\"]", "allowed_endpoints", "entry 1"),
        ("allowed_endpoints = [\"https://a.example https://b.example\"]", "allowed_endpoints", "entry 1"),
        ("allowed_endpoints = [\"http://10.0.0.0/8\"]", "allowed_endpoints", "each address"),
        ("allowed_endpoints = [\"http://[fd00::]/64\"]", "allowed_endpoints", "each address"),
        ("public_url = \"http://molly.example\"", "public_url", "https://"),
        ("signal_url = \"chat.signal.org\"", "signal_url", "wss://"),
        ("heartbeat_url = \"status.example\"", "heartbeat_url", "https://"),
        ("vapid_contact = \"me@example.org\"", "vapid_contact", "mailto:"),
        ("vapid_privkey = \"SECRET=\"", "vapid_privkey", "mollysocket vapid generate"),
        ("db = \"a\\u0000b\"", "db", "null character"),
        ("user_agents = []", "user_agents", "empty"),
        ("trusted_proxies = [\"proxy\"]", "trusted_proxies", "entry 1"),
        ("host = \"0.0.0.0:80\"", "host", "without port"),
        ("port = 1", "", "duplicate key"),
        ("port = SECRET", "", "not valid TOML"),
        ("max_accounts = \"SECRET", "", "not valid TOML"),
    ] {
        let text = if part == "duplicate key" { format!("\nport = 1\n{line}") } else { format!("\n\n{line}") };
        let (code, stdout, stderr) = check(&text);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{line}: {stderr}");
        assert!(
            stderr.starts_with("mollysocket: conf.toml: line 3") && stderr.lines().count() == 1,
            "{line}: {stderr}"
        );
        assert!(stderr.contains(key) && stderr.contains(part) && !stderr.contains("SECRET"), "{line}: {stderr}");

        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("conf.toml"), text).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
        server.env_clear().current_dir(dir.path()).args(["server", "-c", "conf.toml"]);
        assert_eq!(said(&server.output().unwrap()), (Some(2), String::new(), stderr), "{line}");
    }
}

#[test]
fn a_file_that_cannot_be_read_ends_with_2_and_its_name() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("binary.toml"), [0xff, 0xfe]).unwrap();
    fs::write(dir.path().join("locked.toml"), "").unwrap();
    fs::set_permissions(dir.path().join("locked.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    let locked = fs::read(dir.path().join("locked.toml")).is_err();
    for (file, part) in [
        ("missing.toml", "no such file"),
        (".", "directory"),
        ("binary.toml", "UTF-8"),
        ("locked.toml", "no permission"),
    ] {
        if file == "locked.toml" && !locked {
            continue;
        }
        let (code, stdout, stderr) = said(&run(&dir, &["check-config", file]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.starts_with(&format!("mollysocket: {file}: ")) && stderr.contains(part), "{stderr}");
    }
    for args in [&["check-config"][..], &["check-config", "a", "b"], &["-c", "a", "check-config", "b"]] {
        let (code, stdout, stderr) = said(&run(&dir, args));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("FILE") || stderr.contains("without -c"), "{stderr}");
    }
}

//! What the operator writes counts exactly as documented, and every mistake is one line that names place and remedy.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mollysocket::account::{AccountId, Endpoint};
use mollysocket::config::{Config, Env, Permission, VapidSource};
use tempfile::TempDir;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Loads a file with this text and these variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("conf.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), &env(variables)).map_err(|e| e.to_string())
}

fn good(text: &str) -> Config {
    load(text, &[]).unwrap()
}

fn with(name: &str, value: &str) -> Result<Config, String> {
    load("", &[(name, value)])
}

/// The complaint about a file with this text: one line that names the file, and all of `parts`.
fn complaint(text: &str, parts: &[&str]) -> String {
    let error = load(text, &[]).expect_err(text);
    assert!(!error.contains('\n'), "{error}");
    for part in parts.iter().chain(&["conf.toml"]) {
        assert!(error.contains(part), "{text}: {error:?} lacks {part:?}");
    }
    error
}

/// The same for a variable.
fn complaint_about(name: &str, value: &str, parts: &[&str]) -> String {
    let error = with(name, value).expect_err(value);
    assert!(!error.contains('\n'), "{error}");
    for part in parts.iter().chain(&[name]) {
        assert!(error.contains(part), "{name}={value}: {error:?} lacks {part:?}");
    }
    error
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = good("");
    assert_eq!((config.host.as_str(), config.port, config.webserver), ("127.0.0.1", 8020, true));
    assert_eq!(config.db, Path::new("db.sqlite"));
    assert!(matches!(config.vapid, VapidSource::Generated(ref p) if p == Path::new("db.sqlite.vapid")));
    assert_eq!(config.admin_socket, Path::new("db.sqlite.sock"));
    assert!(config.vapid_contact.starts_with("https://"));
    assert_eq!(config.public_url, None);
    assert_eq!(config.signal_url.as_str(), "wss://chat.signal.org/v1/websocket/");
    assert_eq!((config.signal_ca_file, config.push_ca_file), (None, None));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        config.user_agents,
        [format!("MollySocket/{version}"), format!("Signal-Android/8.19.2 Android/36 MollySocket/{version}")]
    );
    assert!(!config.wake_for_own_sync && !config.metrics);
    assert_eq!(config.max_accounts, 10_000);
    assert_eq!(config.warnings, Vec::<String>::new());
    let endpoint = Endpoint::parse("https://ntfy.sh/x").unwrap();
    assert_eq!(config.allowed_endpoints.permits(&endpoint), Permission::IfPublic);
    assert!(config.allowed_uuids.permits(AccountId::parse("0f2b1a3c-1111-4222-8333-444455556666").unwrap()));
    let trusted = |ip: &str| config.trusted_proxies.iter().any(|n| n.contains(ip.parse::<IpAddr>().unwrap()));
    assert!(trusted("127.0.0.1") && trusted("127.1.2.3") && trusted("::1") && !trusted("10.0.0.1"));
}

#[test]
fn every_key_of_a_file_counts() {
    let config = good(
        r#"
        host = "::"
        port = 0
        webserver = false
        allowed_endpoints = ["https://ntfy.example/"]
        allowed_uuids = ["0F2B1A3C-1111-4222-8333-444455556666"]
        db = "/data/x.sqlite"
        vapid_privkey = "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI"
        vapid_contact = "mailto:me@example.org"
        public_url = "https://molly.example/sub?x=1"
        signal_env = "staging"
        signal_ca_file = "/ca.pem"
        user_agents = ["A/1", "B/2"]
        push_ca_file = "/push.pem"
        wake_for_own_sync = true
        max_accounts = 3
        trusted_proxies = ["10.0.0.0/8", "loopback", "2001:db8::1"]
        metrics = true
        admin_socket = "/run/a.sock"
        "#,
    );
    assert_eq!((config.host.as_str(), config.port, config.webserver), ("::", 0, false));
    assert_eq!(config.db, Path::new("/data/x.sqlite"));
    assert!(
        matches!(config.vapid, VapidSource::Inline(ref s) if s.expose() == "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI")
    );
    assert_eq!(config.vapid_contact, "mailto:me@example.org");
    assert_eq!(config.public_url.unwrap().as_str(), "https://molly.example/sub?x=1");
    assert_eq!(config.signal_url.as_str(), "wss://chat.staging.signal.org/v1/websocket/");
    assert_eq!(config.signal_ca_file, Some(PathBuf::from("/ca.pem")));
    assert_eq!(config.user_agents, ["A/1", "B/2"]);
    assert_eq!(config.push_ca_file, Some(PathBuf::from("/push.pem")));
    assert!(config.wake_for_own_sync && config.metrics);
    assert_eq!(config.max_accounts, 3);
    assert_eq!(config.trusted_proxies.len(), 4);
    assert_eq!(config.admin_socket, Path::new("/run/a.sock"));
    assert!(!config.allowed_uuids.permits(AccountId::parse("1f2b1a3c-1111-4222-8333-444455556666").unwrap()));
    assert!(config.allowed_uuids.permits(AccountId::parse("0f2b1a3c-1111-4222-8333-444455556666").unwrap()));
    assert_eq!(config.allowed_endpoints.permits(&Endpoint::parse("https://ntfy.sh/").unwrap()), Permission::No);
}

#[test]
fn a_variable_wins_over_the_file() {
    let config = load("port = 1\nhost = \"::\"", &[("MOLLY_PORT", "2")]).unwrap();
    assert_eq!((config.port, config.host.as_str()), (2, "::"));
    assert!(!load("metrics = true", &[("MOLLY_METRICS", "false")]).unwrap().metrics);
}

#[test]
fn the_command_line_s_file_wins_over_the_variable_s() {
    let dir = TempDir::new().unwrap();
    for (name, port) in [("a.toml", 1), ("b.toml", 2)] {
        fs::write(dir.path().join(name), format!("port = {port}")).unwrap();
    }
    let b = dir.path().join("b.toml").display().to_string();
    for value in [b.clone(), format!("\"{b}\"")] {
        let variables = env(&[("MOLLY_CONF", &value)]);
        let named = Config::load(None, &variables).unwrap();
        assert_eq!((named.port, named.file), (2, Some(dir.path().join("b.toml"))));
        let config = Config::load(Some(&dir.path().join("a.toml")), &variables).unwrap();
        assert_eq!((config.port, config.file), (1, Some(dir.path().join("a.toml"))));
    }
}

#[test]
fn a_file_is_found_in_the_home_directory() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(".config/mollysocket/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "port = 5").unwrap();
    let home = dir.path().display().to_string();
    let config = Config::load(None, &env(&[("HOME", &home)])).unwrap();
    assert_eq!((config.port, config.file), (5, Some(file.clone())));
    let xdg = dir.path().join("xdg");
    fs::create_dir_all(xdg.join("mollysocket")).unwrap();
    fs::write(xdg.join("mollysocket/config.toml"), "port = 6").unwrap();
    let variables = env(&[("HOME", &home), ("XDG_CONFIG_HOME", &xdg.display().to_string())]);
    assert_eq!(Config::load(None, &variables).unwrap().port, 6);
}

#[test]
fn variables_are_read_as_toml_or_as_plain_text() {
    for value in ["/data/x.db", "\"/data/x.db\"", "'/data/x.db'", " /data/x.db "] {
        assert_eq!(with("MOLLY_DB", value).unwrap().db, Path::new("/data/x.db"), "{value}");
    }
    for value in ["8021", "\"8021\"", " 8021"] {
        assert_eq!(with("MOLLY_PORT", value).unwrap().port, 8021, "{value}");
    }
    for value in ["false", "\"false\""] {
        assert!(!with("MOLLY_WEBSERVER", value).unwrap().webserver, "{value}");
    }
    for value in ["::1", "\"::1\"", "[::1]", "0.0.0.0", "localhost"] {
        assert_eq!(with("MOLLY_HOST", value).unwrap().host, value.trim_matches(['"', '[', ']']).to_owned(), "{value}");
    }
    // Text that TOML would take for something else stays what was written.
    for value in ["1234", "1.50", "true", "1979-05-27", "1e5", "[1]", "0x10"] {
        let config = with("MOLLY_VAPID_PRIVKEY", value).unwrap();
        assert!(matches!(config.vapid, VapidSource::Inline(ref s) if s.expose() == value), "{value}");
    }
    let id = |n: u8| AccountId::parse(&format!("{n}f2b1a3c-1111-4222-8333-444455556666")).unwrap();
    for value in [
        "0f2b1a3c-1111-4222-8333-444455556666",
        "\"0f2b1a3c-1111-4222-8333-444455556666\"",
        "0f2b1a3c111142228333444455556666",
    ] {
        let config = with("MOLLY_ALLOWED_UUIDS", value).unwrap();
        assert!(config.allowed_uuids.permits(id(0)) && !config.allowed_uuids.permits(id(1)), "{value}");
    }
    // Digits only is a UUID, too.
    with("MOLLY_ALLOWED_UUIDS", "12345678123456781234567812345678").unwrap();
    let two = format!("[\"{}\", '{}']", id(0), id(1));
    let config = with("MOLLY_ALLOWED_UUIDS", &two).unwrap();
    assert!(config.allowed_uuids.permits(id(0)) && config.allowed_uuids.permits(id(1)));
    let config = with("MOLLY_ALLOWED_ENDPOINTS", r#"["https://a.example","*"]"#).unwrap();
    assert_eq!(config.allowed_endpoints.permits(&Endpoint::parse("https://a.example/x").unwrap()), Permission::Listed);
    assert_eq!(
        config.allowed_endpoints.permits(&Endpoint::parse("https://b.example/x").unwrap()),
        Permission::IfPublic
    );
    let config = with("MOLLY_ALLOWED_ENDPOINTS", "https://a.example").unwrap();
    assert_eq!(config.allowed_endpoints.permits(&Endpoint::parse("https://b.example/x").unwrap()), Permission::No);
}

#[test]
fn empty_variables_count_as_unset_but_never_open_an_allow_list() {
    for name in ["VAPID_PRIVKEY", "VAPID_KEY_FILE", "DB", "HOST", "PORT", "PUBLIC_URL", "METRICS", "SIGNAL_ENV", "CONF"]
    {
        for value in ["", " ", "\"\""] {
            let config = with(&format!("MOLLY_{name}"), value).unwrap();
            assert_eq!((config.port, config.db.to_str()), (8020, Some("db.sqlite")), "{name}={value}");
            assert!(matches!(config.vapid, VapidSource::Generated(_)));
        }
    }
    assert!(matches!(good("vapid_privkey = \"\"").vapid, VapidSource::Generated(_)));
    for value in ["", "\"\""] {
        complaint_about("MOLLY_ALLOWED_UUIDS", value, &["empty"]);
        complaint_about("MOLLY_ALLOWED_ENDPOINTS", value, &["empty"]);
    }
}

#[test]
fn a_misspelt_key_or_variable_is_refused_with_the_right_one() {
    complaint("allowed_uuid = [\"x\"]", &["allowed_uuid", "no such key", "did you mean allowed_uuids?"]);
    complaint("alowed_endpoints = []", &["did you mean allowed_endpoints?"]);
    complaint("[server]\nport = 1", &["server", "no such key"]);
    complaint("colour = 1", &["colour: there is no such key"]);
    complaint_about("MOLLY_ALLOWED_UUID", "x", &["no such variable", "did you mean MOLLY_ALLOWED_UUIDS?"]);
    complaint_about("MOLLY_CONFIG", "x", &["did you mean MOLLY_CONF?"]);
    complaint_about("MOLLY_COLOUR", "x", &["no such variable"]);
    complaint_about("MOLLY_", "x", &["no such variable"]);
    complaint_about("molly_allowed_uuids", "x", &["did you mean MOLLY_ALLOWED_UUIDS?"]);
    assert!(with("MOLLYSOCKET_PORT", "1").is_ok(), "not ours");
    assert!(with("XMOLLY_PORT", "1").is_ok(), "not ours");
}

#[test]
fn wrong_types_are_refused_with_an_example() {
    complaint("port = \"8020\"", &["port", "wrong type", "a whole number"]);
    complaint("port = 1.5", &["port", "a whole number"]);
    complaint("host = 1", &["host", "a string"]);
    complaint("webserver = \"no\"", &["webserver", "true or false"]);
    complaint("allowed_uuids = \"*\"", &["allowed_uuids", "a list of strings"]);
    complaint("allowed_endpoints = [1]", &["allowed_endpoints", "a list of strings"]);
    complaint("db = [\"x\"]", &["db", "a string"]);
    complaint_about("MOLLY_PORT", "http", &["a whole number"]);
    complaint_about("MOLLY_PORT", "tcp://10.0.0.1:80", &["a whole number"]);
    complaint_about("MOLLY_WEBSERVER", "yes", &["true or false"]);
    complaint_about("MOLLY_ALLOWED_UUIDS", "[*]", &["a list of strings"]);
    complaint_about("MOLLY_ALLOWED_UUIDS", "[1, 2]", &["a list of strings"]);
}

#[test]
fn malformed_values_are_refused_at_start() {
    for (text, parts) in [
        ("host = \"0.0.0.0:8020\"", &["host", "without port"][..]),
        ("host = \"two words\"", &["host"]),
        ("port = 65536", &["port", "65535"]),
        ("port = -1", &["port", "65535"]),
        ("max_accounts = -1", &["max_accounts"]),
        ("allowed_endpoints = [\"*\", \"ntfy.sh\"]", &["allowed_endpoints", "entry 2", "https://"]),
        ("allowed_endpoints = [\"ftp://ntfy.sh\"]", &["allowed_endpoints", "entry 1", "https"]),
        ("allowed_endpoints = [\"\"]", &["allowed_endpoints", "entry 1"]),
        ("allowed_uuids = [\"me\"]", &["allowed_uuids", "entry 1", "UUID"]),
        ("allowed_uuids = [\"a,b\"]", &["allowed_uuids", "UUID"]),
        ("vapid_contact = \"me@example.org\"", &["vapid_contact", "mailto:"]),
        ("vapid_contact = \"http://example.org\"", &["vapid_contact", "https://"]),
        ("vapid_contact = \"mailto:\"", &["vapid_contact"]),
        ("public_url = \"http://molly.example/\"", &["public_url", "https://"]),
        ("public_url = \"molly.example\"", &["public_url", "URL"]),
        ("public_url = \"https://u:p@molly.example/\"", &["public_url", "user name"]),
        ("signal_env = \"prod\"", &["signal_env", "production or staging"]),
        ("signal_url = \"https://chat.signal.org/\"", &["signal_url", "wss://"]),
        ("signal_url = \"ws://chat.signal.org/\"", &["signal_url", "wss://"]),
        ("signal_url = \"chat.signal.org\"", &["signal_url", "wss://"]),
        ("user_agents = []", &["user_agents", "empty"]),
        ("user_agents = [\"\"]", &["user_agents", "entry 1"]),
        ("user_agents = [\"A/1\", \"B\\r\\nX: y\"]", &["user_agents", "entry 2", "printable"]),
        ("user_agents = [\"\u{e9}\"]", &["user_agents", "entry 1"]),
        ("trusted_proxies = [\"10.0.0.0/33\"]", &["trusted_proxies", "entry 1"]),
        ("trusted_proxies = [\"loopback\", \"proxy.example\"]", &["trusted_proxies", "entry 2", "10.0.0.0/8"]),
    ] {
        complaint(text, parts);
    }
    complaint_about("MOLLY_PUBLIC_URL", "http://x.example", &["https://"]);
}

#[test]
fn what_is_not_toml_is_told_by_line_and_column_without_its_text() {
    for text in [
        "port = 8020\nvapid_privkey = SECRETkey",
        "vapid_privkey = \"SECRETkey\nport = 1\n",
        "vapid_privkey = \"SECRETkey\"x\n",
        "vapid_privkey \"SECRETkey\"",
        "port = 1\nport = 2 # SECRETkey",
        "= \"SECRETkey\"",
    ] {
        let error = complaint(text, &["line ", "column ", "TOML"]);
        assert!(!error.contains("SECRET"), "{error}");
    }
    complaint("port = 8020\n\n  host = oops", &["line 3, column 10"]);
}

#[test]
fn no_complaint_and_no_debug_output_shows_a_secret() {
    for (key, value) in [
        ("vapid_privkey", "[\"SECRETkey\"]"),
        ("allowed_endpoints", "[\"user:SECRETpw@host\"]"),
        ("allowed_endpoints", "[\"ftp://user:SECRETpw@host\"]"),
        ("public_url", "\"https://user:SECRETpw@host\""),
        ("signal_url", "\"wss://user:SECRETpw@host\""),
    ] {
        let error = complaint(&format!("{key} = {value}"), &[key]);
        assert!(!error.contains("SECRET"), "{error}");
    }
    let config = good("vapid_privkey = \"SECRETkey\"\nallowed_endpoints = [\"https://u:SECRETpw@h/SECRETpath\"]");
    let shown = format!("{config:?} {} {}", config.allowed_endpoints, config.allowed_uuids);
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[test]
fn a_named_file_must_be_there_and_readable() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing.toml");
    for (explicit, variable, by) in
        [(Some(missing.as_path()), None, "--config"), (None, Some(missing.display().to_string()), "MOLLY_CONF")]
    {
        let variables = env(&variable.as_deref().map(|v| ("MOLLY_CONF", v)).into_iter().collect::<Vec<_>>());
        let error = Config::load(explicit, &variables).unwrap_err().to_string();
        assert!(error.contains("missing.toml") && error.contains(by) && error.contains("no such file"), "{error}");
    }
    let error = Config::load(Some(dir.path()), &Env::new()).unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
    let binary = dir.path().join("binary.toml");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let error = Config::load(Some(&binary), &Env::new()).unwrap_err().to_string();
    assert!(error.contains("binary.toml") && error.contains("UTF-8"), "{error}");
}

#[test]
fn a_found_file_that_cannot_be_read_is_no_reason_to_go_on_with_open_lists() {
    let dir = TempDir::new().unwrap();
    let home = dir.path().join("mollysocket");
    // A directory where the file should be cannot be read by anybody, root included.
    fs::create_dir_all(home.join("config.toml")).unwrap();
    let xdg = dir.path().display().to_string();
    let error = Config::load(None, &env(&[("XDG_CONFIG_HOME", &xdg)])).unwrap_err().to_string();
    assert!(error.contains("config.toml"), "{error}");
    fs::remove_dir(home.join("config.toml")).unwrap();
    fs::write(home.join("config.toml"), "").unwrap();
    fs::set_permissions(home.join("config.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    let readable_all_the_same = fs::read(home.join("config.toml")).is_ok();
    let result = Config::load(None, &env(&[("XDG_CONFIG_HOME", &xdg)]));
    assert_eq!(result.is_err(), !readable_all_the_same);
}

#[test]
fn keys_of_old_versions_are_accepted_and_named() {
    let old = "environment = \"Prod\"\nstrategy = \"websocket\"\nuser_agent = \"X\"\nsignal_env = \"Production\"\n";
    let config = good(old);
    for key in ["environment", "strategy", "user_agent", "signal_env"] {
        assert!(
            config.warnings.iter().any(|w| w.contains(&format!("conf.toml: {key}:"))),
            "{key}: {:?}",
            config.warnings
        );
    }
    assert_eq!(config.signal_url.host_str(), Some("chat.signal.org"));
    let config = with("MOLLY_ENVIRONMENT", "prod").unwrap();
    assert!(config.warnings[0].contains("MOLLY_ENVIRONMENT"));
    for (value, host) in [("Staging", "chat.staging.signal.org"), ("STAGING", "chat.staging.signal.org")] {
        let config = with("MOLLY_SIGNAL_ENV", value).unwrap();
        assert_eq!((config.signal_url.host_str(), config.warnings.len()), (Some(host), 1));
    }
}

#[test]
fn the_key_file_wins_over_the_key() {
    let config = load("vapid_key_file = \"/k\"", &[("MOLLY_VAPID_PRIVKEY", "abc")]).unwrap();
    assert!(matches!(config.vapid, VapidSource::File(ref p) if p == Path::new("/k")));
    assert!(config.warnings[0].contains("MOLLY_VAPID_PRIVKEY"), "{:?}", config.warnings);
    let config = load("vapid_privkey = \"abc\"", &[("MOLLY_VAPID_KEY_FILE", "")]).unwrap();
    assert!(matches!(config.vapid, VapidSource::Inline(_)), "an empty variable does not hide the key");
}

#[test]
fn the_own_address_as_only_push_server_is_a_mistake_worth_a_warning() {
    let text = "public_url = \"https://molly.example/\"\nallowed_endpoints = [\"https://molly.example/\"]";
    let warnings = good(text).warnings;
    assert!(warnings.iter().any(|w| w.contains("allowed_endpoints") && w.contains("public_url")), "{warnings:?}");
    let text = "public_url = \"https://molly.example/\"\nallowed_endpoints = [\"https://molly.example/\", \"*\"]";
    assert_eq!(good(text).warnings, Vec::<String>::new());
    assert_eq!(good("allowed_uuids = []").warnings.len(), 1, "nobody can register");
    assert_eq!(good("allowed_endpoints = []").warnings.len(), 1, "nothing can be used");
}

#[test]
fn what_depends_on_other_settings_follows_them() {
    assert_eq!(good("public_url = \"https://molly.example/\"").vapid_contact, "https://molly.example/");
    let config = good("db = \"/data/my.db\"");
    assert_eq!(config.admin_socket, Path::new("/data/my.db.sock"));
    assert!(matches!(config.vapid, VapidSource::Generated(ref p) if p == Path::new("/data/my.db.vapid")));
    let config = with("RUNTIME_DIRECTORY", "/run/mollysocket:/run/other").unwrap();
    assert_eq!(config.admin_socket, Path::new("/run/mollysocket/admin.sock"));
    for (given, expected) in [
        ("wss://localhost:4433", "wss://localhost:4433/v1/websocket/"),
        ("wss://localhost/other/", "wss://localhost/other/"),
    ] {
        let config = load("signal_env = \"staging\"", &[("MOLLY_SIGNAL_URL", given)]).unwrap();
        assert_eq!(config.signal_url.as_str(), expected);
    }
}

/// The sample with every `#key = …` line put into effect; of two examples for a key the first one counts.
fn sample_in_effect() -> String {
    let mut seen = Vec::new();
    let keep = |line: &str| {
        let line = line.strip_prefix('#')?;
        let (key, _) = line.split_once(" = ")?;
        if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') || seen.contains(&key.to_owned()) {
            return None;
        }
        seen.push(key.to_owned());
        Some(line.to_owned())
    };
    let text = include_str!("../config-sample.toml");
    text.lines().filter_map(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    let defaults = good("");
    let as_it_is = good(include_str!("../config-sample.toml"));
    assert_eq!(
        format!("{:?}", Config { file: None, ..as_it_is }),
        format!("{:?}", Config { file: None, ..defaults.clone() })
    );
    let text = sample_in_effect();
    let all = good(&text);
    assert_eq!((all.host, all.port, all.webserver), (defaults.host, defaults.port, defaults.webserver));
    assert_eq!((all.db, all.signal_url, all.metrics), (defaults.db, defaults.signal_url, defaults.metrics));
    assert_eq!((all.max_accounts, all.trusted_proxies), (defaults.max_accounts, defaults.trusted_proxies));
    assert_eq!((all.allowed_endpoints, all.allowed_uuids), (defaults.allowed_endpoints, defaults.allowed_uuids));
    assert_eq!((all.user_agents, all.admin_socket), (defaults.user_agents, defaults.admin_socket));
    assert_eq!(all.wake_for_own_sync, defaults.wake_for_own_sync);
    for key in ["allowed_endpoints", "vapid_key_file", "vapid_privkey", "vapid_contact", "public_url", "signal_ca_file"]
        .into_iter()
        .chain(["push_ca_file", "signal_env", "signal_url", "user_agents", "admin_socket", "trusted_proxies"])
        .chain(["host", "port", "webserver", "allowed_uuids", "db", "wake_for_own_sync", "max_accounts", "metrics"])
    {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not in the sample");
    }
}

#[test]
fn the_program_ends_with_2_and_one_line() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("mollysocket.toml"), "allowed_uuid = [\"x\"]").unwrap();
    fs::write(dir.path().join("broken.toml"), "port = \"SECRET").unwrap();
    for (args, variables) in [
        (vec!["connection", "list"], vec![]),
        (vec!["server"], vec![]),
        (vec!["-c", "broken.toml", "server"], vec![]),
        (vec!["-c", "missing.toml", "test", "uuid", "x"], vec![]),
        (vec!["-c", "/dev/null", "server"], vec![("MOLLY_ALLOWED_UUID", "SECRET")]),
        (vec!["-c", "/dev/null", "server"], vec![("MOLLY_PORT", "SECRET")]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mollysocket"));
        command.env_clear().current_dir(dir.path()).args(&args).envs(variables.clone());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?} {variables:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("mollysocket: ") && !stderr.contains("SECRET"), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

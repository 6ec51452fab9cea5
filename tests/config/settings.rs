//! What the operator writes counts exactly as documented.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mollysocket::account::{AccountId, Endpoint};
use mollysocket::config::{Config, Permission, VapidSource};
use tempfile::TempDir;

use crate::{complaint_about, env, good, load, with};

const KEY: &str = "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI";

#[test]
fn defaults_are_the_documented_ones() {
    let config = good("");
    assert_eq!((config.host.as_str(), config.port, config.webserver), ("127.0.0.1", 8020, true));
    assert_eq!(config.db, Path::new("db.sqlite"));
    assert!(matches!(config.vapid, VapidSource::Generated(ref p) if p == Path::new("db.sqlite.vapid")));
    assert_eq!(config.admin_socket, Path::new("db.sqlite.sock"));
    assert_eq!((config.alert_command, config.heartbeat_url), (None, None));
    assert!(config.vapid_contact.starts_with("https://") && !config.vapid_contact.contains("mollyim"));
    assert_eq!(config.vapid_contact, env!("CARGO_PKG_REPOSITORY"), "this project's page, not the reference's");
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
        alert_command = ["/bin/alert", "TOKENsecret"]
        heartbeat_url = "https://status.example:8443/p%41th/SECRET?a=b"
        "#,
    );
    assert_eq!((config.host.as_str(), config.port, config.webserver), ("::", 0, false));
    assert_eq!(config.db, Path::new("/data/x.sqlite"));
    assert!(matches!(config.vapid, VapidSource::Inline(ref s) if s.expose() == KEY));
    assert_eq!(config.vapid_contact, "mailto:me@example.org");
    assert_eq!(config.public_url.as_ref().unwrap().as_str(), "https://molly.example/sub?x=1");
    assert_eq!(config.signal_url.as_str(), "wss://chat.staging.signal.org/v1/websocket/");
    assert_eq!(config.signal_ca_file, Some(PathBuf::from("/ca.pem")));
    assert_eq!(config.user_agents, ["A/1", "B/2"]);
    assert_eq!(config.push_ca_file, Some(PathBuf::from("/push.pem")));
    assert!(config.wake_for_own_sync && config.metrics);
    assert_eq!(config.max_accounts, 3);
    assert_eq!(config.trusted_proxies.len(), 4);
    assert_eq!(config.admin_socket, Path::new("/run/a.sock"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("TOKENsecret") && !shown.contains("SECRET?a=b"), "{shown}");
    let command = config.alert_command.unwrap();
    assert_eq!((command.program(), command.arguments()), ("/bin/alert", &["TOKENsecret".to_owned()][..]));
    assert_eq!(config.heartbeat_url.unwrap().target(), "/p%41th/SECRET?a=b", "byte for byte");
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
    for value in ["1234", "1.50", "true", "1979-05-27", "1e5", "0x10"] {
        let config = with("MOLLY_VAPID_KEY_FILE", value).unwrap();
        assert!(matches!(config.vapid, VapidSource::File(ref p) if p == Path::new(value)), "{value}");
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
    // The single quotes of a shell, as compose files, units and .env files hand them on.
    for two in [format!("[\"{}\", '{}']", id(0), id(1)), format!("'[\"{}\", \"{}\"]'", id(0), id(1))] {
        let config = with("MOLLY_ALLOWED_UUIDS", &two).unwrap();
        assert!(config.allowed_uuids.permits(id(0)) && config.allowed_uuids.permits(id(1)), "{two}");
        assert!(!config.allowed_uuids.permits(id(2)), "{two}");
    }
    for any in ["*", "\"*\"", "'*'", "[\"*\"]", "'[\"*\"]'", "\"['*']\"", "'\"*\"'"] {
        assert!(with("MOLLY_ALLOWED_UUIDS", any).unwrap().allowed_uuids.permits(id(0)), "{any}");
    }
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
fn keys_of_old_versions_are_accepted_and_named() {
    let old = "environment = \"Prod\"\nstrategy = \"websocket\"\nuser_agent = \"X\"\nsignal_env = \"Production\"\n";
    let config = good(old);
    for (line, key) in (1..).zip(["environment", "strategy", "user_agent", "signal_env"]) {
        assert!(
            config.warnings.iter().any(|w| w.contains(&format!("conf.toml: line {line}: {key}:"))),
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
    let config = load(&format!("vapid_privkey = \"{KEY}\""), &[("MOLLY_VAPID_KEY_FILE", "")]).unwrap();
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
    let text = include_str!("../../config-sample.toml");
    text.lines().filter_map(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    let defaults = good("");
    let as_it_is = good(include_str!("../../config-sample.toml"));
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
        .chain(["alert_command", "heartbeat_url"])
    {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not in the sample");
    }
}

//! Every mistake is one line that names place and remedy, and never a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mollysocket::config::{Config, Env};
use tempfile::TempDir;

use crate::{complaint, complaint_about, env, good, with};

#[test]
fn a_misspelt_key_or_variable_is_refused_with_the_right_one() {
    complaint("allowed_uuid = [\"x\"]", &["allowed_uuid", "no such key", "did you mean allowed_uuids?"]);
    complaint("alowed_endpoints = []", &["did you mean allowed_endpoints?"]);
    complaint("[server]\nport = 1", &["server", "no such key"]);
    complaint("colour = 1", &["colour: there is no such key"]);
    complaint_about("MOLLY_ALLOWED_UUID", "x", &["no such variable", "did you mean MOLLY_ALLOWED_UUIDS?"]);
    complaint_about("MOLLY_CONFIG", "x", &["did you mean MOLLY_CONF?"]);
    // A variable of another program in a shared .env.
    for name in ["MOLLY_DOMAIN", "MOLLY_COLOUR", "MOLLY_", "MOLLY_NAME"] {
        let why = "a misspelt allow list would leave the server open";
        complaint_about(name, "x", &["no such variable", why, "another program's", "env_file"]);
    }
    complaint_about("molly_allowed_uuids", "x", &["did you mean MOLLY_ALLOWED_UUIDS?"]);
    assert!(with("MOLLYSOCKET_PORT", "1").is_ok(), "not ours");
    assert!(with("XMOLLY_PORT", "1").is_ok(), "not ours");
}

/// As a pod has them, for a Service that is called like the program.
#[test]
fn variables_that_kubernetes_makes_for_a_service_are_known() {
    for service in ["MOLLY", "MOLLY_FLY", "MOLLY_SOCKET", "MOLLYSOCKET"] {
        let made: Vec<(String, String)> = [
            ("_SERVICE_HOST", "10.0.0.1"),
            ("_SERVICE_PORT", "80"),
            ("_SERVICE_PORT_HTTP", "80"),
            ("_PORT", "tcp://10.0.0.1:80"),
            ("_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("_PORT_80_TCP_PROTO", "tcp"),
            ("_PORT_80_TCP_PORT", "80"),
            ("_PORT_80_TCP_ADDR", "10.0.0.1"),
        ]
        .map(|(end, value)| (format!("{service}{end}"), value.to_owned()))
        .into();
        let config = Config::from_text(Some((Path::new("c"), "port = 8021")), &made.iter().cloned().collect()).unwrap();
        assert_eq!(config.port, 8021, "{service}");
        let ours = usize::from(service != "MOLLYSOCKET");
        assert_eq!(config.warnings.len(), ours, "{:?}", config.warnings);
        assert!(config.warnings.iter().all(|said| said.contains("enableServiceLinks: false")), "{:?}", config.warnings);
        // One alone might be anything: the cause is named.
        for (name, value) in made.iter().filter(|(name, _)| name.starts_with("MOLLY_")) {
            complaint_about(name, value, &["Kubernetes", "enableServiceLinks: false"]);
        }
    }
    // Beside the address of a Service everything else still counts.
    let env = env(&[("MOLLY_SERVICE_HOST", "10.0.0.1"), ("MOLLY_SERVICE_PORT", "80"), ("MOLLY_ALLOWED_UUID", "x")]);
    let error = Config::load(None, &env).unwrap_err().to_string();
    assert!(error.contains("did you mean MOLLY_ALLOWED_UUIDS?") && !error.contains("Kubernetes"), "{error}");
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
    // What a shell leaves of a list.
    for left in ["[*]", "[0f2b1a3c-1111-4222-8333-444455556666]", "[a,b]"] {
        let spelling = "a list of strings like '[\"UUID\", \"UUID\"]'";
        complaint_about("MOLLY_ALLOWED_UUIDS", left, &["a shell", spelling]);
    }
    complaint_about("MOLLY_ALLOWED_ENDPOINTS", "[https://ntfy.sh,*]", &["takes away all quotes but"]);
    complaint_about("MOLLY_ALLOWED_UUIDS", "[1, 2]", &["a list of strings"]);
}

/// Taken for one value, it would match nothing, or be sent to Signal as it is.
#[test]
fn several_values_in_one_text_are_refused_with_the_right_spelling() {
    let id = "0f2b1a3c-1111-4222-8333-444455556666";
    let other = "1f2b1a3c-1111-4222-8333-444455556666";
    for (key, one, two, example) in [
        (
            "endpoints",
            "https://a.example",
            "https://b.example",
            r#"["https://a.example.org", "https://b.example.org"]"#,
        ),
        ("endpoints", "https://a.example/", "*", r#"["https://a.example.org", "https://b.example.org"]"#),
        ("uuids", id, other, r#"["UUID", "UUID"]"#),
        ("uuids", "*", id, r#"["UUID", "UUID"]"#),
        ("trusted_proxies", "10.0.0.1", "10.1.0.0/16", r#"["loopback", "10.0.0.0/8"]"#),
        ("user_agents", "Name/1 (a; b)", "Other/2", r#"["Name/1.0", "Other/2.0"]"#),
        ("alert_command", "/bin/alert", "--now", r#"["/usr/local/bin/alert", "argument"]"#),
    ] {
        let key = if key.contains('_') { key.to_owned() } else { format!("allowed_{key}") };
        let name = format!("MOLLY_{}", key.to_uppercase());
        for separator in [",", ";", ", ", " , ", ";\n", " ", "\n", "\t", "|"] {
            // Blanks are part of a User-Agent, and a tab or a stroke is refused or sent as it is.
            if key == "user_agents" && !separator.contains([',', ';', '\n']) {
                continue;
            }
            let value = format!("{one}{separator}{two}");
            let spelled = format!("must be a single value; write a list of strings like '{example}'");
            for quoted in [value.clone(), format!("{value:?}"), format!("[{value:?}]")] {
                complaint_about(&name, &quoted, &["entry 1", &spelled]);
            }
            complaint(
                &format!("{key} = [{value:?}]"),
                &["entry 1", &format!("write a list of strings like {example}")],
            );
        }
    }
    for pattern in ["https://*.example.org", "*.example.org", "http://192.168.*.*", "fd00::/8", "10.0.0.0/8"]
        .into_iter()
        .chain(["http://10.0.0.0/8", "http://10.0.0.0:8080/8/", "http://10.0.0.0/255.0.0.0", "http://10.0.0.0-20/"])
    {
        complaint_about("MOLLY_ALLOWED_ENDPOINTS", pattern, &["entry 1", "like http"]);
    }
    for server in ["http://10.0.0.1/8a", "http://10.0.0.1/up/8", "http://3proxy:8080", "https://8.example.org/8"] {
        with("MOLLY_ALLOWED_ENDPOINTS", server).unwrap();
    }
    complaint_about("MOLLY_ALLOWED_UUIDS", "0f2b*", &["entry 1", "UUID like"]);
    complaint_about("MOLLY_TRUSTED_PROXIES", "10.0.*", &["entry 1", "10.0.0.0/8"]);
    complaint_about("MOLLY_USER_AGENTS", "Name/*", &["entry 1", "Name/1.0"]);
    good("alert_command = [\"/opt/My alerts/run\", \"a, b; c\"]\nuser_agents = [\"A/1 (b, c) D/2\"]");
}

#[test]
fn a_value_that_begins_with_a_quote_or_bracket_is_toml_or_refused() {
    let broken = [
        "\"/data/db",
        "'/data/db",
        "\"/data\"/db",
        "'\"/data/db'",
        "[/data/db]",
        "{{ db }}",
        "\u{201c}/db\u{201d}",
        "`pwd`",
    ];
    for value in broken {
        for name in ["DB", "HOST", "PUBLIC_URL", "SIGNAL_CA_FILE", "VAPID_KEY_FILE", "ADMIN_SOCKET", "CONF"] {
            complaint_about(&format!("MOLLY_{name}"), value, &["quote or bracket", "not valid TOML", "a string like"]);
        }
        for name in ["ALLOWED_UUIDS", "ALLOWED_ENDPOINTS", "USER_AGENTS", "TRUSTED_PROXIES", "ALERT_COMMAND"] {
            complaint_about(
                &format!("MOLLY_{name}"),
                value,
                &["quote or bracket", "not valid TOML", "a list of strings"],
            );
        }
        complaint_about("MOLLY_PORT", value, &["not valid TOML", "a whole number"]);
    }
    for value in ["[\"/data/db\"]", "[1]", "{ a = 1 }"] {
        complaint_about("MOLLY_DB", value, &["wrong type", "a string like"]);
    }
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
        ("vapid_contact = \"https:example.org\"", &["vapid_contact", "https://"]),
        ("vapid_contact = \"MAILTO:me@example.org\"", &["vapid_contact", "mailto:"]),
        ("public_url = \"http://molly.example/\"", &["public_url", "https://"]),
        ("public_url = \"molly.example\"", &["public_url", "URL"]),
        ("public_url = \"https://u:p@molly.example/\"", &["public_url", "user name"]),
        ("signal_env = \"prod\"", &["signal_env", "production or staging"]),
        ("signal_url = \"https://chat.signal.org/\"", &["signal_url", "wss://"]),
        ("signal_url = \"ws://chat.signal.org/\"", &["signal_url", "wss://"]),
        ("signal_url = \"chat.signal.org\"", &["signal_url", "wss://"]),
        ("user_agents = []", &["user_agents", "empty"]),
        ("user_agents = [\"\"]", &["user_agents", "entry 1"]),
        ("user_agents = [\"A/1\", \"B\\r\\nX: y\"]", &["user_agents", "entry 2", "single value"]),
        ("user_agents = [\"A/1\", \"B\\rX: y\"]", &["user_agents", "entry 2", "printable"]),
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

/// Found by fuzzing: a name with a line feed or an escape sequence went into the message as it was.
#[test]
fn a_name_with_control_characters_is_told_in_one_harmless_line() {
    complaint("\"a\\nb\\u001b[31m\" = 1", &["a\\nb\\u{1b}[31m"]);
    complaint("\"a\\nb\" = 1\n\"a\\nb\" = 2", &["line 2"]);
    let error = with("MOLLY_HO\nST\u{1b}[31m", "x").unwrap_err();
    assert!(error.starts_with("MOLLY_HO\\nST\\u{1b}[31m: ") && !error.contains(char::is_control), "{error:?}");
}

#[test]
fn no_complaint_and_no_debug_output_shows_a_secret() {
    for (key, value) in [
        ("vapid_privkey", "[\"SECRETkey\"]"),
        ("allowed_endpoints", "[\"user:SECRETpw@host\"]"),
        ("allowed_endpoints", "[\"ftp://user:SECRETpw@host\"]"),
        ("public_url", "\"https://user:SECRETpw@host\""),
        ("signal_url", "\"wss://user:SECRETpw@host\""),
        ("heartbeat_url", "\"ftp://host/SECRETpath\""),
        ("heartbeat_url", "\"https://host/SECRET path\""),
        ("alert_command", "[\"\", \"SECRETargument\"]"),
    ] {
        let error = complaint(&format!("{key} = {value}"), &[key]);
        assert!(!error.contains("SECRET"), "{error}");
    }
    let config = good("vapid_key_file = \"k\"\nallowed_endpoints = [\"https://u:SECRETpw@h/SECRETpath\"]");
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

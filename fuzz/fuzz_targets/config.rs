//! A configuration file and variables: whatever is in them, the result is a configuration that holds together or one
//! line of complaint, and that line holds no value.
//!
//! Input: the file's text; after a line of three dashes, variables as `NAME=value` lines.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mollysocket::config::{Config, Env};

/// A word that is a secret wherever it stands as a value. The seeds hold it, and the dictionary.
const SECRET: &str = "hunter2";

fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (text, variables) = input.split_once("\n---\n").unwrap_or((input, ""));
    let env: Env =
        variables.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    match Config::from_text(Some((Path::new("conf.toml"), text)), &env) {
        Ok(config) => check_config(&config, text, &env),
        Err(error) => check_complaint(&error.to_string(), text, &env),
    }
});

fn check_config(config: &Config, text: &str, env: &Env) {
    assert!(!config.user_agents.is_empty());
    assert!(config.user_agents.iter().all(|a| !a.is_empty() && a.bytes().all(|b| (0x20..=0x7e).contains(&b))));
    assert_eq!(config.signal_url.scheme(), "wss");
    assert!(config.signal_url.has_host() && config.signal_url.port() != Some(0));
    assert!(config.vapid_contact.starts_with("mailto:") || config.vapid_contact.starts_with("https://"));
    assert!(!config.host.is_empty());
    // Every warning is a line of its own and repeats no value.
    for warning in &config.warnings {
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
    // The variable wins over the file.
    if let Some(port) = env.get("MOLLY_PORT").and_then(|port| port.parse::<u16>().ok()) {
        assert_eq!(config.port, port);
    } else if let Ok(table) = text.parse::<toml::Table>()
        && let Some(port) = table.get("port").and_then(toml::Value::as_integer)
        && !env.contains_key("MOLLY_PORT")
    {
        assert_eq!(i64::from(config.port), port);
    }
    // The key and the user info of push servers are never shown.
    let shown = format!("{:?} {:?} {}", config.vapid, config.allowed_endpoints, config.allowed_endpoints);
    let secret_key = env.get("MOLLY_VAPID_PRIVKEY").is_some_and(|v| v == SECRET);
    assert!(!secret_key || !shown.contains(SECRET) || env.len() > 1 || text.contains(SECRET), "{shown}");
}

/// One line that names the place, and no value.
fn check_complaint(error: &str, text: &str, env: &Env) {
    assert!(!error.chars().any(char::is_control), "{error:?}");
    let written = |name: &str| -> String {
        name.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
    };
    let named = |name: &String| error.starts_with(&format!("{}: ", written(name)));
    let named = error.starts_with("conf.toml: ") || env.keys().any(named);
    assert!(named, "{error}");
    if env.keys().any(|name| name.contains(SECRET)) {
        return;
    }
    match text.parse::<toml::Table>() {
        // What is no TOML: the complaint is the parser's, which may name a key that is there twice.
        Err(_) => assert!(!error.contains(SECRET) || error.contains("key"), "{error}"),
        Ok(table) if table.keys().any(|key| key.contains(SECRET)) => {}
        Ok(_) => assert!(!error.contains(SECRET), "{error}"),
    }
}

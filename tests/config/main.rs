//! What the operator writes counts exactly as documented, and every mistake is one line that names place and remedy.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

use mollysocket::config::{Config, Env};
use tempfile::TempDir;

mod checked;
mod found;
mod mistakes;
mod settings;

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

//! The settings as written, by key: every key and its type, and which value wins. Nothing is interpreted here.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use toml::Value as Toml;
use toml::de::DeTable;

use super::nearest::hint;
use super::{ConfigError, Env, entries, links};

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettingKind {
    Text,
    Number,
    Flag,
    /// Of texts; with an example of two entries.
    List(&'static str),
}

impl SettingKind {
    /// How to write such a value. Around a list goes `quote`: in a variable it keeps a shell, or systemd's Environment=,
    /// from taking the quotes in it away.
    fn example(self, quote: &str) -> String {
        match self {
            Self::Text => "a string like \"text\"".into(),
            Self::Number => "a whole number".into(),
            Self::Flag => "true or false".into(),
            Self::List(example) => format!("a list of strings like {quote}{example}{quote}"),
        }
    }
}

/// Every key there is.
pub(super) const KEYS: [(&str, SettingKind); 22] = [
    ("host", SettingKind::Text),
    ("port", SettingKind::Number),
    ("webserver", SettingKind::Flag),
    ("allowed_endpoints", SettingKind::List(r#"["https://a.example.org", "https://b.example.org"]"#)),
    ("allowed_uuids", SettingKind::List(r#"["UUID", "UUID"]"#)),
    ("db", SettingKind::Text),
    ("vapid_privkey", SettingKind::Text),
    ("vapid_key_file", SettingKind::Text),
    ("vapid_contact", SettingKind::Text),
    ("public_url", SettingKind::Text),
    ("signal_env", SettingKind::Text),
    ("signal_url", SettingKind::Text),
    ("signal_ca_file", SettingKind::Text),
    ("user_agents", SettingKind::List(r#"["Name/1.0", "Other/2.0"]"#)),
    ("push_ca_file", SettingKind::Text),
    ("wake_for_own_sync", SettingKind::Flag),
    ("max_accounts", SettingKind::Number),
    ("trusted_proxies", SettingKind::List(r#"["loopback", "10.0.0.0/8"]"#)),
    ("metrics", SettingKind::Flag),
    ("admin_socket", SettingKind::Text),
    ("alert_command", SettingKind::List(r#"["/usr/local/bin/alert", "argument"]"#)),
    ("heartbeat_url", SettingKind::Text),
];

/// Keys only old versions of the reference implementation knew, and what became of them.
const OLD_KEYS: [(&str, &str); 3] = [
    ("environment", "it has no effect any more; remove it"),
    ("strategy", "it has no effect any more; remove it"),
    ("user_agent", "it has no effect; user_agents replaces it"),
];

/// Prefix of every variable.
const PREFIX: &str = "MOLLY_";

/// Names the file, so it is a variable but no key.
pub(super) const FILE_VARIABLE: &str = "MOLLY_CONF";

/// A value of the right type.
#[derive(Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<String>),
}

/// A value and where it was found. Carries the place so that a complaint about the value can name it.
pub(super) struct Found<T> {
    pub(super) value: T,
    place: String,
}

impl<T> Found<T> {
    /// A default, which has no place but its key.
    pub(super) fn new(value: T, key: &str) -> Self {
        Self { value, place: key.to_owned() }
    }

    /// The complaint about this value.
    pub(super) fn error(&self, problem: impl std::fmt::Display) -> ConfigError {
        ConfigError(self.remark(problem))
    }

    /// A remark about this value, for the warnings.
    pub(super) fn remark(&self, problem: impl std::fmt::Display) -> String {
        format!("{}: {problem}", self.place)
    }

    /// The value read further; a complaint names the place.
    pub(super) fn read<U, E: std::fmt::Display>(
        self,
        reader: impl FnOnce(&T) -> Result<U, E>,
    ) -> Result<Found<U>, ConfigError> {
        match reader(&self.value) {
            Ok(value) => Ok(Found { value, place: self.place }),
            Err(problem) => Err(self.error(problem)),
        }
    }
}

/// All values that were set. A later one replaces an earlier one.
#[derive(Default)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, (Value, String)>,
    /// Remarks on old keys.
    pub(super) warnings: Vec<String>,
}

impl Settings {
    /// Takes everything from the text of a configuration file.
    pub(super) fn take_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|e| syntax_error(path, text, &e))?;
        // Read once more for the places of the keys: TOML's values do not know theirs.
        let places = DeTable::parse(text).map_err(|e| syntax_error(path, text, &e))?.into_inner();
        for (name, value) in table {
            let at = places.keys().find(|key| *key.get_ref() == name).map_or(0, |key| key.span().start);
            let place = format!("{}: line {}: {}", path.display(), line_and_column(text, at).0, one_line(&name));
            if let Some((_, what)) = OLD_KEYS.iter().find(|(old, _)| *old == name) {
                self.warnings.push(format!("{place}: {what}"));
                continue;
            }
            let Some(&(key, kind)) = KEYS.iter().find(|(key, _)| *key == name) else {
                let hint = hint(&name, KEYS.iter().map(|(key, _)| *key));
                return Err(ConfigError(format!("{place}: there is no such key{hint}")));
            };
            let value = typed(kind, value)
                .ok_or_else(|| ConfigError(format!("{place}: wrong type; write {}", kind.example(""))))?;
            self.set((key, kind), value, place, "")?;
        }
        Ok(())
    }

    /// Takes every `MOLLY_*` variable.
    pub(super) fn take_variables(&mut self, env: &Env) -> Result<(), ConfigError> {
        let mut of_kubernetes = Vec::new();
        for (name, raw) in env.iter().filter(|(name, _)| is_ours(name)) {
            if name == FILE_VARIABLE {
                continue;
            }
            if links::is_link(name, raw, env) {
                of_kubernetes.push(one_line(name));
                continue;
            }
            if let Some((_, what)) = OLD_KEYS.iter().find(|(old, _)| *name == variable(old)) {
                self.warnings.push(format!("{name}: {what}"));
                continue;
            }
            let Some(&(key, kind)) = KEYS.iter().find(|(key, _)| *name == variable(key)) else {
                let why = unknown(name, raw);
                return Err(ConfigError(format!("{}: there is no such variable{why}", one_line(name))));
            };
            let wrong = |what| {
                let link = links::service(name, raw).map(|_| format!("; {}", links::REMEDY)).unwrap_or_default();
                ConfigError(format!("{name}: {what}{link}"))
            };
            if let Some(value) = from_variable(kind, raw).map_err(wrong)? {
                self.set((key, kind), value, name.clone(), "'")?;
            }
        }
        if !of_kubernetes.is_empty() {
            self.warnings.push(format!("{}: not used; {}", of_kubernetes.join(", "), links::REMEDY));
        }
        Ok(())
    }

    fn set(
        &mut self,
        (key, kind): (&'static str, SettingKind),
        value: Value,
        place: String,
        quote: &str,
    ) -> Result<(), ConfigError> {
        let texts = match &value {
            Value::Text(text) => std::slice::from_ref(text),
            Value::List(items) => items,
            Value::Number(_) | Value::Flag(_) => &[],
        };
        if texts.iter().any(|text| text.contains('\0')) {
            return Err(ConfigError(format!("{place}: must hold no null character")));
        }
        if let Value::List(entries) = &value
            && let Some(entry) = entries::several(key, entries)
        {
            let example = kind.example(quote);
            return Err(ConfigError(format!("{place}: entry {entry} must be a single value; write {example}")));
        }
        self.values.insert(key, (value, place));
        Ok(())
    }

    fn find<T>(&self, key: &str, pick: impl FnOnce(&Value) -> Option<T>) -> Option<Found<T>> {
        let (value, place) = self.values.get(key)?;
        Some(Found { value: pick(value)?, place: place.clone() })
    }

    /// A text. An empty one counts as not set: compose files make such from variables they do not have.
    pub(super) fn text(&self, key: &str) -> Option<Found<String>> {
        let pick = |v: &Value| if let Value::Text(t) = v { Some(t.trim().to_owned()) } else { None };
        self.find(key, pick).filter(|found| !found.value.is_empty())
    }

    /// A text that is a path.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(|found| PathBuf::from(found.value))
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Option<Found<i64>> {
        self.find(key, |v| if let Value::Number(n) = v { Some(*n) } else { None })
    }

    /// A flag.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.find(key, |v| if let Value::Flag(b) = v { Some(*b) } else { None }).map(|found| found.value)
    }

    /// A list.
    pub(super) fn list(&self, key: &str) -> Option<Found<Vec<String>>> {
        self.find(key, |v| if let Value::List(l) = v { Some(l.clone()) } else { None })
    }
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// What to say of a variable that is none of ours.
fn unknown(name: &str, raw: &str) -> String {
    if links::service(name, raw).is_some() {
        return format!("; {}", links::REMEDY);
    }
    let known: Vec<String> = KEYS.iter().map(|(key, _)| variable(key)).collect();
    let hint = hint(&name.to_ascii_uppercase(), known.iter().map(String::as_str).chain([FILE_VARIABLE]));
    let end = if hint.is_empty() { "." } else { "" };
    format!(
        "{hint}{end} It stops the program because a misspelt allow list would leave the server open. If it is another \
         program's, rename it or keep it out of this one's environment (in compose: `environment:` in place of \
         `env_file:`)"
    )
}

/// Variables in small letters are ours too: to overlook `molly_allowed_uuids` would leave the server open.
fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX))
}

/// The value, if TOML's type is the key's.
fn typed(kind: SettingKind, value: Toml) -> Option<Value> {
    match (kind, value) {
        (SettingKind::Text, Toml::String(text)) => Some(Value::Text(text)),
        (SettingKind::Number, Toml::Integer(number)) => Some(Value::Number(number)),
        (SettingKind::Flag, Toml::Boolean(flag)) => Some(Value::Flag(flag)),
        (SettingKind::List(_), Toml::Array(items)) => {
            let text = |item| if let Toml::String(text) = item { Some(text) } else { None };
            items.into_iter().map(text).collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}

/// The path in the variable that names the configuration file.
pub(super) fn named_file(env: &Env) -> Result<Option<PathBuf>, ConfigError> {
    let raw = env.get(FILE_VARIABLE).map_or("", String::as_str);
    let path = from_variable(SettingKind::Text, raw).map_err(|what| ConfigError(format!("{FILE_VARIABLE}: {what}")))?;
    Ok(path.and_then(|value| if let Value::Text(path) = value { Some(path.into()) } else { None }))
}

/// Reads a variable: as TOML where that gives the key's type, else as plain text. `None` when it is empty and may be.
fn from_variable(kind: SettingKind, raw: &str) -> Result<Option<Value>, String> {
    let raw = raw.trim();
    let example = || kind.example("'");
    if raw.is_empty() {
        // An empty allow list in a variable that was not filled in must not open the server.
        let list = matches!(kind, SettingKind::List(_));
        return if list { Err(format!("it is empty; remove it or write {}", example())) } else { Ok(None) };
    }
    let problem = match raw.parse::<Toml>() {
        // Compose files and units hand on the quotes of `MOLLY_DB="/data/db.sqlite"`, and single ones around a list: the
        // text inside is meant, whatever the type.
        Ok(Toml::String(inner)) => return from_variable(kind, &inner),
        Ok(value) => match typed(kind, value) {
            Some(value) => return Ok(Some(value)),
            None => "wrong type",
        },
        Err(_) if begins_as_toml(raw) => "it begins with a quote or bracket, but is not valid TOML",
        Err(_) => "wrong type",
    };
    match kind {
        SettingKind::Text if !begins_as_toml(raw) || is_address(raw) => Ok(Some(Value::Text(raw.to_owned()))),
        SettingKind::List(_) if !begins_as_toml(raw) => Ok(Some(Value::List(vec![raw.to_owned()]))),
        // `[one, two]` is what is left of `["one", "two"]`.
        SettingKind::List(_) if raw.starts_with('[') && !raw.contains(['"', '\'']) => Err(format!(
            "{problem}; write {} (a shell, or systemd's Environment=, takes away all quotes but those in quotes)",
            example()
        )),
        SettingKind::Text => Err(format!("{problem}; write {}, or leave the quotes and brackets out", example())),
        _ => Err(format!("{problem}; write {}", example())),
    }
}

/// Whether a value is meant as TOML: broken, or of another type, it must not become a name. The quotes of web pages and
/// word processors count.
fn begins_as_toml(raw: &str) -> bool {
    raw.starts_with(['"', '\'', '[', '{', '`', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{201e}'])
}

/// Whether it is an IPv6 address as URLs have it: the one text that begins with a bracket.
fn is_address(raw: &str) -> bool {
    let inner = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// A name as it may stand in a message: TOML keys may hold line feeds and escape sequences for terminals.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Where the byte at `at` is, both counted from 1.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    (line, column)
}

/// Line and column of a syntax error. The parser's own text would show the line, which may hold a key.
fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
    let what = one_line(&error.message().lines().collect::<Vec<_>>().join(", "));
    ConfigError(format!("{}: line {line}, column {column}: not valid TOML: {what}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

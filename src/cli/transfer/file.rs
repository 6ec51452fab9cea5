//! What `connection export` writes and `connection import` reads; its fields are listed in docs/operations.md. Pure.

use serde_json::{Map, Value, json};

use crate::account::{Account, AccountError, AccountId, Credentials, DeviceId, Endpoint, Secret};

/// The format written and read. A field more or less, or another meaning, is another format.
const FORMAT: u64 = 1;

/// Length of a public VAPID key in base64url: 65 bytes.
const PUBLIC_KEY_CHARS: usize = 87;

/// What an export says of an account.
const FIELDS: [&str; 8] =
    ["uuid", "device_id", "password", "endpoint", "forbidden", "endpoint_gone", "paused", "last_registration"];

/// Whether what only the other server may know is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets<'a> {
    /// Passwords, and endpoints, which are made for this public VAPID key.
    Shown {
        /// The public key of the server that exports.
        vapid_public: &'a str,
    },
    /// No password, and of an endpoint only its origin.
    LeftOut,
}

/// An export with secrets, as read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// Public VAPID key of the server that exported.
    pub(super) vapid_public: String,
    /// Each of another id. Nothing is said to be known to their phones.
    pub(super) accounts: Vec<Account>,
}

/// Why a text cannot be imported. Holds nothing of the text but ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    /// Nothing but white space.
    #[error("standard input is empty: `mollysocket connection import < FILE` reads a file")]
    Empty,
    /// Cut short, or something else.
    #[error("it is not JSON (line {line}, column {column}): it was cut short, or is no export")]
    Json {
        /// From 1.
        line: usize,
        /// From 1; 0 before the first character of a line.
        column: usize,
    },
    /// JSON of something else.
    #[error("it is no output of `mollysocket connection export`: {0}")]
    Foreign(&'static str),
    /// Another format.
    #[error("it has format {0}, and this version knows only format {FORMAT}: use the same version at both ends")]
    Format(u64),
    /// Written without `--secrets`.
    #[error("it holds no passwords and endpoints: export again with `mollysocket connection export --secrets`")]
    NoSecrets,
    /// An account that cannot be read. They are numbered from 1.
    #[error("account {0} of it: {1}")]
    Account(usize, String),
    /// The same id more than once.
    #[error("{0} is in it twice")]
    Twice(AccountId),
}

/// The whole text, the same for the same accounts in the same order.
pub(super) fn write(accounts: &[Account], secrets: Secrets<'_>) -> String {
    let all = accounts.iter().map(|account| one(account, secrets)).collect::<Vec<_>>();
    let mut file = json!({ "format": FORMAT, "accounts": all });
    if let Secrets::Shown { vapid_public } = secrets {
        file["vapid_public_key"] = vapid_public.into();
    }
    format!("{file:#}\n")
}

/// What the phone has fetched (`fetched_until`) is left out: a wake-up too many is better than one too few.
fn one(account: &Account, secrets: Secrets<'_>) -> Value {
    let mut fields = json!({
        "uuid": account.id().to_string(),
        "device_id": account.credentials.device.get(),
        "forbidden": account.forbidden,
        "endpoint_gone": account.endpoint_gone,
        "paused": account.paused,
        "last_registration": account.last_registration,
    });
    match secrets {
        Secrets::Shown { .. } => {
            fields["password"] = account.credentials.password.expose().into();
            fields["endpoint"] = account.endpoint.as_str().into();
        }
        Secrets::LeftOut => fields["push_server"] = account.endpoint.origin().into(),
    }
    fields
}

/// Reads what [`write()`] wrote with secrets.
///
/// # Errors
/// Says what is wrong and where, in words without values: any of them may be a password.
pub(super) fn read(text: &str) -> Result<Export, FileError> {
    if text.trim().is_empty() {
        return Err(FileError::Empty);
    }
    let value: Value =
        serde_json::from_str(text).map_err(|error| FileError::Json { line: error.line(), column: error.column() })?;
    let file = value.as_object().ok_or(FileError::Foreign("it is not an object"))?;
    let format = file.get("format").and_then(Value::as_u64).ok_or(FileError::Foreign("it names no format"))?;
    if format != FORMAT {
        return Err(FileError::Format(format));
    }
    if file.keys().any(|key| !["format", "vapid_public_key", "accounts"].contains(&key.as_str())) {
        return Err(FileError::Foreign("it has a field that this format does not have"));
    }
    let listed = file.get("accounts").and_then(Value::as_array).ok_or(FileError::Foreign("it lists no accounts"))?;
    let vapid_public = match file.get("vapid_public_key") {
        None => return Err(FileError::NoSecrets),
        Some(key) => key.as_str().filter(|key| key.len() == PUBLIC_KEY_CHARS),
    };
    let vapid_public = vapid_public.ok_or(FileError::Foreign("its vapid_public_key is none"))?.to_owned();
    let mut accounts: Vec<Account> = Vec::with_capacity(listed.len());
    let mut ids = std::collections::HashSet::new();
    for (at, value) in listed.iter().enumerate() {
        let account = value.as_object().ok_or_else(|| "it is not an object".to_owned()).and_then(read_one);
        let account = account.map_err(|why| FileError::Account(at + 1, why))?;
        if !ids.insert(account.id()) {
            return Err(FileError::Twice(account.id()));
        }
        accounts.push(account);
    }
    Ok(Export { vapid_public, accounts })
}

fn read_one(fields: &Map<String, Value>) -> Result<Account, String> {
    if let Some(missing) = FIELDS.iter().find(|name| !fields.contains_key(**name)) {
        return Err(format!("it has no \"{missing}\""));
    }
    if fields.len() > FIELDS.len() {
        return Err("it has a field that this format does not have".to_owned());
    }
    let text = |name| fields[name].as_str().ok_or_else(|| format!("\"{name}\" is not a text"));
    let number = |name| fields[name].as_u64().ok_or_else(|| format!("\"{name}\" is not a whole number from 0"));
    let flag = |name| fields[name].as_bool().ok_or_else(|| format!("\"{name}\" is neither true nor false"));
    let says = |error: AccountError| error.to_string();
    Ok(Account {
        credentials: Credentials {
            id: AccountId::parse(text("uuid")?).map_err(says)?,
            device: DeviceId::new(number("device_id")?).map_err(says)?,
            password: Secret::password(text("password")?).map_err(says)?,
        },
        endpoint: Endpoint::parse(text("endpoint")?).map_err(says)?,
        forbidden: flag("forbidden")?,
        endpoint_gone: flag("endpoint_gone")?,
        paused: flag("paused")?,
        last_registration: number("last_registration")?,
        fetched_until: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

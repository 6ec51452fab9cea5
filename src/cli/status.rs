//! `status`: what the running server says of itself; without one, what the database says.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use super::args::Status;
use super::outbound::public_key;
use super::output::ColorChoice;
use super::{Answer, CliError, table};
use crate::config::Config;
use crate::net::ask_socket;
use crate::overview::fit::Settings;
use crate::overview::{Overview, absence, admin_socket};
use crate::printable::{printable, printable_json};
use crate::store::Store;

/// The server gives its database a second; ten thousand accounts take a moment to write down.
const PATIENCE: Duration = Duration::from_secs(5);

/// An account takes about a kilobyte.
const MOST: usize = 64 * 1024 * 1024;

/// `status`.
pub(super) fn run(
    config: &Config,
    args: &Status,
    color: ColorChoice,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    let (overview, absent) = match running(config) {
        Ok(overview) => (overview, None),
        Err(error) => {
            let listing = Store::read(&config.db)?;
            let warnings = match public_key(config) {
                Ok(key) => Settings::new(config, &key).misfits(&listing).iter().map(ToString::to_string).collect(),
                Err(_) if listing.accounts.is_empty() => Vec::new(),
                Err(error) => vec![error.to_string()],
            };
            let overview = Overview::stored(&listing, warnings, SystemTime::now());
            let (what, remedy) = absence(&admin_socket(config), &error);
            (overview, Some(format!("{what}: {remedy}")))
        }
    };
    // Rows may hold anything.
    let shown = printable_json(serde_json::to_value(&overview).map_err(CliError::failed)?);
    let overview: Overview = serde_json::from_value(shown).map_err(CliError::failed)?;
    if args.json {
        let text = serde_json::to_string_pretty(&overview).map_err(CliError::failed)?;
        writeln!(out, "{text}")?;
        if let Some(absent) = absent {
            super::warn(&absent);
        }
    } else {
        let absent = absent.as_deref().map(printable);
        out.write_all(table::render(&overview, absent.as_deref(), color).as_bytes())?;
    }
    Ok(if overview.healthy { Answer::Yes } else { Answer::No })
}

/// What the running server says.
pub(super) fn running(config: &Config) -> io::Result<Overview> {
    let answer = smol::block_on(ask_socket(&admin_socket(config), "/status", PATIENCE, MOST))?;
    if answer.status != 200 {
        return Err(io::Error::other(format!("it answered {}", answer.status)));
    }
    answered(&answer.body)
}

/// What an answer at the admin socket says, fit to be shown: whatever answered may have said anything.
pub(super) fn answered<T: DeserializeOwned>(body: &str) -> io::Result<T> {
    let value = serde_json::from_str(body).map_err(io::Error::other)?;
    serde_json::from_value(printable_json(value)).map_err(io::Error::other)
}

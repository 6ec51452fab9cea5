//! `vapid`, `test` and `check-config`: verbs that change nothing.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use super::connection::shown;
use super::outbound::{Outbound, vapid};
use super::status::running;
use super::{Answer, CliError, warn};
use crate::account::{AccountId, Endpoint};
use crate::config::{Config, Permission};
use crate::net::{Checked, DNS_FILTER};
use crate::overview::{AccountView, SideView};
use crate::printable::printable;
use crate::store::Store;
use crate::vapid::VapidKey;

/// `check-config FILE`: whether the server would take the file.
pub(super) fn check_config(file: &Path, out: &mut impl Write) -> Result<Answer, CliError> {
    Config::check_file(file)?.warnings.iter().for_each(warn);
    writeln!(out, "{}: ok", file.display())?;
    Ok(Answer::Yes)
}

/// `vapid generate`: the key and nothing else, for pipes.
pub(super) fn vapid_generate(out: &mut impl Write) -> Result<Answer, CliError> {
    writeln!(out, "{}", VapidKey::generate().to_private().expose())?;
    Ok(Answer::Yes)
}

/// `vapid test ENDPOINT`: the header a push to it would carry.
pub(super) fn vapid_test(config: &Config, endpoint: &str, out: &mut impl Write) -> Result<Answer, CliError> {
    let endpoint = Endpoint::parse(endpoint)?;
    writeln!(out, "{}", vapid(config)?.authorization(&endpoint.origin(), SystemTime::now()))?;
    Ok(Answer::Yes)
}

/// `test endpoint ENDPOINT`: what a registration with it would be told, why, and what to change.
pub(super) fn test_endpoint(config: &Config, endpoint: &str, out: &mut impl Write) -> Result<Answer, CliError> {
    let endpoint = match Endpoint::parse(endpoint) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            writeln!(out, "refused: {error}")?;
            return Ok(Answer::No);
        }
    };
    let origin = endpoint.origin();
    let outbound = Outbound::new(config)?;
    match outbound.block_on(outbound.net.check_endpoint(&config.allowed_endpoints, &endpoint)) {
        Err(refusal) => {
            writeln!(out, "refused: {refusal}")?;
            Ok(Answer::No)
        }
        Ok(Checked::Unknown(why)) => {
            writeln!(out, "unknown: {why}")?;
            Ok(Answer::No)
        }
        Ok(Checked::Fine) => {
            if let Some(blocked) = outbound.block_on(outbound.net.dns_filter(&endpoint)) {
                writeln!(out, "unknown: {blocked}; {DNS_FILTER}")?;
                return Ok(Answer::No);
            }
            let why = match config.allowed_endpoints.permits(&endpoint) {
                Permission::Listed => "allowed_endpoints names it",
                _ => "it is at no private address, and allowed_endpoints holds \"*\"",
            };
            writeln!(out, "allowed: {origin}: {why}")?;
            Ok(Answer::Yes)
        }
    }
}

/// `test uuid UUID`: whether the account may register, and what is stored of it.
pub(super) fn test_uuid(config: &Config, uuid: &str, out: &mut impl Write) -> Result<Answer, CliError> {
    let id = match AccountId::parse(uuid) {
        Ok(id) => id,
        Err(error) => {
            writeln!(out, "refused: {error}")?;
            return Ok(Answer::No);
        }
    };
    if config.allowed_uuids.permits(id) {
        writeln!(out, "allowed: {id} ({})", config.allowed_uuids)?;
        stored(config, id, out)?;
        Ok(Answer::Yes)
    } else {
        writeln!(out, "refused: {id} is not in allowed_uuids ({})", config.allowed_uuids)?;
        writeln!(out, "to allow it, add \"{id}\" to allowed_uuids")?;
        stored(config, id, out)?;
        Ok(Answer::No)
    }
}

/// Whether the account is in the database, and in which state: what the running server says of it, else what its row says.
fn stored(config: &Config, id: AccountId, out: &mut impl Write) -> Result<(), CliError> {
    let listing = match Store::read(&config.db) {
        Ok(listing) => listing,
        Err(error) => return Ok(writeln!(out, "account: unknown: {error}")?),
    };
    let Some(account) = listing.accounts.iter().find(|account| account.id() == id) else {
        return Ok(writeln!(out, "account: not stored in {}", shown(&config.db))?);
    };
    writeln!(out, "account: stored in {}", shown(&config.db))?;
    writeln!(out, "forbidden: {}", account.forbidden)?;
    let running = running(config).map_or_else(|_| Vec::new(), |overview| overview.accounts);
    let told = running.into_iter().find(|account| AccountId::parse(&account.uuid) == Ok(id));
    let AccountView { signal, push, .. } = told.unwrap_or_else(|| AccountView::stored(account));
    for (name, SideView { state, reason, .. }) in [("state", signal), ("push", push)] {
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        writeln!(out, "{name}: {}", printable(&(state + &reason)))?;
    }
    Ok(())
}

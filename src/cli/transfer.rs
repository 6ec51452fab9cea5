//! `connection export` and `connection import`: accounts move from one server to another.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;

use self::file::{Export, Secrets};
use super::args::{ConnectionExport, ConnectionImport};
use super::connection::{noticed, shown, unknown};
use super::outbound::public_key;
use super::{Answer, CliError, note};
use crate::account::{Account, AccountId};
use crate::config::Config;
use crate::net::Net;
use crate::store::{Difference, IfDifferent, IfMissing, Import, Store, StoreError};

mod file;

/// Largest file that is read, in bytes. The longest account there can be takes 5 kB, a usual one 0.4.
const MOST: u64 = 64 * 1024 * 1024;

/// Reasons that are told in one line; the rest is counted.
const TOLD: usize = 5;

/// `connection export`: everything is read before the first byte is written.
pub(super) fn export(config: &Config, args: &ConnectionExport, out: &mut impl Write) -> Result<Answer, CliError> {
    let wanted = args.uuids.iter().map(|uuid| AccountId::parse(uuid)).collect::<Result<Vec<_>, _>>()?;
    let mut listing = Store::read(&config.db)?;
    let known = |id: &AccountId| listing.accounts.iter().any(|account| account.id() == *id);
    if let Some(id) = wanted.iter().find(|id| !known(id)) {
        return Err(unknown(*id, &config.db));
    }
    listing.accounts.retain(|account| wanted.is_empty() || wanted.contains(&account.id()));
    listing.accounts.sort_by_key(Account::id);
    if args.secrets {
        let vapid_public = public_key(config)?;
        warn_of_secrets();
        out.write_all(file::write(&listing.accounts, Secrets::Shown { vapid_public: &vapid_public }).as_bytes())?;
    } else {
        out.write_all(file::write(&listing.accounts, Secrets::LeftOut).as_bytes())?;
    }
    if !wanted.is_empty() {
        return Ok(Answer::Yes);
    }
    // Without service since long, but the operator may not know.
    for row in &listing.unreadable {
        note(&format!("mollysocket: warning: left out: {row}"));
    }
    Ok(if listing.unreadable.is_empty() { Answer::Yes } else { Answer::No })
}

fn warn_of_secrets() {
    note(
        "mollysocket: warning: the output lets its reader log in as these devices and wake these phones: keep it private \
         and delete it soon",
    );
    note(
        "mollysocket: warning: two servers must not run one account: pause it here before it is imported elsewhere; the \
         other server needs the same VAPID key",
    );
    if others_can_read_stdout() {
        note("mollysocket: warning: others can read the file this is written to: run `chmod 600` on it");
    }
}

/// Whether standard output is a file whose mode lets others read it.
fn others_can_read_stdout() -> bool {
    let metadata = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| File::from(stdout).metadata());
    metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o077 != 0)
}

/// `connection import`: reads, checks, and stores all accounts or none.
pub(super) fn import(
    config: &Config,
    args: &ConnectionImport,
    input: impl Read,
    out: &mut impl Write,
) -> Result<Answer, CliError> {
    if io::stdin().is_terminal() {
        note("waiting for the output of `mollysocket connection export --secrets`; Ctrl-D ends it");
    }
    let nothing = |why: &dyn std::fmt::Display| CliError::failed(format_args!("nothing imported: {why}"));
    let text = text(input).map_err(|why| nothing(&why))?;
    let export = file::read(&text).map_err(|why| nothing(&why))?;
    check_key(config, args, &export)?;
    let refused = export
        .accounts
        .iter()
        .filter_map(|account| objection(config, account).map(|why| format!("{}: {why}", account.id())));
    one_line(refused).map_or(Ok(()), |why| Err(nothing(&why)))?;
    let full = |rows| {
        let most = config.max_accounts;
        nothing(&format_args!("there would be {rows} accounts, and max_accounts is {most}; raise it"))
    };
    let coming = export.accounts.len();
    // Said before there is a database: an import that is refused leaves none behind.
    if coming > config.max_accounts
        && let Err(StoreError::Missing(_)) = Store::read(&config.db)
    {
        return Err(full(coming));
    }
    let store = Store::open(&config.db, IfMissing::Create)?.with_key(&export.vapid_public);
    let if_different = if args.replace { IfDifferent::Replace } else { IfDifferent::Refuse };
    match smol::block_on(store.import(export.accounts, if_different, config.max_accounts))? {
        Import::Different(differences) => {
            let all = one_line(differences.iter().map(|Difference { id, what }| format!("{id} ({})", what.join(", "))));
            let all = all.unwrap_or_default();
            Err(nothing(&format_args!("here already, but not the same: {all}; --replace replaces what is here")))
        }
        Import::Full(rows) => Err(full(rows)),
        Import::Done { added, replaced, unchanged } => {
            let db = shown(&config.db);
            writeln!(out, "{added} added, {replaced} replaced, {unchanged} unchanged in {db}; {}", noticed(config))?;
            if added + replaced > 0 {
                writeln!(
                    out,
                    "where they came from: mollysocket connection remove, or two servers displace each other"
                )?;
            }
            Ok(Answer::Yes)
        }
    }
}

/// All of the input, or why not.
fn text(input: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    input.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| format!("standard input cannot be read: {error}"))?;
    if bytes.len() as u64 > MOST {
        return Err(format!("it is larger than {} MiB: export the accounts in parts", MOST / 1024 / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

/// An endpoint is made for one key (RFC 8292 section 4): with another one the push server refuses.
fn check_key(config: &Config, args: &ConnectionImport, export: &Export) -> Result<(), CliError> {
    if !args.other_key && public_key(config)? != export.vapid_public {
        return Err(CliError::failed(
            "nothing imported: these endpoints were made for another VAPID key, and push servers that check it would refuse \
             each wake-up. Give this server the key of the other one, or link each phone with this server's code instead. \
             --other-key imports them all the same",
        ));
    }
    if args.other_key && public_key(config).ok().as_ref() != Some(&export.vapid_public) {
        note(
            "mollysocket: warning: these endpoints were made for another VAPID key: push servers that check it refuse each \
             wake-up (401 or 403) until the phone has scanned this server's code",
        );
    }
    Ok(())
}

/// Why this server would not take the account as a registration, if so. Nobody is asked.
fn objection(config: &Config, account: &Account) -> Option<String> {
    if !config.allowed_uuids.permits(account.id()) {
        return Some("it is not in allowed_uuids".to_owned());
    }
    Net::check_without_look_up(&config.allowed_endpoints, &account.endpoint).err().map(|refusal| refusal.to_string())
}

/// Several reasons as one line; `None` without any.
fn one_line(reasons: impl Iterator<Item = String>) -> Option<String> {
    let mut reasons: Vec<String> = reasons.collect();
    let more = reasons.len().saturating_sub(TOLD);
    if more > 0 {
        reasons.truncate(TOLD);
        reasons.push(format!("and {more} more"));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

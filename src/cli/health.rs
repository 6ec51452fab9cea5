//! `health`: one line and an exit code, for container engines. Asks the running server, whether it has a web server or not.

use std::io::Write;
use std::time::Duration;

use super::args::Health;
use super::{Answer, CliError};
use crate::config::Config;
use crate::net::ask_socket;
use crate::overview::{absence, admin_socket};
use crate::printable::printable;

/// The server answers within milliseconds, and gives its database a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than its one line.
const MOST: usize = 4096;

/// `health`.
pub(super) fn run(config: &Config, args: &Health, out: &mut impl Write) -> Result<Answer, CliError> {
    let socket = &admin_socket(config);
    let target = if args.live { "/healthz" } else { "/readyz" };
    match smol::block_on(ask_socket(socket, target, PATIENCE, MOST)) {
        Ok(answer) if answer.status == 200 => {
            writeln!(out, "healthy: {}", printable(answer.body.trim()))?;
            Ok(Answer::Yes)
        }
        Ok(answer) => {
            writeln!(out, "unhealthy: {}", printable(answer.body.trim()))?;
            Ok(Answer::No)
        }
        Err(error) => {
            let (what, remedy) = absence(socket, &error);
            writeln!(out, "unhealthy: {}", printable(&format!("{what}: {remedy}")))?;
            Ok(Answer::No)
        }
    }
}

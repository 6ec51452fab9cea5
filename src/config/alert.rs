//! What the operator wants to be told by.

use std::fmt;

use crate::account::{AccountError, Endpoint};

/// A program and its arguments. No shell is involved.
#[derive(Clone, PartialEq, Eq)]
pub struct AlertCommand {
    program: String,
    arguments: Vec<String>,
}

impl AlertCommand {
    /// Reads the list; an empty one is no command.
    ///
    /// # Errors
    /// What is wrong, to be read after a name.
    pub(super) fn parse(items: &[String]) -> Result<Option<Self>, &'static str> {
        let Some((program, arguments)) = items.split_first() else { return Ok(None) };
        if program.trim().is_empty() {
            return Err("must begin with a program, like [\"/usr/local/bin/alert\", \"argument\"]");
        }
        Ok(Some(Self { program: program.clone(), arguments: arguments.to_vec() }))
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its arguments, which may hold secrets.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl fmt::Debug for AlertCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlertCommand({}, {} arguments)", self.program, self.arguments.len())
    }
}

/// Reads the URL of the heartbeat. Its path is usually a secret, as that of a push endpoint.
///
/// # Errors
/// What is wrong, to be read after a name.
pub(super) fn heartbeat(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|error| match error {
        AccountError::Endpoint(why) => format!("must be like https://status.example.org/path, but {why}"),
        other => other.to_string(),
    })
}

//! Signal's side: one account's life, and the question whether credentials are good.

use crate::account::Credentials;

/// What Signal says of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They work.
    Accepted,
    /// Refused twice, by Signal itself (403 with `X-Signal-Timestamp`).
    Refused,
    /// No answer that decides it; the text says why.
    Undecided(String),
}

/// Asks Signal about credentials without disturbing a live connection.
#[derive(Debug)]
pub struct Checker {
    _todo: (),
}

impl Checker {
    /// Asks, within the check deadline. Sends `X-Signal-Disable-Messages: true`, which displaces nobody (protocol note,
    /// section 2.1).
    pub async fn ask(&self, _credentials: &Credentials) -> Verdict {
        unimplemented!()
    }
}

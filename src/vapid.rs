//! The server's VAPID key and the tokens signed with it (RFC 8292).

use std::fmt;
use std::path::PathBuf;

mod file;
mod key;
mod token;

pub use self::key::VapidKey;
pub use self::token::Vapid;

/// Why there is no usable key. No text holds any of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VapidError {
    /// The text is not a key.
    #[error("the VAPID key {0}")]
    Malformed(Flaw),
    /// A file does not hold a key.
    #[error("the VAPID key file {} {flaw}: {remedy}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with what it holds.
        flaw: Flaw,
        /// What to do.
        remedy: &'static str,
    },
    /// There is no key and this verb makes none.
    #[error(
        "no VAPID key at {}: start the server once if no phone is linked yet; else run this with the server's settings \
         (vapid_privkey, vapid_key_file; for a sealed key CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service), \
         or restore it from a backup",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file could not be read or made.
    #[error("the VAPID key file {} cannot be used: {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        what: String,
    },
}

/// What is wrong with the text of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing there.
    Empty,
    /// `=` at the end.
    Padded,
    /// `+` or `/`.
    StandardAlphabet,
    /// Any other character that base64url does not know.
    Alphabet,
    /// A number of characters, or a last one, that no encoder makes.
    Cut,
    /// Not 32 bytes but this many.
    Length(usize),
    /// 65 bytes: the public half.
    Public,
    /// 32 bytes that are no scalar of the curve: zero, or not below its order.
    Scalar,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Padded => f.write_str("ends with `=`; base64url without padding is expected"),
            Self::StandardAlphabet => f.write_str("holds `+` or `/`; base64url uses `-` and `_` instead"),
            Self::Alphabet => f.write_str("holds characters that are not base64url"),
            Self::Cut => f.write_str("is cut short or altered: no 32 bytes are written like this (43 characters)"),
            Self::Length(n) => write!(f, "is {n} bytes long instead of 32"),
            Self::Public => f.write_str("is a public key; the private key is expected"),
            Self::Scalar => f.write_str("is not a private key of the curve P-256"),
        }
    }
}

/// Whether a missing generated key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Make it (`server` without accounts).
    Yes,
    /// Fail (`server` with accounts).
    No,
    /// Fail, and leave the file as it is (all other verbs).
    Look,
}

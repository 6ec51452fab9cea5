//! The server's VAPID key and the tokens signed with it (RFC 8292).

use std::time::SystemTime;

use crate::account::Secret;
use crate::config::VapidSource;

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VapidError {
    /// Placeholder.
    #[error("{0}")]
    Other(String),
}

/// A P-256 key pair.
pub struct VapidKey {
    _todo: (),
}

impl VapidKey {
    /// A new key.
    pub fn generate() -> Self {
        unimplemented!()
    }

    /// Reads 32 bytes in base64url without padding (43 characters). White space around it is ignored.
    ///
    /// # Errors
    /// Says what is wrong with it, never what it is.
    pub fn parse(_text: &str) -> Result<Self, VapidError> {
        unimplemented!()
    }

    /// The private key: always 43 characters.
    pub fn to_private(&self) -> Secret {
        unimplemented!()
    }

    /// The uncompressed public key in base64url: always 87 characters.
    pub fn public(&self) -> String {
        unimplemented!()
    }

    /// Loads the key the configuration names; for `VapidSource::Generated` reads the file or, with
    /// `create`, makes it (0600). The text says where the key came from, for people.
    ///
    /// # Errors
    /// Names the file or setting and the remedy.
    pub fn load(_source: &VapidSource, _create: Create) -> Result<(Self, String), VapidError> {
        unimplemented!()
    }
}

/// Whether a missing generated key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Make it (`server`).
    Yes,
    /// Fail (all other verbs).
    No,
}

/// Signs tokens, one per push origin, and keeps them while they are good.
pub struct Vapid {
    _todo: (),
}

impl Vapid {
    /// `contact` is the token's `sub`.
    pub fn new(_key: VapidKey, _contact: String) -> Self {
        unimplemented!()
    }

    /// The public key, as in links.
    pub fn public(&self) -> &str {
        unimplemented!()
    }

    /// Value of the `Authorization` header for `origin` (ASCII serialisation): `vapid t=…, k=…`.
    pub fn authorization(&self, _origin: &str, _now: SystemTime) -> String {
        unimplemented!()
    }

    /// Forgets the token of `origin`, so that the next one is new (after 401 or 403).
    pub fn forget(&self, _origin: &str) {}
}

//! The key pair and its text form.

use std::fmt;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate as _;

use super::{Create, Flaw, VapidError, file};
use crate::account::Secret;
use crate::config::VapidSource;

/// A P-256 key pair.
pub struct VapidKey {
    key: SigningKey,
}

impl VapidKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self { key: SigningKey::generate() }
    }

    /// Reads 32 bytes in base64url without padding (43 characters). White space around it is ignored.
    ///
    /// # Errors
    /// Says what is wrong with it, never what it is.
    pub fn parse(text: &str) -> Result<Self, VapidError> {
        Self::read(text).map_err(VapidError::Malformed)
    }

    pub(super) fn read(text: &str) -> Result<Self, Flaw> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Flaw::Empty);
        }
        if text.ends_with('=') {
            return Err(Flaw::Padded);
        }
        if text.contains(['+', '/']) {
            return Err(Flaw::StandardAlphabet);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err(Flaw::Alphabet);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Flaw::Cut)?;
        match bytes.len() {
            32 => SigningKey::from_slice(&bytes).map(|key| Self { key }).map_err(|_| Flaw::Scalar),
            65 => Err(Flaw::Public),
            other => Err(Flaw::Length(other)),
        }
    }

    /// The private key: always 43 characters.
    pub fn to_private(&self) -> Secret {
        Secret::new(BASE64_URL_SAFE_NO_PAD.encode(self.key.to_bytes()))
    }

    /// The uncompressed public key in base64url: always 87 characters.
    pub fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.key.verifying_key().to_sec1_point(false))
    }

    /// Loads the key the configuration names; for `VapidSource::Generated` reads the file or, with
    /// `create`, makes it (0600). The text says where the key came from, for people.
    ///
    /// # Errors
    /// Names the file or setting and the remedy.
    pub fn load(source: &VapidSource, create: Create) -> Result<(Self, String), VapidError> {
        match source {
            VapidSource::Inline(text) => Ok((Self::parse(text.expose())?, "vapid_privkey".to_owned())),
            VapidSource::File(path) => {
                let key = file::read(path, "put the output of `mollysocket vapid generate` there (vapid_key_file)")?;
                Ok((key, format!("{} (vapid_key_file)", path.display())))
            }
            VapidSource::Credential(path) => {
                let key = file::read(path, "put the output of `mollysocket vapid generate` into that credential")?;
                Ok((key, format!("credential {}", path.display())))
            }
            VapidSource::Generated(path) => file::generated(path, create),
        }
    }

    /// ES256 (RFC 7518 section 3.4): r and s, 32 bytes each with their leading zeros.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VapidKey({})", self.public())
    }
}

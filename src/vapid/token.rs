//! Tokens (RFC 8292 section 2), one per push origin, kept while they are good.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::Serialize;

use super::VapidKey;
use crate::runtime::lock;

/// Seconds a token is good for. RFC 8292 section 2 allows 24 h; half of it leaves room for clocks that disagree.
const LIFETIME: u64 = 12 * 3600;

/// Seconds a token is used: half of its life, so that a clock that is hours slow still makes tokens that are good.
const RENEWAL: u64 = LIFETIME / 2;

/// How many seconds a token may seem to be signed in the future: clocks are corrected by small steps all the time.
const SKEW: u64 = 60;

/// Origins a token is kept for. Registrations choose the origins, so there must be an end.
const ORIGINS: usize = 1024;

#[derive(Serialize)]
struct Header {
    typ: &'static str,
    alg: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: u64,
    sub: &'a str,
}

/// A signed token, and when it was made, in seconds since 1970.
struct Token {
    signed: u64,
    authorization: String,
}

impl Token {
    /// Whether it can be used at `now`. The wall clock may have been set in either direction since it was signed.
    fn good(&self, now: u64) -> bool {
        self.signed <= now + SKEW && now < self.signed + RENEWAL
    }
}

/// Signs tokens, one per push origin, and keeps them while they are good.
pub struct Vapid {
    key: VapidKey,
    public: String,
    contact: String,
    tokens: Mutex<HashMap<String, Token>>,
}

impl Vapid {
    /// `contact` is the token's `sub`: a `mailto:` or `https:` URL (RFC 8292 section 2.1).
    pub fn new(key: VapidKey, contact: String) -> Self {
        let public = key.public();
        Self { key, public, contact, tokens: Mutex::default() }
    }

    /// The public key, as in links.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Value of the `Authorization` header for `origin` (ASCII serialisation): `vapid t=…,k=…` (RFC 8292 section 3).
    pub fn authorization(&self, origin: &str, now: SystemTime) -> String {
        if let Some(kept) = self.kept(origin, now) {
            return kept;
        }
        let now = seconds(now);
        let mut tokens = lock(&self.tokens);
        let token = self.sign(origin, now);
        let authorization = token.authorization.clone();
        if tokens.len() >= ORIGINS && !tokens.contains_key(origin) {
            make_room(&mut tokens, now);
        }
        tokens.insert(origin.to_owned(), token);
        authorization
    }

    /// The same, if there is one that is still good.
    pub fn kept(&self, origin: &str, now: SystemTime) -> Option<String> {
        let tokens = lock(&self.tokens);
        tokens.get(origin).filter(|token| token.good(seconds(now))).map(|token| token.authorization.clone())
    }

    /// Forgets the token of `origin`, so that the next one is new (after 401 or 403).
    pub fn forget(&self, origin: &str) {
        lock(&self.tokens).remove(origin);
    }

    fn sign(&self, origin: &str, now: u64) -> Token {
        let expires = now + LIFETIME;
        let header = encode(&Header { typ: "JWT", alg: "ES256" });
        let claims = encode(&Claims { aud: origin, exp: expires, sub: &self.contact });
        let mut token = format!("{header}.{claims}");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(token.as_bytes()));
        token.push('.');
        token.push_str(&signature);
        Token { signed: now, authorization: format!("vapid t={token},k={}", self.public) }
    }
}

/// Drops what is of no use any more, else the oldest token.
fn make_room(tokens: &mut HashMap<String, Token>, now: u64) {
    tokens.retain(|_, token| token.good(now));
    if tokens.len() >= ORIGINS {
        let oldest = tokens.iter().min_by_key(|(_, token)| token.signed).map(|(origin, _)| origin.clone());
        if let Some(origin) = oldest {
            tokens.remove(&origin);
        }
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn encode(part: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("strings and numbers are always valid JSON"))
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid").field("public", &self.public).finish_non_exhaustive()
    }
}

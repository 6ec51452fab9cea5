//! The two allow lists.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::Network;
use crate::account::{AccountId, Endpoint};

/// What the allow list says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Named by the operator: may be anywhere, private networks included.
    Listed,
    /// Allowed by `*`: only at public addresses.
    IfPublic,
    /// Not allowed.
    No,
}

/// An entry of an allow list that cannot be used: its place, counted from 1, and what is wrong with it. Never its text,
/// which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry} {problem}")]
pub struct EntryError {
    /// Counted from 1.
    pub entry: usize,
    /// What is wrong, to be read after "entry N".
    pub problem: &'static str,
}

/// Which push servers may be used.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedEndpoints {
    listed: HashSet<Server>,
    /// For people, in the order of the list: holds no user info.
    origins: Vec<String>,
    any_public: bool,
}

/// What must be the same for an endpoint to be on a listed server.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Server {
    scheme: String,
    host: String,
    port: Option<u16>,
    username: String,
    password: Option<String>,
}

impl Server {
    fn of(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|h| !h.is_empty())?.to_owned();
        Some(Self {
            scheme: url.scheme().to_owned(),
            host,
            port: url.port_or_known_default(),
            username: url.username().to_owned(),
            password: url.password().map(str::to_owned),
        })
    }

    fn has_user_info(&self) -> bool {
        !self.username.is_empty() || self.password.is_some()
    }
}

/// The complaint about an address block.
const BLOCK: &str = "is an address block; name each address, like http://10.0.0.1/";

/// Whether it is the second half of an address block: `8` or `255.0.0.0`.
fn is_mask(text: &str) -> bool {
    text.parse::<u8>().is_ok() || text.parse::<IpAddr>().is_ok()
}

impl AllowedEndpoints {
    /// Reads the entries: `*`, or the URL of a push server, of which the path does not count.
    ///
    /// # Errors
    /// Names the first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, EntryError> {
        let mut list = Self { listed: HashSet::new(), origins: Vec::new(), any_public: false };
        for (at, text) in entries.iter().map(|e| e.as_ref().trim()).enumerate() {
            let fail = |problem| EntryError { entry: at + 1, problem };
            if text == "*" {
                list.any_public = true;
                continue;
            }
            if Network::parse(text).is_some_and(|_| text.contains('/')) {
                return Err(fail(BLOCK));
            }
            let url = Url::parse(text)
                .map_err(|_| fail("is neither * nor a URL; write it like https://ntfy.example.org/"))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(fail("is not an http or https URL; write it like https://ntfy.example.org/"));
            }
            let host = url.host().ok_or_else(|| fail("has no host"))?;
            // An address block or a pattern would name no server, and look as if it did.
            match host {
                Host::Domain(name) if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) => {
                    return Err(fail("must be one server, like https://ntfy.example.org/, and no pattern"));
                }
                // `10.0.0.0-20` is a name to the parser, but no top-level domain begins with a digit.
                Host::Domain(name)
                    if name.rsplit_once('.').is_some_and(|(_, top)| top.starts_with(|c: char| c.is_ascii_digit())) =>
                {
                    return Err(fail(BLOCK));
                }
                Host::Ipv4(_) | Host::Ipv6(_) if is_mask(url.path().trim_matches('/')) => {
                    return Err(fail(BLOCK));
                }
                _ => {}
            }
            list.listed.insert(Server::of(&url).ok_or_else(|| fail("has no host"))?);
            list.origins.push(url.origin().ascii_serialization());
        }
        Ok(list)
    }

    /// What the list says of `endpoint`: scheme, host, port and user info must match an entry. An entry that names the
    /// server wins over `*`, which does not stand for user info: nobody needs it but to mislead whoever reads the URL.
    pub fn permits(&self, endpoint: &Endpoint) -> Permission {
        let server = Server::of(endpoint.url());
        if server.as_ref().is_some_and(|server| self.listed.contains(server)) {
            Permission::Listed
        } else if self.any_public && server.is_some_and(|server| !server.has_user_info()) {
            Permission::IfPublic
        } else {
            Permission::No
        }
    }

    /// The origins the list names.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.origins.iter().map(String::as_str)
    }

    /// Whether the list names `url`'s server and nothing else.
    pub(crate) fn is_only(&self, url: &Url) -> bool {
        let origin = url.origin().ascii_serialization();
        !self.any_public && !self.origins.is_empty() && self.origins.iter().all(|listed| *listed == origin)
    }

    /// Whether nothing at all is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.any_public
    }
}

/// For people: the origins, without user info.
impl fmt::Display for AllowedEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<&str> = self.origins().collect();
        if self.any_public {
            parts.push("any public address");
        }
        f.write_str(&if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })
    }
}

impl fmt::Debug for AllowedEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedEndpoints({self})")
    }
}

/// Which accounts may register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedUuids {
    listed: BTreeSet<AccountId>,
    any: bool,
}

impl AllowedUuids {
    /// Reads the entries: `*`, or an account's UUID in any spelling.
    ///
    /// # Errors
    /// Names the first entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, EntryError> {
        let mut list = Self { listed: BTreeSet::new(), any: false };
        for (at, text) in entries.iter().map(|e| e.as_ref().trim()).enumerate() {
            if text == "*" {
                list.any = true;
                continue;
            }
            let problem = "is neither * nor a UUID like 0f2b1a3c-1111-4222-8333-444455556666";
            list.listed.insert(AccountId::parse(text).map_err(|_| EntryError { entry: at + 1, problem })?);
        }
        Ok(list)
    }

    /// Whether `id` may register.
    pub fn permits(&self, id: AccountId) -> bool {
        self.any || self.listed.contains(&id)
    }

    /// Whether nobody may register.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.any
    }
}

/// For people: how many, never which.
impl fmt::Display for AllowedUuids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.any, self.listed.len()) {
            (true, _) => f.write_str("any account"),
            (false, 1) => f.write_str("1 account"),
            (false, n) => write!(f, "{n} accounts"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn says(entries: &[&str], endpoint: &str) -> Permission {
        AllowedEndpoints::parse(entries).unwrap().permits(&Endpoint::parse(endpoint).unwrap())
    }

    #[test]
    fn scheme_host_port_and_user_info_decide_and_the_path_does_not() {
        use Permission::{IfPublic, Listed, No};
        for (entry, endpoint, expected) in [
            ("https://ntfy.sh/", "https://ntfy.sh/upX?up=1", Listed),
            ("https://ntfy.sh/some/path", "https://NTFY.sh:443/other", Listed),
            ("https://ntfy.sh", "http://ntfy.sh/", No),
            ("https://ntfy.sh", "https://ntfy.sh:8443/", No),
            ("https://ntfy.sh:8443", "https://ntfy.sh:8443/x", Listed),
            ("https://ntfy.sh", "https://ntfy.sh.evil.example/", No),
            ("https://ntfy.sh", "https://sub.ntfy.sh/", No),
            ("https://ntfy.sh", "https://ntfy.sh@evil.example/", No),
            ("https://ntfy.sh", "https://user:pw@ntfy.sh/", No),
            ("https://user:pw@ntfy.sh", "https://user:pw@ntfy.sh/x", Listed),
            ("*", "https://user@ntfy.sh/", No),
            ("*", "https://:pw@ntfy.sh/", No),
            ("*", "https://127.0.0.1@ntfy.sh/", No),
            ("https://user:pw@ntfy.sh", "https://user:other@ntfy.sh/x", No),
            ("https://user:pw@ntfy.sh", "https://ntfy.sh/x", No),
            ("http://192.168.1.2:8080", "http://192.168.1.2:8080/x", Listed),
            ("http://[::1]:80", "http://[0:0::1]/x", Listed),
            ("https://b\u{fc}cher.example.org", "https://xn--bcher-kva.example.org/x", Listed),
            ("https://xn--bcher-kva.example.org", "https://B\u{dc}CHER.example.org/x", Listed),
            ("https://b\u{fc}cher.example.org", "https://bucher.example.org/x", No),
            ("*", "https://ntfy.sh/x", IfPublic),
        ] {
            assert_eq!(says(&[entry], endpoint), expected, "{entry} {endpoint}");
        }
    }

    #[test]
    fn a_named_server_wins_over_the_star_in_any_order() {
        for list in [["*", "http://10.0.0.1"], ["http://10.0.0.1", "*"]] {
            assert_eq!(says(&list, "http://10.0.0.1/x"), Permission::Listed);
            assert_eq!(says(&list, "http://10.0.0.2/x"), Permission::IfPublic);
        }
        assert_eq!(says(&[], "https://ntfy.sh/x"), Permission::No);
    }

    #[test]
    fn what_is_shown_of_the_lists_holds_no_secret() {
        let list = AllowedEndpoints::parse(&["https://user:hunter2@ntfy.sh/SECRET", "*"]).unwrap();
        assert_eq!(list.to_string(), "https://ntfy.sh, any public address");
        let shown = format!("{list:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("SECRET"), "{shown}");
        let error = AllowedEndpoints::parse(&["*", "user:hunter2"]).unwrap_err().to_string();
        assert!(error.starts_with("entry 2 ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn accounts_are_compared_as_uuids() {
        let list = AllowedUuids::parse(&[" 0F2B1A3C-1111-4222-8333-444455556666"]).unwrap();
        assert!(list.permits(AccountId::parse("0f2b1a3c111142228333444455556666").unwrap()));
        assert!(!list.permits(AccountId::parse("1f2b1a3c-1111-4222-8333-444455556666").unwrap()));
        assert!(
            AllowedUuids::parse(&["*"])
                .unwrap()
                .permits(AccountId::parse("1f2b1a3c-1111-4222-8333-444455556666").unwrap())
        );
        assert_eq!(AllowedUuids::parse(&["*", "me"]).unwrap_err().entry, 2);
    }
}

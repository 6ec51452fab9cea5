//! How values that belong to somebody are shown: as they are to the operator, and by what kind of thing they are in a
//! report for everybody. In a report each such value goes through here when its line is made; what others wrote, and texts
//! of errors, in which anything may stand, are left out of it.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use crate::account::AccountId;
use crate::net::{DialError, Stage};
use crate::store::StoreError;

/// Public services: their names say nothing about anybody, and much about the trouble.
const PUBLIC: [&str; 5] =
    ["chat.signal.org", "chat.staging.signal.org", "ntfy.sh", "updates.push.services.mozilla.com", "localhost"];

/// In the place of a text that is left out.
const LEFT_OUT: &str = "(left out of the report)";

/// In the place of a directory.
const DIRECTORY: &str = "DIRECTORY";

/// The one who shows them.
#[derive(Default)]
pub(super) struct Shown {
    /// Everybody may read it.
    pub(super) report: bool,
    /// Those of the database, in its order.
    pub(super) accounts: Vec<AccountId>,
    /// Numbered in the order they came.
    hosts: Vec<String>,
}

impl Shown {
    /// An account's id.
    pub(super) fn account(&self, id: AccountId) -> String {
        if self.report { self.numbered(id) } else { id.to_string() }
    }

    /// An account in the name of a check.
    pub(super) fn short(&self, id: AccountId) -> String {
        if self.report { self.numbered(id) } else { format!("account {}", id.short()) }
    }

    fn numbered(&self, id: AccountId) -> String {
        let known = self.accounts.iter().position(|known| *known == id);
        known.map_or_else(|| "ACCOUNT".to_owned(), |n| format!("account-{}", n + 1))
    }

    /// The whole path: relative ones are the usual reason why two people look at two files. Directories may hold a name.
    pub(super) fn path(&self, path: &Path) -> String {
        match path.file_name().filter(|_| self.report) {
            Some(name) => format!("{DIRECTORY}/{}", name.display()),
            None if self.report => DIRECTORY.to_owned(),
            None => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
        }
    }

    /// A host of the configuration or of an account.
    pub(super) fn host<T: AsRef<str> + Display>(&mut self, host: &Host<T>) -> String {
        match host {
            Host::Domain(name) if self.report && !PUBLIC.contains(&name.as_ref()) => {
                let known = self.hosts.iter().position(|known| known == name.as_ref());
                let n = known.unwrap_or_else(|| {
                    self.hosts.push(name.to_string());
                    self.hosts.len() - 1
                });
                format!("host-{}", n + 1)
            }
            Host::Domain(name) => name.to_string(),
            Host::Ipv4(address) => self.address((*address).into()),
            Host::Ipv6(address) => format!("[{}]", self.address((*address).into())),
        }
    }

    /// Scheme, host and port of a URL.
    pub(super) fn origin(&mut self, origin: &str) -> String {
        let Some(url) = Url::parse(origin).ok().filter(|_| self.report) else { return origin.to_owned() };
        let host = url.host().map_or_else(String::new, |host| self.host(&host));
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}", url.scheme())
    }

    /// An address. Those of private networks are everybody's, and help.
    pub(super) fn address(&self, address: IpAddr) -> String {
        let private = match address {
            IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
        };
        if self.report && !private { "ADDRESS".to_owned() } else { address.to_string() }
    }

    /// What may hold anything.
    pub(super) fn text(&self, text: impl Display) -> String {
        if self.report { LEFT_OUT.to_owned() } else { text.to_string() }
    }

    /// A word of the server's own, such as a version or a state.
    pub(super) fn word(&self, word: &str) -> String {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if word.len() <= 20 && word.bytes().all(plain) { word.to_owned() } else { self.text(word) }
    }

    /// Why there is no connection to the host of a URL. Its words hold names and addresses.
    pub(super) fn dial(&mut self, url: &str, error: DialError) -> String {
        if !self.report {
            return error.reason;
        }
        let what = match error.stage {
            Stage::Dns => "the look-up of the name fails",
            Stage::DnsFilter => "a DNS filter blocks the name",
            Stage::Guard => "it is at no public address",
            Stage::Tcp => "no connection",
            Stage::Tls => "no TLS connection",
        };
        format!("{}: {what}", self.origin(url))
    }

    /// What is wrong with the database.
    pub(super) fn store(&self, mut error: StoreError) -> String {
        use StoreError as E;
        if self.report {
            match &mut error {
                E::NoDirectory(path) => *path = PathBuf::from(DIRECTORY),
                E::Missing(path)
                | E::NotAFile(path)
                | E::Permission(path)
                | E::Empty(path)
                | E::Busy(path)
                | E::ReadOnly(path)
                | E::Interrupted(path)
                | E::Full(path)
                | E::Planted { path, .. }
                | E::Damaged { path, .. }
                | E::Foreign { path, .. }
                | E::Newer { path, .. }
                | E::InUse { path, .. }
                | E::NotMade { path, .. }
                | E::Failed { path, .. } => *path = PathBuf::from(self.path(path)),
                E::Closed => {}
            }
        }
        error.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(first: u8) -> AccountId {
        AccountId::parse(&format!("0{first}2b1a3c-1111-4222-8333-444455556666")).unwrap()
    }

    #[test]
    fn a_report_shows_what_kind_of_thing_a_value_is_and_the_operator_sees_it() {
        let mut operator = Shown { accounts: vec![id(1), id(2)], ..Shown::default() };
        let mut report = Shown { report: true, accounts: vec![id(1), id(2)], ..Shown::default() };
        assert_eq!((operator.account(id(2)), report.account(id(2))), (id(2).to_string(), "account-2".to_owned()));
        assert_eq!((operator.short(id(1)), report.short(id(1))), ("account 012b1a3c".into(), "account-1".into()));
        assert_eq!(report.short(id(3)), "ACCOUNT");
        for (path, expected) in
            [("/home/a b/db.sqlite", "DIRECTORY/db.sqlite"), ("x", "DIRECTORY/x"), ("/", "DIRECTORY")]
        {
            assert_eq!(report.path(Path::new(path)), expected);
        }
        assert_eq!(operator.path(Path::new("/home/a b/x")), "/home/a b/x");
        for (origin, expected) in [
            ("https://server:8443", "https://host-1:8443"),
            ("https://a", "https://host-2"),
            ("https://server", "https://host-1"),
            ("https://ntfy.sh", "https://ntfy.sh"),
            ("https://203.0.113.7:1", "https://ADDRESS:1"),
            ("https://[2a00:1450::1]", "https://[ADDRESS]"),
            ("http://192.168.1.2", "http://192.168.1.2"),
        ] {
            assert_eq!((operator.origin(origin), report.origin(origin)), (origin.to_owned(), expected.to_owned()));
        }
        assert_eq!((operator.text("a: b"), report.text("a: b")), ("a: b".to_owned(), LEFT_OUT.to_owned()));
        let error = || StoreError::Permission(PathBuf::from("/srv/alice/db"));
        assert!(operator.store(error()).contains("/srv/alice"));
        assert!(report.store(error()).contains("DIRECTORY/db") && !report.store(error()).contains("alice"));
    }
}

//! Takes out of a text what tells who somebody is: for reports that are pasted into issues.

use std::net::IpAddr;
use std::path::Path;

use url::{Host, Url};
use uuid::Uuid;

use crate::account::Account;
use crate::config::{Config, VapidSource};
use crate::private_file;
use crate::store::Store;

/// Public services: their names say nothing about anybody, and much about the trouble.
const PUBLIC: [&str; 5] =
    ["chat.signal.org", "chat.staging.signal.org", "ntfy.sh", "updates.push.services.mozilla.com", "localhost"];

/// What stands for a directory.
const DIRECTORY: &str = "DIRECTORY";

/// Paths in remedies, the same everywhere.
const EVERYWHERE: [&str; 2] = ["/etc/resolv.conf", "/run/credentials/mollysocket.service"];

/// What does not belong to a path any more. Spaces may: names of directories have them.
const ENDS: [&str; 9] = [": ", ", ", "; ", " | ", "://", "\"", "`", "\n", DIRECTORY];

/// What is replaced, and by what.
#[derive(Default)]
pub struct Redactor {
    /// Longer texts first, so that a part never spoils the whole.
    known: Vec<(String, String)>,
    hosts: usize,
}

impl Redactor {
    /// Knows every host, path and account of a configuration and its database, and the directories of `paths`.
    pub fn new(config: Option<&Config>, accounts: &[Account], paths: &[&Path]) -> Self {
        let mut redactor = Self::default();
        for (n, account) in accounts.iter().enumerate() {
            let id = account.id();
            redactor.replace(&id.to_string(), &format!("account-{}", n + 1));
            redactor.replace(&id.short(), &format!("account-{}", n + 1));
            redactor.host(account.endpoint.url());
        }
        if let Some(config) = config {
            redactor.host(&config.signal_url);
            config.public_url.iter().for_each(|url| redactor.host(url));
            for origin in config.allowed_endpoints.origins() {
                Url::parse(origin).iter().for_each(|url| redactor.host(url));
            }
            redactor.replace(&config.vapid_contact, "CONTACT");
            let files = [&config.file, &config.signal_ca_file, &config.push_ca_file];
            files.into_iter().flatten().for_each(|file| redactor.path(file));
            match &config.vapid {
                VapidSource::File(file) | VapidSource::Credential(file) | VapidSource::Generated(file) => {
                    redactor.path(file);
                }
                VapidSource::Inline(_) => {}
            }
            redactor.path(&config.db);
            redactor.path(&private_file::through_links(&config.db));
            redactor.path(&config.admin_socket);
            Store::noted_socket(&config.db).iter().for_each(|socket| redactor.path(socket));
        }
        paths.iter().for_each(|path| redactor.path(path));
        redactor.known.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        redactor
    }

    fn replace(&mut self, text: &str, by: &str) {
        if !text.is_empty() && !self.known.iter().any(|(known, _)| known == text) {
            self.known.push((text.to_owned(), by.to_owned()));
        }
    }

    fn host(&mut self, url: &Url) {
        let Some(Host::Domain(host)) = url.host() else { return };
        if !PUBLIC.contains(&host) && !self.known.iter().any(|(known, _)| known == host) {
            self.hosts += 1;
            self.replace(host, &format!("host-{}", self.hosts));
        }
    }

    /// The directory may hold a user's name.
    fn path(&mut self, path: &Path) {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        for path in [path, &whole] {
            if let Some(directory) = path.parent().filter(|directory| directory.components().count() > 1) {
                self.replace(&directory.display().to_string(), DIRECTORY);
            }
        }
    }

    /// The text without any of it, and without addresses that are not of a private network.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, by) in &self.known {
            text = text.replace(known, by);
        }
        without_addresses(&without_accounts(&without_certificate_names(&without_directories(&text))))
    }
}

/// Takes out directories nobody knows here: where links lead, what the server or the system named.
fn without_directories(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let begin = if rest.starts_with("DIRECTORY/") { DIRECTORY.len() } else { 0 };
        let kept = EVERYWHERE.iter().find(|kept| rest.starts_with(**kept));
        let taken = match kept {
            _ if !begins(&out, rest) => None,
            Some(kept) => {
                out.push_str(kept);
                rest = &rest[kept.len()..];
                continue;
            }
            None => directory(&rest[begin..], out.ends_with("directory ")),
        };
        match taken {
            Some(length) => {
                out.push_str(DIRECTORY);
                rest = &rest[begin + length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// Whether a path may begin here: not within a word, a URL or a path.
fn begins(before: &str, rest: &str) -> bool {
    match before.chars().next_back() {
        Some(':') => !rest.starts_with("//"),
        Some(c) => !c.is_alphanumeric() && !"/._-~%])".contains(c),
        None => true,
    }
}

/// How much of the path at the beginning is its directory, if it has two separators or more; `whole` if it is a
/// directory itself. `/discover` and `/molly/` are likelier on the web than on a disk.
fn directory(text: &str, whole: bool) -> Option<usize> {
    let word = |text: &str| text.find(char::is_whitespace).unwrap_or(text.len());
    let has_two = |text: &str| text.starts_with('/') && text.trim_end_matches('/').rfind('/').is_some_and(|i| i > 0);
    let mut path = &text[..ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len())];
    let first = word(path);
    if !has_two(&path[..first]) {
        return None;
    }
    let mut others = path[first..].match_indices('/').map(|(at, _)| first + at);
    if let Some(other) = others.find(|&at| begins(&path[..at], &path[at..])) {
        path = &path[..other];
    }
    // What follows a separator at the end of a word is not of the path.
    let path = path.split_once("/ ").map_or(path, |(path, _)| path).trim_end_matches('/');
    let last = path.rfind('/')?;
    Some(if whole { last + word(&path[last..]) } else { last })
}

/// TLS tells for which names a certificate is that is not for ours.
fn without_certificate_names(text: &str) -> String {
    const BEGIN: &str = "not for this name but for ";
    let mut parts = text.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for mut rest in parts {
        out.push_str(BEGIN);
        while let Some((_, after)) =
            rest.trim_start_matches(", ").strip_prefix('"').and_then(|name| name.split_once('"'))
        {
            out.push_str(if out.ends_with('"') { ", \"NAME\"" } else { "\"NAME\"" });
            rest = after;
        }
        out.push_str(rest);
    }
    out
}

/// Takes out accounts nobody knows here: whole ids, and the beginnings in `account 01234567`.
fn without_accounts(text: &str) -> String {
    const BEFORE: &str = "account ";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(char::is_alphanumeric);
        let taken = [36, 32, 8].into_iter().find(|&length| {
            let whole = length > 8;
            let Some((id, after)) = rest.split_at_checked(length) else { return false };
            let ends = !after.starts_with(|c: char| c.is_alphanumeric());
            let is_id = if whole { Uuid::try_parse(id).is_ok() } else { id.bytes().all(|b| b.is_ascii_hexdigit()) };
            !in_word && ends && is_id && (whole || out.ends_with(BEFORE))
        });
        match taken {
            Some(length) => {
                out.push_str("ACCOUNT");
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

fn without_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let of_address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
        let end = rest.find(|c| !of_address(c)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        out.push_str(&address(token));
        let plain = after.find(of_address).unwrap_or(after.len());
        out.push_str(&after[..plain]);
        rest = &after[plain..];
    }
    out
}

/// A token, or what stands for it when it is an address. Punctuation and a port may follow it.
fn address(token: &str) -> String {
    let bare = token.trim_end_matches([':', '.']);
    let (candidate, tail) = match bare.rsplit_once(':') {
        Some((host, _)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) => (host, &token[host.len()..]),
        _ => (bare, &token[bare.len()..]),
    };
    match candidate.parse::<IpAddr>() {
        Ok(ip) if !is_private(ip) => format!("ADDRESS{tail}"),
        _ => token.to_owned(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_certificates_are_taken_out() {
        let text = "host-1: not for this name but for \"a.example\", \"b.example\" | renew it: \"c\"";
        let expected = "host-1: not for this name but for \"NAME\", \"NAME\" | renew it: \"c\"";
        assert_eq!(without_certificate_names(text), expected);
    }

    #[test]
    fn accounts_nobody_knows_are_taken_out() {
        for (text, expected) in [
            ("0f2b1a3c-1111-4222-8333-444455556666 is not in", "ACCOUNT is not in"),
            ("\"0F2B1A3C-1111-4222-8333-444455556666\"", "\"ACCOUNT\""),
            ("left out: row 3 (account 0f2b1a3c): no", "left out: row 3 (account ACCOUNT): no"),
            ("0f2b1a3c111142228333444455556666", "ACCOUNT"),
            ("é account 0f2b1a3c", "é account ACCOUNT"),
            ("account 0f2b1a3cd, account deadbee, 0f2b1a3c", "account 0f2b1a3cd, account deadbee, 0f2b1a3c"),
            ("", ""),
        ] {
            assert_eq!(without_accounts(text), expected);
        }
    }

    #[test]
    fn directories_are_taken_out_of_paths() {
        let redactor = Redactor::new(None, &[], &[Path::new("/home/alice/conf/molly.toml")]);
        assert_eq!(redactor.redact("/home/alice/conf/molly.toml: wrong"), "DIRECTORY/molly.toml: wrong");
    }

    #[test]
    fn directories_nobody_knows_are_taken_out() {
        for (text, expected) in [
            ("no /home/alice/db.sqlite: look", "no DIRECTORY/db.sqlite: look"),
            ("uses /srv/alice/a.db, this /mnt/bob/b/c.db", "uses DIRECTORY/a.db, this DIRECTORY/c.db"),
            ("at /home/John Smith/run/a.sock (no)", "at DIRECTORY/a.sock (no)"),
            (
                "\"/home/é/x\" DB=/home/a/b unix:/run/a/b (/a/b)",
                "\"DIRECTORY/x\" DB=DIRECTORY/b unix:DIRECTORY/b (DIRECTORY/b)",
            ),
            ("the directory /home/alice for", "the directory DIRECTORY for"),
            ("DIRECTORY/alice/x and DIRECTORY/x", "DIRECTORY/x and DIRECTORY/x"),
            ("/home/alice/ and /home/bob/", "DIRECTORY/alice/ and DIRECTORY/bob/"),
        ] {
            assert_eq!(without_directories(text), expected);
        }
        for same in [
            "pass / and all below it on, without https://host-1:8443/a/b/c",
            "wss://host-1/v1/websocket/ and host-1/a/b, /discover, /molly/",
            "(/etc/resolv.conf, the container's DNS)",
            "CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service, the",
            "1/2/3 and/or/not é/é/é /",
            "",
        ] {
            assert_eq!(without_directories(same), same);
        }
    }

    #[test]
    fn public_addresses_are_taken_out_and_private_ones_help() {
        for (text, expected) in [
            ("at 203.0.113.7, port 443", "at ADDRESS, port 443"),
            ("203.0.113.7:443.", "ADDRESS:443."),
            ("[2a00:1450::1]:443", "[ADDRESS]:443"),
            ("2a00:1450::1: refused", "ADDRESS: refused"),
            ("is at 192.168.1.2, 127.0.0.1", "is at 192.168.1.2, 127.0.0.1"),
            ("version 2.0.0, mode 0644, dead.beef face", "version 2.0.0, mode 0644, dead.beef face"),
            ("", ""),
        ] {
            assert_eq!(without_addresses(text), expected);
        }
    }
}

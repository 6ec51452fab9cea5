//! Whose request it is, when reverse proxies stand in between.
//!
//! Limits are counted by client, so nobody may choose whom he is taken for. A proxy is believed only when the operator
//! trusts it, and only as far as its own addition to the headers goes: each proxy appends the address it sees, so
//! everything left of the first untrusted address may be invented.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are both read. A proxy that sets one of them passes the other on as the
//! client sent it, and nothing tells which one that is. So when both are there they must agree; if not, the request
//! counts as the proxy's own, together with all others like it: who adds such a header only makes his own lot worse.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::head;
use crate::config::Network;

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Whoever has this address.
    Address(IpAddr),
    /// Somebody behind this trusted proxy (`None`: at a Unix socket), whose headers say nothing usable. All of them
    /// count as one.
    Unidentifiable(Option<IpAddr>),
    /// Somebody behind this trusted proxy, which sends no forwarding header at all. All phones may come this way, and
    /// none of them may lock the others out: no limit is counted by client.
    NoForwardingHeader(Option<IpAddr>),
}

/// What limits are counted by: an IPv4 address, or an IPv6 /64, because that is what one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(Option<IpAddr>);

impl Client {
    /// Whom limits count; `None` when it would be everybody.
    pub(crate) fn key(self) -> Option<Key> {
        let subscriber = |address: IpAddr| match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        };
        match self {
            Self::Address(address) => Some(Key(Some(subscriber(address)))),
            Self::Unidentifiable(proxy) => Some(Key(proxy.map(subscriber))),
            Self::NoForwardingHeader(_) => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Unidentifiable(Some(proxy)) | Self::NoForwardingHeader(Some(proxy)) => {
                write!(f, "somebody behind {proxy}")
            }
            Self::Unidentifiable(None) | Self::NoForwardingHeader(None) => f.write_str("somebody at the Unix socket"),
        }
    }
}

impl Client {
    /// What can be said before there is a head: whoever is no proxy speaks for itself.
    pub(crate) fn by_peer(peer: Option<IpAddr>, trusted: &[Network]) -> Self {
        match peer {
            Some(peer) if !is_trusted(Some(peer), trusted) => Self::Address(peer.to_canonical()),
            _ => Self::NoForwardingHeader(peer),
        }
    }
}

/// Whether `peer` is a proxy to be believed. What connects to a Unix socket is of this machine, and let in by whoever
/// set the socket's permissions.
fn is_trusted(peer: Option<IpAddr>, trusted: &[Network]) -> bool {
    peer.is_none_or(|peer| trusted.iter().any(|network| network.contains(peer)))
}

/// The client of a request with this head: the other end of the connection, or, when that is a trusted proxy, the last
/// address in the forwarding headers that is not one.
pub(crate) fn of(peer: Option<IpAddr>, request_head: &[u8], trusted: &[Network]) -> Client {
    let values = |name| head::values(request_head, name);
    identify(peer, &values("X-Forwarded-For"), &values("Forwarded"), trusted)
}

fn identify<T: AsRef<str>>(
    peer: Option<IpAddr>,
    x_forwarded_for: &[T],
    forwarded: &[T],
    trusted: &[Network],
) -> Client {
    let peer = peer.map(|peer| peer.to_canonical());
    let proxy = Client::by_peer(peer, trusted);
    if matches!(proxy, Client::Address(_)) {
        return proxy;
    }
    let told = |lines: &[T], read: fn(&str) -> Option<IpAddr>| {
        let hops: Vec<_> = lines.iter().flat_map(|line| line.as_ref().split(',')).map(read).collect();
        (!hops.is_empty()).then(|| walk(peer, &hops, trusted))
    };
    match (told(x_forwarded_for, node), told(forwarded, forwarded_for)) {
        (None, None) => proxy,
        (Some(client), None) | (None, Some(client)) => client,
        (Some(client), Some(same)) if client == same => client,
        (Some(_), Some(_)) => Client::Unidentifiable(peer),
    }
}

/// Goes back from the trusted `peer`, hop by hop, as long as each is trusted.
fn walk(peer: Option<IpAddr>, hops: &[Option<IpAddr>], trusted: &[Network]) -> Client {
    let mut last = peer;
    for hop in hops.iter().rev() {
        // A hop that hides its address (RFC 7239 section 6.3) ends what is known.
        let Some(address) = *hop else { return Client::Unidentifiable(last) };
        last = Some(address);
        if !is_trusted(last, trusted) {
            break;
        }
    }
    last.map_or(Client::Unidentifiable(None), Client::Address)
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") { node(value.trim().trim_matches('"')) } else { None }
    })
}

/// An address, with or without port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    let address: IpAddr = bare.parse().or_else(|_| bare.rsplit_once(':').unwrap_or_default().0.parse()).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is(text: &str) -> Client {
        Client::Address(ip(text))
    }

    fn odd(text: &str) -> Client {
        Client::Unidentifiable(Some(ip(text)))
    }

    fn trusted() -> Vec<Network> {
        ["127.0.0.0/8", "::1/128", "10.1.0.0/16"].map(|text| Network::parse(text).unwrap()).to_vec()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        for (peer, headers, client) in [
            ("203.0.113.9", &["1.1.1.1"][..], is("203.0.113.9")),
            ("203.0.113.9", &[], is("203.0.113.9")),
            ("127.0.0.1", &[], Client::NoForwardingHeader(Some(ip("127.0.0.1")))),
            ("127.0.0.1", &["198.51.100.7"], is("198.51.100.7")),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.7"], is("198.51.100.7")),
            ("127.0.0.1", &["6.6.6.6", "198.51.100.7, 10.1.2.3"], is("198.51.100.7")),
            ("127.0.0.1", &["10.1.2.3"], is("10.1.2.3")),
            ("127.0.0.1", &["6.6.6.6, unknown"], odd("127.0.0.1")),
            ("127.0.0.1", &["6.6.6.6, unknown, 10.1.2.3"], odd("10.1.2.3")),
            ("::1", &["[2001:db8::5]:443"], is("2001:db8::5")),
            ("::1", &["2001:db8::5"], is("2001:db8::5")),
            ("::ffff:127.0.0.1", &["::ffff:198.51.100.7"], is("198.51.100.7")),
            ("127.0.0.1", &["198.51.100.7:1234"], is("198.51.100.7")),
            ("127.0.0.1", &["", "[", "a:b:c"], odd("127.0.0.1")),
            ("127.0.0.1", &[""], odd("127.0.0.1")),
        ] {
            assert_eq!(identify(Some(ip(peer)), headers, &[], &trusted()), client, "{peer} {headers:?}");
        }
        // Whoever listens at a Unix socket is asked by this machine's proxy.
        assert_eq!(identify(None, &["1.1.1.1"], &[], &trusted()), is("1.1.1.1"));
        assert_eq!(identify::<&str>(None, &[], &[], &trusted()), Client::NoForwardingHeader(None));
        assert_eq!(identify(None, &["?"], &[], &trusted()), Client::Unidentifiable(None));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (line, client) in [
            ("for=198.51.100.7", is("198.51.100.7")),
            ("proto=https;For=\"[2001:db8:cafe::17]:4711\";by=10.1.0.1", is("2001:db8:cafe::17")),
            ("for=6.6.6.6, for=198.51.100.7;host=h", is("198.51.100.7")),
            ("for=_hidden", odd("127.0.0.1")),
            ("for=unknown", odd("127.0.0.1")),
            ("for", odd("127.0.0.1")),
            ("", odd("127.0.0.1")),
        ] {
            assert_eq!(identify(Some(ip("127.0.0.1")), &[], &[line], &trusted()), client, "{line}");
        }
    }

    #[test]
    fn nobody_chooses_an_address_by_adding_the_header_his_proxy_does_not_set() {
        let (proxy, real) = (Some(ip("127.0.0.1")), "198.51.100.7");
        for invented in ["6.6.6.6", "10.1.2.3", "unknown", "", "6.6.6.6, 10.1.2.3"] {
            let element = format!("for={invented}");
            let real_element = format!("for={real}");
            for client in [
                identify(proxy, &[real], &[&element], &trusted()),
                identify(proxy, &[invented], &[&real_element], &trusted()),
            ] {
                // Neither the invented address nor a place where nothing is counted.
                assert_eq!(client, odd("127.0.0.1"), "{invented}");
                assert!(client.key().is_some());
            }
        }
        let agreed = identify(proxy, &["6.6.6.6, 198.51.100.7"], &["for=\"198.51.100.7:99\""], &trusted());
        assert_eq!(agreed, is(real));
    }

    #[test]
    fn ipv6_counts_by_subscriber_and_ipv4_by_address() {
        let same = |a: &str, b: &str| is(a).key() == is(b).key();
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!same("198.51.100.7", "198.51.100.8"));
        assert!(same("::ffff:198.51.100.7", "198.51.100.7"), "not all of IPv4 in one /64");
        assert!(!same("::ffff:198.51.100.7", "::ffff:198.51.100.8"));
        assert_eq!(Client::NoForwardingHeader(Some(ip("127.0.0.1"))).key(), None);
        assert_eq!(odd("127.0.0.1").key(), is("127.0.0.1").key());
    }
}

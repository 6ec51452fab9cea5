//! Whose request it is, when reverse proxies stand in between.

use std::net::IpAddr;

use crate::config::Network;

/// The client: the other end of the connection, or, when that is a trusted proxy, the last address in the forwarding
/// headers that is not one. Each proxy appends the address it sees, so everything left of the first untrusted address
/// may be invented. `X-Forwarded-For` counts before `Forwarded` (RFC 7239), which far fewer proxies set and which
/// others pass on unchanged from the client.
pub(crate) fn address(
    peer: Option<IpAddr>,
    x_forwarded_for: &[&str],
    forwarded: &[&str],
    trusted: &[Network],
) -> Option<IpAddr> {
    let mut client = peer?.to_canonical();
    let hops: Vec<Option<IpAddr>> = if x_forwarded_for.is_empty() {
        forwarded.iter().flat_map(|line| line.split(',')).map(forwarded_for).collect()
    } else {
        x_forwarded_for.iter().flat_map(|line| line.split(',')).map(node).collect()
    };
    for hop in hops.into_iter().rev() {
        if !trusted.iter().any(|network| contains(network, client)) {
            break;
        }
        // A hop that hides its address (RFC 7239 section 6.3) ends what is known.
        match hop {
            Some(address) => client = address,
            None => break,
        }
    }
    Some(client)
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

/// Whether `address` is in `network`.
fn contains(network: &Network, address: IpAddr) -> bool {
    let (bits, base, width) = match (address, network.address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let host_bits = width - u32::from(network.prefix).min(width);
    // A shift by the whole width would overflow; it leaves nothing to compare.
    (bits ^ base).checked_shr(host_bits).is_none_or(|difference| difference == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str) -> Network {
        let (address, prefix) = text.split_once('/').unwrap();
        Network { address: ip(address), prefix: prefix.parse().unwrap() }
    }

    fn trusted() -> Vec<Network> {
        ["127.0.0.0/8", "::1/128", "10.1.0.0/16"].map(network).to_vec()
    }

    #[test]
    fn networks_hold_what_their_prefix_says() {
        for (block, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1/128", "::1", "::2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::", "1.2.3.4"),
        ] {
            assert!(contains(&network(block), ip(inside)), "{block} {inside}");
            assert!(!contains(&network(block), ip(outside)), "{block} {outside}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = trusted();
        for (peer, headers, client) in [
            ("203.0.113.9", &["1.1.1.1"][..], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["6.6.6.6", "198.51.100.7, 10.1.2.3"], "198.51.100.7"),
            ("127.0.0.1", &["10.1.2.3"], "10.1.2.3"),
            ("127.0.0.1", &["6.6.6.6, unknown"], "127.0.0.1"),
            ("::1", &["[2001:db8::5]:443"], "2001:db8::5"),
            ("::1", &["2001:db8::5"], "2001:db8::5"),
            ("::ffff:127.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["198.51.100.7:1234"], "198.51.100.7"),
            ("127.0.0.1", &["", "[", "a:b:c"], "127.0.0.1"),
        ] {
            assert_eq!(address(Some(ip(peer)), headers, &[], &trusted), Some(ip(client)), "{peer} {headers:?}");
        }
        assert_eq!(address(None, &["1.1.1.1"], &[], &trusted), None);
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let trusted = trusted();
        for (line, client) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("proto=https;For=\"[2001:db8:cafe::17]:4711\";by=10.1.0.1", "2001:db8:cafe::17"),
            ("for=6.6.6.6, for=198.51.100.7;host=h", "198.51.100.7"),
            ("for=_hidden", "127.0.0.1"),
            ("for=unknown", "127.0.0.1"),
            ("for", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(address(Some(ip("127.0.0.1")), &[], &[line], &trusted), Some(ip(client)), "{line}");
        }
        let both = address(Some(ip("127.0.0.1")), &["198.51.100.7"], &["for=6.6.6.6"], &trusted);
        assert_eq!(both, Some(ip("198.51.100.7")));
    }
}

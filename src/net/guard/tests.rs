use super::*;

fn denied(text: &str) -> bool {
    objection(text.parse().unwrap()).is_some()
}

#[test]
fn every_special_block_is_denied_from_first_to_last_and_not_beyond() {
    // first, last, the neighbours that are public (where there are any)
    for (first, last, below, above) in [
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
        ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
        ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
        ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
        ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
        ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
        ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
        ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
        ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
        ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
        ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
        ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None),
        ("240.0.0.0", "255.255.255.255", None, None),
        ("::", "::1", None, None),
        ("64:ff9b::", "64:ff9b::ffff:ffff", None, None),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", None, None),
        ("100::", "100::ffff:ffff:ffff:ffff", None, None),
        ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", None, None),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), None),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", None, None),
        ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2001:200::")),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:db7:ffff::"), Some("2001:db9::")),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:ffff::"), Some("2003::")),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3ffe:ffff::"), Some("3fff:1000::")),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ] {
        assert!(denied(first), "{first}");
        assert!(denied(last), "{last}");
        for public in [below, above].into_iter().flatten() {
            assert!(!denied(public), "{public}");
        }
    }
}

#[test]
fn only_global_unicast_is_public_in_ipv6() {
    for (address, public) in [
        ("1fff:ffff::1", false),
        ("2000::1", true),
        ("2606:4700::1111", true),
        ("2a00:1450:4001:800::200e", true),
        ("3ffe::1", true),
        ("4000::1", false),
        ("200::1", false),
        ("8000::1", false),
        ("::ffff:0:7f00:1", false), // IPv4-translated
        ("0:0:0:0:1:0:8:8", false),
    ] {
        assert_eq!(!denied(address), public, "{address}");
    }
}

#[test]
fn ipv4_in_disguise_is_judged_and_used_as_ipv4() {
    for (disguised, plain) in [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:169.254.169.254", "169.254.169.254"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("::127.0.0.1", "127.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("::8.8.8.8", "8.8.8.8"),
    ] {
        let (disguised, plain): (IpAddr, IpAddr) = (disguised.parse().unwrap(), plain.parse().unwrap());
        assert_eq!(canonical(disguised), plain);
        assert_eq!(objection(disguised), objection(plain));
    }
    for literal in ["::", "::1", "2606:4700::1111"] {
        let address: IpAddr = literal.parse().unwrap();
        assert_eq!(canonical(address), address);
    }
    assert_eq!(objection("::1".parse().unwrap()), Some("this machine"));
}

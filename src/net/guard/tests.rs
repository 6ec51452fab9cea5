use super::*;

fn denied(text: &str) -> bool {
    objection(text.parse().unwrap()).is_some()
}

/// A block of a registry: its name there, first and last address, what stands next to it, and whether it is refused.
struct RegistryBlock {
    name: &'static str,
    first: &'static str,
    last: &'static str,
    /// One before the first and one after the last address, where those are public.
    beyond: [Option<&'static str>; 2],
    refused: bool,
}

const fn refused(
    name: &'static str,
    first: &'static str,
    last: &'static str,
    below: Option<&'static str>,
    above: Option<&'static str>,
) -> RegistryBlock {
    RegistryBlock { name, first, last, beyond: [below, above], refused: true }
}

/// Special-purpose and yet what a public service may be reached at: the registry calls it globally reachable, it stands
/// for no other address, and whoever answers there is nobody in our network.
const fn public(name: &'static str, first: &'static str, last: &'static str) -> RegistryBlock {
    RegistryBlock { name, first, last, beyond: [None, None], refused: false }
}

/// The IANA IPv4 Special-Purpose Address Registry, whole, and the class D space.
const REGISTRY_V4: [RegistryBlock; 28] = [
    refused("\"This network\"", "0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
    refused("\"This host on this network\"", "0.0.0.0", "0.0.0.0", None, None),
    refused("Private-Use (10)", "10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
    refused("Shared Address Space", "100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
    refused("Loopback", "127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
    refused("Link Local", "169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
    refused("Private-Use (172.16)", "172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
    refused("IETF Protocol Assignments", "192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
    refused("IPv4 Service Continuity Prefix", "192.0.0.0", "192.0.0.7", None, None),
    refused("IPv4 dummy address", "192.0.0.8", "192.0.0.8", None, None),
    refused("Port Control Protocol Anycast", "192.0.0.9", "192.0.0.9", None, None),
    refused("Traversal Using Relays around NAT Anycast", "192.0.0.10", "192.0.0.10", None, None),
    refused("NAT64/DNS64 Discovery", "192.0.0.170", "192.0.0.171", None, None),
    refused("Documentation (TEST-NET-1)", "192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
    public("AS112-v4", "192.31.196.0", "192.31.196.255"),
    public("AMT", "192.52.193.0", "192.52.193.255"),
    refused("Deprecated (6to4 Relay)", "192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
    refused("6a44-relay anycast address", "192.88.99.2", "192.88.99.2", None, None),
    refused("Private-Use (192.168)", "192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
    public("Direct Delegation AS112 Service", "192.175.48.0", "192.175.48.255"),
    refused("Benchmarking", "198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
    refused(
        "Documentation (TEST-NET-2)",
        "198.51.100.0",
        "198.51.100.255",
        Some("198.51.99.255"),
        Some("198.51.101.0"),
    ),
    refused("Documentation (TEST-NET-3)", "203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
    refused(
        "Multicast (IPv4 Multicast Address Space Registry)",
        "224.0.0.0",
        "239.255.255.255",
        Some("223.255.255.255"),
        None,
    ),
    refused("Source-Specific Multicast", "232.0.0.0", "232.255.255.255", None, None),
    refused("Administratively Scoped Multicast", "239.0.0.0", "239.255.255.255", None, None),
    refused("Reserved", "240.0.0.0", "255.255.255.255", None, None),
    refused("Limited Broadcast", "255.255.255.255", "255.255.255.255", None, None),
];

/// The IANA IPv6 Special-Purpose Address Registry, whole, then multicast and the deprecated site-local space.
const REGISTRY_V6: [RegistryBlock; 26] = [
    refused("Loopback Address", "::1", "::1", None, None),
    refused("Unspecified Address", "::", "::", None, None),
    refused(
        "IPv4-mapped Address (private)",
        "::ffff:10.0.0.0",
        "::ffff:10.255.255.255",
        Some("::ffff:9.255.255.255"),
        Some("::ffff:11.0.0.0"),
    ),
    refused("IPv4-IPv6 Translat. (well-known)", "64:ff9b::", "64:ff9b::ffff:ffff", None, None),
    refused("IPv4-IPv6 Translat. (local)", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("Discard-Only Address Block", "100::", "100::ffff:ffff:ffff:ffff", None, None),
    refused("Dummy IPv6 Prefix", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", None, None),
    refused(
        "IETF Protocol Assignments",
        "2001::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        Some("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        Some("2001:200::"),
    ),
    refused("TEREDO", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("Port Control Protocol Anycast", "2001:1::1", "2001:1::1", None, None),
    refused("Traversal Using Relays around NAT Anycast", "2001:1::2", "2001:1::2", None, None),
    refused("DNS-SD Service Registration Protocol Anycast", "2001:1::3", "2001:1::3", None, None),
    refused("Benchmarking", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("AMT", "2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("AS112-v6", "2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("Deprecated (previously ORCHID)", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("ORCHIDv2", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("Drone Remote ID Protocol Entity Tags", "2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused(
        "Documentation (2001:db8)",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        Some("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
        Some("2001:db9::"),
    ),
    refused(
        "6to4",
        "2002::",
        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        Some("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        Some("2003::"),
    ),
    public("Direct Delegation AS112 Service", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    refused(
        "Documentation (3fff)",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        Some("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        Some("3fff:1000::"),
    ),
    refused("Segment Routing (SRv6) SIDs", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused("Unique-Local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    refused(
        "Link-Local Unicast and the deprecated Site-Local",
        "fe80::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        None,
        None,
    ),
    refused(
        "Multicast (IPv6 Multicast Address Space Registry)",
        "ff00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        None,
        None,
    ),
];

#[test]
fn each_entry_of_the_iana_registries_is_judged_from_first_to_last_and_not_beyond() {
    for entry in REGISTRY_V4.iter().chain(&REGISTRY_V6) {
        let name = entry.name;
        assert_eq!(denied(entry.first), entry.refused, "{name}: {}", entry.first);
        assert_eq!(denied(entry.last), entry.refused, "{name}: {}", entry.last);
        for public in entry.beyond.into_iter().flatten() {
            assert!(!denied(public), "beyond {name}: {public}");
        }
    }
}

/// Every block of the tables, with the message people get. The registries above do not show which block refuses.
#[test]
fn each_block_refuses_for_its_own_reason() {
    for (address, what) in [
        ("0.1.2.3", "this host on this network"),
        ("127.0.0.53", "this machine"),
        ("10.0.0.1", "a private network"),
        ("172.16.0.1", "a private network"),
        ("192.168.1.1", "a private network"),
        ("100.64.0.1", "a provider's shared address space"),
        ("169.254.169.254", "link-local"),
        ("192.0.0.9", "protocol assignments"),
        ("192.88.99.1", "a 6to4 relay"),
        ("198.18.0.1", "for benchmarks"),
        ("203.0.113.5", "for documentation"),
        ("224.0.0.251", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("64:ff9b::7f00:1", "a translation (NAT64) to an IPv4 address that is not public"),
        ("64:ff9b:1::7f00:1", "a local translation to IPv4 (NAT64)"),
        ("2001::1", "a tunnel (Teredo)"),
        ("2001:1::1", "protocol assignments"),
        ("2002:7f00:1::", "a tunnel (6to4)"),
        ("2606:4700::5efe:7f00:1", "a tunnel (ISATAP)"),
        ("2606:4700::200:5efe:808:808", "a tunnel (ISATAP)"),
        ("100::1", "discard-only"),
        ("fd00::1", "a private network (unique local)"),
        ("fe80::1", "link-local"),
        ("fec0::1", "a private network (site-local)"),
        ("ff02::1", "multicast"),
        ("5f00::1", "segment routing"),
        ("64:ff9b:2::1", "not in use on the Internet"),
    ] {
        assert_eq!(objection(address.parse().unwrap()), Some(what), "{address}");
    }
}

#[test]
fn of_a_mixed_answer_only_the_public_addresses_are_used() {
    let ips = |text: &str| text.split(' ').map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
    let guard = Guard::default();
    assert_eq!(guard.public(ips("127.0.0.1 8.8.8.8 fd00::1 ::ffff:1.1.1.1"), 443), Ok(ips("8.8.8.8 1.1.1.1")));
    let (address, _) = guard.public(ips("::ffff:10.0.0.1 127.0.0.1"), 443).unwrap_err();
    assert_eq!(address.to_string(), "::ffff:10.0.0.1", "the message shows what the resolver said");
}

#[test]
fn our_own_listening_address_is_refused_even_where_it_is_public() {
    let asked = |own: &str, address: &str, port| {
        let guard = Guard { own: Some(own.parse().unwrap()) };
        guard.public(vec![address.parse().unwrap()], port).map_err(|(_, what)| what)
    };
    let home = Err("this very server");
    assert_eq!(asked("9.9.9.9:8020", "9.9.9.9", 8020), home);
    assert_eq!(asked("[::ffff:9.9.9.9]:8020", "9.9.9.9", 8020), home);
    assert_eq!(asked("9.9.9.9:8020", "::ffff:9.9.9.9", 8020), home);
    assert_eq!(asked("[2606:4700::1]:8020", "2606:4700::1", 8020), home);
    assert!(asked("9.9.9.9:8020", "9.9.9.9", 443).is_ok(), "another service there");
    assert!(asked("9.9.9.9:8020", "9.9.9.8", 8020).is_ok());
    assert!(asked("0.0.0.0:8020", "9.9.9.9", 8020).is_ok(), "not an address of this machine");
}

#[test]
fn addresses_of_this_machine_are_told_from_others() {
    let local = |text: &str| is_of_this_machine(text.parse().unwrap());
    assert!(local("127.0.0.1"));
    assert!(!local("9.9.9.9") && !local("192.0.2.1") && !local("2606:4700::1"));
    let guard = Guard { own: Some("0.0.0.0:8020".parse().unwrap()) };
    assert!(guard.leads_home("127.0.0.1".parse().unwrap(), 8020));
    assert!(!guard.leads_home("127.0.0.1".parse().unwrap(), 8021));
}

#[test]
fn a_nat64_address_is_judged_by_the_ipv4_address_inside_and_used_as_it_is() {
    let guard = Guard::default();
    for inside in ["8.8.8.8", "1.1.1.1", "172.32.0.1"] {
        let address: IpAddr = format!("64:ff9b::{inside}").parse().unwrap();
        assert_eq!(guard.public(vec![address], 443), Ok(vec![address]), "{inside}");
    }
    for inside in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"] {
        assert!(denied(&format!("64:ff9b::{inside}")), "{inside}");
    }
    for elsewhere in ["64:ff9b:1::8.8.8.8", "64:ff9b::1:8.8.8.8", "64:ff9b:0:1::8.8.8.8", "64:ff9a::8.8.8.8"] {
        assert!(denied(elsewhere), "{elsewhere}");
    }
    let guard = Guard { own: Some("9.9.9.9:8020".parse().unwrap()) };
    let home = guard.public(vec!["64:ff9b::9.9.9.9".parse().unwrap()], 8020);
    assert_eq!(home.map_err(|(_, what)| what), Err("this very server"));
}

#[test]
fn localhost_and_what_is_below_it_are_this_machine() {
    for (name, expected) in [
        ("localhost", true),
        ("localhost.", true),
        ("a.b.localhost", true),
        ("a.localhost.", true),
        ("localhost.example", false),
        ("notlocalhost", false),
        ("localhost.localdomain", false),
    ] {
        assert_eq!(is_localhost(name), expected, "{name}");
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

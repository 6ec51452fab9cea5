//! Which addresses a push may go to: the guard against a second table and what the standard library knows. A private
//! address must never pass for a public one, in whatever spelling or inside whatever other address.
//!
//! Input: text is taken for a host (`http://<text>/`) that the resolver answers with the addresses of the rest of the
//! lines; the first sixteen bytes are taken for addresses too.

#![no_main]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mollysocket::account::Endpoint;
use mollysocket::config::AllowedEndpoints;
use mollysocket::net::resolve::Resolve;
use mollysocket::net::{Checked, Net, NetOptions, fuzzing};
use mollysocket::timings::{Limits, Timings};
use smol::Executor;
use url::Host;

fuzz_target!(|data: &[u8]| {
    let mut sixteen = [0; 16];
    let length = data.len().min(16);
    sixteen[..length].copy_from_slice(&data[..length]);
    address(IpAddr::V6(sixteen.into()));
    let [a, b, c, d, rest @ ..] = sixteen;
    let v4 = Ipv4Addr::new(a, b, c, d);
    address(IpAddr::V4(v4));
    embedded(v4, rest);
    if let Ok(text) = std::str::from_utf8(data) {
        host(text);
    }
});

/// Where pushes go in all of this.
const PORT: u16 = 443;

fn dialled(found: Vec<IpAddr>) -> Vec<IpAddr> {
    fuzzing::dialled(found, PORT, None)
}

/// One address, alone and in an answer with others.
fn address(address: IpAddr) {
    let found = dialled(vec![address]);
    let public = public(address);
    assert_eq!(!found.is_empty(), public, "{address}");
    if public {
        assert_eq!(found, [plain(address)], "dialled in the form it was judged in");
        assert_eq!(dialled(found.clone()), found);
    }
    // Where our own web server listens, whatever the form.
    for own in [address, plain(address)].map(|ip| SocketAddr::new(ip, PORT)) {
        assert!(own.ip().is_unspecified() || fuzzing::dialled(vec![address], PORT, Some(own)).is_empty());
        assert_eq!(fuzzing::dialled(vec![address], PORT + 1, Some(own)), found);
    }
    let good: IpAddr = Ipv4Addr::new(9, 9, 9, 9).into();
    let mixed = dialled(vec![address, good]);
    assert_eq!(mixed.len(), 1 + usize::from(public), "{mixed:?}");
    assert!(mixed.iter().all(|a| self::public(*a)));
}

/// An IPv4 address in every form of IPv6 that carries one: refused when a translator would lead to a private network.
fn embedded(v4: Ipv4Addr, rest: [u8; 12]) {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let r = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let is_public = |address: [u16; 8]| !dialled(vec![IpAddr::V6(address.into())]).is_empty();
    // Mapped and compatible ones are the same address; `::` and `::1` are not compatible ones.
    assert_eq!(is_public([0, 0, 0, 0, 0, 0xffff, high, low]), public(v4.into()), "mapped {v4}");
    assert_eq!(is_public([0, 0, 0, 0, 0, 0, high, low]), public(v4.into()), "compatible {v4}");
    // A public translator leads to public addresses only.
    assert_eq!(is_public([0x64, 0xff9b, 0, 0, 0, 0, high, low]), public(v4.into()), "NAT64 (RFC 6052) {v4}");
    for (form, what) in [
        ([0x64, 0xff9b, 1, high, low, r(0), r(2), r(4)], "local NAT64 (RFC 8215)"),
        ([0x64, 0xff9b, 1, r(0), r(2), r(4), high, low], "local NAT64 (RFC 8215)"),
        ([0, 0, 0, 0, 0xffff, 0, high, low], "translated (RFC 2765)"),
        ([0x2002, high, low, r(0), r(2), r(4), r(6), r(8)], "6to4"),
        ([0x2001, 0, high, low, r(0), r(2), r(4), r(6)], "Teredo server"),
        ([0x2001, 0, r(0), r(2), r(4), r(6), !high, !low], "Teredo client"),
        ([0xfe80, 0, 0, 0, 0, 0x5efe, high, low], "ISATAP"),
        ([0xfe80, 0, 0, 0, 0x200, 0x5efe, high, low], "ISATAP"),
        ([0x2a00, r(0), r(2), r(4), 0, 0x5efe, high, low], "ISATAP"),
    ] {
        assert!(!is_public(form), "{what}: {}", Ipv6Addr::from(form));
    }
}

/// What the standard library says of an address, and a second table. The blocks of the IANA registries that are not
/// "globally reachable", multicast, and every block an IPv4 address hides in.
fn public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => {
            let std = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_unspecified()
                || v4.is_multicast();
            let [a, b, c, _] = v4.octets();
            let listed = matches!(
                (a, b, c),
                (0 | 240.., _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _)
            );
            !std && !listed
        }
        IpAddr::V6(v6) => {
            let std = v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local();
            let listed = match v6.segments() {
                // 2001::/23, protocol assignments, Teredo among them.
                [0x2001, 0..=0x1ff, ..] => true,
                [0x2001, 0xdb8, ..] | [0x2002, ..] => true,
                [0x3fff, 0..=0xfff, ..] => true,
                [_, _, _, _, 0 | 0x200, 0x5efe, ..] => true,
                [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                    let [.., a, b, c, d] = v6.octets();
                    !public(Ipv4Addr::new(a, b, c, d).into())
                }
                // Nothing else is given out (IANA: IPv6 global unicast is 2000::/3).
                [first, ..] => !(0x2000..=0x3fff).contains(&first),
            };
            !std && !listed
        }
    }
}

/// IPv4 in IPv6 as IPv4.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.to_ipv4() {
        Some(v4) if u32::from(v4) > 1 => v4.into(),
        _ => address,
    }
}

/// Answers with what the input says, but knows numbers as the system's resolver does (`inet_aton`).
struct Table(Mutex<Vec<IpAddr>>);

#[async_trait::async_trait]
impl Resolve for Table {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(match inet_aton(host) {
            Some(v4) => vec![v4.into()],
            None => self.0.lock().expect("no panic while held").clone(),
        })
    }
}

/// What is set up once.
struct Setup {
    net: Net,
    table: Arc<Table>,
    executor: Arc<Executor<'static>>,
    anything: AllowedEndpoints,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let executor = Arc::new(Executor::new());
    let table = Arc::new(Table(Mutex::default()));
    // Nothing is kept: the same name has another answer each time.
    let limits = Limits { dns_names: 0, ..Limits::default() };
    let timings = Timings {
        dns_keep: Duration::ZERO,
        dns_keep_failure: Duration::ZERO,
        check_endpoint: Duration::MAX,
        ..Timings::default()
    };
    let net = Net::new(&NetOptions::default(), timings, limits, executor.clone());
    let net = net.expect("no files to read").with_resolver(table.clone());
    Setup { net, table, executor, anything: AllowedEndpoints::parse(&["*"]).expect("the star") }
});

/// A host in any spelling, as a registration would name it.
fn host(text: &str) {
    let mut lines = text.lines();
    let host = lines.next().unwrap_or_default();
    let answer: Vec<IpAddr> = lines.filter_map(|line| line.parse().ok()).collect();
    let Ok(endpoint) = Endpoint::parse(&format!("http://{host}/")) else { return };
    let setup = &*SETUP;
    setup.table.0.lock().expect("no panic while held").clone_from(&answer);
    let checked = smol::block_on(setup.executor.run(setup.net.check_endpoint(&setup.anything, &endpoint)));
    let reached = match endpoint.host() {
        Host::Ipv4(v4) => vec![v4.into()],
        Host::Ipv6(v6) => vec![v6.into()],
        // The name of this machine, whatever a resolver says (RFC 6761 section 6.3).
        Host::Domain(name) if format!(".{}", name.strip_suffix('.').unwrap_or(&name)).ends_with(".localhost") => {
            vec![Ipv4Addr::LOCALHOST.into()]
        }
        Host::Domain(name) => inet_aton(&name).map_or(answer, |v4| vec![v4.into()]),
    };
    // `*` does not stand for user info.
    let plain = endpoint.url().username().is_empty() && endpoint.url().password().is_none();
    let expected = match plain {
        // A name without an address may have one later.
        true if reached.is_empty() => "undecided",
        true if reached.iter().any(|a| public(*a)) => "allowed",
        _ => "refused",
    };
    let said = match checked {
        Ok(Checked::Fine) => "allowed",
        Ok(Checked::Unknown(_)) => "undecided",
        Err(_) => "refused",
    };
    assert_eq!(said, expected, "{host:?} leads to {reached:?}");
    // However the host was read: as a number it must be the number the C library reads.
    let bare = host.rsplit('@').next().unwrap_or_default();
    if let Some(v4) = inet_aton(bare)
        && !host.contains(['/', '?'])
    {
        assert_eq!(endpoint.host(), Host::<String>::Ipv4(v4), "{host:?}");
    }
}

/// Numbers as `inet_aton(3)` reads them: one to four parts, decimal, octal or hexadecimal, the last one filling up.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    let mut value = 0u32;
    for part in first {
        value = (value << 8) | u32::from(u8::try_from(number(part)?).ok()?);
    }
    let room = 8 * u32::try_from(4usize.checked_sub(first.len())?).ok()?;
    let last = number(last)?;
    if room == 0 || u64::from(last) >= 1u64 << room {
        return None;
    }
    let value = u64::from(value) << room | u64::from(last);
    Some(Ipv4Addr::from_bits(u32::try_from(value).ok()?))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

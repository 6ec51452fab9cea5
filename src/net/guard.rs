//! Which addresses are public. Whoever may register names the host we POST to, so without this anybody could reach the
//! services of the machine and network we run in.
//!
//! The tables are the IANA special-purpose address registries
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>)
//! less the blocks that are globally reachable and hold no other address inside them, and the multicast spaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A block of addresses and what it is for.
struct Block<A> {
    first: A,
    prefix: u32,
    what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32, what: &'static str) -> Block<Ipv4Addr> {
    Block { first: Ipv4Addr::new(a, b, c, d), prefix, what }
}

const fn v6(first: [u16; 8], prefix: u32, what: &'static str) -> Block<Ipv6Addr> {
    let [a, b, c, d, e, f, g, h] = first;
    Block { first: Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix, what }
}

const V4: [Block<Ipv4Addr>; 16] = [
    v4(0, 0, 0, 0, 8, "this host on this network"),
    v4(10, 0, 0, 0, 8, "a private network"),
    v4(100, 64, 0, 0, 10, "a provider's shared address space"),
    v4(127, 0, 0, 0, 8, "this machine"),
    v4(169, 254, 0, 0, 16, "link-local"),
    v4(172, 16, 0, 0, 12, "a private network"),
    v4(192, 0, 0, 0, 24, "protocol assignments"),
    v4(192, 0, 2, 0, 24, "for documentation"),
    v4(192, 88, 99, 0, 24, "a 6to4 relay"),
    v4(192, 168, 0, 0, 16, "a private network"),
    v4(198, 18, 0, 0, 15, "for benchmarks"),
    v4(198, 51, 100, 0, 24, "for documentation"),
    v4(203, 0, 113, 0, 24, "for documentation"),
    v4(224, 0, 0, 0, 4, "multicast"),
    // More exact than the next one, for the message's sake.
    v4(255, 255, 255, 255, 32, "broadcast"),
    v4(240, 0, 0, 0, 4, "reserved"),
];

const V6: [Block<Ipv6Addr>; 15] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "this machine"),
    // An IPv4 address of any kind hides in these.
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a local translation to IPv4 (NAT64)"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "a tunnel (Teredo)"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "a tunnel (6to4)"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "a dummy prefix"),
    // Benchmarks, ORCHID, anycast of protocols and the like: nothing there is a web server.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private network (unique local)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a private network (site-local)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

/// The translators of a network that has IPv6 only (RFC 6052): the last 32 bits are the IPv4 address that is reached.
const NAT64: Block<Ipv6Addr> = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "NAT64");

/// The space global unicast addresses are given out from (RFC 4291 section 2.4, IANA).
const GLOBAL_UNICAST: Block<Ipv6Addr> = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, "global unicast");

/// The address that is really meant: IPv4-mapped (`::ffff:a.b.c.d`) and IPv4-compatible (`::a.b.c.d`, RFC 4291 section
/// 2.5.5) ones are IPv4 addresses. Connect to this one, not to the one that was given.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    match v6.segments() {
        // `::` and `::1` look compatible but have a meaning of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => IpAddr::V4(last_32_bits(v6)),
        _ => address,
    }
}

fn last_32_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// The IPv4 address that a translator makes of this one. Judge that; connect to the one that was given, because where
/// names have such addresses there may be no other way to IPv4.
fn translated(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V6(v6) if NAT64.holds(v6) => Some(last_32_bits(v6)),
        _ => None,
    }
}

/// Whether no host is at an address: `0.0.0.0` and `::`, also as a translator has it.
pub(super) fn is_nowhere(address: IpAddr) -> bool {
    let address = canonical(address);
    translated(address).map_or(address, IpAddr::V4).is_unspecified()
}

/// Decides which addresses of a name may be used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guard {
    /// Where our own web server listens, which may well be a public address.
    pub(super) own: Option<SocketAddr>,
}

impl Guard {
    /// The public ones of `addresses`, or the first of them and what speaks against it.
    pub(super) fn public(&self, addresses: Vec<IpAddr>, port: u16) -> Result<Vec<IpAddr>, (IpAddr, &'static str)> {
        let mut objection = None;
        let mut fine = Vec::new();
        for address in addresses {
            let plain = canonical(address);
            match self::objection(address).or_else(|| self.leads_home(plain, port).then_some("this very server")) {
                None => fine.push(plain),
                Some(what) => objection = objection.or(Some((address, what))),
            }
        }
        match objection {
            Some(objection) if fine.is_empty() => Err(objection),
            _ => Ok(fine),
        }
    }

    /// Whether our own web server answers there.
    fn leads_home(&self, address: IpAddr, port: u16) -> bool {
        let address = translated(address).map_or(address, IpAddr::V4);
        self.own.is_some_and(|own| {
            let ip = canonical(own.ip());
            own.port() == port && (ip == address || (ip.is_unspecified() && is_of_this_machine(address)))
        })
    }
}

/// Whether an address is one of this machine's: for those, and only those, the kernel's answer to "where would I send
/// from" is the address itself. Connecting a UDP socket asks just that and sends nothing.
pub(super) fn is_of_this_machine(address: IpAddr) -> bool {
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

/// Whether a name stands for this machine whoever is asked (RFC 6761 section 6.3). Names of URLs are in lower case.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// What speaks against an address, as in "it is …"; `None` for a public one.
pub(super) fn objection(address: IpAddr) -> Option<&'static str> {
    let address = canonical(address);
    if let Some(v4) = translated(address) {
        return objection(v4.into()).map(|_| "a translation (NAT64) to an IPv4 address that is not public");
    }
    match address {
        // The host part that ISATAP gives an IPv4 address (RFC 5214 section 6.1), in whatever network.
        IpAddr::V6(v6) if matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, ..]) => Some("a tunnel (ISATAP)"),
        IpAddr::V4(address) => V4.iter().find(|block| block.holds(address)).map(|block| block.what),
        IpAddr::V6(address) => {
            let special = V6.iter().find(|block| block.holds(address)).map(|block| block.what);
            special.or_else(|| if GLOBAL_UNICAST.holds(address) { None } else { Some("not in use on the Internet") })
        }
    }
}

impl Block<Ipv4Addr> {
    fn holds(&self, address: Ipv4Addr) -> bool {
        (self.first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix
    }
}

impl Block<Ipv6Addr> {
    fn holds(&self, address: Ipv6Addr) -> bool {
        (self.first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;

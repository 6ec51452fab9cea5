//! TCP to the first of several addresses that answers (Happy Eyeballs, RFC 8305): an address that swallows packets costs
//! a head start, not the kernel's two minutes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_lite::{FutureExt as _, StreamExt as _, future};
use futures_util::stream::FuturesUnordered;
use rustix::io::Errno;
use smol::Timer;
use smol::net::TcpStream;

use crate::runtime::timeout;
use crate::timings::Timings;

/// Addresses tried for one connection. A name has a handful; a hostile one could have hundreds.
const MOST: usize = 12;

/// Alternates between the address families, starting with that of the resolver's first choice (RFC 8305 section 4).
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut other = other.into_iter();
    let mut order = Vec::new();
    for address in preferred {
        order.push(address);
        order.extend(other.next());
    }
    order.extend(other);
    order.truncate(MOST);
    order
}

/// Why no address was reached.
#[derive(Debug)]
pub(super) struct Unreached {
    /// For people; names the address that failed first, which is the one the resolver preferred.
    pub(super) why: String,
    /// This machine has no way to any of them: no address of that family, or no route.
    pub(super) no_way: bool,
}

/// Whether there is no way there, which mostly the system itself knows; a router's "no route" (ICMPv6, RFC 4443
/// section 3.1) is the same error. Without IPv6 in the kernel there is no such socket (EAFNOSUPPORT).
fn is_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// Connects to one of `addresses`, which are tried in order, each with a head start.
pub(super) async fn connect(addresses: &[SocketAddr], timings: &Timings) -> Result<TcpStream, Unreached> {
    let mut waiting = addresses.iter();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<(IpAddr, io::Error)> = None;
    let mut no_way = true;
    loop {
        let started = waiting.next();
        match (started, running.is_empty()) {
            (Some(&address), _) => running.push(attempt(address, timings.tcp)),
            (None, true) => break,
            (None, false) => {}
        }
        let head_start = async {
            // With nobody left to start there is nothing to be early for.
            if started.is_none() {
                future::pending::<()>().await;
            }
            Timer::after(timings.happy_eyeballs).await;
            None
        };
        match async { running.next().await }.or(head_start).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                no_way &= is_no_way(&error.1);
                failure.get_or_insert(error);
            }
            None => {}
        }
    }
    let why = match failure {
        Some((address, error)) if addresses.len() == 1 => format!("{address}: {error}"),
        Some((address, error)) => format!("{address}: {error}, and so on for all {} addresses", addresses.len()),
        None => "it has no address".to_owned(),
    };
    Err(Unreached { why, no_way })
}

async fn attempt(address: SocketAddr, limit: Duration) -> Result<TcpStream, (IpAddr, io::Error)> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        // Small messages both ways: waiting to fill a segment only delays them.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
    timeout(limit, connect).await.unwrap_or_else(late).map_err(|error| (address.ip(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[&str]) -> Vec<String> {
        let parse = |a: &&str| SocketAddr::new(a.parse().unwrap(), 443);
        interleave(addresses.iter().map(parse).collect()).iter().map(|a| a.ip().to_string()).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_resolvers_choice() {
        assert_eq!(order(&["2a00::1", "2a00::2", "2a00::3", "1.1.1.1"]), ["2a00::1", "1.1.1.1", "2a00::2", "2a00::3"]);
        assert_eq!(order(&["1.1.1.1", "2a00::1", "2a00::2"]), ["1.1.1.1", "2a00::1", "2a00::2"]);
        assert_eq!(order(&["1.1.1.1", "1.1.1.2"]), ["1.1.1.1", "1.1.1.2"]);
        assert!(order(&[]).is_empty());
        assert_eq!(order(&["1.1.1.1"; 1000]).len(), MOST);
    }
}

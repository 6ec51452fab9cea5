//! Whether an endpoint may be used, the allow list and the guard, and whether an account may register.

use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mollysocket::account::Endpoint;
use mollysocket::config::{AllowedEndpoints, AllowedUuids, Permission};
use mollysocket::net::resolve::Resolve;
use mollysocket::net::{Checked, Net, NetOptions};
use mollysocket::timings::{Limits, Timings};
use smol::Executor;
use smol::future::block_on;

use super::{Once, account, endpoint};

pub(super) fn v4() -> Once {
    checked("https://9.9.9.9/up", Expected::Public)
}

pub(super) fn v6() -> Once {
    checked("https://[2620:fe::fe]/up", Expected::Public)
}

pub(super) fn mapped() -> Once {
    checked("https://[::ffff:9.9.9.9]/up", Expected::Public)
}

/// Refused, with an explanation.
pub(super) fn private() -> Once {
    checked("https://192.168.1.2/up", Expected::Private)
}

/// A name that was looked up a moment ago.
pub(super) fn name() -> Once {
    checked("https://push.example/up", Expected::Public)
}

/// The list names it, as the last of its servers.
pub(super) fn last_of_a_thousand() -> Once {
    permitted("https://push999.example/up", Permission::Listed)
}

/// The list does not name it.
pub(super) fn none_of_a_thousand() -> Once {
    permitted("https://push.example/up", Permission::No)
}

/// One of the accounts that may register.
pub(super) fn account_among_a_thousand() -> Once {
    registers(999, true)
}

/// One that may not.
pub(super) fn account_beside_a_thousand() -> Once {
    registers(1000, false)
}

fn registers(n: u32, expected: bool) -> Once {
    let uuids: Vec<_> = (0..1000).map(|n| account(n).id().to_string()).collect();
    let list = AllowedUuids::parse(&uuids).expect("UUIDs");
    let id = account(n).id();
    Box::new(move || assert_eq!(black_box(&list).permits(black_box(id)), expected))
}

fn permitted(url: &str, expected: Permission) -> Once {
    let servers: Vec<_> = (0..1000).map(|n| format!("https://push{n}.example/")).collect();
    let list = AllowedEndpoints::parse(&servers).expect("URLs");
    let endpoint = endpoint(url);
    Box::new(move || assert_eq!(black_box(&list).permits(black_box(&endpoint)), expected))
}

/// What is expected of an address.
#[derive(Clone, Copy)]
enum Expected {
    Public,
    Private,
}

fn checked(url: &str, expected: Expected) -> Once {
    let executor = Arc::new(Executor::new());
    let timings = Timings { dns_keep: std::time::Duration::from_secs(1 << 20), ..Timings::default() };
    let net = Net::new(&NetOptions::default(), timings, Limits::default(), executor.clone());
    let net = net.expect("no files to read").with_resolver(Arc::new(Table));
    let anything = AllowedEndpoints::parse(&["*"]).expect("the star");
    let endpoint = endpoint(url);
    // A name is found by a task of the executor; from then on it is known.
    block_on(executor.run(net.check_endpoint(&anything, &endpoint))).ok();
    Box::new(move || {
        let found = block_on(net.check_endpoint(&anything, black_box::<&Endpoint>(&endpoint)));
        match expected {
            Expected::Public => assert_eq!(found, Ok(Checked::Fine)),
            Expected::Private => assert!(found.is_err()),
        }
    })
}

/// Answers as the name servers of a large push server do.
struct Table;

#[async_trait::async_trait]
impl Resolve for Table {
    async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let found = ["2620:fe::fe", "2620:fe::9", "9.9.9.9", "149.112.112.112"];
        Ok(found.map(|address| address.parse().expect("an address")).to_vec())
    }
}

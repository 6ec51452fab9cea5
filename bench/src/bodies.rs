//! What is measured. Futures are run by the plain `block_on` of `futures-lite`: smol's own may drive the reactor meanwhile,
//! and whether it does is chance.

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};

mod addresses;
mod envelope;
mod page;
mod rows;
mod vapid;

/// Something the daemon does often.
pub struct Body {
    /// In the table and on the command line.
    pub name: &'static str,
    /// How often it runs while instructions are counted: often enough that what happens only now and then (a table that
    /// grows, a checkpoint of the database) is spread over all.
    pub times: u32,
    /// Sets up what it needs; what comes back does it once.
    pub prepare: fn() -> Once,
}

/// Does it once.
pub type Once = Box<dyn FnMut()>;

const fn body(name: &'static str, times: u32, prepare: fn() -> Once) -> Body {
    Body { name, times, prepare }
}

/// All of them.
pub const BODIES: [Body; 21] = [
    body("envelope-urgent", 1000, envelope::urgent),
    body("envelope-not-urgent", 1000, envelope::not_urgent),
    body("envelope-receipt", 1000, envelope::receipt),
    body("vapid-cached", 1000, vapid::cached),
    body("vapid-fresh", 50, vapid::fresh),
    body("guard-v4", 1000, addresses::v4),
    body("guard-v6", 1000, addresses::v6),
    body("guard-mapped", 1000, addresses::mapped),
    body("guard-private", 1000, addresses::private),
    body("guard-name", 1000, addresses::name),
    body("allowed-1000-last", 200, addresses::last_of_a_thousand),
    body("allowed-1000-miss", 200, addresses::none_of_a_thousand),
    body("uuids-1000-last", 200, addresses::account_among_a_thousand),
    body("uuids-1000-miss", 200, addresses::account_beside_a_thousand),
    body("store-list-1000", 10, rows::list),
    body("store-get", 200, rows::get),
    body("store-register", 200, rows::register),
    body("store-register-again", 200, rows::register_again),
    body("store-register-remove", 200, rows::register_and_remove),
    body("store-cover-100", 10, rows::fetched_until),
    body("status-1000", 10, page::status),
];

/// The nth account: as long in every field as real ones are.
fn account(n: u32) -> Account {
    Account {
        credentials: Credentials {
            id: AccountId::parse(&format!("{n:08x}-2222-4333-8444-555555555555")).expect("a UUID"),
            device: DeviceId::new(2).expect("a device"),
            password: Secret::new(format!("{n:032}")),
        },
        endpoint: endpoint(&format!("https://push{}.example/up{n:032}?up=1", n % 8)),
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 1_700_000_000,
        fetched_until: None,
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url).expect("an endpoint")
}

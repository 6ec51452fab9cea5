//! What the fuzz targets share: a fixed account, an in-memory stream, second readers to compare with.

use mollysocket::account::{Account, AccountId, Credentials, DeviceId, Endpoint, Secret};

pub mod http;
pub mod pipe;
pub mod protobuf;

/// The account of all targets.
pub const ACCOUNT: &str = "11111111-2222-4333-8444-555555555555";

/// Its id.
pub fn account_id() -> AccountId {
    AccountId::parse(ACCOUNT).expect("a UUID")
}

/// A healthy row for it.
pub fn account() -> Account {
    Account {
        credentials: Credentials {
            id: account_id(),
            device: DeviceId::new(2).expect("a device"),
            password: Secret::new("password"),
        },
        endpoint: Endpoint::parse("https://push.example/x").expect("an endpoint"),
        forbidden: false,
        endpoint_gone: false,
        paused: false,
        last_registration: 0,
        fetched_until: None,
    }
}

//! The `Authorization` header of a push.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use mollysocket::vapid::{Vapid, VapidKey};

use super::Once;

const ORIGIN: &str = "https://push.example";

/// A token for this origin is at hand.
pub(super) fn cached() -> Once {
    let (vapid, now) = (signer(), now());
    Box::new(move || drop(black_box(vapid.authorization(ORIGIN, now))))
}

/// A token is signed.
pub(super) fn fresh() -> Once {
    let (vapid, now) = (signer(), now());
    Box::new(move || {
        vapid.forget(ORIGIN);
        black_box(vapid.authorization(ORIGIN, now));
    })
}

/// Always the same key: signatures do not depend on chance (RFC 6979), and so the work does not either.
fn signer() -> Vapid {
    let key = VapidKey::parse("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE").expect("a key");
    Vapid::new(key, "mailto:admin@example.org".to_owned())
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

//! A registration's body to the decision about it, every circumstance beside it included, against the table of the
//! design's section 6 and a second JSON reader. Nothing printed holds a secret.
//!
//! Input: a byte of circumstances, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mollysocket::account::{Account, Credentials, Endpoint, Secret};
use mollysocket::push::Outcome;
use mollysocket::signal::CredentialVerdict;
use mollysocket::web::fuzzing::{Registered, World, register};
use mollysocket_fuzz::account;
use serde_json::Value;
use url::Url;

fuzz_target!(|data: &[u8]| {
    let [circumstances, body @ ..] = data else { return };
    check_form(body);
    // The database's side comes from the input; Signal's and the push server's side are all tried.
    for signal in [CredentialVerdict::Accepted, CredentialVerdict::Refused, CredentialVerdict::Undecided("late".into())]
    {
        for push in [Outcome::Accepted, Outcome::Gone, Outcome::Failed] {
            let world = World {
                allowed: circumstances & 1 == 0,
                accounts: 5,
                max_accounts: if circumstances & 2 == 0 { 6 } else { 5 },
                signal: signal.clone(),
                push,
            };
            check_decision(body, &world, Row::of(*circumstances));
        }
    }
});

/// What is stored about the account.
#[derive(Clone, Copy)]
struct Row {
    known: bool,
    same_credentials: bool,
    same_endpoint: bool,
    forbidden: bool,
    gone: bool,
}

impl Row {
    fn of(bits: u8) -> Self {
        Self {
            known: bits & 4 != 0,
            same_credentials: bits & 8 == 0,
            same_endpoint: bits & 16 == 0,
            forbidden: bits & 32 != 0,
            gone: bits & 64 != 0,
        }
    }

    fn account(self, credentials: &Credentials, endpoint: &Endpoint) -> Option<Account> {
        let mut row = Account { credentials: credentials.clone(), endpoint: endpoint.clone(), ..account() };
        if !self.same_credentials {
            row.credentials.password = Secret::new(format!("{}x", credentials.password.expose()));
        }
        if !self.same_endpoint {
            row.endpoint = Endpoint::parse("https://other.example/").expect("an endpoint");
        }
        (row.forbidden, row.endpoint_gone) = (self.forbidden, self.gone);
        self.known.then_some(row)
    }
}

/// The body as a second reader reads it.
fn check_form(body: &[u8]) {
    let world = World {
        allowed: true,
        accounts: 0,
        max_accounts: 1,
        signal: CredentialVerdict::Accepted,
        push: Outcome::Accepted,
    };
    let read = register(body, &world, |_, _| None);
    let json = serde_json::from_slice::<Value>(body);
    match read {
        Err((status, why)) => {
            assert!(status == 400 || status == 422);
            assert!(!why.contains('\n') && why.is_ascii(), "{why}");
            if let Ok(json) = json {
                assert_eq!(status, 422, "it is JSON: {why}");
                assert!(!good(&json) || why.ends_with("twice"), "{why}");
            }
        }
        Ok(done) => {
            // The values of fields nobody knows are not looked into: nested too deeply, too large a number, no UTF-8.
            let Ok(json) = json else { return };
            assert!(good(&json), "{json}");
            assert_eq!(done.ping, json["ping"] == Value::Bool(true));
            if let Some((credentials, endpoint)) = &done.claim {
                assert_eq!(Some(credentials.password.expose()), json["password"].as_str());
                assert_eq!(Some(u64::from(credentials.device.get())), json["device_id"].as_u64());
                let given = json["endpoint"].as_str().unwrap_or_default();
                if given.is_ascii() {
                    assert_eq!(endpoint.as_str(), given);
                } else {
                    // An international host in its ASCII form, and all else as it was.
                    assert!(endpoint.as_str().is_ascii() && given.ends_with(endpoint.target().trim_start_matches('/')));
                    let same = Url::parse(given).is_ok_and(|url| url.host() == endpoint.url().host());
                    assert!(same, "{given}");
                }
                let uuid = uuid::Uuid::try_parse(json["uuid"].as_str().unwrap_or_default().trim()).expect("a UUID");
                assert_eq!(credentials.id.to_string(), uuid.to_string());
                check_endpoint(endpoint);
                check_secrets(&done, credentials, endpoint);
            } else {
                assert!(["invalid_uuid", "invalid_endpoint"].contains(&done.status));
            }
        }
    }
}

/// Whether the fields are of the form the client note documents.
fn good(json: &Value) -> bool {
    let password = json["password"].as_str().unwrap_or_default();
    json.is_object()
        && json["uuid"].is_string()
        && json["endpoint"].is_string()
        && matches!(json["device_id"].as_u64(), Some(1..=127))
        && (1..=256).contains(&password.len())
        && !password.chars().any(char::is_control)
        && matches!(json["ping"], Value::Null | Value::Bool(_))
}

/// An endpoint goes into a request line and a `Host` header: both must be one token, and of the URL that was judged.
fn check_endpoint(endpoint: &Endpoint) {
    let (text, target) = (endpoint.as_str(), endpoint.target());
    assert!(target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()), "{target:?}");
    assert!(text.ends_with(target.trim_start_matches('/')), "{text:?} {target:?}");
    let authority = &text[..text.len() - target.len()];
    let authority = Url::parse(if text.ends_with(&target) { authority } else { text }).expect("a URL");
    let url = endpoint.url();
    assert_eq!((authority.host(), authority.port(), authority.scheme()), (url.host(), url.port(), url.scheme()));
    assert!(matches!(url.scheme(), "http" | "https"));
    let host = url.host_str().expect("a host");
    assert!(!host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\".contains(&b)), "{host:?}");
    assert_ne!(endpoint.port(), 0);
}

/// Nothing that is printed holds the password or the endpoint's path.
fn check_secrets(done: &Registered, credentials: &Credentials, endpoint: &Endpoint) {
    let shown = format!("{done:?} {credentials:?} {endpoint:?}");
    let target = endpoint.target();
    for secret in [credentials.password.expose(), &target[1..]] {
        // Short ones occur by chance.
        let by_chance = secret.len() < 12 || endpoint.origin().contains(secret);
        assert!(by_chance || !shown.contains(secret), "{secret} in {shown}");
    }
}

/// The table of the design's section 6, in its order.
fn check_decision(body: &[u8], world: &World, row: Row) {
    let Ok(done) = register(body, world, |credentials, endpoint| row.account(credentials, endpoint)) else { return };
    let Some((credentials, endpoint)) = &done.claim else {
        assert!(done.saved.is_none() && !done.asked && !done.tested);
        return assert!(done.status == "invalid_endpoint" || done.status == "invalid_uuid");
    };
    let same_endpoint = row.same_endpoint || endpoint.as_str() == "https://other.example/";
    let (saves, asks, tests, status) = match row {
        Row { known: false, .. } if world.accounts >= world.max_accounts => (false, false, false, "internal_error"),
        Row { known: false, .. } => match world.signal {
            CredentialVerdict::Refused => (false, true, false, "forbidden"),
            _ => (true, true, true, "ok"),
        },
        Row { same_credentials: true, forbidden: true, .. } => match world.signal {
            CredentialVerdict::Accepted => (true, true, true, "ok"),
            _ => (false, true, false, "forbidden"),
        },
        Row { same_credentials: false, .. } => match world.signal {
            CredentialVerdict::Accepted => (true, true, true, "ok"),
            _ => (false, true, false, "internal_error"),
        },
        _ if !same_endpoint => (true, false, done.ping, "ok"),
        Row { gone: true, .. } => match world.push {
            Outcome::Accepted => (false, false, true, "ok"),
            Outcome::Gone => (false, false, true, "invalid_endpoint"),
            _ => (false, false, true, "internal_error"),
        },
        _ => (false, false, done.ping, "ok"),
    };
    assert!(world.allowed, "the operator does not allow it");
    assert_eq!((done.saved.is_some(), done.asked, done.tested, done.status), (saves, asks, tests, status));
    if let Some(saved) = &done.saved {
        assert_eq!((&saved.credentials, &saved.endpoint), (credentials, endpoint));
        assert!(!saved.forbidden && !saved.endpoint_gone);
    }
}

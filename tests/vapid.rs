//! The VAPID key and the tokens signed with it (RFC 8292).
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use mollysocket::account::Secret;
use mollysocket::config::VapidSource;
use mollysocket::vapid::{Create, Vapid, VapidError, VapidKey};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;

const PRIVATE: &str = "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI";
const PUBLIC: &str = "BOniQ9xHBPNY9gnQW4o-16vHqOb40pEIMifyUdFsxAgyzVkFMguxw0QrdbZcq8hRjN2zpeInRvKVPlkzABvuTnI";
const CONTACT: &str = "mailto:admin@example.org";
const HOUR: u64 = 3600;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn vapid() -> Vapid {
    Vapid::new(VapidKey::parse(PRIVATE).unwrap(), CONTACT.to_owned())
}

/// Header, claims and signature, the latter verified with `public`.
fn open(authorization: &str, public: &str) -> (Value, Value) {
    let parameters = authorization.strip_prefix("vapid ").unwrap();
    let (token, key) = parameters.strip_prefix("t=").unwrap().split_once(",k=").unwrap();
    assert_eq!((key, key.len()), (public, 87));
    let key = VerifyingKey::from_sec1_bytes(&BASE64_URL_SAFE_NO_PAD.decode(key).unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(signature.len(), 64);
    key.verify(signed.as_bytes(), &Signature::from_slice(&signature).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

fn claims(authorization: &str) -> Value {
    open(authorization, PUBLIC).1
}

#[test]
fn the_known_key_has_the_known_public_key() {
    let key = VapidKey::parse(&format!(" {PRIVATE}\n")).unwrap();
    assert_eq!(key.public(), PUBLIC);
    assert_eq!(key.to_private().expose(), PRIVATE);
    assert_eq!(vapid().public(), PUBLIC);
}

#[test]
fn ten_thousand_signatures_are_64_bytes_and_good() {
    let keys: Vec<Vapid> = (0..10).map(|_| Vapid::new(VapidKey::generate(), CONTACT.to_owned())).collect();
    thread::scope(|scope| {
        for vapid in &keys {
            scope.spawn(move || {
                for n in 0..1000 {
                    open(&vapid.authorization(&format!("https://push{n}.example"), at(n)), vapid.public());
                }
            });
        }
    });
}

#[test]
fn ten_thousand_generated_keys_are_43_characters_and_all_different() {
    let mut seen = HashSet::new();
    for _ in 0..10_000 {
        let text = VapidKey::generate().to_private();
        assert_eq!(text.expose().len(), 43);
        assert!(text.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(seen.insert(text.expose().to_owned()));
    }
    for text in seen.iter().take(100) {
        let key = VapidKey::parse(text).unwrap();
        assert_eq!((key.to_private().expose(), key.public().len()), (text.as_str(), 87));
    }
}

#[test]
fn keys_with_leading_zero_bytes_keep_them() {
    let mut bytes = [0; 32];
    bytes[31] = 7;
    let text = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    assert_eq!(VapidKey::parse(&text).unwrap().to_private().expose(), text);
}

#[test]
fn what_is_wrong_with_a_key_is_said_without_repeating_it() {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let order = [0xff; 32];
    for (text, expected) in [
        (String::new(), "empty"),
        ("  \n".to_owned(), "empty"),
        (format!("{PRIVATE}="), "padding"),
        (format!("{}/+", &PRIVATE[..41]), "`-` and `_`"),
        (format!("{}\u{e9}x", &PRIVATE[..40]), "not base64url"),
        (format!("{} {}", &PRIVATE[..20], &PRIVATE[20..]), "not base64url"),
        (PRIVATE[..41].to_owned(), "cut short"),
        (format!("{}J", &PRIVATE[..42]), "cut short"),
        (encode(&[1; 31]), "31 bytes"),
        (encode(&[1; 33]), "33 bytes"),
        (PUBLIC.to_owned(), "public key"),
        (encode(&[0; 32]), "P-256"),
        (encode(&order), "P-256"),
    ] {
        let error = VapidKey::parse(&text).err().unwrap_or_else(|| panic!("{text:?} was taken"));
        let shown = format!("{error} {error:?}");
        assert!(error.to_string().contains(expected), "{text:?}: {shown}");
        assert!(text.trim().len() < 5 || !shown.contains(text.trim()), "{shown}");
    }
}

#[test]
fn a_token_says_whom_it_is_for_until_when_and_who_sends_it() {
    let now = 1_800_000_000;
    let (header, claims) = open(&vapid().authorization("https://push.example:8443", at(now)), PUBLIC);
    assert_eq!(header, serde_json::json!({"typ": "JWT", "alg": "ES256"}));
    assert_eq!(claims["aud"], "https://push.example:8443");
    assert_eq!(claims["sub"], CONTACT);
    assert_eq!(claims["exp"].as_u64(), Some(now + 12 * HOUR), "a number, not text");
}

#[test]
fn a_token_is_reused_for_its_origin_for_half_of_its_life() {
    let vapid = vapid();
    let now = 1_800_000_000;
    let token = |origin, after| vapid.authorization(origin, at(now + after));
    let first = token("https://a.example", 0);
    assert_eq!(token("https://a.example", 6 * HOUR - 1), first);
    assert_ne!(token("https://b.example", 0), first);
    let next = token("https://a.example", 6 * HOUR);
    assert_eq!(claims(&next)["exp"].as_u64(), Some(now + 18 * HOUR));
}

#[test]
fn a_token_whose_times_do_not_fit_the_clock_is_never_used() {
    let now = 1_800_000_000;
    let year = 365 * 24 * HOUR;
    for (signed, used) in [(now, now - year), (now, now + year), (now, now - 13 * HOUR), (now, now - 61), (now, 0)] {
        let vapid = vapid();
        let first = vapid.authorization("https://a.example", at(signed));
        let second = vapid.authorization("https://a.example", at(used));
        assert_ne!(first, second, "{signed} {used}");
        let expires = claims(&second)["exp"].as_u64().unwrap();
        assert!(expires > used && expires <= used + 24 * HOUR);
    }
    // Small corrections of the clock are not worth a signature.
    let vapid = vapid();
    let first = vapid.authorization("https://a.example", at(now));
    assert_eq!(vapid.authorization("https://a.example", at(now - 59)), first);
    // A clock before 1970 does no harm.
    open(&vapid.authorization("https://a.example", UNIX_EPOCH - Duration::from_secs(1)), PUBLIC);
}

#[test]
fn a_forgotten_token_is_signed_anew() {
    let vapid = vapid();
    let (now, later) = (at(1_800_000_000), at(1_800_000_010));
    let first = vapid.authorization("https://a.example", now);
    vapid.forget("https://b.example");
    assert_eq!(vapid.authorization("https://a.example", later), first);
    vapid.forget("https://a.example");
    assert_ne!(vapid.authorization("https://a.example", later), first);
}

#[test]
fn many_origins_push_out_the_oldest_token_and_not_the_newest() {
    let vapid = vapid();
    let oldest = vapid.authorization("https://0.example", at(1000));
    let newest = (1..1500).map(|n| vapid.authorization(&format!("https://{n}.example"), at(1000 + n))).last().unwrap();
    assert_ne!(vapid.authorization("https://0.example", at(3000)), oldest);
    assert_eq!(vapid.authorization("https://1499.example", at(3000)), newest);
}

#[test]
fn tokens_are_signed_for_many_tasks_at_once() {
    let vapid = Arc::new(vapid());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..100 {
                    open(&vapid.authorization(&format!("https://{}.example", n % 7), at(1000)), PUBLIC);
                }
            });
        }
    });
}

fn load(source: &VapidSource, create: Create) -> Result<String, VapidError> {
    VapidKey::load(source, create).map(|(key, _)| key.to_private().expose().to_owned())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_read_from_the_setting_and_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, format!("{PRIVATE}\n")).unwrap();
    let (key, origin) = VapidKey::load(&VapidSource::File(path.clone()), Create::No).unwrap();
    assert_eq!(key.public(), PUBLIC);
    assert!(origin.contains(path.to_str().unwrap()), "{origin}");
    let (key, origin) = VapidKey::load(&VapidSource::Inline(Secret::new(PRIVATE)), Create::No).unwrap();
    assert_eq!(key.public(), PUBLIC);
    assert!(origin.contains("vapid_privkey"), "{origin}");
}

#[test]
fn the_operators_key_file_is_never_made_nor_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let source = VapidSource::File(path.clone());
    let missing = load(&source, Create::Yes).unwrap_err().to_string();
    assert!(missing.contains(path.to_str().unwrap()) && !path.exists(), "{missing}");
    for bad in ["", "nonsense=", "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZ"] {
        fs::write(&path, bad).unwrap();
        let error = load(&source, Create::Yes).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("vapid_key_file"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    assert!(load(&VapidSource::File(directory.path().to_owned()), Create::Yes).is_err());
    assert!(load(&VapidSource::File("/dev/zero".into()), Create::Yes).is_err(), "a file without end");
}

#[test]
fn the_first_start_makes_a_private_key_file_and_later_ones_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sqlite.vapid");
    let source = VapidSource::Generated(path.clone());
    let error = load(&source, Create::Look).unwrap_err();
    assert_eq!(error, VapidError::Missing(path.clone()));
    assert!(!path.exists());

    let (key, origin) = VapidKey::load(&source, Create::Yes).unwrap();
    assert!(origin.contains("made just now") && origin.contains(path.to_str().unwrap()), "{origin}");
    assert_eq!(mode(&path), 0o600);
    let (again, origin) = VapidKey::load(&source, Create::No).unwrap();
    assert_eq!(again.public(), key.public());
    assert!(!origin.contains("just now"), "{origin}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no drafts are left behind");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    load(&source, Create::Look).unwrap();
    assert_eq!(mode(&path), 0o644, "looking changes nothing");
    load(&source, Create::No).unwrap();
    assert_eq!(mode(&path), 0o600, "an open key file is closed");
}

#[test]
fn a_key_file_that_somebody_planted_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sqlite.vapid");
    let theirs = directory.path().join("theirs");
    fs::write(&theirs, PRIVATE).unwrap();
    let refused = || {
        let error = load(&VapidSource::Generated(path.clone()), Create::Yes).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("vapid_key_file"), "{error}");
        fs::remove_file(&path).unwrap();
    };
    std::os::unix::fs::symlink(&theirs, &path).unwrap();
    refused();
    // Reading it would wait for ever.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused();
    // Only root can make files of other users.
    if fs::metadata(&theirs).unwrap().uid() == 0 {
        fs::copy(&theirs, &path).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        refused();
    }
    // The operator's own word counts.
    std::os::unix::fs::symlink(&theirs, &path).unwrap();
    assert_eq!(load(&VapidSource::File(path), Create::No).unwrap(), PRIVATE);
}

#[test]
fn a_damaged_generated_key_is_reported_and_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sqlite.vapid");
    for bad in ["", "nonsense=", "DSqYuWchrB6yIMYJtidv"] {
        fs::write(&path, bad).unwrap();
        let before = fs::metadata(&path).unwrap();
        let error = load(&VapidSource::Generated(path.clone()), Create::Yes).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("delete it"), "{error}");
        let after = fs::metadata(&path).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), after.ino()), (bad, before.ino()));
    }
}

#[test]
fn starts_at_the_same_time_agree_on_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let source = VapidSource::Generated(directory.path().join("db.sqlite.vapid"));
    let keys: Vec<String> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load(&source, Create::Yes).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn debug_output_holds_no_private_key() {
    let key = VapidKey::parse(PRIVATE).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains(PUBLIC) && !shown.contains(PRIVATE), "{shown}");
    let vapid = vapid();
    vapid.authorization("https://a.example", at(1000));
    let shown = format!("{vapid:?}");
    assert!(!shown.contains(PRIVATE) && !shown.contains("vapid t="), "{shown}");
}

use proptest::prelude::*;

use super::*;
use crate::account::ServerTime;

const PUBLIC: &str = "BOniQ9xHBPNY9gnQW4o-16vHqOb40pEIMifyUdFsxAgyzVkFMguxw0QrdbZcq8hRjN2zpeInRvKVPlkzABvuTnI";
const SHOWN: Secrets<'_> = Secrets::Shown { vapid_public: PUBLIC };

/// Any account a database may hold. Password and path begin with words to look for.
fn account() -> impl Strategy<Value = Account> {
    let path = "[!$-;=?-\\[\\]_a-z~]{0,40}";
    let password = "[^\\p{Cc}]{0,40}";
    (any::<u128>(), 1_u64..=127, password, path, any::<[bool; 3]>(), 0..=i64::MAX, any::<Option<u64>>()).prop_map(
        |(id, device, password, path, [forbidden, endpoint_gone, paused], registered, fetched)| Account {
            credentials: Credentials {
                id: AccountId::parse(&format!("{id:032x}")).unwrap(),
                device: DeviceId::new(device).unwrap(),
                password: Secret::password(&format!("hunter2{password}")).unwrap(),
            },
            endpoint: Endpoint::parse(&format!("https://push.example:8443/upSECRET{path}")).unwrap(),
            forbidden,
            endpoint_gone,
            paused,
            last_registration: registered.unsigned_abs(),
            fetched_until: fetched.map(ServerTime),
        },
    )
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    proptest::collection::vec(account(), 0..5).prop_map(|mut accounts| {
        accounts.sort_by_key(Account::id);
        accounts.dedup_by_key(|account| account.id());
        accounts
    })
}

proptest! {
    #[test]
    fn what_was_written_with_secrets_is_read_as_it_was(accounts in accounts()) {
        let text = write(&accounts, SHOWN);
        let read = read(&text).unwrap();
        prop_assert_eq!(read.vapid_public, PUBLIC);
        prop_assert_eq!(&write(&read.accounts, SHOWN), &text);
        // But what the phone was told, nothing is forgotten.
        let told = |account: Account| Account { fetched_until: None, ..account };
        prop_assert_eq!(read.accounts, accounts.into_iter().map(told).collect::<Vec<_>>());
    }

    #[test]
    fn without_secrets_neither_password_nor_path_is_written(accounts in accounts()) {
        let text = write(&accounts, Secrets::LeftOut);
        prop_assert!(!text.contains("hunter2") && !text.contains("SECRET"), "{}", text);
        for account in &accounts {
            prop_assert!(text.contains(&account.id().to_string()));
        }
        prop_assert_eq!(read(&text), Err(FileError::NoSecrets));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", cut in 0_usize..2000) {
        let _ = read(&text);
        let whole = write(&[], SHOWN);
        let cut = cut.min(whole.trim_end().len() - 1);
        prop_assert!(read(&whole[..cut]).is_err(), "{}", &whole[..cut]);
    }
}

fn example() -> Value {
    json!({
        "format": 1,
        "vapid_public_key": PUBLIC,
        "accounts": [{
            "uuid": "0f2b1a3c-1111-4222-8333-444455556666",
            "device_id": 2,
            "password": "hunter2+/",
            "endpoint": "https://push.example/upSECRET?up=1",
            "forbidden": false,
            "endpoint_gone": false,
            "paused": true,
            "last_registration": 1_700_000_000,
        }],
    })
}

#[test]
fn the_format_is_as_documented() {
    let export = read(&example().to_string()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&write(&export.accounts, SHOWN)).unwrap(), example());
    let manual = include_str!("../../../../docs/operations.md");
    for name in FIELDS.iter().chain(&["format", "vapid_public_key", "accounts", "push_server"]) {
        assert!(manual.contains(&format!("`{name}`")), "docs/operations.md does not tell of {name}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_without_values() {
    let cases: [(&str, Value, &str); 23] = [
        ("/accounts/0/uuid", json!("hunter2"), "account 1 of it: the account id is not a UUID"),
        ("/accounts/0/uuid", json!(7), "\"uuid\" is not a text"),
        ("/accounts/0/device_id", json!(0), "from 1 to 127"),
        ("/accounts/0/device_id", json!(128), "from 1 to 127"),
        ("/accounts/0/device_id", json!(-1), "\"device_id\" is not a whole number"),
        ("/accounts/0/device_id", json!("hunter2"), "\"device_id\" is not a whole number"),
        ("/accounts/0/password", json!(""), "printable characters"),
        ("/accounts/0/password", json!("hunter2\n"), "printable characters"),
        ("/accounts/0/password", json!("h".repeat(257)), "printable characters"),
        ("/accounts/0/endpoint", json!("push.example/upSECRET"), "not a URL"),
        ("/accounts/0/endpoint", json!("ftp://push.example/upSECRET"), "not an https URL"),
        ("/accounts/0/endpoint", json!(format!("https://h/{}", "S".repeat(2048))), "longer than"),
        ("/accounts/0/endpoint", json!(["hunter2"]), "\"endpoint\" is not a text"),
        ("/accounts/0/forbidden", json!("hunter2"), "\"forbidden\" is neither true nor false"),
        ("/accounts/0/paused", json!(0), "\"paused\" is neither true nor false"),
        ("/accounts/0/endpoint_gone", json!(null), "\"endpoint_gone\" is neither true nor false"),
        ("/accounts/0/last_registration", json!(1.5), "\"last_registration\" is not a whole number"),
        ("/accounts/0", json!("hunter2"), "account 1 of it: it is not an object"),
        ("/accounts", json!({"hunter2": 1}), "lists no accounts"),
        ("/vapid_public_key", json!("hunter2"), "vapid_public_key"),
        ("/format", json!("hunter2"), "names no format"),
        ("/format", json!(2), "format 2"),
        ("", json!(["hunter2"]), "not an object"),
    ];
    for (place, value, says) in cases {
        let mut file = example();
        *file.pointer_mut(place).unwrap() = value.clone();
        let error = read(&file.to_string()).unwrap_err().to_string();
        assert!(error.contains(says), "{place} {value}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("SECRET"), "{error}");
    }
}

#[test]
fn a_field_more_or_less_is_refused_without_its_name() {
    for field in FIELDS {
        let mut file = example();
        file["accounts"][0].as_object_mut().unwrap().remove(field);
        assert!(read(&file.to_string()).unwrap_err().to_string().contains(&format!("no \"{field}\"")));
        file["accounts"][0]["hunter2"] = json!(1);
        assert!(!read(&file.to_string()).unwrap_err().to_string().contains("hunter2"));
    }
    let mut file = example();
    file["accounts"][0]["hunter2"] = json!(1);
    assert_eq!(
        read(&file.to_string()).unwrap_err(),
        FileError::Account(1, "it has a field that this format does not have".to_owned())
    );
    let mut file = example();
    file["hunter2"] = json!(1);
    assert!(matches!(read(&file.to_string()), Err(FileError::Foreign(_))));
}

#[test]
fn an_account_stands_in_it_once_whatever_the_spelling() {
    let mut file = example();
    let mut again = file["accounts"][0].clone();
    again["uuid"] = json!("0F2B1A3C111142228333444455556666");
    file["accounts"].as_array_mut().unwrap().push(again);
    let error = read(&file.to_string()).unwrap_err();
    assert!(matches!(error, FileError::Twice(_)), "{error}");
}

#[test]
fn a_text_that_was_cut_short_or_is_none_is_told_so() {
    assert_eq!(read(" \n"), Err(FileError::Empty));
    let whole = example().to_string();
    assert!(matches!(read(&whole[..whole.len() - 1]), Err(FileError::Json { line: 1, .. })));
    assert!(matches!(read("hunter2"), Err(FileError::Json { line: 1, column: 1 })));
    assert!(matches!(read(&format!("{whole}{whole}")), Err(FileError::Json { .. })));
}

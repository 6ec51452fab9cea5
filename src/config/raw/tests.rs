use super::*;

#[test]
fn every_key_has_its_own_name_and_none_is_an_old_one() {
    for (at, (key, _)) in KEYS.iter().enumerate() {
        assert!(KEYS[..at].iter().all(|(other, _)| other != key), "{key}");
        assert!(OLD_KEYS.iter().all(|(old, _)| old != key), "{key}");
    }
}

#[test]
fn a_variable_cannot_set_other_keys() {
    // Were the text pasted behind `key =` and parsed as a document, the second line would count.
    let value = from_variable(SettingKind::Text, "x\"\nallowed_uuids = [\"*\"]").unwrap();
    assert!(value == Some(Value::Text("x\"\nallowed_uuids = [\"*\"]".into())));
    assert!(from_variable(SettingKind::Flag, "true\nfalse").is_err());
}

#[test]
fn a_value_that_is_read_badly_names_its_place() {
    let mut settings = Settings::default();
    settings.take_file(Path::new("/x/conf.toml"), "port = 1").unwrap();
    assert_eq!(settings.number("port").unwrap().error("is odd").to_string(), "/x/conf.toml: line 1: port: is odd");
    settings.take_variables(&[("MOLLY_PORT".to_owned(), "2".to_owned())].into()).unwrap();
    assert_eq!(settings.number("port").unwrap().error("is even").to_string(), "MOLLY_PORT: is even");
}

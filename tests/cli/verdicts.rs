//! `test endpoint` and `test uuid`: the answer, the reason, and the line to add.

use crate::world::{OTHER_UUID, UUID, World};

#[test]
fn an_account_may_register_or_the_line_to_add_is_shown() {
    let mut world = World::new();
    assert!(world.run(&["test", "uuid", UUID]).ok().contains("allowed"));
    world.set("MOLLY_ALLOWED_UUIDS", &format!("[\"{}\"]", UUID.to_uppercase()));
    assert!(world.run(&["test", "uuid", UUID]).ok().contains("allowed"));
    let run = world.run(&["test", "uuid", OTHER_UUID]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains(&format!("add \"{OTHER_UUID}\" to allowed_uuids")), "{run:?}");
    let run = world.run(&["test", "uuid", "me"]);
    assert_eq!(run.code, Some(1), "the answer is no");
    assert!(run.stdout.contains("UUID"), "{run:?}");
}

#[test]
fn an_account_is_told_with_whether_it_is_stored_and_in_which_state() {
    let mut world = World::new();
    let says = |world: &World, code: i32, parts: &[&str]| {
        let run = world.run(&["test", "uuid", &UUID.to_uppercase()]);
        assert!(run.code == Some(code) && parts.iter().all(|part| run.stdout.contains(part)), "{parts:?}: {run:?}");
    };
    says(&world, 0, &["allowed", "account: unknown: there is no database"]);
    world.reference_database("db.sqlite", &[OTHER_UUID]);
    says(&world, 0, &["allowed", "account: not stored in "]);
    world.set("MOLLY_ALLOWED_UUIDS", OTHER_UUID);
    says(&world, 1, &["refused", "account: not stored in "]);
    world.reference_database("mollysocket.db", &[UUID]);
    world.set("MOLLY_DB", "mollysocket.db");
    says(&world, 1, &["refused", "account: stored in ", "forbidden: false", "state: unknown"]);
    world.unset("MOLLY_ALLOWED_UUIDS");
    let db = rusqlite::Connection::open(world.path("mollysocket.db")).unwrap();
    db.execute("UPDATE connections SET forbidden = 1", []).unwrap();
    says(&world, 0, &["allowed", "account: stored in ", "forbidden: true", "state: unlinked"]);
}

#[test]
fn an_endpoint_is_judged_by_the_allow_list_and_by_its_address() {
    let mut world = World::new();
    for private in
        ["https://127.0.0.1/upX", "https://[::1]/upX", "https://192.168.1.2:8443/upX", "https://localhost/upX"]
    {
        let run = world.run(&["test", "endpoint", private]);
        assert_eq!(run.code, Some(1), "{private}: {run:?}");
        let origin = private.strip_suffix("/upX").unwrap();
        assert!(run.stdout.contains(&format!("\"{origin}\"")), "the line to add: {run:?}");
        assert!(run.stdout.contains("allowed_endpoints") && !run.stdout.contains("upX"), "{run:?}");
        // The line works.
        world.set("MOLLY_ALLOWED_ENDPOINTS", &format!("[\"{origin}\", \"*\"]"));
        assert!(world.run(&["test", "endpoint", private]).ok().contains("allowed"));
        world.unset("MOLLY_ALLOWED_ENDPOINTS");
    }
    // A public address needs no look-up.
    assert!(world.run(&["test", "endpoint", "https://9.9.9.9/upX"]).ok().contains("allowed"));
    world.set("MOLLY_ALLOWED_ENDPOINTS", "https://push.example");
    let run = world.run(&["test", "endpoint", "https://9.9.9.9/upX"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("\"https://9.9.9.9\""), "{run:?}");
    let run = world.run(&["test", "endpoint", "nonsense"]);
    assert_eq!(run.code, Some(1), "the answer is no: {run:?}");
}

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

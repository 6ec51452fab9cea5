//! What may be typed, where, and with which exit code.

use std::fs;
use std::io;
use std::process::Stdio;

use crate::world::{KEY, PASSWORD, PUBLIC, UUID, World};

#[test]
fn version_and_help_go_to_stdout() {
    let world = World::new();
    for line in ["--version", "-V", "server --version", "-v -V", "-vV", "version"] {
        assert_eq!(world.line(line).ok(), format!("mollysocket {}\n", env!("CARGO_PKG_VERSION")));
    }
    for line in ["--help", "-h", "help"] {
        let help = world.line(line).ok();
        for verb in ["server", "vapid", "qrcode", "connection", "test"] {
            assert!(help.contains(verb), "{help}");
        }
    }
    for line in ["--help", "server help", "connection help", "c a -h", "c rem -h", "health -h", "qr url -h"] {
        let help = world.line(line).ok();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{line}: {help}");
    }
    let help = world.line("server --help").ok();
    for part in ["MOLLY_CONF", "/etc/mollysocket/config.toml", "MOLLY_PORT"] {
        assert!(help.contains(part), "{help}");
    }
    for line in ["connection add --help", "help c add", "c a -h"] {
        let help = world.line(line).ok();
        for word in ["UUID", "DEVICE", "PASSWORD", "ENDPOINT"] {
            assert!(help.contains(word), "{help}");
        }
    }
}

#[test]
fn usage_mistakes_end_with_2_one_line_and_a_hint() {
    let world = World::new();
    for (line, parts) in [
        ("", &["missing"][..]),
        ("bogus", &["bogus"]),
        ("conection list", &["did you mean connection?"]),
        ("connection", &["connection", "missing"]),
        ("connection add", &["UUID DEVICE PASSWORD ENDPOINT"]),
        ("connection remove a b", &["too many"]),
        ("connection list --bogus", &["--bogus"]),
        ("server extra", &["too many"]),
        ("-c", &["needs a FILE"]),
    ] {
        let run = world.line(line);
        assert!(run.stderr.lines().any(|l| l.starts_with("usage: mollysocket")), "{run:?}");
        assert_eq!(run.stderr.lines().count(), 2, "{run:?}");
        run.fails(2, parts);
    }
}

#[test]
fn malformed_arguments_end_with_2_and_are_not_shown() {
    let world = World::keyed();
    let endpoint = "https://push.example/upX";
    for (args, part) in [
        (["connection", "add", "me", "2", PASSWORD, endpoint], "UUID"),
        (["connection", "add", UUID, "0", PASSWORD, endpoint], "device id"),
        (["connection", "add", UUID, "128", PASSWORD, endpoint], "device id"),
        (["connection", "add", UUID, "two", PASSWORD, endpoint], "device id"),
        (["connection", "add", UUID, PASSWORD, "2", endpoint], "device id"),
        (["connection", "add", UUID, "2", "", endpoint], "password"),
        (["connection", "add", UUID, "2", PASSWORD, "push.example/upX"], "endpoint"),
        (["connection", "add", UUID, "2", PASSWORD, "ftp://push.example/upX"], "endpoint"),
    ] {
        world.run(&args).fails(2, &[part]);
    }
    for line in ["connection remove me", "connection ping me", "vapid test nonsense"] {
        world.line(line).fails(2, &[]);
    }
    for url in ["http://molly.example/", "molly.example", "https://u:p@molly.example/"] {
        world.run(&["qrcode", "url", url]).fails(2, &["URL"]);
    }
    assert!(!world.path("db.sqlite").exists(), "nothing stored");
}

#[test]
fn options_stand_before_or_after_the_verb_and_verbs_may_be_shortened() {
    let world = World::new();
    fs::write(world.path("c.toml"), format!("allowed_uuids = [\"{UUID}\"]")).unwrap();
    let other = crate::world::OTHER_UUID;
    for line in [
        "-c c.toml test uuid",
        "test uuid -c c.toml",
        "test -cc.toml uuid",
        "t u --config=c.toml",
        "-vv --config c.toml test uuid",
        "te uu -vvv -c c.toml",
    ] {
        assert!(world.line(&format!("{line} {UUID}")).ok().starts_with("allowed"), "{line}");
        assert_eq!(world.line(&format!("{line} {other}")).code, Some(1), "{line}");
    }
}

#[test]
fn verbosity_only_raises_what_rust_log_says() {
    let mut world = World::keyed();
    let lines = |world: &World, line: &str| world.line(line).stderr;
    let told = "VAPID key";
    assert_eq!(lines(&world, "qr air"), "", "warn is the default of all verbs but server");
    world.set("RUST_LOG", "error");
    assert_eq!(lines(&world, "qr air"), "");
    assert!(lines(&world, "qr air -v").contains(told));
    world.set("RUST_LOG", "inof");
    assert!(lines(&world, "qr air").contains("RUST_LOG"), "a misspelt level is told");
}

#[test]
fn vapid_generate_prints_only_a_key_and_needs_no_configuration() {
    let mut world = World::new();
    world.set("MOLLY_CONF", "missing.toml");
    for line in ["vapid generate", "v g", "vapid gen -vvv"] {
        let key = world.line(line).ok();
        let key = key.strip_suffix('\n').unwrap();
        assert_eq!(key.len(), 43);
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "one line and nothing else");
    }
    let first = world.line("vapid generate").ok();
    assert_ne!(first, world.line("vapid generate").ok());
    // What it prints is what the configuration takes.
    fs::write(world.path("k"), first).unwrap();
    world.unset("MOLLY_CONF");
    world.set("MOLLY_VAPID_KEY_FILE", "k");
    world.line("qrcode airgapped").ok();
}

#[test]
fn vapid_test_prints_the_header() {
    let world = World::keyed();
    let header = world.line("vapid test https://push.example:8443/upSECRET?up=1").ok();
    let header = header.strip_suffix('\n').unwrap();
    let (token, key) = header.strip_prefix("vapid t=").unwrap().split_once(",k=").unwrap();
    assert_eq!(key, PUBLIC);
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], "https://push.example:8443");
}

#[test]
fn without_a_key_the_remedy_is_named_and_nothing_is_made() {
    let mut world = World::new();
    for line in ["vapid test https://h/x", "qrcode airgapped", "qr url https://molly.example/"] {
        world.line(line).fails(1, &["VAPID", "vapid_key_file", "CREDENTIALS_DIRECTORY="]);
    }
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
    world.set("MOLLY_VAPID_PRIVKEY", "tooshort");
    world.line("qrcode airgapped").fails(2, &["MOLLY_VAPID_PRIVKEY"]);
    world.set("MOLLY_VAPID_KEY_FILE", "missing");
    world.line("qrcode airgapped").fails(2, &["missing"]);
    // An empty variable, as compose files make it, is none.
    world.set("MOLLY_VAPID_KEY_FILE", "");
    world.set("MOLLY_VAPID_PRIVKEY", KEY);
    world.line("qrcode airgapped").ok();
}

#[test]
fn qr_codes_come_with_their_link() {
    let world = World::keyed();
    for line in ["qrcode airgapped", "qr-code air", "q a"] {
        let out = world.line(line).ok();
        let link = format!("mollysocket://link?vapid={PUBLIC}&type=airgapped");
        assert_eq!(out.lines().last(), Some(link.as_str()));
        assert!(!out.contains('\x1b'), "a pipe keeps no colours");
    }
    let out = world.line("qr url https://molly.example/sub?a=b&c=d").ok();
    let url = "https%3A%2F%2Fmolly.example%2Fsub%3Fa%3Db%26c%3Dd";
    assert_eq!(
        out.lines().last(),
        Some(format!("mollysocket://link?vapid={PUBLIC}&url={url}&type=webserver").as_str())
    );
    assert_eq!(world.line("qrcode airgapped --plain").ok(), world.line("qrcode airgapped").ok());
    let long = format!("https://molly.example/{}", "x".repeat(4000));
    world.run(&["qrcode", "url", &long]).fails(1, &["too long"]);
}

#[test]
fn a_picture_on_standard_output_is_alone_there() {
    let world = World::keyed();
    for line in ["qrcode airgapped --svg -", "qr air --svg=-", "--svg - qr url https://molly.example/"] {
        let out = world.line(line).ok();
        assert!(out.starts_with('<') && out.trim_end().ends_with("</svg>") && !out.contains("link?vapid"), "{out}");
    }
    assert_eq!(world.names(), ["vapid.key"], "no file is named -");
}

#[test]
fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
    let world = World::keyed();
    for line in ["--version", "--help", "vapid generate", "qrcode airgapped"] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let args: Vec<&str> = line.split(' ').collect();
        let output =
            world.command(&args).env("RUST_LOG", "error").stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]), "{line}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = world.command(&args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(stderr.contains("cannot be written") && !stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn warnings_go_to_stderr_and_stop_nothing() {
    let world = World::keyed();
    fs::write(world.path("mollysocket.toml"), "environment = \"Prod\"\nsignal_env = \"Production\"\n").unwrap();
    let run = world.line("qrcode airgapped");
    assert!(run.stderr.contains("environment") && run.stderr.contains("signal_env"), "{run:?}");
    run.ok();
}

#[test]
fn verbs_print_results_and_nothing_by_the_way_unless_asked() {
    let (world, push) = World::pushing();
    fs::write(world.path("mollysocket.toml"), "").unwrap();
    let quiet = [
        vec!["connection", "add", UUID, "2", PASSWORD, "ENDPOINT"],
        vec!["connection", "ping", UUID],
        vec!["connection", "list"],
        vec!["test", "uuid", UUID],
        vec!["qrcode", "airgapped"],
    ];
    let endpoint = push.endpoint("x");
    for line in quiet {
        let line: Vec<&str> = line.into_iter().map(|word| if word == "ENDPOINT" { &endpoint } else { word }).collect();
        let run = world.run(&line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line:?}");
    }
    let run = world.line("-v connection list");
    assert!(run.stderr.contains("INFO ") && run.stderr.contains("mollysocket.toml"), "{run:?}");
}

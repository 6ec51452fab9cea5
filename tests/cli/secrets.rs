//! At the highest log level of everything, no output holds a password, a key or an endpoint's path.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sim::pki::Pki;
use sim::signal::{Envelope, SignalServer};

use crate::world::{KEY, PASSWORD, Run, Server, TOKEN, UUID, World};

const PATIENCE: Duration = Duration::from_secs(20);

fn check(run: &Run, also_on_stdout: &[&str]) {
    let basic = STANDARD.encode(format!("{UUID}.2:{PASSWORD}"));
    for secret in [PASSWORD, KEY, &basic, &basic[30..60], "Authorization: Basic", "vapid t="] {
        assert!(!run.stderr.contains(secret), "{secret} in {}", run.stderr);
        assert!(!run.stdout.contains(secret) || also_on_stdout.contains(&secret), "{secret} in {}", run.stdout);
    }
    assert!(!run.stderr.contains(TOKEN), "{}", run.stderr);
    assert!(!run.stdout.contains(TOKEN) || also_on_stdout.contains(&TOKEN), "{}", run.stdout);
}

#[test]
fn no_verb_prints_a_secret() {
    let (mut world, push) = World::pushing();
    world.set("RUST_LOG", "trace");
    let endpoint = push.endpoint(TOKEN);
    check(&world.run(&["-vvv", "connection", "add", UUID, "2", PASSWORD, &endpoint]), &[]);
    check(&world.line(&format!("-vvv connection ping {UUID}")), &[]);
    check(&world.line("-vvv connection list"), &[TOKEN]);
    check(&world.line("-vvv connection list --json"), &[TOKEN]);
    check(&world.line("-vvv connection list -a"), &[]);
    check(&world.line("-vvv connection export"), &[]);
    check(&world.line(&format!("-vvv test endpoint {endpoint}")), &[]);
    check(&world.line(&format!("-vvv test endpoint https://127.0.0.1/{TOKEN}")), &[]);
    check(&world.line(&format!("-vvv vapid test {endpoint}")), &["vapid t="]);
    check(&world.line("-vvv qrcode airgapped"), &[]);
    // Nobody listens there, and nobody is to be asked.
    world.set("MOLLY_SIGNAL_URL", "wss://127.0.0.1:1");
    for line in ["status", "status --json", "health", "doctor", "doctor --json", "doctor --report"] {
        check(&world.line(&format!("-vvv {line}")), &[]);
    }
    for line in ["connection pause", "connection resume", "doctor"] {
        check(&world.line(&format!("-vvv {line} {UUID}")), &[]);
    }
    // Failures.
    push.refuse(true);
    check(&world.line(&format!("-vvv connection ping {UUID}")), &[]);
    check(&world.run(&["-vvv", "connection", "add", PASSWORD, "2", UUID, &endpoint]), &[]);
    check(&world.run(&["-vvv", "connection", "add", UUID, PASSWORD, "2", &endpoint]), &[]);
    check(&world.run(&["-vvv", "connection", "add", UUID, "2", &endpoint, PASSWORD]), &[]);
    check(&world.run(&["-vvv", "connection", "add", UUID, "2", PASSWORD, &endpoint, "extra"]), &[]);
    check(&world.run(&["-vvv", PASSWORD, &endpoint]), &[]);
    check(&world.line(&format!("-vvv connection remove {UUID}")), &[]);
}

#[test]
fn a_server_that_connects_and_wakes_prints_no_secret() {
    let (mut world, push) = World::pushing();
    let pki = Pki::new();
    let signal = SignalServer::start(&pki);
    signal.add_device(UUID, 2, PASSWORD);
    fs::write(world.path("signal-ca.pem"), pki.ca_pem()).unwrap();
    world.set("MOLLY_SIGNAL_CA_FILE", "signal-ca.pem");
    world.set("MOLLY_SIGNAL_URL", &signal.url());
    world.set("MOLLY_PORT", "0");
    world.set("RUST_LOG", "trace");
    world.add(&push.endpoint(TOKEN)).ok();
    push.clear();
    let mut server = Server::start(&world, &["server", "-vvv"]);
    server.wait_for("127.0.0.1:");
    assert!(signal.wait_connected(UUID, 2, PATIENCE));
    let guid = signal.send(UUID, 2, Envelope::new());
    assert!(signal.wait_acked(UUID, 2, guid, PATIENCE) && push.wait_requests(1, PATIENCE));
    server.signal("TERM");
    let run = server.end();
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("mollysocket::"), "it did log: {}", run.stderr);
    check(&run, &[]);
}

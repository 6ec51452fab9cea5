//! The operator is told when somebody should look, and when not to.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use program::{Program, command};
use serde_json::Value;
use sim::push::{Answer, PushServer};
use sim::signal::Envelope;
use support::{DEVICE, MOMENT, PATIENCE, Phone, World, eventually};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A shell script in the world's directory.
fn script(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.dir.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A connected phone whose daemon looks for news all the time.
fn watched(settings: impl FnOnce(&World) -> String) -> (World, Phone) {
    let mut world = World::new();
    world.timings.alert_poll = ms(20);
    world.timings.alert_pause = ms(100);
    world.timings.alert_settle = ms(50);
    world.timings.alert_command = ms(1500);
    world.timings.heartbeat = ms(30);
    world.settings = settings(&world);
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.start();
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
    world.wait_state(&phone, "connected");
    (world, phone)
}

/// What the command was told, one line of JSON each.
fn told(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.dir.path().join("told")).unwrap_or_default();
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// Unlinks the phone, and links it again.
fn relink(world: &World, phone: &Phone) {
    world.signal().add_device(&phone.uuid, DEVICE, "another");
    let again = Phone { password: "another".into(), ..phone.clone() };
    assert_eq!(world.register(&again, false), "ok");
    world.wait_state(phone, "connected");
}

#[test]
fn the_command_is_told_of_trouble_and_of_its_end_once_each() {
    let (world, phone) = watched(|world| {
        let directory = world.dir.path().display();
        let text = format!("test \"$1\" = 'one argument; $HOME' && cd {directory} && cat >> told && echo >> told");
        format!("alert_command = [{:?}, \"one argument; $HOME\"]\n", script(world, "alert", &text))
    });
    std::thread::sleep(MOMENT);
    assert_eq!(told(&world).len(), 0, "all is well");
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("told of the trouble", || told(&world).len() == 1);
    let news = &told(&world)[0];
    assert_eq!((&news["event"], &news["account"]["uuid"]), (&"needs_attention".into(), &phone.uuid.as_str().into()));
    assert_eq!(news["account"]["signal"]["state"], "unlinked");
    assert!(news["account"]["signal"]["remedy"].as_str().unwrap().contains("Molly"), "{news:#}");
    std::thread::sleep(MOMENT);
    assert_eq!(told(&world).len(), 1, "once");
    relink(&world, &phone);
    eventually("told of its end", || told(&world).len() == 2);
    assert_eq!(told(&world)[1]["event"], "well");
    let all = fs::read_to_string(world.dir.path().join("told")).unwrap();
    assert!(!all.contains(&phone.token) && !all.contains(&phone.password), "{all}");
}

#[test]
fn a_command_that_fails_is_run_again_and_one_that_hangs_is_killed() {
    let (world, phone) = watched(|world| {
        let directory = world.dir.path().display();
        // Fails, then hangs, then takes the news.
        let text = format!(
            "cd {directory}; if [ ! -e failed ]; then touch failed; exit 3; fi\n\
             if [ ! -e hung ]; then sleep 600 & echo $$ $! > hung; wait; fi\ncat >> told; echo >> told"
        );
        format!("alert_command = [{:?}]\n", script(world, "alert", &text))
    });
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("told at last", || told(&world).len() == 1);
    let hung = fs::read_to_string(world.dir.path().join("hung")).unwrap();
    // What is dead may wait for whoever must take note of it.
    let alive = |pid: &str| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    assert_eq!(hung.split_whitespace().count(), 2, "{hung}");
    eventually("killed, and what it waited for", || !hung.split_whitespace().any(alive));
}

#[test]
fn a_daemon_ends_in_order_while_the_command_hangs() {
    let (mut world, phone) = watched(|world| {
        let text = format!("touch {}/begun; exec sleep 600", world.dir.path().display());
        format!("alert_command = [{:?}]\n", script(world, "alert", &text))
    });
    world.timings.alert_command = Duration::from_secs(600);
    world.start();
    world.signal().unlink(&phone.uuid, DEVICE);
    eventually("begun", || world.dir.path().join("begun").exists());
    let start = Instant::now();
    world.stop();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn the_heartbeat_goes_on_as_long_as_the_server_does_its_work_whatever_single_accounts_do() {
    let mut target = None;
    let (mut world, phone) = watched(|world| {
        let server = PushServer::start(&world.pki);
        let line = format!("heartbeat_url = \"https://localhost:{}/p%41th/SECRET?a=b\"\n", server.addr().port());
        target = Some(server);
        line
    });
    let target = target.unwrap();
    assert!(target.wait_requests(3, PATIENCE), "no heartbeat");
    let beat = &target.requests()[0];
    assert_eq!((beat.method.as_str(), beat.target.as_str()), ("GET", "/p%41th/SECRET?a=b"), "byte for byte");
    assert!(beat.header("authorization").is_none() && beat.body.is_empty(), "{beat:?}");
    assert!(beat.header("user-agent").is_some_and(|agent| agent.starts_with("MollySocket/")), "{beat:?}");
    let goes_on = |why: &str| {
        target.clear();
        // The first may have been on its way.
        assert!(target.wait_requests(3, PATIENCE), "{why}");
    };
    world.signal().unlink(&phone.uuid, DEVICE);
    world.wait_state(&phone, "unlinked");
    goes_on("an unlinked account is its phone's affair");
    let other = world.phone(2);
    world.store_phone(&other);
    world.wait_state(&other, "connected");
    world.push.set_default(Answer::status(410));
    world.signal().send(&other.uuid, DEVICE, Envelope::new());
    world.wait_state(&other, "endpoint_gone");
    goes_on("an endpoint that is gone is its phone's affair");
    world.store_row("nonsense", 2);
    goes_on("a row that cannot be understood is not the server's affair");
    relink(&world, &phone);
    goes_on("all is well again");
    let queues = world.stop_signal();
    world.wait_state(&phone, "waiting");
    std::thread::sleep(MOMENT);
    target.clear();
    std::thread::sleep(MOMENT);
    assert_eq!(target.requests().len(), 0, "Signal does not answer");
    world.start_signal(queues);
    goes_on("Signal is back");
    target.set_default(Answer::status(500));
    target.clear();
    assert!(target.wait_requests(3, PATIENCE), "a target that fails is visited all the same");
}

#[test]
fn neither_the_key_nor_the_path_of_the_url_gets_out() {
    let mut world = World::new();
    let target = PushServer::start(&world.pki);
    target.set_default(Answer::status(500));
    let directory = world.dir.path().display().to_string();
    let alert = script(
        &world,
        "alert",
        &format!("cat > /dev/null; env > {directory}/env.new; mv {directory}/env.new {directory}/env"),
    );
    world.settings = format!("alert_command = [{alert:?}, \"ARGUMENTsecret\"]\n",);
    let phone = world.phone(1);
    world.store_phone(&phone);
    world.config();
    let mut server = command(&world, &["-vvv", "server"]);
    server.env("MOLLY_VAPID_PRIVKEY", "DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI").env("FOR_THE_COMMAND", "yes");
    server.env("MOLLY_HEARTBEAT_URL", format!("https://localhost:{}/PATHsecret", target.addr().port()));
    server.env("LISTEN_FDNAMES", "molly.socket");
    let mut program = Program::spawn(server);
    assert!(target.wait_requests(1, PATIENCE), "no heartbeat");
    world.push.set_default(Answer::status(403));
    world.signal().send(&phone.uuid, DEVICE, Envelope::new());
    let env = world.dir.path().join("env");
    eventually("the command ran", || env.exists());
    let env = fs::read_to_string(env).unwrap();
    assert!(env.contains("FOR_THE_COMMAND=yes") && !env.contains("DSqYuW"), "{env}");
    assert!(!env.contains("PATHsecret") && !env.contains("LISTEN_FDNAMES"), "{env}");
    program.signal("-TERM");
    let log = program.log();
    assert!(log.contains("the heartbeat failed"), "{log}");
    assert!(!log.contains("PATHsecret") && !log.contains("ARGUMENTsecret"), "{log}");
}

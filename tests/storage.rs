//! The daemon while its database is full, failing, read-only, locked or damaged: no registration is told to be stored that
//! is not, connections and wake-ups go on, and all is well again without a restart.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use program::{Program, command, command_as};
use sim::signal::Envelope;
use support::{DEVICE, PATIENCE, Phone, World, eventually, register};

/// "nobody", for the tests' sake when they run as root, whom no permission stops.
const NOBODY: u32 = 65534;
/// An answer is due after 9 s, whatever hangs; what more a busy machine may need.
const ANSWER: Duration = Duration::from_secs(12);

/// One phone is linked, and there are two strangers.
fn prepared() -> (World, Phone, [Phone; 2]) {
    let world = World::new();
    let phones = [1, 2, 3].map(|n| world.phone(n));
    world.store_phone(&phones[0]);
    world.config();
    // The handle's thread closes the file; its log would belong to another user.
    eventually("the file is closed", || !world.dir.path().join("db.sqlite-wal").exists());
    let [linked, one, other] = phones;
    (world, linked, [one, other])
}

/// The user of this process.
fn own() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn registers(world: &World, web: std::net::SocketAddr, phone: &Phone) -> String {
    let started = Instant::now();
    let status = register(web, &phone.uuid, u64::from(DEVICE), &phone.password, &world.endpoint(phone), false);
    assert!(started.elapsed() < ANSWER, "{:?}", started.elapsed());
    status
}

/// A message wakes the phone and is acked, soon.
fn wakes(world: &World, phone: &Phone) {
    assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE), "not connected");
    let started = Instant::now();
    let guid = world.signal().send(&phone.uuid, DEVICE, Envelope::new().urgent(true));
    assert!(world.signal().wait_acked(&phone.uuid, DEVICE, guid, PATIENCE), "not acked");
    // The quiet time after the wake-ups before, and slack: SQLite alone waits 5 s for a lock.
    assert!(started.elapsed() < Duration::from_millis(4500), "{:?}", started.elapsed());
}

/// While nothing can be written: everybody is told the truth and what runs goes on.
fn holds_while_nothing_is_written(world: &World, web: std::net::SocketAddr, linked: &Phone, stranger: &Phone) {
    assert_eq!(registers(world, web, stranger), "internal_error");
    let mut moved = linked.clone();
    moved.token += "-moved";
    assert_eq!(registers(world, web, &moved), "internal_error", "a new endpoint");
    assert_eq!(registers(world, web, linked), "internal_error", "the note that the phone was here");
    wakes(world, linked);
    wakes(world, linked);
    assert!(world.push.requests_for(&format!("/push/{}", stranger.token)).is_empty());
}

fn recovers(world: &World, web: std::net::SocketAddr, strangers: &[Phone; 2]) {
    for stranger in strangers {
        assert_eq!(registers(world, web, stranger), "ok", "recovers without a restart");
        wakes(world, stranger);
    }
}

/// Writes into a directory until it is full.
fn fill(path: &PathBuf) {
    let mut file = File::create(path).unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write(&vec![0; size]).is_ok_and(|n| n > 0) {}
    }
}

#[test]
fn a_full_disk_stops_registrations_and_nothing_else() {
    let (world, linked, strangers) = prepared();
    // A file system of the test's own, in a name space of the daemon's own: root may have one, others in most places.
    let disk = world.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let config = world.dir.path().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("/db.sqlite", "/disk/db.sqlite")).unwrap();
    let program = command(&world, &["server"]);
    let mut isolated = Command::new("unshare");
    let root = fs::metadata(&disk).unwrap().uid() == 0;
    isolated.args(if root { &["-m"][..] } else { &["-r", "-m"] });
    let script = "mount -t tmpfs -o size=1m none \"$0\" && cp \"$1\"/db.sqlite* \"$0\" && shift && exec \"$@\"";
    isolated.args(["sh", "-c", script]).arg(&disk).arg(world.dir.path()).arg(program.get_program());
    isolated.args(program.get_args()).current_dir(world.dir.path());
    isolated
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let program = Program::spawn(isolated);
    wakes(&world, &linked);

    // The same file system, seen through the daemon.
    let inside = PathBuf::from(format!("/proc/{}/root{}", program.child.id(), disk.display()));
    fill(&inside.join("filler"));
    holds_while_nothing_is_written(&world, program.web, &linked, &strangers[0]);
    fs::remove_file(inside.join("filler")).unwrap();
    recovers(&world, program.web, &strangers);
    let listed = command(&world, &["--version"]).output().unwrap();
    assert!(listed.status.success());
}

#[test]
fn an_input_output_error_stops_registrations_and_nothing_else() {
    let (world, linked, strangers) = prepared();
    // Every write to a file fails; SQLite takes any errno but ENOSPC for an I/O error (SQLITE_IOERR_WRITE).
    let program = command(&world, &["server"]);
    let mut patient = Command::new("sh");
    patient.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    patient.current_dir(world.dir.path());
    patient
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let program = Program::spawn(patient);
    wakes(&world, &linked);
    let limit = |bytes: &str| {
        let pid = program.child.id().to_string();
        assert!(
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().unwrap().success()
        );
    };
    limit("0");
    holds_while_nothing_is_written(&world, program.web, &linked, &strangers[0]);
    assert!(world.row(&strangers[0]).is_none());
    limit("unlimited");
    recovers(&world, program.web, &strangers);
    assert!(strangers.iter().all(|stranger| world.row(stranger).is_some()));
}

#[test]
fn a_read_only_database_serves_those_who_are_in_it() {
    let (world, linked, strangers) = prepared();
    let mut program = command(&world, &["server"]);
    if fs::metadata(world.db()).unwrap().uid() == 0 {
        for path in [world.dir.path(), &world.db()] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        program = command_as(&world, NOBODY, &["server"]);
    }
    fs::set_permissions(world.db(), Permissions::from_mode(0o400)).unwrap();
    let program = Program::spawn(program);
    let report = "cannot write the database";
    let mut said = Vec::new();
    eventually("the report says so", || {
        said.extend(program.lines());
        said.iter().any(|line| line.contains(report) && line.contains("`chown -R "))
    });
    holds_while_nothing_is_written(&world, program.web, &linked, &strangers[0]);
    fs::set_permissions(world.db(), Permissions::from_mode(0o600)).unwrap();
    recovers(&world, program.web, &strangers);
}

#[test]
fn a_key_of_another_user_is_told_with_the_user_and_the_remedy() {
    let (world, ..) = prepared();
    let key = world.dir.path().join("db.sqlite.vapid");
    // Nobody can be kept from reading as root, and only root can be somebody else.
    fs::set_permissions(&key, Permissions::from_mode(if own() == 0 { 0o600 } else { 0o000 })).unwrap();
    let (user, mut server) = if own() == 0 {
        for path in [world.dir.path(), &world.db()] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        (NOBODY, command_as(&world, NOBODY, &["server"]))
    } else {
        (own(), command(&world, &["server"]))
    };
    let output = server.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("chown {user} {}", key.display())), "{said}");
}

/// As `./data` of the reference's compose file, which belongs to root, is for the user of our image.
#[test]
fn a_directory_of_another_user_is_told_with_the_user_and_the_remedy() {
    let (world, ..) = prepared();
    for path in [world.db(), world.dir.path().join("db.sqlite.vapid"), world.dir.path().to_owned()] {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    // Only root can be somebody else. Others can take a right from themselves, which is told in the same way.
    let (user, mut server) = if own() == 0 {
        (NOBODY, command_as(&world, NOBODY, &["server"]))
    } else {
        fs::set_permissions(world.dir.path(), Permissions::from_mode(0o555)).unwrap();
        (own(), command(&world, &["server"]))
    };
    let output = server.output().unwrap();
    fs::set_permissions(world.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let directory = world.dir.path().display();
    for part in [format!("user {user} "), format!("{directory}/db.sqlite"), format!("`chown -R {user} {directory}`")] {
        assert!(said.contains(&part), "{said}");
    }
}

#[test]
fn a_database_that_somebody_keeps_locked_holds_back_no_wake_up() {
    let (world, linked, strangers) = prepared();
    let program = Program::start(&world, &["server"]);
    wakes(&world, &linked);
    let other = rusqlite::Connection::open(world.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let registration = scope.spawn(|| registers(&world, program.web, &strangers[0]));
        // The time of each accepted wake-up is to be written down meanwhile.
        while !registration.is_finished() {
            std::thread::sleep(Duration::from_millis(1200));
            wakes(&world, &linked);
        }
        assert_eq!(registration.join().unwrap(), "internal_error");
    });
    assert!(started.elapsed() > Duration::from_secs(4), "longer than SQLite waits: {:?}", started.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    recovers(&world, program.web, &strangers);
}

/// What a phone is told is stored must be there for the next start.
fn truthful(world: &mut World, phone: &Phone, status: &str) {
    match status {
        "internal_error" => {}
        "ok" => {
            world.stop();
            assert_eq!(world.row(phone).map(|row| row.credentials), Some(phone.credentials()), "told to be stored");
            world.start();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn damage_under_a_running_daemon_is_told_and_mended_by_a_backup() {
    type Damage = fn(&PathBuf);
    let overwrite: Damage = |db| {
        let length = fs::metadata(db).unwrap().len();
        let file = OpenOptions::new().write(true).open(db).unwrap();
        file.write_all_at(&vec![0xa5; usize::try_from(length).unwrap()], 0).unwrap();
    };
    let truncate: Damage = |db| OpenOptions::new().write(true).open(db).unwrap().set_len(4096).unwrap();
    let empty: Damage = |db| OpenOptions::new().write(true).open(db).unwrap().set_len(0).unwrap();
    let replace: Damage = |db| {
        fs::write(db.with_extension("new"), "this is another file altogether").unwrap();
        fs::rename(db.with_extension("new"), db).unwrap();
    };
    let remove: Damage = |db| fs::remove_file(db).unwrap();
    for (name, damage) in
        [("overwritten", overwrite), ("cut", truncate), ("emptied", empty), ("replaced", replace), ("removed", remove)]
    {
        let (mut world, linked, strangers) = prepared();
        // Enough for several pages.
        let store = world.store();
        for n in 100..140 {
            smol::block_on(store.put(world.account(&Phone::number(n)))).unwrap();
        }
        drop(store);
        let backup = world.dir.path().join("backup");
        rusqlite::Connection::open(world.db()).unwrap().execute("VACUUM INTO ?1", [backup.to_str()]).unwrap();
        world.start();
        wakes(&world, &linked);
        damage(&world.db());
        let status = world.register(&strangers[0], false);
        wakes(&world, &linked);
        wakes(&world, &linked);
        truthful(&mut world, &strangers[0], &status);
        // As the manual says: a copy under another name, then renamed; the old log goes.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(world.dir.path().join(format!("db.sqlite{suffix}")));
        }
        fs::rename(&backup, world.db()).unwrap();
        assert_eq!(world.register(&strangers[1], false), "ok", "{name}");
        wakes(&world, &strangers[1]);
        wakes(&world, &linked);
    }
}

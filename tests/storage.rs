//! The daemon while its database is full, failing, read-only, locked or damaged: no registration is told to be stored that
//! is not, connections and wake-ups go on, and all is well again without a restart.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mollysocket::net::ask_socket;
use program::{Program, command, command_as};
use sim::signal::Envelope;
use support::{DEVICE, PATIENCE, Phone, World, eventually, http, register};

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

/// The same from an address of its own.
fn registers_from(world: &World, web: std::net::SocketAddr, phone: &Phone, n: u16) -> String {
    let [a, b] = n.to_be_bytes();
    let started = Instant::now();
    let body = serde_json::json!({
        "uuid": phone.uuid, "device_id": DEVICE, "password": phone.password, "endpoint": world.endpoint(phone)
    });
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.{a}.{b}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let (status, text) = http(web, &(head + &body));
    assert!(started.elapsed() < ANSWER, "{:?}", started.elapsed());
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
    answer["mollysocket"]["status"].as_str().unwrap().to_owned()
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
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
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

/// Whatever a crash left beside it: the connection that could only read must not keep the new one from locking the file,
/// nor take its locks away.
#[test]
fn a_database_that_becomes_writable_is_locked_against_its_neighbours() {
    for lost in [&["-wal", "-shm"][..], &["-shm"], &[]] {
        let (world, _, [before, after]) = prepared();
        let directory = fs::canonicalize(world.dir.path()).unwrap();
        let [db, memory] = ["", "-shm"].map(|suffix| directory.join(format!("db.sqlite{suffix}")));
        let mut program = Program::start(&world, &["server"]);
        assert_eq!(registers(&world, program.web, &before), "ok");
        if lost.len() == 2 {
            program.signal("-TERM");
            program.wait();
        } else {
            program.kill();
        }
        for suffix in lost {
            // In the first case SQLite did.
            let _ = fs::remove_file(directory.join(format!("db.sqlite{suffix}")));
        }
        let mut server = command(&world, &["server"]);
        if own() == 0 {
            let files = fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
            files.chain([directory.clone()]).for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
            server = command_as(&world, NOBODY, &["server"]);
        }
        fs::set_permissions(&db, Permissions::from_mode(0o400)).unwrap();
        let program = Program::spawn(server);
        assert_eq!(registers(&world, program.web, &after), "internal_error", "{lost:?}");
        fs::set_permissions(&db, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(registers(&world, program.web, &after), "ok", "{lost:?}");
        for file in [&db, &memory] {
            assert!(locks(&program, file) > 0, "{lost:?}: no lock on {}", file.display());
        }
    }
}

#[test]
fn a_key_of_another_user_is_told_with_the_user_and_the_remedy() {
    let (world, ..) = prepared();
    let key = world.dir.path().join("db.sqlite.vapid");
    // Nobody can be kept from reading as root, and only root can be somebody else.
    fs::set_permissions(&key, Permissions::from_mode(if own() == 0 { 0o600 } else { 0o000 })).unwrap();
    let (user, mut server) = if own() == 0 {
        for path in [world.dir.path(), &world.db()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
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
fn a_database_that_somebody_keeps_locked_holds_back_nobody_but_those_who_register() {
    let (world, linked, strangers) = prepared();
    // Known to Signal and to us, and about to tell new endpoints.
    let mut moving: Vec<Phone> = (100..112).map(|n| world.phone(n)).collect();
    world.store_phones(&moving);
    moving.iter_mut().for_each(|phone| phone.token += "-moved");
    // What a service manager allows between two signs of life.
    let allowed = Duration::from_secs(10);
    let notify = world.dir.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let signs = std::thread::spawn(move || {
        let (mut longest, mut last, mut bytes) = (Duration::ZERO, Instant::now(), [0; 1024]);
        loop {
            let length = manager.recv(&mut bytes).unwrap();
            if bytes.starts_with(b"WATCHDOG=1") || bytes.starts_with(b"END") {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            if bytes[..length] == *b"END" {
                return longest;
            }
        }
    });
    let mut server = command(&world, &["server"]);
    server.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", allowed.as_micros().to_string());
    let program = Program::spawn(server);
    wakes(&world, &linked);
    let other = rusqlite::Connection::open(world.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        // Two rounds, because the second comes upon what the first left.
        let phones: Vec<_> = moving
            .iter()
            .zip(1..)
            .map(|(phone, n)| {
                let (world, web) = (&world, program.web);
                scope.spawn(move || [0, 100].map(|round| registers_from(world, web, phone, round + n)))
            })
            .collect();
        while !phones.iter().all(|phone| phone.is_finished()) {
            std::thread::sleep(Duration::from_millis(1200));
            // The time of each accepted wake-up is to be written down meanwhile.
            wakes(&world, &linked);
            // It asks the database.
            assert!(command(&world, &["health"]).output().unwrap().status.success());
        }
        for phone in phones {
            assert_eq!(phone.join().unwrap(), ["internal_error", "internal_error"]);
        }
    });
    assert!(started.elapsed() > Duration::from_secs(8), "it was not locked: {:?}", started.elapsed());
    UnixDatagram::unbound().unwrap().send_to(b"END", &notify).unwrap();
    let longest = signs.join().unwrap();
    assert!(longest < allowed, "{longest:?} without a sign of life");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    recovers(&world, program.web, &strangers);
    assert_eq!(registers_from(&world, program.web, &moving[0], 300), "ok");
}

/// The kernel's list of the process's locks on a file of the database.
fn locks(program: &Program, file: &Path) -> usize {
    let inode = fs::metadata(file).unwrap().ino().to_string();
    let pid = program.child.id().to_string();
    let list = fs::read_to_string("/proc/locks").unwrap();
    // 1: POSIX  ADVISORY  READ 4711 08:01:123456 128 128
    let ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"POSIX") && words.contains(&pid.as_str()) && line.contains(&format!(":{inode} "))
    };
    list.lines().filter(ours).count()
}

/// The open descriptors of the process for a file, and whether a program it starts would inherit one.
fn descriptors(program: &Program, file: &Path) -> (usize, bool) {
    let proc = PathBuf::from(format!("/proc/{}", program.child.id()));
    let (mut open, mut inherited) = (0, false);
    for entry in fs::read_dir(proc.join("fd")).unwrap() {
        let entry = entry.unwrap();
        if fs::read_link(entry.path()).is_ok_and(|target| target == file) {
            open += 1;
            let info = fs::read_to_string(proc.join("fdinfo").join(entry.file_name())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            // O_CLOEXEC
            inherited |= u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 == 0;
        }
    }
    (open, inherited)
}

/// What operators do beside a running server: look, back up, list. Each of them closes the database when it ends.
fn neighbours(world: &World) {
    let db = world.db();
    let backup = "import sqlite3, sys; b = sqlite3.connect(sys.argv[2]); sqlite3.connect(sys.argv[1]).backup(b)";
    let copy = world.dir.path().join("copy");
    let run = |command: &mut Command| {
        let done = command.output().unwrap();
        assert!(done.status.success(), "{command:?}: {done:?}");
    };
    run(Command::new("sqlite3").arg(&db).arg("select count(*) from connections"));
    run(Command::new("python3").args(["-c", backup]).args([&db, &copy]));
    run(&mut command(world, &["connection", "list"]));
    run(&mut command(world, &["connection", "export"]));
    run(Command::new("sqlite3").arg(&db).arg("pragma wal_checkpoint"));
}

#[test]
fn other_programs_on_the_database_lose_no_registration() {
    let (world, linked, _) = prepared();
    let program = Program::start(&world, &["server"]);
    wakes(&world, &linked);
    let phones: Vec<Phone> = (50..56).map(|n| world.phone(n)).collect();
    for (phone, n) in phones.iter().zip(1..) {
        assert_eq!(registers_from(&world, program.web, phone, n), "ok");
        neighbours(&world);
        assert!(world.db().with_file_name("db.sqlite-wal").exists(), "somebody believed to be alone");
    }
    program.kill();
    let sqlite = |sql: &str| {
        let output = Command::new("sqlite3").arg(world.db()).arg(sql).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(sqlite("pragma integrity_check"), "ok");
    assert_eq!(sqlite("select count(*) from connections"), "7");
    let program = Program::start(&world, &["server"]);
    for phone in &phones {
        wakes(&world, phone);
    }
    drop(program);
}

#[test]
fn only_sqlite_opens_the_database_and_its_locks_stay() {
    let (world, linked, strangers) = prepared();
    let program = Program::start(&world, &["server"]);
    wakes(&world, &linked);
    let [db, log, memory] = ["", "-wal", "-shm"]
        .map(|suffix| fs::canonicalize(world.dir.path()).unwrap().join(format!("db.sqlite{suffix}")));
    for (stranger, n) in strangers.iter().zip(1..) {
        assert_eq!(registers_from(&world, program.web, stranger, n), "ok");
        neighbours(&world);
        // The status has the database looked at.
        let socket = world.dir.path().join("db.sqlite.sock");
        smol::block_on(ask_socket(&socket, "/status", PATIENCE, 1 << 20)).unwrap();
        for file in [&db, &memory] {
            assert!(locks(&program, file) > 0, "no lock on {}", file.display());
        }
        for file in [&db, &log, &memory] {
            assert_eq!(descriptors(&program, file), (1, false), "{}", file.display());
        }
    }
}

#[test]
fn damage_under_a_running_daemon_holds_back_no_wake_up_and_is_mended_by_a_restore() {
    type Damage = fn(&PathBuf);
    let overwrite: Damage = |db| {
        let length = fs::metadata(db).unwrap().len();
        let file = OpenOptions::new().write(true).open(db).unwrap();
        file.write_all_at(&vec![0xa5; usize::try_from(length).unwrap()], 0).unwrap();
    };
    let truncate: Damage = |db| OpenOptions::new().write(true).open(db).unwrap().set_len(4096).unwrap();
    let remove: Damage = |db| fs::remove_file(db).unwrap();
    for damage in [overwrite, truncate, remove] {
        let (mut world, linked, strangers) = prepared();
        // Enough for several pages.
        world.store_phones(&(100..140).map(Phone::number).collect::<Vec<_>>());
        let backup = world.dir.path().join("backup");
        rusqlite::Connection::open(world.db()).unwrap().execute("VACUUM INTO ?1", [backup.to_str()]).unwrap();
        world.start();
        wakes(&world, &linked);
        damage(&world.db());
        let _ = world.register(&strangers[0], false);
        wakes(&world, &linked);
        wakes(&world, &linked);
        // As the manual says.
        world.stop();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(world.dir.path().join(format!("db.sqlite{suffix}")));
        }
        fs::rename(&backup, world.db()).unwrap();
        world.start();
        assert_eq!(world.register(&strangers[1], false), "ok");
        wakes(&world, &strangers[1]);
        wakes(&world, &linked);
    }
}

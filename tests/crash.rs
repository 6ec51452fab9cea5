//! kill -9 at any moment: what a phone was told is stored is stored, and the file stays sound.
//! `MOLLYSOCKET_CRASH_ROUNDS=200 cargo test --test crash` does it more often than the ordinary run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "support/place.rs"]
mod place;
#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use place::{Place, REFERENCE};
use program::{Program, command};
use support::{PATIENCE, Phone, World};

/// Phones that register at the same time.
const CLIENTS: u32 = 8;
/// Numbers for the phones of one file, and for the registrations of one client.
const MOST: u32 = 1000;

fn rounds() -> u32 {
    env::var("MOLLYSOCKET_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn random() -> fastrand::Rng {
    let seed = env::var("MOLLYSOCKET_CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MOLLYSOCKET_CRASH_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// What became of a registration.
#[derive(Debug, PartialEq)]
enum Reply {
    Stored,
    /// Too many at a time: nothing was promised.
    Refused,
    /// The server died meanwhile.
    None,
}

/// Registers from an address of its own.
fn register(web: SocketAddr, phone: &Phone, endpoint: &str, number: u32) -> Reply {
    match answer(web, phone, endpoint, number) {
        Some(text) if text.contains(r#""status":"ok""#) => Reply::Stored,
        Some(text) if text.contains("internal_error") || text.contains(" 429 ") || text.contains(" 503 ") => {
            Reply::Refused
        }
        Some(text) if text.contains("\r\n\r\n{") => panic!("{text}"),
        _ => Reply::None,
    }
}

fn answer(web: SocketAddr, phone: &Phone, endpoint: &str, number: u32) -> Option<String> {
    let body = serde_json::json!({
        "uuid": phone.uuid, "device_id": phone.device, "password": phone.password, "endpoint": endpoint
    })
    .to_string();
    let [_, a, b, c] = number.to_be_bytes();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.{a}.{b}.{c}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(web).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The endpoint a phone was told is stored, and those it asked for since.
#[derive(Default)]
struct Told {
    stored: Option<String>,
    asked: Vec<String>,
}

/// Every row, by account, once the log a crash left behind is taken in.
fn rows(db: &Path) -> HashMap<String, String> {
    let sql = rusqlite::Connection::open(db).unwrap();
    let verdict: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let mut statement = sql.prepare("SELECT uuid, endpoint FROM connections").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_kill_during_registrations_loses_none_that_was_acknowledged() {
    let world = World::new();
    let mut random = random();
    let told: Mutex<HashMap<String, Told>> = Mutex::default();
    let mut acknowledged = 0;
    for round in 0..rounds() {
        // A few crashes in a row hit the same file.
        if round % 4 == 0 {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(world.dir.path().join(format!("db.sqlite{suffix}")));
            }
            told.lock().unwrap().clear();
        }
        let program = Program::start(&world, &["server"]);
        let (web, fatal, seed) = (program.web, random.usize(0..60), random.u64(..));
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (world, told, done) = (&world, &told, &done);
                // A phone belongs to one client, so its registrations are in order.
                let mut random = fastrand::Rng::with_seed(seed ^ u64::from(client));
                scope.spawn(move || {
                    for n in 0..MOST {
                        let phone = world.phone(round / 4 * MOST + client * 100 + random.u32(0..60));
                        let endpoint = format!("{}-{round}-{n}", world.endpoint(&phone));
                        let record = |change: &dyn Fn(&mut Told)| {
                            change(told.lock().unwrap().entry(phone.uuid.clone()).or_default());
                        };
                        record(&|told| told.asked.push(endpoint.clone()));
                        match register(web, &phone, &endpoint, (round * CLIENTS + client) * MOST + n) {
                            Reply::Stored => {
                                record(&|told| *told = Told { stored: told.asked.pop(), asked: Vec::new() })
                            }
                            Reply::Refused => continue,
                            Reply::None => return,
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let start = Instant::now();
            while done.load(Ordering::Relaxed) < fatal && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_micros(200));
            }
            thread::sleep(Duration::from_micros(random.u64(0..5000)));
            program.kill();
        });
        acknowledged += done.load(Ordering::Relaxed);
        let rows = rows(&world.db());
        for (uuid, told) in told.lock().unwrap().iter_mut() {
            let row = rows.get(uuid);
            assert!(row.is_some() || told.stored.is_none(), "round {round}: {uuid} was acknowledged and is gone");
            // What was asked for last may have been stored although nobody was told any more.
            let right = row == told.stored.as_ref() || row.is_some_and(|row| told.asked.contains(row));
            assert!(right, "round {round}: {uuid} is at {row:?}, not at {:?} or {:?}", told.stored, told.asked);
            *told = Told { stored: row.cloned(), asked: Vec::new() };
        }
    }
    println!("{acknowledged} registrations were acknowledged");
    assert!(acknowledged > rounds() as usize * 10, "{acknowledged}: hardly anything was put at risk");
}

#[test]
fn a_kill_during_the_migration_loses_no_row() {
    let world = World::new();
    let mut random = random();
    let template = Place::with(REFERENCE);
    let mut sql = template.sql();
    let filling = sql.transaction().unwrap();
    for n in 0..2000 {
        let uuid = format!("0f2b1a3c-1111-4222-8333-{n:012}");
        let row = "INSERT INTO connections VALUES (?1, '2', 'p', 'https://push.example/x', '1', '5')";
        filling.execute(row, [uuid]).unwrap();
    }
    filling.commit().unwrap();
    drop(sql);
    let before = rows(&template.db);
    assert_eq!(before.len(), 2000);
    for round in 0..rounds() {
        for entry in fs::read_dir(world.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("db.sqlite") {
                fs::remove_file(path).unwrap();
            }
        }
        fs::copy(&template.db, world.db()).unwrap();
        world.keyed();
        world.config();
        let mut child = command(&world, &["server"]).spawn().unwrap();
        thread::sleep(Duration::from_micros(random.u64(0..80_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(rows(&world.db()), before, "round {round}");
    }
    drop(Program::start(&world, &["server"]));
    assert_eq!(rows(&world.db()), before);
}

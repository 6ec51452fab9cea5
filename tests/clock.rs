//! The wall clock jumps a year either way, and the machine sleeps: timers do not notice, tokens always fit the clock, nothing
//! spins. Needs libfaketime, which lies to the daemon about the time of day only.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use program::{Program, command};
use sim::signal::Envelope;
use support::{DEVICE, PATIENCE, Phone, World, eventually};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// libfaketime, where Debian and others put it.
fn faketime() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let below = roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).chain(below).collect();
    all.iter_mut().for_each(|path| path.push("faketime/libfaketime.so.1"));
    all.into_iter().find(|path| path.exists())
}

/// A daemon whose time of day can be set.
struct Timed {
    world: World,
    phone: Phone,
    program: Program,
    offset: PathBuf,
}

impl Timed {
    fn start(library: &Path) -> Self {
        let world = World::new();
        let phone = world.phone(1);
        world.store_phone(&phone);
        world.config();
        let offset = world.dir.path().join("offset");
        fs::write(&offset, "+0").unwrap();
        let mut server = command(&world, &["-v", "server"]);
        server.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &offset);
        server.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let program = Program::spawn(server);
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        Self { world, phone, program, offset }
    }

    fn set(&self, offset: i64) {
        let next = self.offset.with_extension("next");
        fs::write(&next, format!("{offset:+}")).unwrap();
        fs::rename(next, &self.offset).unwrap();
    }

    /// A wake-up goes out soon; its token is good for a server whose clock shows the same.
    fn wakes(&self, offset: i64) {
        thread::sleep(Duration::from_millis(1100));
        let before = self.world.push.requests().len();
        let start = Instant::now();
        let guid = self.world.signal().send(&self.phone.uuid, DEVICE, Envelope::new().urgent(true));
        assert!(self.world.signal().wait_acked(&self.phone.uuid, DEVICE, guid, PATIENCE), "{offset:+} s");
        assert!(start.elapsed() < Duration::from_secs(3), "{offset:+} s: {:?}", start.elapsed());
        let request = self.world.push.requests()[before].clone();
        let token = request.header("authorization").unwrap().split(['.', ',']).nth(1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
        let real = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let left = claims["exp"].as_i64().unwrap() - (real + offset);
        assert!(left > 0 && left <= 24 * HOUR, "{offset:+} s: the token ends in {left} s");
    }

    /// Processor time used so far.
    fn used(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.program.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // utime and stime, in ticks of 10 ms (proc(5)).
        Duration::from_millis(10) * fields[11..13].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum::<u32>()
    }

    /// Idle is idle.
    fn rests(&self) {
        let before = self.used();
        thread::sleep(Duration::from_secs(1));
        let used = self.used() - before;
        assert!(used < Duration::from_millis(200), "{used:?} of processor time in an idle second");
    }

    /// Nothing in `status` is older than this test, whatever the clocks of the server and of whoever asks show.
    fn tells_true_ages(&self, offset: i64) {
        let output = command(&self.world, &["status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{offset:+} s: {output:?}");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let moment = |value: &serde_json::Value| humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
        let (at, account) = (moment(&status["at"]), &status["accounts"][0]);
        let since = [&account["signal"]["since"], &account["push"]["since"], &account["last_push"]];
        for since in since.into_iter().chain([&status["server"]["since"]]).map(moment) {
            let age = at.duration_since(since).unwrap();
            assert!(age < 5 * PATIENCE, "{offset:+} s: {age:?} in {status:#}");
        }
        let table = command(&self.world, &["status"]).output().unwrap().stdout;
        let table = String::from_utf8(table).unwrap();
        let long = |word: &str| word.strip_suffix(['d', 'h']).is_some_and(|number| number.parse::<u32>().is_ok());
        assert!(!table.split_whitespace().any(long), "{offset:+} s: {table}");
    }

    fn connects(&self) -> u64 {
        self.world.signal().counters(&self.phone.uuid, DEVICE).connects
    }
}

#[test]
fn a_clock_that_jumps_a_year_either_way_is_no_trouble() {
    let Some(library) = faketime() else {
        println!("note: not run, because libfaketime is not installed");
        return;
    };
    let timed = Timed::start(&library);
    for offset in [0, YEAR, -YEAR, 0, 13 * HOUR, 0] {
        timed.set(offset);
        timed.wakes(offset);
        timed.tells_true_ages(offset);
        timed.rests();
    }
    assert_eq!(timed.connects(), 1, "the connection did not mind");
}

#[test]
fn after_a_sleep_of_hours_it_goes_on_where_it_is() {
    let Some(library) = faketime() else {
        println!("note: not run, because libfaketime is not installed");
        return;
    };
    let timed = Timed::start(&library);
    timed.wakes(0);
    // The monotonic clock does not run while the machine sleeps; the time of day does, and nobody keeps the socket.
    timed.program.signal("-STOP");
    timed.set(8 * HOUR);
    thread::sleep(Duration::from_millis(500));
    assert!(timed.world.signal().cut(&timed.phone.uuid, DEVICE));
    timed.program.signal("-CONT");
    eventually("connected again", || timed.connects() == 2);
    assert!(timed.world.signal().wait_connected(&timed.phone.uuid, DEVICE, PATIENCE));
    timed.wakes(8 * HOUR);
    timed.rests();
}

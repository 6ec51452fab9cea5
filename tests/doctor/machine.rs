//! What may be wrong on the machine itself, and what must be said of it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sim::push::Answer;
use sim::signal::Mode;

use crate::case::DISCOVERY;
use crate::faults::{Fault, fault};
use crate::support::eventually;

pub const ON_THIS_MACHINE: &[Fault] = &[
    fault(
        "a misspelt key",
        |case| case.set("allowed_uuid", "[\"*\"]"),
        "configuration",
        &["config.toml: line ", ": allowed_uuid: ", "did you mean allowed_uuids?"],
        &[],
    ),
    fault(
        "a database somewhere else",
        |case| case.set("db", "\"elsewhere.sqlite\""),
        "database",
        &["elsewhere.sqlite", "check `db` (MOLLY_DB)"],
        &["server", "VAPID key"],
    ),
    fault(
        "a database that is cut short",
        |case| {
            case.world.stop();
            // The last who closes it writes to it once more.
            let log = case.path("db.sqlite-wal");
            eventually("the database is closed", || !log.exists());
            fs::OpenOptions::new().write(true).open(case.world.db()).unwrap().set_len(6000).unwrap();
        },
        "database",
        &["damaged", "restore a backup"],
        &["server"],
    ),
    fault(
        "a database others can read",
        |case| fs::set_permissions(case.world.db(), fs::Permissions::from_mode(0o644)).unwrap(),
        "database",
        &["0644", "chmod 600"],
        &[],
    ),
    fault(
        "a database that cannot be written",
        |case| {
            case.unprivileged = true;
            fs::set_permissions(case.world.db(), fs::Permissions::from_mode(0o400)).unwrap();
        },
        "database",
        &["cannot be written", "give it and its directory to the user that runs mollysocket"],
        &[],
    ),
    fault(
        "a server that another user runs",
        |case| {
            case.unprivileged = true;
            let directory = case.path("private");
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o600)).unwrap();
            case.set("admin_socket", "\"elsewhere.sock\"");
            case.note_socket(&directory.join("admin.sock"));
        },
        "server",
        &["private/admin.sock", "Permission denied", "as the user of the server"],
        &[],
    ),
    fault(
        "a server whose database is gone, and another one that is not there either",
        |case| {
            case.set("admin_socket", &format!("{:?}", case.path("db.sqlite.sock")));
            fs::copy(case.path("db.sqlite.vapid"), case.path("other.sqlite.vapid")).unwrap();
            case.set("db", "\"other.sqlite\"");
            for file in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
                fs::remove_file(case.path(file)).unwrap();
            }
        },
        "server",
        &["it uses ", "db.sqlite, this command ", "other.sqlite", "MOLLY_DB"],
        &["database"],
    ),
    fault("no server", |case| case.world.stop(), "server", &["no server answers", "start it"], &[]),
    fault(
        "a spoilt key file",
        |case| fs::write(case.path("db.sqlite.vapid"), "nonsense").unwrap(),
        "VAPID key",
        &["db.sqlite.vapid", "restore it from a backup"],
        &[],
    ),
    fault(
        "a key that is sealed, and removed in the clear",
        |case| fs::remove_file(case.path("db.sqlite.vapid")).unwrap(),
        "VAPID key",
        &["db.sqlite.vapid", "CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service"],
        &[],
    ),
    fault(
        "a key that is another one than the phones know",
        |case| {
            case.world.stop();
            fs::remove_file(case.path("db.sqlite.vapid")).unwrap();
            case.set("vapid_privkey", "\"DSqYuWchrB6yIMYJtidvqANeRQic4uWy34afzZRsZnI\"");
        },
        "VAPID key",
        &["registered with another VAPID key", "BOniQ9xHBPNY…", "1 account (", "link these phones again"],
        &["server", "public_url"],
    ),
    fault(
        "a key file others can read",
        |case| case.key_file(0o644),
        "VAPID key",
        &["0644", "chmod o= ", "operator.key"],
        &[],
    ),
    fault(
        "a certificate file that is none",
        |case| {
            fs::write(case.path("ca.pem"), "nonsense").unwrap();
        },
        "certificates",
        &["ca.pem", "PEM form"],
        &[],
    ),
    fault(
        "a clock that is two hours behind",
        |case| {
            case.world.signal().set_mode(Mode::ClockOffset(2 * 3600 * 1000));
            // What is on this machine agrees with its clock.
            let now = httpdate::fmt_http_date(std::time::SystemTime::now());
            case.proxy.set_default_for("/discover", Answer::status(200).header("Date", &now).body(DISCOVERY));
            case.world.push.set_default_for("/discover", Answer::status(404).header("Date", &now));
        },
        "clock",
        &["behind that of Signal", "timedatectl"],
        &[],
    ),
];

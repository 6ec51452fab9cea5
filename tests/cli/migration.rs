//! The reference's installations, each from its files to a wake-up with the key its phones know. What is changed is what
//! docs/migration.md says, and what no installation has: the simulated Signal, and a port of its own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use sim::pki::Pki;
use sim::push::PushServer;
use sim::signal::{Envelope, SignalServer};

use crate::world::{KEY, PASSWORD, PUBLIC, Server, TOKEN, UUID, World};

const PATIENCE: Duration = Duration::from_secs(20);

/// A machine with the reference's database, and the world around it.
struct Machine {
    world: World,
    signal: SignalServer,
    push: PushServer,
}

impl Machine {
    /// `db` is where the database is, below the directory that stands for `/`.
    fn new(db: &str) -> Self {
        let (pki, mut world) = (Pki::new(), World::new());
        let (signal, push) = (SignalServer::start(&pki), PushServer::start(&pki));
        signal.add_device(UUID, 2, PASSWORD);
        for directory in
            ["etc/mollysocket", "etc/systemd/system", "run/mollysocket", "var/lib/mollysocket", "data", "credentials"]
        {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        world.reference_database(db, &[UUID]);
        let old = rusqlite::Connection::open(world.path(db)).unwrap();
        old.execute("UPDATE connections SET endpoint = ?1", [push.endpoint(TOKEN)]).unwrap();
        fs::write(world.path("ca.pem"), pki.ca_pem()).unwrap();
        let ca = world.path("ca.pem").display().to_string();
        world.set("MOLLY_SIGNAL_URL", &signal.url());
        world.set("MOLLY_SIGNAL_CA_FILE", &ca);
        world.set("MOLLY_PUSH_CA_FILE", &ca);
        world.set("MOLLY_PORT", "0");
        Self { world, signal, push }
    }

    /// A push server of one's own is listed, as the reference's INSTALL.md says.
    fn allowed(&self) -> String {
        format!("[\"*\",\"https://localhost:{}\"]", self.push.addr().port())
    }

    fn start(&self, directory: &str) -> Server {
        let mut command = self.world.command(&["server"]);
        command.current_dir(self.world.path(directory));
        Server::spawn(command)
    }

    /// Without its key the server names what is missing and touches no key; with it a message wakes the phone.
    fn moves(&mut self, directory: &str, db: &str, hand_on_the_key: impl FnOnce(&mut World)) {
        self.start(directory).end().fails(2, &["holds 1 account", "vapid_privkey", "docs/migration.md"]);
        hand_on_the_key(&mut self.world);
        let mut server = self.start(directory);
        server.wait_for("1 account)");
        assert!(self.signal.wait_connected(UUID, 2, PATIENCE), "{}", server.stderr);
        let guid = self.signal.send(UUID, 2, Envelope::new().urgent(true));
        assert!(self.signal.wait_acked(UUID, 2, guid, PATIENCE), "{}", server.stderr);
        let pushes = self.push.requests();
        assert_eq!((pushes.len(), pushes[0].text().as_str()), (1, r#"{"urgent":true}"#));
        let authorization = pushes[0].header("authorization").unwrap();
        assert!(authorization.ends_with(&format!("k={PUBLIC}")), "the key its phone knows: {authorization}");
        server.signal("TERM");
        assert_eq!(server.end().code, Some(0));
        let db = self.world.path(db);
        assert!(!db.with_file_name(format!("{}.vapid", db.display())).exists(), "no second key");
        assert!(!db.with_file_name("db.sqlite").exists() || db.ends_with("db.sqlite"), "no second database");
        // The way back: the reference reads by position.
        let row: (String, String) = rusqlite::Connection::open(&db)
            .unwrap()
            .query_row("SELECT * FROM connections", [], |row| Ok((row.get(0)?, row.get(2)?)))
            .unwrap();
        assert_eq!(row, (UUID.to_owned(), PASSWORD.to_owned()));
    }
}

/// Runs the page's commands for systemd as they are, in the directory that stands for `/`. There is no systemd.
fn guide(world: &World) {
    let repository = env!("CARGO_MANIFEST_DIR");
    let page = fs::read_to_string(format!("{repository}/docs/migration.md")).unwrap();
    let below = page.split_once("## systemd\n").unwrap().1;
    let commands = below.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let root = world.dir.path().display();
    let commands = commands.replace("/etc/", &format!("{root}/etc/")).replace("/run/", &format!("{root}/run/"));
    let mut shell = Command::new("sh");
    shell.args(["-euc", &format!("systemctl() {{ :; }}\n{commands}")]).current_dir(repository);
    assert!(shell.status().unwrap().success(), "{commands}");
}

/// INSTALL.md: two units, `conf.toml`, and the key sealed in a file that the new unit passes on by the same name.
#[test]
fn the_systemd_units_of_the_reference() {
    for in_the_unit in [false, true] {
        let db = "var/lib/mollysocket/ms.db";
        let mut machine = Machine::new(db);
        let conf = machine.world.path("etc/mollysocket/conf.toml");
        let text =
            format!("db = \'{}\'\nallowed_endpoints = {}\n", machine.world.path(db).display(), machine.allowed());
        fs::write(&conf, text).unwrap();
        machine.world.set("MOLLY_CONF", conf.to_str().unwrap());
        machine.moves("var/lib/mollysocket", db, |world| {
            // What the manager unseals for the service: a file, or what `systemctl edit` took from the old unit.
            let (sealed, name) = if in_the_unit {
                (format!("{KEY}\n"), "ms_vapid")
            } else {
                fs::write(world.path("etc/mollysocket/vapid.key"), format!("{KEY}\n")).unwrap();
                guide(world);
                let unit = "etc/systemd/system/mollysocket.service.d/sealed-key.conf";
                let unit = fs::read_to_string(world.path(unit)).unwrap();
                assert!(unit.contains("LoadCredentialEncrypted=vapid.key:/etc/mollysocket/vapid.cred"), "{unit}");
                (fs::read_to_string(world.path("etc/mollysocket/vapid.cred")).unwrap(), "vapid.key")
            };
            fs::write(world.path("credentials").join(name), sealed).unwrap();
            let directory = world.path("credentials").display().to_string();
            world.set("CREDENTIALS_DIRECTORY", &directory);
        });
    }
}

/// docker-compose.yml: variables as a list, which keeps the quotes in them; the key is one of them.
#[test]
fn the_compose_file_of_the_reference() {
    let mut machine = Machine::new("data/mollysocket.db");
    let db = machine.world.path("data/mollysocket.db").display().to_string();
    let allowed = machine.allowed();
    for (name, value) in [
        ("MOLLY_DB", format!("\"{db}\"").as_str()),
        ("MOLLY_ALLOWED_ENDPOINTS", &allowed),
        ("MOLLY_ALLOWED_UUIDS", "[\"*\"]"),
        ("MOLLY_HOST", "127.0.0.1"),
        ("RUST_LOG", "info"),
    ] {
        machine.world.set(name, value);
    }
    machine.moves("data", "data/mollysocket.db", |world| world.set("MOLLY_VAPID_PRIVKEY", &format!("\"{KEY}\"")));
}

/// nixpkgs' module: the file of `settings`, the state directory as working directory, the key in `environmentFile`.
#[test]
fn the_module_of_nixpkgs() {
    let mut machine = Machine::new("var/lib/mollysocket/mollysocket.db");
    let conf = machine.world.path("mollysocket.conf");
    let settings = "allowed_uuids = [\"*\"]\nhost = \"127.0.0.1\"\nport = 8020\n";
    fs::write(&conf, format!("allowed_endpoints = {}\n{settings}", machine.allowed())).unwrap();
    machine.world.set("MOLLY_CONF", conf.to_str().unwrap());
    machine.world.set("RUST_LOG", "info");
    machine.moves("var/lib/mollysocket", "var/lib/mollysocket/mollysocket.db", |world| {
        world.set("MOLLY_VAPID_PRIVKEY", KEY);
    });
}

/// The pages say what the tests above take for granted.
#[test]
fn the_page_has_a_recipe_for_each() {
    let page = |name: &str| fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let migration = page("migration.md");
    for part in [
        "cp -p /etc/mollysocket/vapid.key /etc/mollysocket/vapid.cred",
        "SetCredentialEncrypted=ms_vapid",
        "chown -R 10001:10001 ./data",
        "MOLLY_VAPID_PRIVKEY",
        "environmentFile",
        "mollysocket vapid generate > FILE",
    ] {
        assert!(migration.contains(part), "{part}");
    }
    assert!(
        page("systemd.md").contains("migration.md#systemd") && page("containers.md").contains("migration.md#compose")
    );
}

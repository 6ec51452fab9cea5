//! A daemon that is well, and what `doctor` says of it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use serde_json::Value;
use sim::push::{Answer, PushServer};

use crate::program::{command, command_as};
use crate::support::{DEVICE, PATIENCE, Phone, World, get};

/// What Molly expects of `GET /discover`.
pub const DISCOVERY: &str = "{\"mollysocket\":{\"version\":\"2.0.0\"}}";

/// "nobody".
const NOBODY: u32 = 65534;

/// A daemon with a phone, behind a proxy that phones reach, all of it well.
pub struct Case {
    pub world: World,
    pub phone: Phone,
    pub proxy: PushServer,
    /// `doctor` runs without the rights of root, whom no permission stops.
    pub unprivileged: bool,
}

/// What `doctor` said.
pub struct Findings {
    pub code: Option<i32>,
    pub checks: Vec<(String, String, String)>,
}

impl Case {
    pub fn new() -> Self {
        let mut world = World::new();
        let phone = world.phone(1);
        world.store_phone(&phone);
        let proxy = PushServer::start(&world.pki);
        let public = format!("https://localhost:{}/", proxy.addr().port());
        world.settings = format!("public_url = {public:?}\n");
        world.start();
        assert!(world.signal().wait_connected(&phone.uuid, DEVICE, PATIENCE));
        world.wait_state(&phone, "connected");
        proxy.set_default_for("/discover", Answer::status(200).body(DISCOVERY));
        proxy.set_default_for("/", Answer::status(200).body(get(world.web(), "/", "").1));
        let case = Self { world, phone, proxy, unprivileged: false };
        // The name may have an IPv6 address, at which nobody listens here.
        case.edit("wss://localhost", "wss://127.0.0.1");
        case
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.world.dir.path().join(name)
    }

    /// Changes the configuration file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.path("config.toml"), text.replacen(from, to, 1)).unwrap();
    }

    /// Adds a line to it, or replaces the one with this key.
    pub fn set(&self, key: &str, value: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        let others = text.lines().filter(|line| !line.starts_with(&format!("{key} =")));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        fs::write(self.path("config.toml"), format!("{text}{key} = {value}\n")).unwrap();
    }

    /// The server's key in a file the operator names, with these permissions.
    pub fn key_file(&self, mode: u32) {
        let file = self.path("operator.key");
        fs::copy(self.path("db.sqlite.vapid"), &file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        self.set("vapid_key_file", &format!("{file:?}"));
    }

    /// As a server notes where its admin socket is.
    pub fn note_socket(&self, socket: &Path) {
        fs::write(self.path("db.sqlite.lock"), format!("1\n{}\n", socket.display())).unwrap();
    }

    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.world.push.addr().port())
    }

    pub fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        // In the place of the public authorities.
        let args = [&["doctor"], args].concat();
        let mut doctor = if self.unprivileged && fs::metadata(self.path("ca.pem")).unwrap().uid() == 0 {
            // As its own user, not somebody else's files.
            let files = fs::read_dir(self.world.dir.path()).unwrap().map(|file| file.unwrap().path());
            files.chain([self.world.dir.path().to_owned()]).for_each(|file| chown(file, Some(NOBODY), None).unwrap());
            command_as(&self.world, NOBODY, &args)
        } else {
            command(&self.world, &args)
        };
        let output = doctor.env("SSL_CERT_FILE", self.path("ca.pem")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    pub fn examine(&self, args: &[&str]) -> Findings {
        let (code, text) = self.run(&[&["--json"], args].concat());
        let json: Value = serde_json::from_str(&text).unwrap();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
        let checks = json["checks"].as_array().unwrap().iter();
        let checks = checks.map(|check| {
            let said = format!("{} | to do: {}", text(check, "what"), text(check, "remedy"));
            (text(check, "verdict"), text(check, "name"), said)
        });
        Findings { code, checks: checks.collect() }
    }
}

impl Findings {
    pub fn complaints(&self) -> impl Iterator<Item = &(String, String, String)> {
        self.checks.iter().filter(|(verdict, _, _)| matches!(verdict.as_str(), "warning" | "failure"))
    }
}

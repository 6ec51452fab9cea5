//! What systemd and a service tell each other (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), systemd.exec(5)
//! "Credentials"). Without systemd all of it does nothing.

use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use smol::Async;

use crate::config::Env;

/// Names of the credential that holds the VAPID key, first one first. The second is the one the reference's users know.
const CREDENTIALS: [&str; 2] = ["vapid.key", "ms_vapid"];

/// The credential that holds the VAPID key, if the service manager passed one.
pub(crate) fn vapid_credential(env: &Env) -> Option<PathBuf> {
    let directory = env.get("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty())?;
    CREDENTIALS.iter().map(|name| Path::new(directory).join(name)).find(|path| path.exists())
}

/// Where the packaged service has its things (packaging/systemd), for people who look elsewhere: to be appended to what
/// they are told of `file`. Empty where no such service is, or the file is its own.
pub(crate) fn service_hint(file: &Path) -> String {
    hint(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned()), |path| Path::new(path).exists())
}

fn hint(file: &Path, there: impl Fn(&str) -> bool) -> String {
    let signs = [
        "/run/mollysocket/admin.sock",
        "/etc/systemd/system/mollysocket.service",
        "/usr/lib/systemd/system/mollysocket.service",
        "/run/systemd/system/mollysocket.service",
    ];
    let own = ["/var/lib/mollysocket", "/var/lib/private/mollysocket", "/run/mollysocket"];
    if own.iter().any(|own| file.starts_with(own)) || !signs.into_iter().any(there) {
        return String::new();
    }
    "; the service mollysocket of this machine has its database in /var/lib/mollysocket and its admin_socket at \
     /run/mollysocket/admin.sock: let its configuration file name both (db, admin_socket), and run this as root"
        .to_owned()
}

/// The listening socket of a socket unit, if there is one.
///
/// # Errors
/// One line, when what was passed is not one listening TCP socket.
pub fn listener(env: &Env) -> io::Result<Option<TcpListener>> {
    let ours = env.get("LISTEN_PID").is_some_and(|pid| pid.parse() == Ok(std::process::id()));
    let count = env.get("LISTEN_FDS").and_then(|fds| fds.parse().ok()).unwrap_or(0_u32);
    if !ours || count == 0 {
        return Ok(None);
    }
    if count > 1 {
        return Err(io::Error::other(format!("{count} sockets were passed; one ListenStream= is what can be used")));
    }
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0)?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

/// The way to tell the service manager about us.
#[derive(Debug, Default)]
pub struct Service {
    /// The manager's address.
    notify: Option<SocketAddr>,
    /// How soon after a sign of life the next one must come.
    watchdog: Option<Duration>,
}

impl Service {
    /// What the variables say. The second value is what is wrong with them, for people.
    pub fn from_env(env: &Env) -> (Self, Option<String>) {
        let (notify, problem) = match env.get("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            None => (None, None),
            Some(name) => match address(name) {
                Ok(address) => (Some(address), None),
                Err(error) => (None, Some(format!("NOTIFY_SOCKET: the service manager cannot be told: {error}"))),
            },
        };
        let for_us = env.get("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let watchdog = env.get("WATCHDOG_USEC").and_then(|usec| usec.parse().ok()).filter(|&usec| for_us && usec > 0);
        (Self { notify, watchdog: watchdog.map(Duration::from_micros) }, problem)
    }

    /// Everything runs; `status` is what `systemctl status` shows.
    pub async fn ready(&self, status: &str) {
        self.notify(&format!("READY=1\n{}", status_line(status))).await;
    }

    /// The configuration is read again; [`Service::ready`] follows.
    pub async fn reloading(&self) {
        self.notify("RELOADING=1").await;
    }

    /// The end has begun.
    pub async fn stopping(&self) {
        self.notify(&format!("STOPPING=1\n{}", status_line("ending"))).await;
    }

    /// How often [`Service::alive`] is to be called: half the time of the manager's watchdog, as sd_watchdog_enabled(3)
    /// recommends, or `unwatched` without one. `None`: nobody is to be told.
    pub fn period(&self, unwatched: Duration) -> Option<Duration> {
        self.notify.as_ref().map(|_| self.watchdog.map_or(unwatched, |limit| limit / 2))
    }

    /// A sign of life for the watchdog, if there is one, and what `systemctl status` shows from now on, if that changed.
    pub async fn alive(&self, alive: bool, status: Option<&str>) {
        let sign = (alive && self.watchdog.is_some()).then(|| "WATCHDOG=1".to_owned());
        let message: Vec<String> = sign.into_iter().chain(status.map(status_line)).collect();
        if !message.is_empty() {
            self.notify(&message.join("\n")).await;
        }
    }

    /// Waits when the manager is slow to read. A message that cannot be delivered at all is not worth a stop: the manager
    /// has time-outs of its own.
    async fn notify(&self, message: &str) {
        let Some(address) = &self.notify else { return };
        if let Err(error) = send(address, message).await {
            log::warn!("the service manager could not be told: {error}");
        }
    }
}

/// A socket for each message, because the manager may have made a new one in the meantime. It is connected, because only
/// then does the system say when there is room.
async fn send(address: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(address)?;
    Async::new(socket)?.send(message.as_bytes()).await.map(drop)
}

/// A path, or a name of the abstract namespace after `@`.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if name.starts_with('/') => SocketAddr::from_pathname(name),
        None => Err(io::Error::other("it is neither a path nor an abstract name")),
    }
}

/// A newline would begin another assignment.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace(['\n', '\r'], " "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_elsewhere_is_told_where_the_service_has_its_things() {
        let unit = |path: &str| path == "/etc/systemd/system/mollysocket.service";
        let told = hint(Path::new("/home/u/db.sqlite"), unit);
        assert!(told.contains("/var/lib/mollysocket") && told.contains("/run/mollysocket/admin.sock"), "{told}");
        assert_ne!(hint(Path::new("/home/u/db.sqlite"), |path| path == "/run/mollysocket/admin.sock"), "");
        assert_eq!(hint(Path::new("/home/u/db.sqlite"), |_| false), "");
        for own in
            ["/var/lib/mollysocket/db.sqlite", "/var/lib/private/mollysocket/ms.db", "/run/mollysocket/admin.sock"]
        {
            assert_eq!(hint(Path::new(own), unit), "", "{own}");
        }
    }

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn limit(pairs: &[(&str, &str)]) -> Option<Duration> {
        Service::from_env(&env(pairs)).0.watchdog
    }

    #[test]
    fn the_watchdog_is_only_ours_with_our_process_id() {
        let me = std::process::id().to_string();
        assert_eq!(limit(&[("WATCHDOG_USEC", "20000000")]), Some(Duration::from_secs(20)));
        assert_eq!(limit(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", &me)]), Some(Duration::from_micros(5)));
        for other in [("WATCHDOG_PID", "1"), ("WATCHDOG_PID", "x"), ("WATCHDOG_USEC", "0"), ("WATCHDOG_USEC", "-1")] {
            assert_eq!(limit(&[("WATCHDOG_USEC", "5"), other]), None, "{other:?}");
        }
        assert_eq!(limit(&[]), None);
    }

    #[test]
    fn sockets_for_another_process_are_left_alone() {
        for pairs in [vec![], vec![("LISTEN_FDS", "1")], vec![("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]] {
            assert!(listener(&env(&pairs)).unwrap().is_none(), "{pairs:?}");
        }
        let me = std::process::id().to_string();
        let error = listener(&env(&[("LISTEN_FDS", "2"), ("LISTEN_PID", &me)])).unwrap_err();
        assert!(error.to_string().contains("2 sockets"), "{error}");
    }

    #[test]
    fn a_wrong_notify_socket_is_named_and_does_no_harm() {
        for name in ["relative", "@", "vsock:2:1"] {
            let (service, problem) = Service::from_env(&env(&[("NOTIFY_SOCKET", name)]));
            smol::block_on(service.ready("fine"));
            assert!(name == "@" || problem.unwrap().contains("NOTIFY_SOCKET"), "{name}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(status_line("a\nREADY=1\rb"), "STATUS=a READY=1 b");
    }
}

//! The admin socket: a Unix socket only the daemon's user may use (docs/operations.md). Serves `/status`, `/healthz`,
//! `/readyz` and, whatever `metrics` says, `/metrics`; `POST /ping/UUID` sends a test push.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::net;
use smol::{Async, Executor};
use tide::Request;

use super::connection::Bounds;
use super::{App, answer, listener, not_allowed, text};
use crate::account::AccountId;
use crate::metrics;
use crate::overview::{Observer, Pinged};
use crate::private_file;
use crate::push::PushKind;
use crate::runtime::timeout;

/// Waiting connections, as in std.
const BACKLOG: i32 = 128;

/// Listens at `path`, mode 0600. A socket of ours left there by an earlier run is replaced: whoever holds the database's
/// lock is the only daemon.
///
/// # Errors
/// When the directory cannot be written to, the path is too long for a socket, or there is something else at it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let unfinished = private_file::suffixed(path, ".new");
    for name in [path, &unfinished] {
        match fs::symlink_metadata(name) {
            Ok(found) => must_be_left_by_us(&found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Under another name first, because binding replaces nothing.
    let _ = fs::remove_file(&unfinished);
    let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
    // Before it has a name: Linux makes the name with the permissions of the socket.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(private_file::MODE))?;
    net::bind(&socket, &net::SocketAddrUnix::new(&unfinished)?)?;
    net::listen(&socket, BACKLOG)?;
    fs::rename(&unfinished, path)?;
    Ok(socket.into())
}

/// Nothing but a socket of our own is replaced.
fn must_be_left_by_us(found: &fs::Metadata) -> io::Result<()> {
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    let remedy = "remove it, or set another `admin_socket`";
    if owner != us {
        Err(io::Error::other(format!("what is there belongs to user {owner}, and this is user {us}; {remedy}")))
    } else if !found.file_type().is_socket() {
        Err(io::Error::other(format!("what is there is no socket; {remedy}")))
    } else {
        Ok(())
    }
}

/// What the routes share.
#[derive(Clone)]
struct Admin {
    app: Arc<App>,
    observer: Arc<Observer>,
}

/// Serves until `stop` resolves, then removes the socket.
///
/// # Errors
/// When the socket cannot be watched.
pub async fn serve(
    app: Arc<App>,
    observer: Arc<Observer>,
    listener: UnixListener,
    executor: Arc<Executor<'static>>,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = smol::net::unix::UnixListener::from(Async::new(listener)?);
    let path = app.config.admin_socket.clone();
    let bounds = Bounds::new(&app.limits, &app.timings, Vec::new());
    let counters = app.metrics.clone();
    let mut routes = tide::with_state(Admin { app, observer });
    routes.at("*").all(|_| async { text(404, "there is nothing here") });
    routes.at("/status").get(status).head(status).all(|_| not_allowed("GET, HEAD"));
    routes.at("/ping/:uuid").post(ping).all(|_| not_allowed("POST"));
    routes.at("/healthz").get(healthz).head(healthz).all(|_| not_allowed("GET, HEAD"));
    routes.at("/readyz").get(readyz).head(readyz).all(|_| not_allowed("GET, HEAD"));
    routes.at("/metrics").get(show_metrics).head(show_metrics).all(|_| not_allowed("GET, HEAD"));
    listener::serve(routes, listener, bounds, counters, executor, stop).await;
    fs::remove_file(path)
}

/// Everything, for people and programs, as the database has it now: a command that changed something asks for this next,
/// and so tells us.
async fn status(request: Request<Admin>) -> tide::Result {
    let app = &request.state().app;
    timeout(app.timings.status, app.supervisor.look()).await;
    let overview = request.state().observer.look().await;
    Ok(answer(200, serde_json::to_string(&overview)?, "application/json"))
}

/// A test push, and what it met. The account's own loop learns of it: what it owes goes out when this one was accepted.
async fn ping(request: Request<Admin>) -> tide::Result {
    let app = &request.state().app;
    let id = request.param("uuid").ok().and_then(|uuid| AccountId::parse(uuid).ok());
    let account = match id {
        Some(id) => app.store.get(id).await?,
        None => None,
    };
    let Some(account) = account else { return text(404, "no such account") };
    let delivery = app.pusher.send(&account.endpoint, PushKind::Test).await;
    app.metrics.push(delivery.outcome.result());
    app.supervisor.test_ended(account.id(), &account.endpoint, &delivery);
    Ok(answer(200, serde_json::to_string(&Pinged::from(delivery))?, "application/json"))
}

/// The process works.
async fn healthz(_: Request<Admin>) -> tide::Result {
    text(200, "ok")
}

/// It does its work.
async fn readyz(request: Request<Admin>) -> tide::Result {
    let readiness = request.state().observer.readiness().await;
    text(if readiness.ready { 200 } else { 503 }, readiness.line)
}

async fn show_metrics(request: Request<Admin>) -> tide::Result {
    let app = &request.state().app;
    Ok(answer(200, app.metrics.render(&app.supervisor.gauges()), metrics::CONTENT_TYPE))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_socket_is_private_from_its_first_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let (over, names) = (AtomicBool::new(false), [private_file::suffixed(&path, ".new"), path.clone()]);
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| {
                let mut modes = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    modes
                        .extend(names.iter().filter_map(|name| Some(fs::symlink_metadata(name).ok()?.mode() & 0o7777)));
                    modes.dedup();
                }
                modes
            });
            for _ in 0..1000 {
                bind(&path).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(seen.join().unwrap(), [0o600]);
        });
    }

    #[test]
    fn only_a_socket_of_ours_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        for name in [path.clone(), private_file::suffixed(&path, ".new")] {
            fs::write(&name, "precious").unwrap();
            assert!(bind(&path).unwrap_err().to_string().contains("no socket"));
            assert_eq!(fs::read_to_string(&name).unwrap(), "precious");
            fs::remove_file(&name).unwrap();
            std::os::unix::fs::symlink("elsewhere", &name).unwrap();
            assert!(bind(&path).unwrap_err().to_string().contains("no socket"));
            fs::remove_file(&name).unwrap();
        }
        drop(bind(&path).unwrap());
        drop(bind(&path).unwrap());
        // Only root can give a file away.
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            let told = bind(&path).unwrap_err().to_string();
            assert!(told.contains("user 12345") && told.contains("admin_socket"), "{told}");
            assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), 12345);
        }
    }
}

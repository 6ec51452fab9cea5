//! The admin socket: a Unix socket only the daemon's user may use (docs/operations.md). Serves `/status`, `/healthz`,
//! `/readyz` and, whatever `metrics` says, `/metrics`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use smol::{Async, Executor};
use tide::Request;

use super::connection::Bounds;
use super::{App, NotFound, answer, listener, not_allowed, text};
use crate::metrics;
use crate::overview::Observer;

/// Listens at `path`, mode 0600. A socket left there by an earlier run is replaced: whoever holds the database's lock is
/// the only daemon.
///
/// # Errors
/// When the directory cannot be written to or the path is too long for a socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    // Under another name first, so that the socket is never there with other permissions.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
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
    routes.with(NotFound);
    routes.at("/status").get(status).head(status).all(|_| not_allowed("GET, HEAD"));
    routes.at("/healthz").get(healthz).head(healthz).all(|_| not_allowed("GET, HEAD"));
    routes.at("/readyz").get(readyz).head(readyz).all(|_| not_allowed("GET, HEAD"));
    routes.at("/metrics").get(show_metrics).head(show_metrics).all(|_| not_allowed("GET, HEAD"));
    listener::serve(routes, listener, bounds, counters, executor, stop).await;
    fs::remove_file(path)
}

/// Everything, for people and programs.
async fn status(request: Request<Admin>) -> tide::Result {
    let overview = request.state().observer.look().await;
    Ok(answer(200, serde_json::to_string(&overview)?, "application/json"))
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

//! The admin socket: a Unix socket only the daemon's user may use. Serves `/metrics` whatever `metrics` says.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use smol::{Async, Executor};
use tide::Request;

use super::connection::Bounds;
use super::{App, NotFound, answer, listener, not_allowed};
use crate::metrics;

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

/// Serves until `stop` resolves, then removes the socket.
///
/// # Errors
/// When the socket cannot be watched.
pub async fn serve(
    app: Arc<App>,
    listener: UnixListener,
    executor: Arc<Executor<'static>>,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let listener = smol::net::unix::UnixListener::from(Async::new(listener)?);
    let path = app.config.admin_socket.clone();
    let bounds = Bounds::new(&app.limits, &app.timings, Vec::new());
    let counters = app.metrics.clone();
    let mut routes = tide::with_state(app);
    routes.with(NotFound);
    routes.at("/metrics").get(show_metrics).head(show_metrics).all(|_| not_allowed("GET, HEAD"));
    listener::serve(routes, listener, bounds, counters, executor, stop).await;
    fs::remove_file(path)
}

async fn show_metrics(request: Request<Arc<App>>) -> tide::Result {
    let app = request.state();
    Ok(answer(200, app.metrics.render(&app.supervisor.gauges()), metrics::CONTENT_TYPE))
}

//! The web server: what Molly and browsers ask for (design, section 6).

use std::sync::Arc;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::push::Pusher;
use crate::signal::Checker;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::timings::{Limits, Timings};
use crate::vapid::Vapid;

/// Everything the routes need.
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// Deadlines.
    pub timings: Timings,
    /// Limits.
    pub limits: Limits,
    /// The way out, for the guard.
    pub net: Arc<Net>,
    /// The database.
    pub store: Store,
    /// The running accounts.
    pub supervisor: Supervisor,
    /// Asks Signal about credentials.
    pub checker: Checker,
    /// For the one test push whose result decides an answer.
    pub pusher: Arc<Pusher>,
    /// For links.
    pub vapid: Arc<Vapid>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Serves until `stop` resolves, then lets requests in flight finish within `timings.shutdown`.
/// Connection tasks run on `executor`.
pub async fn serve(
    _app: Arc<App>,
    _listener: smol::net::TcpListener,
    _executor: Arc<smol::Executor<'static>>,
    _stop: impl Future<Output = ()> + Send,
) {
    unimplemented!()
}

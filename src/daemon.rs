//! The composition root: builds everything, runs it, ends it in order.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::timings::{Limits, Timings};

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A daemon that is built and listening.
pub struct Daemon {
    _todo: (),
}

impl Daemon {
    /// Builds everything: key, database, network, listener. Nothing runs yet.
    ///
    /// # Errors
    /// One line: what is wrong, where, what to do.
    pub fn new(_config: Config, _timings: Timings, _limits: Limits) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Where the web server listens, if it runs.
    pub fn web_addr(&self) -> Option<SocketAddr> {
        unimplemented!()
    }

    /// What the operator should see at start, whatever the log level.
    pub fn report(&self) -> String {
        unimplemented!()
    }

    /// Runs until `stop` resolves, then ends in order.
    pub fn run(self, _stop: impl Future<Output = ()> + Send + 'static) {
        unimplemented!()
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Arc<Config> {
        unimplemented!()
    }
}

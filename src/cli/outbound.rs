//! What verbs need that reach out: an executor, the way out, and a sender of pushes.

use std::sync::Arc;

use smol::Executor;

use super::CliError;
use crate::config::Config;
use crate::net::{Net, NetOptions};
use crate::push::Pusher;
use crate::timings::{Limits, Timings};
use crate::vapid::{Create, Vapid, VapidKey};

/// The network side of one verb: an executor and a `Net`.
pub(super) struct Outbound {
    executor: Arc<Executor<'static>>,
    pub(super) net: Arc<Net>,
}

impl Outbound {
    pub(super) fn new(config: &Config) -> Result<Self, CliError> {
        let executor = Self::executor();
        let options =
            NetOptions { signal_ca_file: config.signal_ca_file.clone(), push_ca_file: config.push_ca_file.clone() };
        let net = Net::new(&options, Timings::default(), Limits::default(), Arc::clone(&executor))?;
        Ok(Self { executor, net: Arc::new(net) })
    }

    /// What runs look-ups beside a verb's own work.
    pub(super) fn executor() -> Arc<Executor<'static>> {
        Arc::new(Executor::new())
    }

    /// A sender that signs with the server's key.
    pub(super) fn pusher(&self, config: &Config) -> Result<Pusher, CliError> {
        let vapid = Arc::new(vapid(config)?);
        Ok(Pusher::new(Arc::clone(&self.net), vapid, config.allowed_endpoints.clone()))
    }

    /// Runs a future to its end, and everything it starts meanwhile.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(self.executor.run(future))
    }
}

/// The public half of the server's key.
pub(super) fn public_key(config: &Config) -> Result<String, CliError> {
    Ok(VapidKey::load(&config.vapid, Create::Look)?.0.public())
}

/// The server's key, which must be there: one made here would not be the one the phones know.
pub(super) fn vapid(config: &Config) -> Result<Vapid, CliError> {
    let (key, origin) = VapidKey::load(&config.vapid, Create::Look)?;
    log::info!("VAPID key: {origin}");
    Ok(Vapid::new(key, config.vapid_contact.clone()))
}

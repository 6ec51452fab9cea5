//! The way out: name look-up, guard, dialling, TLS and HTTP. Nothing else opens outbound sockets.

use std::path::PathBuf;
use std::sync::Arc;

use smol::Executor;

use crate::account::Endpoint;
use crate::config::AllowedEndpoints;
use crate::timings::{Limits, Timings};

pub mod tls;

/// What the way out needs to know.
#[derive(Debug, Clone, Default)]
pub struct NetOptions {
    /// PEM file that replaces Signal's pinned roots.
    pub signal_ca_file: Option<PathBuf>,
    /// PEM file trusted for push beside the system's roots.
    pub push_ca_file: Option<PathBuf>,
}

/// Why the way out could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Placeholder.
    #[error("{0}")]
    Other(String),
}

/// Why an endpoint may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// At which stage a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name look-up.
    Dns,
    /// The guard refused every address.
    Guard,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

/// A connection that could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct DialError {
    /// Where it failed.
    pub stage: Stage,
    /// For people: host and cause.
    pub reason: String,
}

/// Resolver, TLS and limits, built once.
pub struct Net {
    _todo: (),
}

impl Net {
    /// Reads the certificates and sets everything up.
    ///
    /// # Errors
    /// When a certificate file cannot be used.
    pub fn new(
        _options: &NetOptions,
        _timings: Timings,
        _limits: Limits,
        _executor: Arc<Executor<'static>>,
    ) -> Result<Self, NetError> {
        unimplemented!()
    }

    /// Connects to Signal: look-up, TCP (Happy Eyeballs) and TLS with the pinned roots, each under its deadline.
    ///
    /// # Errors
    /// Says which stage failed and why.
    pub async fn dial_signal(&self, _host: &url::Host<String>, _port: u16) -> Result<tls::Stream, DialError> {
        unimplemented!()
    }

    /// Whether an endpoint may be used: the allow list, then, unless the list names it, whether it is at a public
    /// address now. A look-up that takes too long decides nothing; the guard looks again at each push.
    ///
    /// # Errors
    /// Says what the operator could do to allow it.
    pub async fn check_endpoint(&self, _allowed: &AllowedEndpoints, _endpoint: &Endpoint) -> Result<(), Refusal> {
        unimplemented!()
    }
}

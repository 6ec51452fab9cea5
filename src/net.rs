//! The way out: name look-up, guard, dialling, TLS and HTTP. Nothing else opens outbound sockets.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use smol::Executor;
use url::Host;

use self::guard::Guard;
use self::resolve::{CacheTtl, Lookup, LookupError, LookupPurpose};
use self::tls::{Connector, Pem, PemError};
use crate::account::Endpoint;
use crate::config::{AllowedEndpoints, Permission};
use crate::paced::Paced;
use crate::runtime::timeout;
use crate::timings::{Limits, Timings};

mod concurrency_limit;
mod dial;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
pub(crate) mod http;
mod pool;
mod probe;
mod remedy;
pub mod resolve;
pub mod tls;

/// A connection whose other end cannot keep a thread busy for ever: deadlines are looked at between its reads.
type Tcp = Paced<smol::net::TcpStream>;

pub use concurrency_limit::{Lane, Permit};
pub use fetch::{SocketAnswer, ask_socket, tell_socket};
pub(crate) use probe::{FetchedPage, GetError, NoTcp};
pub(crate) use remedy::{Server, remedy};

/// How we introduce ourselves to push servers and to all others but Signal.
pub(crate) const AGENT: &str = concat!("MollySocket/", env!("CARGO_PKG_VERSION"));

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
    /// A certificate file cannot be read.
    #[error("the file {} ({key}) cannot be read: {what}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
        /// What the operating system said.
        what: String,
    },
    /// A certificate file holds no usable certificate.
    #[error("the file {} ({key}) cannot be used: {what}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The configuration key that names it.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The certificates of the program or of the system cannot be used: nothing the operator could have caused.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Why an endpoint may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct EndpointRefusal {
    /// What speaks against it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What to do when a DNS filter blocks a name.
pub(crate) const DNS_FILTER: &str =
    "take the name off the block list of the DNS filter (Pi-hole, AdGuard), or let this machine ask another resolver";

/// What is known of an endpoint that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It may be used.
    Fine,
    /// Its host could not be looked up now; the text says why. Each push looks again.
    Unknown(String),
}

/// At which stage a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name look-up.
    Dns,
    /// The name look-up again: the answer is that of a DNS filter.
    DnsFilter,
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

impl DialError {
    fn tcp(host: &Host<String>, port: u16, error: &dial::Unreached) -> Self {
        let reason = format!("no connection to {host}, port {port} ({})", error.why);
        Self { stage: Stage::Tcp, reason }
    }
}

/// Which addresses a dial may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Any: the operator named the host.
    Anywhere,
    /// Public ones only.
    Public,
}

/// Resolver, TLS and limits, built once.
pub struct Net {
    timings: Timings,
    limits: Limits,
    lookup: Lookup,
    guard: Guard,
    signal: Connector,
    push: Connector,
    push_limit: concurrency_limit::ConcurrencyLimit,
    pool: Arc<pool::Pool>,
}

impl Net {
    /// Reads the certificates and sets everything up. Look-ups run as tasks of `executor`.
    ///
    /// # Errors
    /// When a certificate file cannot be used.
    pub fn new(
        options: &NetOptions,
        timings: Timings,
        limits: Limits,
        executor: Arc<Executor<'static>>,
    ) -> Result<Self, NetError> {
        let signal = connector("signal_ca_file", options.signal_ca_file.as_deref(), Connector::signal)?;
        let push = connector("push_ca_file", options.push_ca_file.as_deref(), Connector::push)?;
        let ttl = CacheTtl {
            found: timings.dns_keep,
            failed: timings.dns_keep_failure,
            old: timings.dns_keep_old,
            patience: timings.dns_patience,
            names: limits.dns_names,
        };
        let lookup = Lookup::new(Arc::new(resolve::SystemResolver), executor.clone(), limits.lookups, ttl);
        let push_limit = concurrency_limit::ConcurrencyLimit::new(limits.pushes, limits.pushes_per_origin);
        let pool = pool::Pool::new(timings.idle_ttl, limits.pushes_idle, executor);
        let pool = Arc::new(pool);
        Ok(Self { timings, limits, lookup, guard: Guard::default(), signal, push, push_limit, pool })
    }

    /// The same with another resolver, for tests.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn resolve::Resolve>) -> Self {
        self.lookup = self.lookup.with(resolver);
        self
    }

    /// The same, where the web server of this process listens at `own`: no push goes there, unless the operator named it.
    #[must_use]
    pub fn with_own_address(mut self, own: Option<SocketAddr>) -> Self {
        self.guard = Guard { own };
        self
    }

    /// Connects to Signal: look-up, TCP (Happy Eyeballs) and TLS with the pinned roots, each under its deadline.
    ///
    /// # Errors
    /// Says which stage failed and why.
    pub async fn dial_signal(&self, host: &Host<String>, port: u16) -> Result<tls::Stream, DialError> {
        let addresses = self.addresses(host, port, LookupPurpose::Signal, Reach::Anywhere).await?;
        let dial = async {
            let tcp = self.tcp(host, port, &addresses).await?;
            self.tls(&self.signal, host, tcp).await
        };
        dial.await.map_err(|mut error| {
            if is_sent_here(host, &addresses) {
                error.reason += "; a DNS filter or /etc/hosts may have led the name to this machine";
            }
            error
        })
    }

    /// Waits until one more push to `origin` may be in flight.
    pub(crate) async fn push_permit(&self, origin: &str, lane: Lane) -> Permit {
        self.push_limit.acquire(origin, lane).await
    }

    /// Whether an endpoint may be used: the allow list, then, unless the list names it, whether it is at a public
    /// address now. A look-up that fails or takes too long decides nothing: names fail for a while, and the guard looks
    /// again at each push.
    ///
    /// # Errors
    /// Says what the operator could do to allow it.
    pub async fn check_endpoint(
        &self,
        allowed: &AllowedEndpoints,
        endpoint: &Endpoint,
    ) -> Result<Checked, EndpointRefusal> {
        match allowed.permits(endpoint) {
            Permission::Listed => return Ok(Checked::Fine),
            Permission::No => return Err(not_listed(endpoint)),
            Permission::IfPublic => {}
        }
        match self.look_up(&endpoint.host(), LookupPurpose::Check, Reach::Public, self.timings.check_endpoint).await {
            Err(LookupError::Late) => {
                Ok(Checked::Unknown(format!("{} could not be looked up in time", endpoint.origin())))
            }
            Err(LookupError::Failed(why)) => {
                Ok(Checked::Unknown(format!("{} cannot be found: {why}", endpoint.origin())))
            }
            Ok(addresses) => {
                if let Some(what) = filtered(&endpoint.host(), &addresses) {
                    return Err(EndpointRefusal { what, remedy: DNS_FILTER.to_owned() });
                }
                match self.guard.public(addresses, endpoint.port()) {
                    Ok(_) => Ok(Checked::Fine),
                    Err((address, what)) => Err(not_public(endpoint, address, what)),
                }
            }
        }
    }

    /// Whether a DNS filter blocks the name of an endpoint, in words. For servers that the allow list names: of those
    /// [`Self::check_endpoint`] asks nothing more.
    pub async fn dns_filter(&self, endpoint: &Endpoint) -> Option<String> {
        let (host, deadline) = (endpoint.host(), self.timings.check_endpoint);
        let found = self.look_up(&host, LookupPurpose::Check, Reach::Public, deadline).await;
        filtered(&host, &found.ok()?)
    }

    /// What [`Self::check_endpoint`] says without a look-up: the allow list, and addresses that stand in the endpoint
    /// itself. A name decides nothing here; each push looks at its addresses.
    ///
    /// # Errors
    /// Why it may not be used and what to change.
    pub fn check_without_look_up(allowed: &AllowedEndpoints, endpoint: &Endpoint) -> Result<(), EndpointRefusal> {
        match allowed.permits(endpoint) {
            Permission::Listed => return Ok(()),
            Permission::No => return Err(not_listed(endpoint)),
            Permission::IfPublic => {}
        }
        let addresses = known_addresses(&endpoint.host(), Reach::Public).unwrap_or_default();
        match Guard::default().public(addresses, endpoint.port()) {
            Err((address, what)) => Err(not_public(endpoint, address, what)),
            Ok(_) => Ok(()),
        }
    }

    async fn look_up(
        &self,
        host: &Host<String>,
        purpose: LookupPurpose,
        reach: Reach,
        deadline: Duration,
    ) -> Result<Vec<IpAddr>, LookupError> {
        match (known_addresses(host, reach), host) {
            (None, Host::Domain(name)) => self.lookup.addresses(name, purpose, deadline).await,
            (known, _) => Ok(known.unwrap_or_default()),
        }
    }

    /// The addresses a dial to `host` may use: looked up once, vetted, and then used as they are.
    async fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
        purpose: LookupPurpose,
        reach: Reach,
    ) -> Result<Vec<IpAddr>, DialError> {
        let found = self.look_up(host, purpose, reach, self.timings.dns).await.map_err(|error| {
            let reason = match error {
                LookupError::Late => format!("{host} could not be looked up within {:?}", self.timings.dns),
                LookupError::Failed(why) => format!("{host} could not be looked up: {why}"),
            };
            DialError { stage: Stage::Dns, reason }
        })?;
        // Also where any address may be used: to connect to 0.0.0.0 is to connect to this machine.
        if let Some(reason) = filtered(host, &found) {
            return Err(DialError { stage: Stage::DnsFilter, reason });
        }
        match reach {
            Reach::Anywhere => Ok(found.into_iter().map(guard::canonical).collect()),
            Reach::Public => self.guard.public(found, port).map_err(|(address, what)| {
                let filter = match is_sent_here(host, &[guard::canonical(address)]) {
                    true => " (a DNS filter or /etc/hosts may say so)",
                    false => "",
                };
                let reason = format!("{host} is at {address}, which is {what}{filter}; only public addresses are used");
                DialError { stage: Stage::Guard, reason }
            }),
        }
    }

    async fn tcp(&self, host: &Host<String>, port: u16, addresses: &[IpAddr]) -> Result<Tcp, DialError> {
        let order = dial::interleave(addresses.iter().map(|&address| SocketAddr::new(address, port)).collect());
        let connected = dial::connect(&order, &self.timings).await.map(Paced::new);
        connected.map_err(|error| DialError::tcp(host, port, &error))
    }

    async fn tls(&self, connector: &Connector, host: &Host<String>, tcp: Tcp) -> Result<tls::Stream, DialError> {
        let limit = self.timings.tls;
        let late = || Err(format!("no answer within {limit:?}"));
        let connected = timeout(limit, connector.connect(host, tcp)).await.unwrap_or_else(late);
        connected.map_err(|why| DialError { stage: Stage::Tls, reason: format!("no TLS connection to {host}: {why}") })
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

fn connector(
    key: &'static str,
    path: Option<&Path>,
    build: impl FnOnce(Option<&Pem>) -> Result<Connector, PemError>,
) -> Result<Connector, NetError> {
    let Some(path) = path else {
        return build(None).map_err(|error| NetError::Tls(error.to_string()));
    };
    let bytes =
        fs::read(path).map_err(|error| NetError::Unreadable { path: path.to_owned(), key, what: error.to_string() })?;
    build(Some(&Pem { path: path.to_owned(), bytes })).map_err(|error| NetError::Certificates {
        path: path.to_owned(),
        key,
        what: error.to_string(),
    })
}

/// The addresses of a host, if they are known without a look-up.
fn known_addresses(host: &Host<String>, reach: Reach) -> Option<Vec<IpAddr>> {
    match host {
        // Some resolvers do not know it.
        Host::Domain(name) if reach == Reach::Public && guard::is_localhost(name) => {
            Some(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        }
        Host::Ipv4(address) => Some(vec![IpAddr::V4(*address)]),
        Host::Ipv6(address) => Some(vec![IpAddr::V6(*address)]),
        Host::Domain(_) => None,
    }
}

/// Whether a name that says nothing of it leads to this machine, as some DNS filters and lines in `/etc/hosts` have it.
pub(crate) fn is_sent_here(host: &Host<String>, addresses: &[IpAddr]) -> bool {
    matches!(host, Host::Domain(name) if !guard::is_localhost(name)) && addresses.iter().all(IpAddr::is_loopback)
}

/// Tells an answer of a DNS filter: no server is at `0.0.0.0` or `::`, only blocked names are.
fn filtered(host: &Host<String>, addresses: &[IpAddr]) -> Option<String> {
    let Host::Domain(name) = host else { return None };
    let first = addresses.first()?;
    addresses.iter().all(|address| guard::is_nowhere(*address)).then(|| {
        format!(
            "a DNS filter blocks {name}: the resolver of this machine answers {first}, which is no server's address"
        )
    })
}

fn not_listed(endpoint: &Endpoint) -> EndpointRefusal {
    let origin = endpoint.origin();
    if !endpoint.url().username().is_empty() || endpoint.url().password().is_some() {
        return EndpointRefusal {
            what: format!(
                "the endpoint at {origin} holds a user name or password that allowed_endpoints does not name"
            ),
            remedy: "to allow it, name the server as the endpoint does".to_owned(),
        };
    }
    EndpointRefusal {
        what: format!("the push server {origin} is not in allowed_endpoints"),
        remedy: format!("to allow it, add \"{origin}\" to the list"),
    }
}

fn not_public(endpoint: &Endpoint, address: IpAddr, what: &str) -> EndpointRefusal {
    let origin = endpoint.origin();
    // Most filters answer 0.0.0.0 ([`filtered`]); a few lead to this machine.
    let remedy = match is_sent_here(&endpoint.host(), &[guard::canonical(address)]) {
        true => {
            "if a DNS filter (Pi-hole, AdGuard) or /etc/hosts blocks the name, take it off there; if the push server \
             runs on this machine, name it"
        }
        false => "to allow it, name it",
    };
    EndpointRefusal {
        what: format!("the push server {origin} is at {address}, which is {what}"),
        remedy: format!("{remedy}: allowed_endpoints = [\"{origin}\", \"*\"]"),
    }
}

//! The way to a server in steps, for those who ask why it cannot be reached; and GET requests for operators. By the same
//! look-up, guard, dialling and TLS as everything else.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use futures_lite::{AsyncRead, AsyncWrite};
use http_body_util::{Empty, Full};
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, DATE, HOST, HeaderMap, USER_AGENT};
use hyper::http::request;
use url::Host;

use super::fetch::fetch;
use super::http;
use super::resolve::LookupPurpose;
use super::{DialError, Net, Reach, dial, guard};
use crate::account::Endpoint;
use crate::runtime::timeout;

/// Head of the answer to a GET.
#[derive(Debug, Clone)]
pub(crate) struct FetchedPage {
    /// HTTP status.
    pub(crate) status: u16,
    /// The server's clock.
    pub(crate) date: Option<SystemTime>,
    /// It came from a public address that is not this machine's: from another machine, unless a router leads back here.
    pub(crate) elsewhere: bool,
    /// The body; empty when nobody asked for it.
    pub(crate) body: String,
}

impl FetchedPage {
    fn new(status: u16, headers: &HeaderMap, body: String, elsewhere: bool) -> Self {
        let date = headers.get(DATE).and_then(|value| value.to_str().ok());
        Self { status, date: date.and_then(|date| httpdate::parse_http_date(date).ok()), elsewhere, body }
    }
}

/// Why there is no answer to a GET. Holds no path.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum GetError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A connection, but no answer.
    #[error("{0}")]
    Http(String),
}

/// Why none of several addresses takes a TCP connection.
#[derive(Debug, Clone)]
pub(crate) struct NoTcp {
    /// For people.
    pub(crate) error: DialError,
    /// Nothing was sent: this machine has no address of that family, or no route.
    pub(crate) no_way: bool,
}

/// What HTTP is spoken over.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl Net {
    /// The addresses of Signal's host.
    pub(crate) async fn signal_addresses(&self, host: &Host<String>, port: u16) -> Result<Vec<IpAddr>, DialError> {
        self.addresses(host, port, LookupPurpose::Signal, Reach::Anywhere).await
    }

    /// Whether one of these addresses of `host` takes a TCP connection.
    pub(crate) async fn takes_tcp(&self, host: &Host<String>, port: u16, addresses: &[IpAddr]) -> Result<(), NoTcp> {
        let order = dial::interleave(addresses.iter().map(|&address| SocketAddr::new(address, port)).collect());
        let connected = dial::connect(&order, &self.timings).await.map(drop);
        connected.map_err(|error| NoTcp { no_way: error.no_way, error: DialError::tcp(host, port, &error) })
    }

    /// GET, of whose answer only the head is read, within the deadline of a push.
    pub(crate) async fn get(&self, target: &Endpoint, agent: &str, reach: Reach) -> Result<FetchedPage, GetError> {
        let get = async {
            let (stream, elsewhere) = self.open(target, reach).await?;
            let request =
                head(target, agent)?.body(Full::default()).map_err(|error| GetError::Http(error.to_string()))?;
            let head = http::post(stream, request, self.limits.push_head).await;
            let head = head.map_err(|error| GetError::Http(error.to_string()))?;
            Ok(FetchedPage::new(head.status.as_u16(), &head.headers, String::new(), elsewhere))
        };
        self.in_time(get).await
    }

    /// GET with the body, of `most` bytes at most.
    pub(crate) async fn page(
        &self,
        target: &Endpoint,
        agent: &str,
        reach: Reach,
        most: usize,
    ) -> Result<FetchedPage, GetError> {
        let get = async {
            let (stream, elsewhere) = self.open(target, reach).await?;
            let request = head(target, agent)?.body(Empty::<Bytes>::new());
            let request = request.map_err(|error| GetError::Http(error.to_string()))?;
            let whole = fetch(stream, request, most).await.map_err(GetError::Http)?;
            let body = String::from_utf8_lossy(&whole.body).into_owned();
            Ok(FetchedPage::new(whole.head.status.as_u16(), &whole.head.headers, body, elsewhere))
        };
        self.in_time(get).await
    }

    /// A connection, and whether it leads elsewhere ([`FetchedPage::elsewhere`]).
    async fn open(&self, target: &Endpoint, reach: Reach) -> Result<(Box<dyn Duplex>, bool), DialError> {
        let (host, port) = (target.host(), target.port());
        let addresses = self.addresses(&host, port, LookupPurpose::Push, reach).await?;
        let tcp = self.tcp(&host, port, &addresses).await?;
        let peer = tcp.get_ref().peer_addr().map(|peer| guard::canonical(peer.ip()));
        let elsewhere = peer.is_ok_and(|peer| guard::objection(peer).is_none() && !guard::is_of_this_machine(peer));
        let stream: Box<dyn Duplex> = if target.url().scheme() == "https" {
            Box::new(self.tls(&self.push, &host, tcp).await?)
        } else {
            Box::new(tcp)
        };
        Ok((stream, elsewhere))
    }

    async fn in_time(&self, get: impl Future<Output = Result<FetchedPage, GetError>>) -> Result<FetchedPage, GetError> {
        let late = || Err(GetError::Http(format!("no answer within {:?}", self.timings.push)));
        timeout(self.timings.push, get).await.unwrap_or_else(late)
    }
}

fn head(target: &Endpoint, agent: &str) -> Result<request::Builder, GetError> {
    let failure = |error: hyper::http::Error| GetError::Http(error.to_string());
    let url = target.url();
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = Uri::builder().path_and_query(target.target()).build().map_err(failure)?;
    Ok(hyper::Request::get(path).header(HOST, authority).header(CONNECTION, "close").header(USER_AGENT, agent))
}

//! HTTP requests to push servers: surf's client interface over hyper's HTTP/1.1.
//!
//! Nothing is taken from the environment (no proxies), nothing is followed (no redirects), and of an answer only the head
//! is waited for, and of a refusal the beginning of its body: a server that sends more, or slowly, or for ever costs one
//! deadline and one buffer. The connection may serve the next push ([`super::pool`]).

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use http_client::HttpClient;
use http_types::headers::HeaderValue;
use http_types::url::{Position, Url};
use http_types::{Error, StatusCode};
use hyper::Uri;
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::http::{request, response};

use super::pool::Connection;
use super::resolve::LookupPurpose;
use super::{DialError, Net, Reach};
use crate::bounded::{Bounded, Budget};
use crate::runtime::{lock, timeout};

/// So much of a refusal's body is read, in bytes. Push servers give their reason in a line of JSON.
const REASON: usize = 1024;
/// A reason that takes longer is not worth waiting for.
const REASON_TIME: Duration = Duration::from_secs(1);

/// How a request is sent, beside what surf's request type can say. Travels in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The request target byte for byte: a URL's path would be normalised.
    pub(crate) target: String,
    /// Which addresses may be used.
    pub(crate) reach: Reach,
}

/// The number of the answer's status, also where `http_types` has no name for it. Travels in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpStatus(pub(crate) u16);

/// A client whose requests go out by `net`'s push side, each as it comes: whoever sends pushes takes a permit for
/// each ([`Net::push_permit`]).
pub(crate) fn client(net: Arc<Net>) -> surf::Client {
    surf::Client::with_http_client(Backend { net })
}

#[derive(Debug)]
struct Backend {
    net: Arc<Net>,
}

/// What a request is busy with, for the message when time runs out.
struct RequestProgress(Mutex<&'static str>);

impl RequestProgress {
    fn now(&self, what: &'static str) {
        *lock(&self.0) = what;
    }
}

#[async_trait::async_trait]
impl HttpClient for Backend {
    async fn send(&self, request: http_types::Request) -> Result<http_types::Response, Error> {
        let net = &self.net;
        let origin = request.url().origin().ascii_serialization();
        let progress = RequestProgress(Mutex::new("looking up the name"));
        let head = timeout(net.timings.push, self.exchange(request, &progress)).await.unwrap_or_else(|| {
            let what = *lock(&progress.0);
            Err(failure(format!("no answer within {:?} ({what})", net.timings.push)))
        });
        let (head, reason) = head.inspect_err(|_| net.pool.forget(&origin))?;
        let mut answer = answer(&head);
        answer.set_body(reason);
        Ok(answer)
    }
}

impl Backend {
    /// The head of the answer, and what a refusal gives as its reason.
    async fn exchange(
        &self,
        mut request: http_types::Request,
        progress: &RequestProgress,
    ) -> Result<(response::Parts, Vec<u8>), Error> {
        let net = &self.net;
        let url = request.url().clone();
        let host = url.host().ok_or_else(|| failure("the URL has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| failure("the URL has no port"))?;
        let route = request.ext_mut().get::<Route>().cloned();
        let reach = route.as_ref().map_or(Reach::Public, |route| route.reach);
        let target = route.map_or_else(|| url[Position::BeforePath..Position::AfterQuery].to_owned(), |r| r.target);
        let body = request.take_body().into_bytes().await?;
        let request = head(&request, &url, &target)?.body(Full::new(Bytes::from(body))).map_err(failure)?;

        // Before anything else, also for a connection that is there: the guard judges each push.
        let addresses = net.addresses(&host, port, LookupPurpose::Push, reach).await.map_err(undialled)?;
        let origin = url.origin().ascii_serialization();
        let patience = net.timings.reused_response_timeout.min(net.timings.push / 4);
        if let Some(mut connection) = net.pool.take(&origin, &addresses) {
            progress.now("waiting for the answer");
            match timeout(patience, connection.send(request.clone())).await {
                Some(Ok(answer)) => return Ok(self.keep(origin, connection, answer).await),
                // What came was an answer, and a bad one.
                Some(Err(error)) if error.is_parse() => return Err(describe(error)),
                // The server had closed it, or did so just now, or is gone without a word: that is no news about the push.
                // The others are no younger. If the push did arrive, the phone is woken twice at worst, which is
                // harmless; where the first still waits for the phone, the `Topic` lets the second replace it
                // (RFC 8030 section 5.4).
                Some(Err(_)) | None => net.pool.forget(&origin),
            }
        }
        progress.now("connecting");
        let tcp = net.tcp(&host, port, &addresses).await.map_err(undialled)?;
        let peer = tcp.get_ref().peer_addr().map_err(failure)?;
        let (limit, executor) = (net.limits.push_head, net.pool.executor());
        let opened = if url.scheme() == "https" {
            progress.now("shaking hands over TLS");
            let tls = net.tls(&net.push, &host, tcp).await.map_err(undialled)?;
            Connection::open(tls, peer, limit, executor).await
        } else {
            Connection::open(tcp, peer, limit, executor).await
        };
        progress.now("waiting for the answer");
        let mut connection = opened.map_err(describe)?;
        let asked = Instant::now();
        let answer = connection.send(request).await.map_err(describe)?;
        if asked.elapsed() >= patience && answer.status().is_success() {
            // The next push would give it up, and be sent twice. Beside such a wait a handshake is nothing.
            return Ok((answer.into_parts().0, Vec::new()));
        }
        Ok(self.keep(origin, connection, answer).await)
    }

    /// The head of the answer, and of a refusal the beginning of its body. The connection waits for the next push if it
    /// can.
    async fn keep(
        &self,
        origin: String,
        connection: Connection,
        answer: hyper::Response<Incoming>,
    ) -> (response::Parts, Vec<u8>) {
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            self.net.pool.give_back(origin, connection, head.status, body);
            return (head, Vec::new());
        }
        let reason = beginning(body).await;
        (head, reason)
    }
}

/// The first bytes of a body, as far as they come in time.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await
            && read.len() < REASON
        {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    };
    timeout(REASON_TIME, reading).await;
    read.truncate(REASON);
    read
}

/// Sends one request on a stream of its own and reads the head of the answer, as [`Connection`] does.
pub(crate) async fn post<S>(
    stream: S,
    request: hyper::Request<Full<Bytes>>,
    limit: usize,
) -> Result<response::Parts, Error>
where
    S: futures_lite::AsyncRead + futures_lite::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, driver) =
        super::pool::handshake(Bounded::new(stream, Budget::of(super::pool::answer_bytes(limit))), limit)
            .await
            .map_err(describe)?;
    let answer = sender.send_request(request);
    // The connection works while it is polled. When it ends, the answer knows first.
    let drive = async {
        driver.await;
        futures_lite::future::pending().await
    };
    let answer: hyper::Response<Incoming> = answer.or(drive).await.map_err(describe)?;
    Ok(answer.into_parts().0)
}

fn head(request: &http_types::Request, url: &Url, target: &str) -> Result<request::Builder, Error> {
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut head = hyper::Request::builder()
        .method(request.method().as_ref())
        .uri(Uri::builder().path_and_query(target).build().map_err(failure)?)
        .header(HOST, authority);
    for (name, values) in request {
        for value in values {
            head = head.header(name.as_str(), value.as_str());
        }
    }
    Ok(head)
}

/// The answer as surf's types can hold it. Headers that are not ASCII are left out; they are nothing we look at.
pub(crate) fn answer(head: &response::Parts) -> http_types::Response {
    let status = head.status.as_u16();
    let mut answer = http_types::Response::new(StatusCode::try_from(status).unwrap_or(StatusCode::BadGateway));
    answer.ext_mut().insert(HttpStatus(status));
    for (name, value) in &head.headers {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes().to_vec()) {
            answer.append_header(name.as_str(), value);
        }
    }
    answer
}

/// hyper says what happened, and only its cause says why.
fn describe(error: hyper::Error) -> Error {
    match std::error::Error::source(&error) {
        Some(cause) => failure(format!("{error}: {cause}")),
        None => failure(error),
    }
}

/// Keeps what is known of it: whoever sent the push can tell at which stage it failed.
fn undialled(error: DialError) -> Error {
    Error::new(StatusCode::BadGateway, error)
}

fn failure(what: impl Display) -> Error {
    Error::from_str(StatusCode::BadGateway, what.to_string())
}

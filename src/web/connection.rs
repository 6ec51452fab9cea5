//! One connection, one request: its head is checked here, hyper parses it, tide's router answers it.
//!
//! Connections are not kept alive. A few requests a day per phone gain nothing from it, and without it there are no
//! idle connections to bound, no request can be smuggled behind another, and no proxy can lose a registration on a
//! connection that is just being closed.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, future};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use http_types::headers::HeaderValue;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use smol::Timer;
use smol::channel::Receiver;
use smol_hyper::rt::FuturesIo;

use super::head::{self, HeadError};
use super::seldom::Seldom;
use crate::metrics::Metrics;

/// How long the client may take to notice that we are done. Closing at once, with bytes of its request unread, would
/// reset the connection and could take our answer with it.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes read and thrown away meanwhile.
const LINGER_BYTES: usize = 256 * 1024;

/// What a connection may use.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Request line and headers, in bytes.
    pub(crate) head_bytes: usize,
    /// Request body, in bytes.
    pub(crate) body_bytes: usize,
    /// From the connection to the end of the head.
    pub(crate) head: Duration,
    /// From the connection to the end of the answer.
    pub(crate) request: Duration,
    /// What requests in flight get once the server stops.
    pub(crate) shutdown: Duration,
}

/// The other end of the connection; `None` on a Unix socket. Found in a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// What all connections of a listener share.
pub(super) struct Shared<S> {
    pub(super) app: tide::Server<S>,
    pub(super) bounds: Bounds,
    pub(super) metrics: Arc<Metrics>,
    /// Closed when the server stops: who has not sent a whole head by then is not in flight.
    pub(super) stopping: Receiver<()>,
    /// A proxy that speaks HTTP/2 to us is the operator's to correct, so it is worth a line.
    pub(super) wrong_version: Seldom,
}

/// Reads one request, answers it, closes. Never fails: what goes wrong is the client's to see.
pub(super) async fn run<S, T>(shared: &Shared<S>, mut stream: T, peer: Option<IpAddr>)
where
    S: Clone + Send + Sync + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let deadline = Instant::now() + shared.bounds.request;
    let answered = async {
        let head = async { Some(read_head(&mut stream, &shared.bounds).await) };
        let stopped = async {
            let _ = shared.stopping.recv().await;
            None
        };
        match future::or(head, stopped).await {
            None | Some(Ok(None)) => return,
            Some(Err(error)) => {
                let tell = error == HeadError::Version && shared.wrong_version.due(Instant::now());
                log::log!(if tell { log::Level::Warn } else { log::Level::Debug }, "web: request refused: {error}");
                let _ = stream.write_all(&refusal(error)).await;
                let _ = stream.close().await;
            }
            Some(Ok(Some(bytes))) => {
                exchange(shared, Rewind { bytes, at: 0, inner: &mut stream }, peer, deadline).await
            }
        }
        drain(&mut stream).await;
    };
    // A client that does not read its answer must not stay either.
    let overdue = async {
        Timer::at(deadline + LINGER).await;
    };
    future::or(answered, overdue).await;
}

/// The bytes read so far, with a complete and checked head at their start; `None` when the client went away or never
/// said anything.
async fn read_head<T: AsyncRead + Unpin>(stream: &mut T, bounds: &Bounds) -> Result<Option<Vec<u8>>, HeadError> {
    let mut bytes = Vec::new();
    let whole = async {
        loop {
            let mut part = [0; 2048];
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return Ok(false),
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
            if let Some(end) = head::length(&bytes, bounds.head_bytes)? {
                head::check(&bytes[..end])?;
                return Ok(true);
            }
        }
    };
    let late = async {
        Timer::after(bounds.head).await;
        Err(HeadError::TooSlow)
    };
    match future::or(whole, late).await {
        Ok(true) => Ok(Some(bytes)),
        Ok(false) => Ok(None),
        Err(HeadError::TooSlow) if bytes.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

fn refusal(error: HeadError) -> Vec<u8> {
    let (status, phrase) = error.status();
    let body = format!("{error}\n");
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads what the client still sends, so that it gets to read our answer.
async fn drain<T: AsyncRead + Unpin>(stream: &mut T) {
    let discard = async {
        let mut scratch = [0; 4096];
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    let enough = async {
        Timer::after(LINGER).await;
    };
    future::or(discard, enough).await;
}

async fn exchange<S, T>(shared: &Shared<S>, stream: T, peer: Option<IpAddr>, deadline: Instant)
where
    S: Clone + Send + Sync + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(|request| async move {
        let answer = answer(shared, request, peer, deadline).await;
        Ok::<_, Infallible>(answer.unwrap_or_else(plain))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        // The head is bounded already; this only has to be enough for it.
        .max_buf_size(16 * 1024 + shared.bounds.head_bytes)
        .serve_connection(FuturesIo::new(stream), service);
    if let Err(error) = connection.await {
        log::debug!("web: {error}");
    }
}

/// The router's answer, or the status that says why there is none.
async fn answer<S>(
    shared: &Shared<S>,
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    deadline: Instant,
) -> Result<Response<Full<Bytes>>, StatusCode>
where
    S: Clone + Send + Sync + 'static,
{
    let read = async { to_tide(request, peer, shared.bounds.body_bytes).await };
    let request = read.or(overdue(deadline, StatusCode::REQUEST_TIMEOUT)).await?;
    let respond = async {
        match AssertUnwindSafe(shared.app.respond(request)).catch_unwind().await {
            Ok(Ok(response)) => from_tide(response).await,
            Ok(Err(_)) => Err(StatusCode::INTERNAL_SERVER_ERROR),
            Err(_) => {
                shared.metrics.panic();
                log::error!("web: a request made the program panic; please report this with the message above");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
    respond.or(overdue(deadline, StatusCode::SERVICE_UNAVAILABLE)).await
}

async fn overdue<T>(deadline: Instant, status: StatusCode) -> Result<T, StatusCode> {
    Timer::at(deadline).await;
    Err(status)
}

async fn to_tide(
    request: Request<Incoming>,
    peer: Option<IpAddr>,
    body_bytes: usize,
) -> Result<http_types::Request, StatusCode> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > body_bytes as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let method: http_types::Method = parts.method.as_str().parse().map_err(|_| StatusCode::METHOD_NOT_ALLOWED)?;
    if method.as_ref() != parts.method.as_str() {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut url = http_types::Url::parse("http://localhost/").map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    url.set_path(parts.uri.path());
    url.set_query(parts.uri.query());
    if url.path() != parts.uri.path() {
        // Not in normal form: no page of ours is spelt so.
        return Err(StatusCode::NOT_FOUND);
    }
    let body = Limited::new(body, body_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }
    })?;
    let mut converted = http_types::Request::new(method, url);
    converted.set_body(body.to_bytes().to_vec());
    // Setting a body invents a content type; only the client's own counts.
    converted.remove_header(http_types::headers::CONTENT_TYPE);
    for (name, value) in &parts.headers {
        // Values that are not ASCII mean nothing to any of our routes.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes().to_vec()) {
            converted.append_header(name.as_str(), value);
        }
    }
    converted.ext_mut().insert(Peer(peer));
    Ok(converted)
}

async fn from_tide(mut response: http_types::Response) -> Result<Response<Full<Bytes>>, StatusCode> {
    let failed = StatusCode::INTERNAL_SERVER_ERROR;
    let body = response.take_body().into_bytes().await.map_err(|_| failed)?;
    let mut converted = Response::new(Full::new(Bytes::from(body)));
    *converted.status_mut() = StatusCode::from_u16(response.status().into()).map_err(|_| failed)?;
    for (name, values) in response.iter() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| failed)?;
        for value in values {
            let value = header::HeaderValue::from_str(value.as_str()).map_err(|_| failed)?;
            converted.headers_mut().append(&name, value);
        }
    }
    Ok(converted)
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or("error"));
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// A stream that first gives back what was read from it already.
struct Rewind<T> {
    bytes: Vec<u8>,
    at: usize,
    inner: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.at == this.bytes.len() {
            return Pin::new(&mut this.inner).poll_read(cx, out);
        }
        let count = out.len().min(this.bytes.len() - this.at);
        out[..count].copy_from_slice(&this.bytes[this.at..this.at + count]);
        this.at += count;
        Poll::Ready(Ok(count))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

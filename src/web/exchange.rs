//! The application's part: hyper parses the request, tide's router answers it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use http_types::Method;
use http_types::headers::HeaderValue;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use smol::Timer;
use smol_hyper::rt::FuturesIo;

use super::client::Client;
use super::connection::{Bounds, ConnectionContext};
use super::connection_limit::Admitted;
use super::error_response::{ErrorResponse, harden};
use super::head::HeadError;
use super::public_url;
use super::stream::{EofSignal, RequestStream};

/// Bytes read for each byte a body may have: one in a chunk of its own takes six.
const CHUNKED: usize = 8;

/// A request as far as it was read, and what is known besides.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// The head, which is checked, and what was read after it.
    pub(super) bytes: &'a [u8],
    /// Who sent it. Found in the extensions of the application's request.
    pub(super) client: Client,
    /// Told whose turn it is.
    pub(super) connection: &'a Admitted,
    /// Set once there is an answer: bytes of it may be on their way.
    pub(super) begun: &'a AtomicBool,
    /// When the answer must be out.
    pub(super) deadline: Instant,
}

/// Has the request answered.
///
/// # Errors
/// What to answer where hyper finds no request.
pub(super) async fn exchange<S, T>(
    shared: &ConnectionContext<S>,
    stream: &mut T,
    about: Request<'_>,
) -> Result<(), ErrorResponse>
where
    S: Clone + Send + Sync + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (open, eof) = EofSignal::new();
    let (found, eof) = (&AtomicBool::new(false), &eof);
    let stream = RequestStream {
        inner: stream,
        head: about.bytes,
        budget: CHUNKED * shared.bounds.body_bytes,
        open: Some(open),
        connection: about.connection,
        found,
    };
    let service = service_fn(|request| async move {
        found.store(true, Ordering::Relaxed);
        let answer = answer(shared, request, about, eof).await;
        about.begun.store(true, Ordering::Relaxed);
        about.connection.waiting();
        let mut response = answer.unwrap_or_else(|status| ErrorResponse::from(status).response());
        harden(response.headers_mut());
        Ok::<_, Infallible>(response)
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        // The head is bounded already; this only has to be enough for it.
        .max_buf_size(16 * 1024 + shared.bounds.head_bytes)
        .serve_connection(FuturesIo::new(stream), service)
        .await;
    let Err(error) = served else { return Ok(()) };
    log::debug!("web: {error}");
    match found.load(Ordering::Relaxed) {
        true => Ok(()),
        false if error.is_parse_too_large() => Err(HeadError::TooLarge.into()),
        false => Err(StatusCode::BAD_REQUEST.into()),
    }
}

/// The router's answer, or the status that says why there is none.
async fn answer<S>(
    shared: &ConnectionContext<S>,
    request: hyper::Request<Incoming>,
    about: Request<'_>,
    eof: &EofSignal,
) -> Result<Response<Full<Bytes>>, StatusCode>
where
    S: Clone + Send + Sync + 'static,
{
    let read = async { to_tide(request, about.client, &shared.bounds).await };
    // What is not complete when the client has sent its last never will be.
    let cut = async {
        eof.wait().await;
        Err(StatusCode::BAD_REQUEST)
    };
    let request = read.or(cut).or(overdue(about.deadline, StatusCode::REQUEST_TIMEOUT)).await?;
    if !eof.is_set() {
        about.connection.working();
    }
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
    respond.or(overdue(about.deadline, StatusCode::SERVICE_UNAVAILABLE)).await
}

async fn overdue<T>(deadline: Instant, status: StatusCode) -> Result<T, StatusCode> {
    Timer::at(deadline).await;
    Err(status)
}

async fn to_tide(
    request: hyper::Request<Incoming>,
    client: Client,
    bounds: &Bounds,
) -> Result<http_types::Request, StatusCode> {
    let (parts, body) = request.into_parts();
    // A page is named by a path or a whole URL (RFC 9112 section 3.2). Anything else hyper may take for the root.
    if parts.uri.scheme().is_none() && parts.uri.authority().is_some() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bounds.body_bytes as u64) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let method = parts.method.as_str().parse().ok().filter(|method: &Method| method.as_ref() == parts.method.as_str());
    // A method the router has no name for is answered as one that is allowed nowhere.
    let method = method.unwrap_or(Method::Trace);
    let mut url = http_types::Url::parse("http://localhost/").map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let path = public_url::below(&bounds.prefix, parts.uri.path());
    url.set_path(path);
    url.set_query(parts.uri.query());
    if url.path() != path {
        // Not in normal form: no page of ours is spelt so.
        return Err(StatusCode::NOT_FOUND);
    }
    let body = Limited::new(body, bounds.body_bytes).collect().await.map_err(|error| {
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
    converted.ext_mut().insert(client);
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

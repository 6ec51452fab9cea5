//! Whole answers: one request on a connection of its own, and the answer's body up to a limit. For what operators ask
//! for; pushes read no bodies.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, FutureExt as _, future};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::http::{request, response};
use smol::net::unix::UnixStream;
use smol_hyper::rt::FuturesIo;

use crate::runtime::timeout;

/// An answer's head and body.
pub(super) struct Whole {
    pub(super) head: response::Parts,
    pub(super) body: Vec<u8>,
}

/// Sends `request` and reads the answer; a body longer than `most` bytes is an error.
pub(super) async fn fetch<S>(stream: S, request: hyper::Request<Empty<Bytes>>, most: usize) -> Result<Whole, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().handshake(FuturesIo::new(stream)).await.map_err(|error| why(&error))?;
    let exchange = async {
        let answer: hyper::Response<hyper::body::Incoming> =
            sender.send_request(request).await.map_err(|error| why(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| why(&*error))?;
        Ok(Whole { head, body: body.to_bytes().to_vec() })
    };
    // The connection works while it is polled. When it ends, the answer knows first.
    let drive = async {
        let _ = connection.await;
        future::pending().await
    };
    exchange.or(drive).await
}

/// hyper says what happened, and only its cause says why.
fn why(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The answer of a server on this machine.
#[derive(Debug, Clone)]
pub struct SocketAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Asks the server at a Unix socket for `target` (`/status`), within `deadline`; the answer has at most `most` bytes.
///
/// # Errors
/// When nobody listens there, what does is no such server, or the socket belongs to neither this user nor root. Root asks
/// the sockets of all users.
pub async fn ask_socket(path: &Path, target: &str, deadline: Duration, most: usize) -> io::Result<SocketAnswer> {
    exchange(path, hyper::Request::get(target), deadline, most).await
}

/// The same with POST, for what the server is to do (`/ping/UUID`).
///
/// # Errors
/// As [`ask_socket`].
pub async fn tell_socket(path: &Path, target: &str, deadline: Duration, most: usize) -> io::Result<SocketAnswer> {
    exchange(path, hyper::Request::post(target), deadline, most).await
}

async fn exchange(path: &Path, request: request::Builder, deadline: Duration, most: usize) -> io::Result<SocketAnswer> {
    let ask = async {
        let (owner, us) = (fs::metadata(path)?.uid(), rustix::process::geteuid().as_raw());
        let trusted = owner == us || owner == 0 || us == 0;
        if !trusted {
            let problem = format!("the socket belongs to user {owner}, and this is user {us}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        let stream = UnixStream::connect(path).await?;
        let request = request.header(HOST, "localhost").header(CONNECTION, "close");
        let request = request.body(Empty::new()).map_err(io::Error::other)?;
        let whole = fetch(stream, request, most).await.map_err(io::Error::other)?;
        let body = String::from_utf8(whole.body).map_err(io::Error::other)?;
        Ok(SocketAnswer { status: whole.head.status.as_u16(), body })
    };
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline:?}")));
    timeout(deadline, ask).await.unwrap_or_else(late)
}

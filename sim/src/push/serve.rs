//! The task of one connection to the push server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};
use futures_rustls::TlsAcceptor;
use smol::Timer;
use smol::net::TcpStream;

use super::answer::{Answer, Behaviour};
use super::{Progress, PushRequest, Shared, Step};
use crate::host;
use crate::http::{Head, fill, read_head, reason};

/// Largest request body we read, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// A TLS handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// What becomes of the connection after an answer.
enum After {
    KeepAlive,
    Close,
    Cut,
    Reset,
}

/// Counts something as long as it lives.
struct Count<'a> {
    shared: &'a Shared,
    end: fn(&mut super::PushState),
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.shared.update(self.end);
    }
}

/// A request that is being answered, as long as it lives.
struct Exchange<'a> {
    shared: &'a Shared,
    request: u64,
}

impl Exchange<'_> {
    /// The last bytes of a complete head go out now.
    fn answered(&self, status: u16) {
        self.shared.update(|s| note(s, self.request, Step::Answered(status)));
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.shared.update(|s| {
            s.in_flight -= 1;
            note(s, self.request, Step::Ended);
        });
    }
}

fn note(state: &mut super::PushState, request: u64, step: Step) {
    state.progress.push(Progress { request, at: Instant::now(), step });
}

/// Serves one TCP connection.
pub(super) async fn connection(shared: Arc<Shared>, acceptor: Option<TlsAcceptor>, mut tcp: TcpStream) {
    let cut = shared.cut.listen();
    let (number, silent) = shared.update(|s| {
        s.connections += 1;
        s.open += 1;
        (s.connections - 1, s.tls_silent)
    });
    let count = Count { shared: &shared, end: |s| s.open -= 1 };
    let served = async {
        if silent {
            host::swallow(&mut tcp).await;
            return After::Close;
        }
        let Some(acceptor) = acceptor else {
            return requests(&shared, &mut tcp.clone(), number, None).await;
        };
        let handshake = acceptor.accept(tcp.clone()).or(async {
            Timer::after(HANDSHAKE_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        });
        let Ok(mut tls) = handshake.await else {
            shared.update(|s| s.tls_failures += 1);
            return After::Reset;
        };
        let sni = tls.get_ref().1.server_name().map(str::to_owned);
        let after = requests(&shared, &mut tls, number, sni).await;
        if matches!(after, After::Close) {
            let _ = tls.close().await;
        }
        after
    };
    let after = served
        .or(async {
            cut.await;
            After::Cut
        })
        .await;
    drop(count);
    match after {
        After::Cut => host::cut(tcp).await,
        After::Reset => host::reset(&tcp),
        After::Close | After::KeepAlive => host::linger(tcp).await,
    }
}

async fn requests<S>(shared: &Shared, stream: &mut S, connection: u64, sni: Option<String>) -> After
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::new();
    loop {
        let Ok(Some(head)) = read_head(stream, &mut buffer).await else { return After::Close };
        let Ok(body) = read_body(stream, &mut buffer, &head).await else { return After::Close };
        let close = head.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let (request, answer) = shared.update(|s| {
            let answer = s.answer(&head.target, head.header("user-agent").unwrap_or_default());
            let request = s.received;
            s.received += 1;
            let path = head.target.split('?').next().unwrap_or_default().to_owned();
            note(s, request, Step::Received { path, body: body.clone() });
            let Head { method, target, headers } = head;
            let sni = sni.clone();
            s.requests.push(PushRequest { method, target, headers, body, at: Instant::now(), connection, sni });
            s.in_flight += 1;
            s.max_in_flight = s.max_in_flight.max(s.in_flight);
            (request, answer)
        });
        let exchange = Exchange { shared, request };
        let after = write_answer(stream, &mut buffer, &answer, &exchange).await;
        drop(exchange);
        match after {
            Ok(After::KeepAlive) if close => return After::Close,
            Ok(After::KeepAlive) => {}
            Ok(after) => return after,
            Err(_) => return After::Reset,
        }
    }
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, head: &Head) -> io::Result<Vec<u8>> {
    let chunked = head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    if !chunked {
        let length = head.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        return take(stream, buffer, length).await;
    }
    let mut body = Vec::new();
    loop {
        let size = loop {
            let parsed = httparse::parse_chunk_size(buffer);
            match parsed.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "bad chunk"))? {
                httparse::Status::Complete((n, size)) => {
                    buffer.drain(..n);
                    break size as usize;
                }
                httparse::Status::Partial if fill(stream, buffer).await? => {}
                httparse::Status::Partial => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        let chunk = take(stream, buffer, size + 2).await?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(body);
        }
        if body.len() > MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

async fn take(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, n: usize) -> io::Result<Vec<u8>> {
    if n > MAX_BODY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "request body too large"));
    }
    while buffer.len() < n {
        if !fill(stream, buffer).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..n).collect())
}

/// Waits, but not longer than the client: an error if it goes away.
async fn pause<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>, time: Duration) -> io::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let timer = async {
        Timer::after(time).await;
        Ok(())
    };
    let gone = async {
        while fill(stream, buffer).await? {}
        Err(io::ErrorKind::BrokenPipe.into())
    };
    timer.or(gone).await
}

async fn write_answer<S>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    answer: &Answer,
    exchange: &Exchange<'_>,
) -> io::Result<After>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pause(stream, buffer, answer.delay).await?;
    let head = render_head(answer);
    let body = &answer.body;
    match answer.behaviour {
        Behaviour::Hang
        | Behaviour::DripHead(..)
        | Behaviour::CutBeforeAnswer
        | Behaviour::ResetBeforeAnswer
        | Behaviour::CutMidHead
        | Behaviour::EndlessHeader
        | Behaviour::Garbage => {}
        _ => exchange.answered(answer.status),
    }
    match answer.behaviour {
        Behaviour::Normal | Behaviour::CloseAfter => {
            write(stream, &[head.as_slice(), body].concat()).await?;
            if answer.behaviour == Behaviour::CloseAfter {
                return Ok(After::Close);
            }
        }
        Behaviour::Hang => host::swallow(stream).await,
        Behaviour::HangAfterHead => {
            write(stream, &head).await?;
            host::swallow(stream).await;
        }
        Behaviour::DripHead(size, every) => {
            let (first, last) = head.split_at(head.len() - size.clamp(1, head.len()));
            drip(stream, buffer, first, size, every).await?;
            exchange.answered(answer.status);
            write(stream, last).await?;
            write(stream, body).await?;
        }
        Behaviour::DripBody(size, every) => {
            write(stream, &head).await?;
            drip(stream, buffer, body, size, every).await?;
        }
        Behaviour::CutBeforeAnswer => return Ok(After::Cut),
        Behaviour::ResetBeforeAnswer => return Ok(After::Reset),
        Behaviour::CutMidHead => {
            write(stream, &head[..head.len() / 2]).await?;
            return Ok(After::Cut);
        }
        Behaviour::CutMidBody => {
            write(stream, &head).await?;
            write(stream, &body[..body.len() / 2]).await?;
            return Ok(After::Cut);
        }
        Behaviour::EndlessBody => {
            write(stream, &head).await?;
            endless(stream, b"").await?;
        }
        Behaviour::EndlessHeader => {
            // Up to the blank line, and then a field that never ends.
            write(stream, &head[..head.len() - 2]).await?;
            endless(stream, b"X-Endless: ").await?;
        }
        Behaviour::Garbage => {
            write(stream, b"\x16\x03\x01\x00 this is not HTTP\r\n\r\n\0\xff").await?;
            return Ok(After::Close);
        }
        Behaviour::TlsCloseWithoutNotify => {
            write(stream, &[head.as_slice(), body].concat()).await?;
            return Ok(After::Cut);
        }
    }
    Ok(match answer.behaviour {
        Behaviour::Hang | Behaviour::HangAfterHead => After::Reset,
        _ => After::KeepAlive,
    })
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn drip<S>(stream: &mut S, buffer: &mut Vec<u8>, bytes: &[u8], size: usize, every: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for chunk in bytes.chunks(size.max(1)) {
        write(stream, chunk).await?;
        pause(stream, buffer, every).await?;
    }
    Ok(())
}

async fn endless(stream: &mut (impl AsyncWrite + Unpin), start: &[u8]) -> io::Result<()> {
    write(stream, start).await?;
    loop {
        write(stream, &[b'a'; 8192]).await?;
    }
}

fn render_head(answer: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_body = !matches!(answer.status, 100..=199 | 204 | 304);
    match answer.behaviour {
        // The end of the connection ends the body.
        Behaviour::EndlessBody | Behaviour::TlsCloseWithoutNotify => head.push_str("Connection: close\r\n"),
        Behaviour::HangAfterHead => head.push_str(&format!("Content-Length: {}\r\n", answer.body.len().max(16))),
        _ if has_body => head.push_str(&format!("Content-Length: {}\r\n", answer.body.len())),
        _ => {}
    }
    if answer.behaviour == Behaviour::CloseAfter {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

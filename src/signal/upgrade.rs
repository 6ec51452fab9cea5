//! The upgrade of a stream to a WebSocket (RFC 6455 section 4.1), of which nothing stays in memory.
//!
//! The WebSocket layer keeps the buffer it read the answer with, 4 KiB for each account for as long as the connection
//! lives, because frames may stand in it already. So it gets to see the head of the answer alone; then the WebSocket is
//! made anew around the same stream, with a buffer of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::client::{Request, Response};
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::tungstenite::{self};
use futures_lite::{AsyncRead, AsyncWrite};

/// Asks for the upgrade and waits for the answer. Frames that come with it are not lost.
///
/// # Errors
/// As the WebSocket layer's own handshake.
pub(super) async fn upgrade<S>(
    request: Request,
    stream: S,
    config: WebSocketConfig,
) -> Result<(WebSocketStream<S>, Response), tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (socket, answer) =
        async_tungstenite::client_async_with_config(request, OnlyHead::new(stream), Some(config)).await?;
    let OnlyHead { inner, rest, .. } = socket.into_inner();
    Ok((WebSocketStream::from_partially_read(inner, rest, Role::Client, Some(config)).await, answer))
}

/// A stream that ends, for its reader, with the head of the answer. Writing is not changed.
#[derive(Debug)]
struct OnlyHead<T> {
    inner: T,
    /// What came with the head and is no part of it.
    rest: Vec<u8>,
    /// Where in it reading stands.
    line: Line,
}

/// Where in a line the last byte of the head stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing but empty lines was read, which may come before an answer (RFC 9112 section 2.2).
    Start,
    /// Within.
    Within,
    /// Nothing of the next line was read yet, or only its carriage return.
    Empty,
    /// The empty line that ends the head was read.
    Ended,
}

impl Line {
    /// Lines may end without a carriage return (RFC 9112 section 2.2).
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'\r' | b'\n') => Self::Start,
            (Self::Ended, _) | (Self::Empty, b'\n') => Self::Ended,
            (Self::Within, b'\n') | (Self::Empty, b'\r') => Self::Empty,
            _ => Self::Within,
        }
    }
}

impl<T> OnlyHead<T> {
    /// Nothing of the answer may have been read yet.
    fn new(inner: T) -> Self {
        Self { inner, rest: Vec::new(), line: Line::Start }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for OnlyHead<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.line == Line::Ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(Pin::new(&mut this.inner).poll_read(cx, out))?;
        for (n, byte) in out[..read].iter().enumerate() {
            this.line = this.line.after(*byte);
            if this.line == Line::Ended {
                this.rest = out[n + 1..read].to_vec();
                return Poll::Ready(Ok(n + 1));
            }
        }
        Poll::Ready(Ok(read))
    }
}

crate::pass_writes::pass_writes!([] OnlyHead<T>, T);

#[cfg(test)]
mod tests {
    use async_tungstenite::tungstenite::Message;
    use async_tungstenite::tungstenite::client::IntoClientRequest as _;
    use async_tungstenite::tungstenite::handshake::derive_accept_key;
    use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, future, io};
    use smol::net::unix::UnixStream;

    use super::*;

    /// The head as its reader sees it, and the rest, when at most `most` bytes come at a time.
    fn read(answer: &[u8], most: usize) -> (Vec<u8>, Vec<u8>) {
        future::block_on(async {
            let mut stream = OnlyHead::new(io::Cursor::new(answer.to_vec()));
            let mut head = Vec::new();
            let mut buffer = vec![0; most];
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    n => head.extend_from_slice(&buffer[..n]),
                }
            }
            let OnlyHead { mut inner, mut rest, .. } = stream;
            inner.read_to_end(&mut rest).await.unwrap();
            (head, rest)
        })
    }

    #[test]
    fn the_head_and_what_follows_are_told_apart_wherever_reads_end() {
        for head in
            ["HTTP/1.1 101 Switching\r\nA: b\r\n\r\n", "HTTP/1.1 101\n\n", "\r\n\n\r\nHTTP/1.1 200 OK\r\nA: b\n\r\n"]
        {
            for rest in [&b""[..], b"\x82\x05hello", b"\r\n\r\nmore\n\n", &[0x82; 5000]] {
                let answer = [head.as_bytes(), rest].concat();
                for most in [1, 2, 3, 7, answer.len()] {
                    let (seen, left) = read(&answer, most);
                    assert_eq!((String::from_utf8(seen).unwrap(), left), (head.to_owned(), rest.to_vec()), "{most}");
                }
            }
        }
    }

    #[test]
    fn an_answer_without_an_end_is_passed_on_whole() {
        assert_eq!(read(b"HTTP/1.1 101\r\nA: b\r\n", 4), (b"HTTP/1.1 101\r\nA: b\r\n".to_vec(), Vec::new()));
    }

    #[test]
    fn a_frame_that_comes_with_the_answer_is_not_lost() {
        let late = async {
            smol::Timer::after(std::time::Duration::from_secs(20)).await;
            panic!("it was lost");
        };
        let frames = async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let request = "ws://localhost/".into_client_request().unwrap();
            let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
            // In one write, before anybody asked.
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {key}\r\n\r\n"
            );
            theirs.write_all(&[head.as_bytes(), b"\x82\x05hello\x82"].concat()).await.unwrap();
            let (mut socket, answer) = upgrade(request, ours, WebSocketConfig::default()).await.unwrap();
            assert_eq!(answer.status(), 101);
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Binary("hello".into()));
            // The rest of a frame whose first byte came with the answer.
            theirs.write_all(b"\x03you").await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::Binary("you".into()));
        };
        smol::block_on(frames.or(late));
    }
}

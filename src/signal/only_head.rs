//! A stream that ends, for its reader, with the head of the HTTP answer.
//!
//! The WebSocket layer keeps the buffer it read the answer to the upgrade with, 4 KiB for each account for as long as the
//! connection lives, because frames may stand in it already. With nothing but the head in it, the socket can be made
//! anew around the same connection, with a buffer of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};

/// See the module. Writing is not changed.
#[derive(Debug)]
pub(super) struct OnlyHead<T> {
    inner: T,
    /// What came with the head and is no part of it.
    rest: Vec<u8>,
    /// How much of the mark of the head's end was seen last.
    line: Line,
}

/// Where in a line the last byte of the head stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
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
            (Self::Ended, _) | (Self::Empty, b'\n') => Self::Ended,
            (Self::Within, b'\n') | (Self::Empty, b'\r') => Self::Empty,
            _ => Self::Within,
        }
    }
}

impl<T> OnlyHead<T> {
    /// Nothing of the answer may have been read yet.
    pub(super) fn new(inner: T) -> Self {
        Self { inner, rest: Vec::new(), line: Line::Within }
    }

    /// The stream, and what of it was read beyond the head.
    pub(super) fn into_parts(self) -> (T, Vec<u8>) {
        (self.inner, self.rest)
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

impl<T: AsyncWrite + Unpin> AsyncWrite for OnlyHead<T> {
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

#[cfg(test)]
mod tests {
    use futures_lite::{AsyncReadExt, future, io};

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
            let (mut inner, mut rest) = stream.into_parts();
            inner.read_to_end(&mut rest).await.unwrap();
            (head, rest)
        })
    }

    #[test]
    fn the_head_and_what_follows_are_told_apart_wherever_reads_end() {
        for head in ["HTTP/1.1 101 Switching\r\nA: b\r\n\r\n", "HTTP/1.1 101\n\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n"] {
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
}

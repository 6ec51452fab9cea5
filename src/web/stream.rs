//! What hyper reads and writes of one connection.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use smol::channel::{Receiver, Sender, bounded};

use super::connection_limit::Admitted;

/// A stream that differs from the client's in four ways:
/// * it begins with the head, which was read already;
/// * only so many bytes are read of it: hyper would read zeros or spaces in the size of a chunk for ever;
/// * it does not end for its reader, which would drop the request in its hands. A client may close its sending side once
///   its request is out, and wait for the answer. It cannot be told apart from one that is gone, so it gives way to
///   newcomers like those who keep us waiting;
/// * what hyper writes before it found a request is dropped: its own refusals have no words and no security headers.
pub(super) struct RequestStream<'a, T> {
    pub(super) inner: &'a mut T,
    /// What is left of the bytes that were read already.
    pub(super) head: &'a [u8],
    /// The most bytes to read after those.
    pub(super) budget: usize,
    /// Dropped when the client has closed its sending side.
    pub(super) open: Option<Sender<()>>,
    pub(super) connection: &'a Admitted,
    /// Whether hyper has found a request.
    pub(super) found: &'a AtomicBool,
}

/// Whether and when the client has closed its sending side.
pub(super) struct EofSignal(Receiver<()>);

impl EofSignal {
    /// The signal, and what to drop for it.
    pub(super) fn new() -> (Sender<()>, Self) {
        let (open, eof) = bounded(1);
        (open, Self(eof))
    }

    /// Whether it has.
    pub(super) fn is_set(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when it has. All bytes before the end have reached the reader by then.
    pub(super) async fn wait(&self) {
        let _ = self.0.recv().await;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RequestStream<'_, T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.head.is_empty() {
            return Poll::Ready(self.head.read(out));
        }
        if self.open.is_none() {
            return Poll::Pending;
        }
        let room = out.len().min(self.budget);
        if room == 0 {
            return Poll::Ready(Err(io::Error::other("more bytes than any request of ours needs")));
        }
        let read = ready!(Pin::new(&mut *self.inner).poll_read(cx, &mut out[..room]))?;
        self.budget -= read;
        if read == 0 {
            self.open = None;
            self.connection.waiting();
            return Poll::Pending;
        }
        Poll::Ready(Ok(read))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for RequestStream<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.found.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut *self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.found.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.inner).poll_close(cx)
    }
}

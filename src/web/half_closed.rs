//! A client may close its sending side once its request is out, and wait for the answer. It cannot be told apart from
//! one that is gone. So its request is answered, but it gives way to a newcomer like those who keep us waiting.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::AsyncRead;
use smol::channel::{Receiver, Sender, bounded};

use super::seats::Seat;

/// A stream that does not end for its reader, hyper, which would drop the request in its hands. It stays silent instead.
#[derive(Debug)]
pub(super) struct Endless<'a, T> {
    inner: T,
    seat: &'a Seat,
    /// Dropped at the end.
    open: Option<Sender<()>>,
}

/// Whether and when the client has closed its sending side.
#[derive(Debug, Clone)]
pub(super) struct End(Receiver<()>);

/// `stream`, without its end, and the end.
pub(super) fn endless<T>(stream: T, seat: &Seat) -> (Endless<'_, T>, End) {
    let (open, end) = bounded(1);
    (Endless { inner: stream, seat, open: Some(open) }, End(end))
}

impl End {
    /// Whether it has come.
    pub(super) fn is_here(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when it has come. All bytes before it have reached the reader by then.
    pub(super) async fn comes(&self) {
        let _ = self.0.recv().await;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Endless<'_, T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.open.is_none() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.inner).poll_read(cx, out);
        if matches!(read, Poll::Ready(Ok(0))) && !out.is_empty() {
            self.open = None;
            self.seat.waiting();
            return Poll::Pending;
        }
        read
    }
}

crate::pass_writes::pass_writes!(['a,] Endless<'a, T>, T);

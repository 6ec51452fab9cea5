//! A stream that lets others have their turn.
//!
//! A peer that sends as fast as we read would never let a reader wait, and what never waits keeps its thread: other
//! accounts, timers and deadlines of the same thread would stand still. The WebSocket layer even swallows fragments and
//! comes back only with whole messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::AsyncRead;

/// Reads in a row before a pause. One is some KiB at most, as the reader asks for no more.
const TURN: u32 = 4;

/// A stream whose reader waits a moment now and then, even when there is something to read.
#[derive(Debug)]
pub struct Paced<T> {
    inner: T,
    left: u32,
}

impl<T> Paced<T> {
    /// The same stream, paced.
    pub fn new(inner: T) -> Self {
        Self { inner, left: TURN }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            self.left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.inner).poll_read(cx, out);
        self.left = if read.is_ready() { self.left - 1 } else { TURN };
        read
    }
}

crate::pass_writes::pass_writes!([] Paced<T>, T);

#[cfg(test)]
mod tests {
    use futures_lite::{AsyncReadExt, FutureExt, future, io};

    use super::*;

    #[test]
    fn a_stream_that_always_has_something_lets_others_run() {
        let mut endless = Paced::new(io::repeat(1));
        let reading = async {
            for _ in 0..100_000 {
                endless.read(&mut [0; 16]).await.unwrap();
            }
            panic!("others never run");
        };
        let others = async {
            for _ in 0..100 {
                future::yield_now().await;
            }
        };
        // `or` looks at the reader first: without a pause it would never look at the others.
        smol::block_on(reading.or(others));
    }
}

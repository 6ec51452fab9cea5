//! A stream of which only so many bytes are read.
//!
//! Parsers bound what they keep, not always what they read: interim answers, zeros before the size of a chunk and the like
//! may come for ever and are thrown away.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_lite::AsyncRead;

/// A stream whose reader gets an error once it has had its bytes.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    inner: T,
    budget: Budget,
}

/// The bytes that may still be read.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// So many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// So many from now on, for the next message on the same stream.
    pub(crate) fn refill(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

impl<T> Bounded<T> {
    /// The same stream, of which no more than the budget can be read.
    pub(crate) fn new(inner: T, budget: Budget) -> Self {
        Self { inner, budget }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let left = self.budget.0.load(Ordering::Relaxed);
        if left == 0 && !out.is_empty() {
            return Poll::Ready(Err(io::Error::other("more bytes than any message of ours needs")));
        }
        let room = left.min(out.len());
        let read = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut out[..room]))?;
        // Not a plain write, which could undo a refill of this moment.
        self.budget.0.fetch_sub(read, Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }
}

crate::pass_writes::pass_writes!([] Bounded<T>, T);

#[cfg(test)]
mod tests {
    use futures_lite::AsyncReadExt;

    use super::*;

    #[test]
    fn so_many_bytes_are_read_and_then_none() {
        let mut all = Vec::new();
        let mut stream = Bounded::new(futures_lite::io::repeat(1), Budget::of(10_000));
        assert!(smol::block_on(stream.read_to_end(&mut all)).is_err());
        assert_eq!(all.len(), 10_000);
        // The end of a stream that is short enough is its end.
        let mut stream = Bounded::new(&[1, 2, 3][..], Budget::of(4));
        all.clear();
        assert_eq!(smol::block_on(stream.read_to_end(&mut all)).ok(), Some(3));
    }
}

//! A connection in memory: reads give prepared bytes in pieces and then end, writes are kept.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

/// Times a reader is told to come back before the end of the stream. hyper takes the end for a client that is gone, and
/// then drops the answer; a request in memory is answered after a few turns.
const PATIENCE: u32 = 100;

/// One end of it.
#[derive(Debug)]
pub struct Pipe {
    incoming: Vec<u8>,
    at: usize,
    /// Bytes per read, used in turn; 0 stands for all that fit.
    pieces: Vec<usize>,
    turn: usize,
    patience: u32,
    /// Whether the other end waits for our first words.
    polite: bool,
    reader: Option<Waker>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Pipe {
    /// A connection on which `incoming` arrives, and what is written to it.
    pub fn new(incoming: &[u8], pieces: &[usize]) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        let pipe = Self {
            incoming: incoming.to_vec(),
            at: 0,
            pieces: pieces.to_vec(),
            turn: 0,
            patience: PATIENCE,
            polite: false,
            reader: None,
            written: Arc::clone(&written),
        };
        (pipe, written)
    }

    /// The same, but `incoming` is an answer: it arrives once something was written.
    pub fn answering(incoming: &[u8], pieces: &[usize]) -> Self {
        Self { polite: true, ..Self::new(incoming, pieces).0 }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.polite {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if this.at == this.incoming.len() && this.patience > 0 {
            this.patience -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = match this.pieces.get(this.turn % this.pieces.len().max(1)) {
            None | Some(0) => usize::MAX,
            Some(size) => *size,
        };
        this.turn += 1;
        let count = piece.min(out.len()).min(this.incoming.len() - this.at);
        out[..count].copy_from_slice(&this.incoming[this.at..this.at + count]);
        this.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.polite = false;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        self.written.lock().expect("no other user panics").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

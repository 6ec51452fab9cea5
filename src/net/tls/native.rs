//! TLS by the operating system's library, through native-tls.
//!
//! async-native-tls would make a new context, and with it parse the system's certificates twice, for every connection:
//! 50 ms of the executor's time each. This adapter shares one `native_tls::TlsConnector` instead.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector};

use super::PemError;

/// See [`super::Connector`].
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    pub(super) fn only(pems: &[&[u8]]) -> Result<Self, PemError> {
        Self::build(pems, true)
    }

    pub(super) fn system_and(extra: Option<&[u8]>) -> Result<Self, PemError> {
        Self::build(extra.as_slice(), false)
    }

    fn build(pems: &[&[u8]], disable_built_in_roots: bool) -> Result<Self, PemError> {
        let broken = |error: native_tls::Error| PemError::Broken(error.to_string());
        let mut builder = TlsConnector::builder();
        // No ALPN: what answers must speak HTTP/1.1, and h2 is never chosen unasked.
        builder.min_protocol_version(Some(Protocol::Tlsv12)).disable_built_in_roots(disable_built_in_roots);
        for pem in pems {
            let certificates = Certificate::stack_from_pem(pem).map_err(broken)?;
            if certificates.is_empty() {
                return Err(PemError::Empty);
            }
            for certificate in certificates {
                builder.add_root_certificate(certificate);
            }
        }
        builder.build().map(Self).map_err(broken)
    }

    pub(super) async fn connect<S>(&self, name: String, stream: S) -> Result<Stream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = Some(stream);
        let mut halfway = None;
        poll_fn(|context| {
            let result = match (start.take(), halfway.take()) {
                (Some(stream), _) => self.0.connect(&name, Bridge { stream, waker: Some(context.waker().clone()) }),
                (None, Some(state)) => {
                    let mut state: native_tls::MidHandshakeTlsStream<Bridge<S>> = state;
                    state.get_mut().waker = Some(context.waker().clone());
                    state.handshake()
                }
                (None, None) => return Poll::Pending,
            };
            match result {
                Ok(stream) => Poll::Ready(Ok(Stream(stream))),
                Err(HandshakeError::Failure(error)) => Poll::Ready(Err(error.to_string())),
                Err(HandshakeError::WouldBlock(state)) => {
                    halfway = Some(state);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Shows an asynchronous stream to native-tls as one that would block. The waker of the current poll is kept beside it.
struct Bridge<S> {
    stream: S,
    waker: Option<Waker>,
}

impl<S: Unpin> Bridge<S> {
    fn poll<T>(&mut self, io: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
        let waker = self.waker.as_ref().unwrap_or(Waker::noop());
        match io(Pin::new(&mut self.stream), &mut Context::from_waker(waker)) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Bridge<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.poll(|stream, context| stream.poll_read(context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> Write for Bridge<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.poll(|stream, context| stream.poll_write(context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(|stream, context| stream.poll_flush(context))
    }
}

/// A TLS connection over `S`.
pub struct Stream<S>(native_tls::TlsStream<Bridge<S>>);

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn poll<T>(
        &mut self,
        context: &Context<'_>,
        io: impl FnOnce(&mut native_tls::TlsStream<Bridge<S>>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.0.get_mut().waker = Some(context.waker().clone());
        match io(&mut self.0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(context, |tls| tls.read(buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(context, |tls| tls.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, Write::flush)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll(context, native_tls::TlsStream::shutdown))?;
        Pin::new(&mut self.0.get_mut().stream).poll_close(context)
    }
}

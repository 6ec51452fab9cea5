//! Streams that change only what is read.

/// Implements [`futures_lite::AsyncWrite`] for a stream around another one, its field `inner`, which gets what is written as
/// it is.
macro_rules! pass_writes {
    ([$($generics:tt)*] $stream:ty, $inner:ident) => {
        impl<$($generics)* $inner: futures_lite::AsyncWrite + Unpin> futures_lite::AsyncWrite for $stream {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.inner).poll_write(cx, bytes)
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.inner).poll_flush(cx)
            }

            fn poll_close(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.inner).poll_close(cx)
            }
        }
    };
}

pub(crate) use pass_writes;

//! TLS behind one seam: [`Connector`] and [`Stream`].

/// A TLS connection.
pub type Stream = futures_rustls::client::TlsStream<smol::net::TcpStream>;

//! TLS by the operating system's library, through async-native-tls.
//!
//! Its connector builds a new context for every connection and parses the system's certificates each time: about 50 ms
//! of processor time per connection, on the executor. Bearable for a handful of accounts, which is who this back end is
//! for; everybody else has rustls.

use std::sync::Arc;

use async_native_tls::{Certificate, Protocol, TlsConnector};
use futures_lite::{AsyncRead, AsyncWrite};

use super::{Fault, PemError};

/// A TLS connection over `S`.
pub(super) type Stream<S> = async_native_tls::TlsStream<S>;

/// See [`super::Connector`].
#[derive(Clone)]
pub(super) struct Connector(Arc<TlsConnector>);

impl Connector {
    pub(super) fn only(pems: &[&[u8]]) -> Result<Self, PemError> {
        Self::new(pems, true)
    }

    pub(super) fn system_and(extra: Option<&[u8]>) -> Result<Self, PemError> {
        Self::new(extra.as_slice(), false)
    }

    fn new(pems: &[&[u8]], disable_built_in_roots: bool) -> Result<Self, PemError> {
        let broken = |error: async_native_tls::Error| PemError::Broken(error.to_string());
        // async-native-tls has no switch for the built-in roots; the builder under it has.
        let mut builder = native_tls::TlsConnector::builder();
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
        // Built once here, so that what cannot work is an error at start.
        builder.build().map_err(broken)?;
        Ok(Self(Arc::new(TlsConnector::from(builder))))
    }

    pub(super) async fn connect<S>(&self, name: String, stream: S) -> Result<Stream<S>, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.connect(name, stream).await.map_err(|error| fault(&error.to_string()))
    }
}

/// By the words of OpenSSL's `X509_verify_cert_error_string`; the libraries of other systems speak for themselves. A
/// self-signed certificate that is among the roots is trusted for its own names by OpenSSL itself.
fn fault(text: &str) -> Fault {
    let says = |words: &str| text.contains(words);
    match () {
        () if says("certificate has expired") => Fault::Expired,
        () if says("certificate is not yet valid") => Fault::NotYetValid,
        () if says("ostname mismatch") || says("IP address mismatch") => Fault::OtherName(Vec::new()),
        () if says("self-signed certificate)") || says("self signed certificate)") => Fault::SelfSigned,
        () if says("issuer certificate") || says("certificate in certificate chain") => Fault::UnknownIssuer,
        () => Fault::Other(text.to_owned()),
    }
}

//! TLS by rustls and ring.

use std::io;
use std::sync::Arc;

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ClientConfig, RootCertStore};

use super::PemError;

/// A TLS connection over `S`.
pub(super) type Stream<S> = futures_rustls::client::TlsStream<S>;

/// See [`super::Connector`].
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    pub(super) fn only(pems: &[&[u8]]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        for pem in pems {
            add(&mut roots, pem)?;
        }
        Ok(Self::trusting(roots))
    }

    pub(super) fn system_and(extra: Option<&[u8]>) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // Bundles hold a few certificates that rustls does not take; the others count.
        roots.add_parsable_certificates(found.certs);
        if let Some(pem) = extra {
            add(&mut roots, pem)?;
        } else if roots.is_empty() {
            let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            log::warn!(
                "this machine has no root certificates{why}: no push server can be reached over https; install \
                 ca-certificates or set push_ca_file"
            );
        }
        Ok(Self::trusting(roots))
    }

    fn trusting(roots: RootCertStore) -> Self {
        // The provider is named because a default one is state of the process.
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // No ALPN: what answers must speak HTTP/1.1, and h2 is never chosen unasked.
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(super) async fn connect<S>(&self, name: String, stream: S) -> Result<Stream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name).map_err(|_| "the name cannot be in a certificate".to_owned())?;
        self.0.connect(name, stream).await.map_err(|error: io::Error| error.to_string())
    }
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), PemError> {
    let broken = |error: &dyn std::fmt::Display| PemError::Broken(error.to_string());
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| broken(&error))?;
        roots.add(certificate).map_err(|error| broken(&error))?;
    }
    if roots.len() == before { Err(PemError::Empty) } else { Ok(()) }
}

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

#[cfg(test)]
mod tests {
    use futures_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

    use super::super::SIGNAL_ROOTS;
    use super::*;

    /// SHA-256, borrowed from a cipher suite rather than from one more crate.
    fn fingerprint(der: &[u8]) -> String {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let digest = suite.common.hash_provider.hash(der);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// The end of a certificate's validity: the second of its two UTCTimes (RFC 5280 section 4.1.2.5), YYMMDD.
    fn valid_until(der: &[u8]) -> String {
        let is_time = |w: &&[u8]| w[..2] == [0x17, 13] && w[14] == b'Z' && w[2..14].iter().all(u8::is_ascii_digit);
        let time = der.windows(15).filter(is_time).nth(1).unwrap();
        String::from_utf8(time[2..8].to_vec()).unwrap()
    }

    #[test]
    fn the_pinned_roots_are_signals_two_and_no_others() {
        let found: Vec<_> = SIGNAL_ROOTS
            .iter()
            .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
            .map(|certificate| certificate.unwrap())
            .map(|der| (fingerprint(&der), valid_until(&der)))
            .collect();
        let expected = [
            ("DDB0F92BB95C8D6FD202EA6E8CC5CCD182B544F8CD696F47D580659DDC9DF65A", "320124"),
            ("2642F1F90B389FED2558D7324CA26D70E750B06F87C595C5DE955E2560821657", "360616"),
        ];
        assert_eq!(found, expected.map(|(print, until)| (print.to_owned(), until.to_owned())));
    }
}

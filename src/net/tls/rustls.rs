//! TLS by rustls and ring.

use std::io;
use std::sync::Arc;

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::PemObject as _;
use futures_rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use futures_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use futures_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::server::ParsedCertificate;
use futures_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::{Fault, PemError};

/// A TLS connection over `S`.
pub(super) type Stream<S> = futures_rustls::client::TlsStream<S>;

/// See [`super::Connector`].
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    pub(super) fn only(pems: &[&[u8]]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        for pem in pems {
            named.extend(add(&mut roots, pem)?);
        }
        Ok(Self::trusting(roots, named))
    }

    pub(super) fn system_and(extra: Option<&[u8]>) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        // Bundles hold a few certificates that rustls does not take; the others count.
        roots.add_parsable_certificates(found.certs);
        let mut named = Vec::new();
        if let Some(pem) = extra {
            named = add(&mut roots, pem)?;
        } else if roots.is_empty() {
            let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
            log::warn!(
                "this machine has no root certificates{why}: no push server can be reached over https; install \
                 ca-certificates or set push_ca_file"
            );
        }
        Ok(Self::trusting(roots, named))
    }

    /// Trusts what `roots` signed, and the certificates `named`, which are among them, for their own names.
    fn trusting(roots: RootCertStore, named: Vec<CertificateDer<'static>>) -> Self {
        // The provider is named because a default one is state of the process.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions");
        let config = match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() {
            Ok(chains) => config.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { chains, named })),
            // A machine without roots, which was told above.
            Err(_) => config.with_root_certificates(RootCertStore::empty()),
        };
        // No ALPN: what answers must speak HTTP/1.1, and h2 is never chosen unasked.
        Self(TlsConnector::from(Arc::new(config.with_no_client_auth())))
    }

    pub(super) async fn connect<S>(&self, name: String, stream: S) -> Result<Stream<S>, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name);
        let name = name.map_err(|_| Fault::Other("the name cannot be in a certificate".to_owned()))?;
        self.0.connect(name, stream).await.map_err(|error| fault(&error))
    }
}

/// rustls' own verifier, and beside it the certificates the operator named: one that a server made for itself. `openssl
/// req -x509` marks such a certificate as an authority's, and those rustls takes from no server.
#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = match self.chains.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(error)) => error,
            decided => return decided,
        };
        // All of these are found after the dates were found to be right.
        let no_chain = match &error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => true,
            CertificateError::Other(OtherError(why)) => {
                why.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
            }
            _ => false,
        };
        if no_chain && self.named.iter().any(|named| named == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let own = |certificate: webpki::EndEntityCert<'_>| certificate.issuer() == certificate.subject();
        Err(match no_chain && webpki::EndEntityCert::try_from(certificate).is_ok_and(own) {
            true => CertificateError::Other(OtherError(Arc::new(SelfSigned))).into(),
            false => error.into(),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// What rustls has no name for.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is self-signed and not trusted")]
struct SelfSigned;

fn fault(error: &io::Error) -> Fault {
    use CertificateError as Bad;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return Fault::Other(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends the connection instead of shaking hands".to_owned(),
            _ => error.to_string(),
        });
    };
    match tls {
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => Fault::Expired,
        Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => Fault::NotYetValid,
        Error::InvalidCertificate(Bad::NotValidForName) => Fault::OtherName(Vec::new()),
        Error::InvalidCertificate(Bad::NotValidForNameContext { presented, .. }) => {
            // They come as `DnsName("push.example")` and `IpAddress(192.0.2.1)`.
            let inside = |name: &String| -> String {
                let name = name.split(['(', ')']).nth(1).unwrap_or(name);
                name.chars().filter(|c| c.is_ascii_graphic() && *c != '"').take(64).collect()
            };
            Fault::OtherName(presented.iter().take(3).map(inside).collect())
        }
        // The latter is that of another authority with the name of one that is trusted.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Fault::UnknownIssuer,
        Error::InvalidCertificate(Bad::Other(OtherError(why))) if why.is::<SelfSigned>() => Fault::SelfSigned,
        // An authority's own certificate, which no other one answers for here.
        Error::InvalidCertificate(Bad::Other(OtherError(why)))
            if why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
        {
            Fault::UnknownIssuer
        }
        Error::InvalidCertificate(_) => Fault::Other(format!("its certificate cannot be used: {tls}")),
        Error::InvalidMessage(_) => Fault::Other("what answers at this port does not speak TLS".to_owned()),
        Error::AlertReceived(alert) => Fault::Other(format!("it refuses the TLS connection ({alert:?})")),
        _ => Fault::Other(tls.to_string()),
    }
}

/// The certificates of `pem`, which become roots.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let broken = |error: &dyn std::fmt::Display| PemError::Broken(error.to_string());
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| broken(&error))?;
        roots.add(certificate.clone()).map_err(|error| broken(&error))?;
        found.push(certificate);
    }
    if found.is_empty() { Err(PemError::Empty) } else { Ok(found) }
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

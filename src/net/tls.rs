//! TLS behind one seam: [`Stream`] and the connectors for Signal and for push. Two back ends offer the same; which one is
//! compiled is chosen here and nowhere else.

use std::path::PathBuf;

use url::Host;

use super::Tcp;

#[cfg(feature = "native-tls")]
#[path = "tls/native.rs"]
mod backend;
#[cfg(all(feature = "rustls", not(feature = "native-tls")))]
#[path = "tls/rustls.rs"]
mod backend;
#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
compile_error!("TLS is needed: enable the feature `rustls` (the default) or `native-tls`");

/// A TLS connection.
pub type Stream = backend::Stream<Tcp>;

/// The roots of Signal's own certification authority: RSA until 2032, Ed25519 until 2036. Nothing else is trusted for
/// Signal, so no other authority can give anybody a certificate that works here.
const SIGNAL_ROOTS: [&str; 2] =
    [include_str!("../../certs/signal-rsa.pem"), include_str!("../../certs/signal-ed25519.pem")];

/// What a file of certificates holds.
#[derive(Debug, Clone)]
pub(super) struct Pem {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// Why certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    /// No `BEGIN CERTIFICATE` in it.
    #[error("it holds no certificate in PEM form")]
    Empty,
    /// What stands between the markers is not a certificate.
    #[error("it holds something that is not a certificate: {0}")]
    Broken(String),
}

/// Why a handshake failed, as far as a back end can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The certificate's time is over,
    Expired,
    /// or has not come.
    NotYetValid,
    /// The certificate is for these names; none when it has none, or they are not known.
    OtherName(Vec<String>),
    /// It is from an authority that is not trusted,
    UnknownIssuer,
    /// or signed by itself.
    SelfSigned,
    /// Anything else, in words.
    Other(String),
}

/// Makes TLS connections that trust one set of roots. One per purpose and process: it keeps sessions for resumption.
#[derive(Clone)]
pub(super) struct Connector {
    backend: backend::Connector,
    /// What follows "its certificate is from an authority that" in the message for people.
    distrust: String,
}

impl Connector {
    /// Trusts only Signal's roots, or only those in `replacement`.
    pub(super) fn signal(replacement: Option<&Pem>) -> Result<Self, PemError> {
        let (backend, distrust) = match replacement {
            Some(pem) => {
                (backend::Connector::only(&[&pem.bytes])?, format!("is not in {} (signal_ca_file)", pem.path.display()))
            }
            None => (
                backend::Connector::only(&SIGNAL_ROOTS.map(str::as_bytes))?,
                "is not Signal's: something on the way opens TLS connections (a proxy, a virus scanner)".to_owned(),
            ),
        };
        Ok(Self { backend, distrust })
    }

    /// Trusts the system's roots and those in `extra`.
    pub(super) fn push(extra: Option<&Pem>) -> Result<Self, PemError> {
        let distrust = match extra {
            Some(pem) => format!("neither this machine nor {} (push_ca_file) knows", pem.path.display()),
            None => "this machine does not know; if it is one of your own, name a file with its certificate in \
                     push_ca_file"
                .to_owned(),
        };
        let backend = backend::Connector::system_and(extra.map(|pem| pem.bytes.as_slice()))?;
        Ok(Self { backend, distrust })
    }

    /// The failure for people.
    fn explain(&self, fault: Fault) -> String {
        match fault {
            Fault::Expired => {
                "its certificate has expired: renew it there, unless this machine's clock is wrong".to_owned()
            }
            Fault::NotYetValid => {
                "its certificate is not valid yet: this machine's clock is probably behind".to_owned()
            }
            Fault::OtherName(names) if names.is_empty() => {
                "its certificate is not for this name (only subjectAltName counts, not the common name)".to_owned()
            }
            Fault::OtherName(names) => {
                // doctor --report knows the names by what stands around them.
                format!("its certificate is not for this name but for \"{}\"", names.join("\", \""))
            }
            Fault::UnknownIssuer => format!("its certificate is from an authority that {}", self.distrust),
            Fault::SelfSigned => {
                format!("its certificate is self-signed, so it is its own authority, which {}", self.distrust)
            }
            Fault::Other(why) => why,
        }
    }

    /// Shakes hands; the certificate must be for `host`. The caller sets the deadline.
    pub(super) async fn connect(&self, host: &Host<String>, tcp: Tcp) -> Result<Stream, String> {
        let name = match host {
            // The dot that ends an absolute name is no part of the name in a certificate (RFC 6066 section 3).
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        // The handshake's state is large and soon over: on the heap it does not swell the task that waits for it.
        Box::pin(self.backend.connect(name, tcp)).await.map_err(|fault| self.explain(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_roots_are_usable() {
        assert!(Connector::signal(None).is_ok());
    }

    #[test]
    fn files_without_certificates_are_refused() {
        for (text, empty) in [
            ("", true),
            ("hello", true),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", true),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false),
        ] {
            let pem = Pem { path: "ca.pem".into(), bytes: text.as_bytes().to_vec() };
            for result in [Connector::signal(Some(&pem)), Connector::push(Some(&pem))] {
                let error = result.err().expect(text);
                assert_eq!(error == PemError::Empty, empty, "{text:?}: {error}");
            }
        }
    }
}

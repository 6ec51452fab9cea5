//! A throw-away certificate authority.

use std::sync::Arc;

pub use futures_rustls::rustls::ServerConfig;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm, date_time_ymd,
};

/// Names of a leaf certificate when the caller gives none.
pub const DEFAULT_NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// A certificate authority that lives as long as the test.
///
/// Two of them never trust each other, so a server on another `Pki` must be refused by the client.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// Makes an ECDSA P-256 authority.
    pub fn new() -> Self {
        Self::with(&PKCS_ECDSA_P256_SHA256)
    }

    /// Makes an Ed25519 authority, like the second root of Signal.
    pub fn ed25519() -> Self {
        Self::with(&PKCS_ED25519)
    }

    fn with(algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "MollySocket simulator CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(algorithm).expect("key generation works");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("self-signing works") }
    }

    /// The root certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a server certificate; returns (certificate PEM, private key PEM).
    ///
    /// Names are DNS names or IP addresses. No names means [`DEFAULT_NAMES`].
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        self.leaf(names, false)
    }

    /// Like [`Pki::issue`], but the certificate expired in 2021.
    pub fn issue_expired(&self, names: &[&str]) -> (String, String) {
        self.leaf(names, true)
    }

    fn leaf(&self, names: &[&str], expired: bool) -> (String, String) {
        let names = if names.is_empty() { DEFAULT_NAMES } else { names };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names are DNS names or IP addresses");
        params.distinguished_name.push(DnType::CommonName, "MollySocket simulator");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("key generation works");
        let certificate = params.signed_by(&key, &self.issuer).expect("signing works");
        (certificate.pem(), key.serialize_pem())
    }

    /// A TLS configuration with a new leaf for `names`. It offers ALPN `http/1.1` only, as `chat.signal.org` does.
    pub fn server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        server_config(&self.issue(names))
    }

    /// Like [`Pki::server_config`], with session tickets that every server with this configuration takes, however many
    /// there are.
    pub fn resuming_server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        let mut config = self.server_config(names);
        let ours = Arc::get_mut(&mut config).expect("it was just made");
        ours.ticketer = ring::Ticketer::new().expect("there is randomness");
        config
    }

    /// Like [`Pki::server_config`], with a leaf that expired in 2021.
    pub fn expired_server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        server_config(&self.issue_expired(names))
    }
}

/// A TLS configuration with a certificate and its private key, both PEM. It offers ALPN `http/1.1` only.
pub fn server_config((certificate, key): &(String, String)) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("the PEM is ours");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("the PEM is ours");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key fits the certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

//! The self-signed certificate of one BMC.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// The certificate of a BMC cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate.
    #[error("cannot make a certificate for BMC {bmc:?}")]
    Certificate {
        /// The BMC.
        bmc: String,
        /// Why.
        source: rcgen::Error,
    },
    /// No TLS with it.
    #[error("cannot serve TLS for BMC {bmc:?}")]
    Tls {
        /// The BMC.
        bmc: String,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate, ready to serve.
pub(super) struct Identity {
    pub(super) pem: String,
    pub(super) config: Arc<ServerConfig>,
}

impl Identity {
    /// A new ECDSA P-256 key and certificate for the BMC's name and address.
    pub(super) fn make(name: &str, address: IpAddr) -> Result<Self, TlsError> {
        let (key, params) = describe(name, address).map_err(|source| TlsError::Certificate {
            bmc: name.into(),
            source,
        })?;
        let certificate = params.self_signed(&key).map_err(|source| TlsError::Certificate {
            bmc: name.into(),
            source,
        })?;
        let tls = |source| TlsError::Tls {
            bmc: name.into(),
            source,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .map_err(tls)?;
        // the default cache is for 256 clients; a BMC has few
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
        Ok(Self {
            pem: certificate.pem(),
            config: Arc::new(config),
        })
    }
}

fn describe(name: &str, address: IpAddr) -> Result<(KeyPair, CertificateParams), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(address));
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "bmc-sim");
    Ok((key, params))
}

//! Which certificates of BMCs are trusted: the TLS policies and their one verifier.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

/// What makes a BMC's certificate acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Nothing was decided: every certificate is refused, and the error carries its fingerprint.
    Undecided,
    /// The certificate's chain must lead to one of these CAs; its name (or IP address) and dates must fit.
    /// The system's own CAs are not asked.
    Ca(CaBundle),
    /// The leaf certificate must have this fingerprint, and the peer must prove that it owns its key.
    /// Issuer, name and dates are not looked at, so self-signed and expired certificates are fine.
    Pinned(Fingerprint),
    /// Anything goes: not even possession of the certificate's key is checked.
    Insecure,
}

/// One or more CA certificates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CaBundle(Vec<CertificateDer<'static>>);

/// A text that is no bundle of CA certificates.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    /// PEM that cannot be read.
    #[error("reading the CA bundle: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A certificate that is none, counted from 1.
    #[error("reading the CA bundle: certificate {0} is not usable as a CA: {1}")]
    Certificate(usize, rustls::Error),
    /// Nothing in it.
    #[error("reading the CA bundle: it holds no PEM block \"CERTIFICATE\"")]
    Empty,
}

impl CaBundle {
    /// Reads PEM; blocks other than certificates are skipped.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaBundleError> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() {
            return Err(CaBundleError::Empty);
        }
        let bundle = Self(certificates);
        bundle.roots().map(|_| bundle)
    }

    fn roots(&self) -> Result<RootCertStore, CaBundleError> {
        let mut roots = RootCertStore::empty();
        for (n, certificate) in self.0.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|error| CaBundleError::Certificate(n + 1, error))?;
        }
        Ok(roots)
    }
}

/// SHA-256 over the DER form of a certificate, printed as `openssl x509 -fingerprint -sha256` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a SHA-256 fingerprint: want 32 hexadecimal bytes, with or without colons, such as openssl x509 -fingerprint -sha256 prints"
)]
pub struct ParseFingerprintError(String);

impl Fingerprint {
    /// The fingerprint of a DER certificate.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseFingerprintError(text.chars().take(120).collect());
        let digits: Vec<u8> = text.bytes().filter(|&b| b != b':').collect();
        if digits.len() != 64 {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(error());
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let colon = if n == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a certificate was refused. Travels through the TLS and HTTP layers inside their errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct NotTrusted {
    pub(crate) reason: String,
    pub(crate) fingerprint: Fingerprint,
}

/// The TLS settings of one policy.
pub(crate) fn client_config(policy: &TlsPolicy) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier {
        trust: Trust::new(policy, &provider)?,
        provider: provider.clone(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A table of sessions costs more memory than all the rest, and connections are kept alive.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

#[derive(Debug)]
enum Trust {
    Undecided,
    Ca(Arc<WebPkiServerVerifier>),
    Pinned(Fingerprint),
    Insecure,
}

impl Trust {
    fn new(policy: &TlsPolicy, provider: &Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        Ok(match policy {
            TlsPolicy::Undecided => Self::Undecided,
            TlsPolicy::Pinned(fingerprint) => Self::Pinned(*fingerprint),
            TlsPolicy::Insecure => Self::Insecure,
            TlsPolicy::Ca(bundle) => {
                let general = |error: &dyn fmt::Display| rustls::Error::General(error.to_string());
                let roots = bundle.roots().map_err(|error| general(&error))?;
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
                Self::Ca(verifier.map_err(|error| general(&error))?)
            }
        })
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = Fingerprint::of(leaf);
        let verdict = match &self.trust {
            Trust::Insecure => Ok(()),
            Trust::Undecided => {
                Err("no CA, no fingerprint and no permission to skip the check is given".to_owned())
            }
            Trust::Pinned(pin) if *pin == fingerprint => Ok(()),
            Trust::Pinned(pin) => Err(format!("its fingerprint is not the pinned {pin}")),
            Trust::Ca(verifier) => verifier
                .verify_server_cert(leaf, intermediates, name, ocsp, now)
                .map(drop)
                .map_err(|error| error.to_string()),
        };
        match verdict {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(reason) => {
                let refused = OtherError(Arc::new(NotTrusted { reason, fingerprint }));
                Err(CertificateError::Other(refused).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Insecure) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(
            message,
            leaf,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Insecure) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(
            message,
            leaf,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_what_openssl_prints_and_plain_hex() {
        let fingerprint = Fingerprint::of(b"");
        let text = fingerprint.to_string();
        assert!(text.starts_with("E3:B0:C4:42:98:FC:1C:14:"), "{text}");
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.replace(':', "").to_lowercase().parse(), Ok(fingerprint));
    }

    #[test]
    fn texts_that_are_no_fingerprint_are_refused_by_name() {
        let long = "A".repeat(66);
        for text in ["", "E3:B0", &long, &"é".repeat(32), &"g".repeat(64)] {
            let error = text.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_bundle_without_certificates_or_with_a_broken_one_is_refused() {
        assert!(matches!(CaBundle::from_pem(b"hello"), Err(CaBundleError::Empty)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            CaBundle::from_pem(broken),
            Err(CaBundleError::Certificate(1, _))
        ));
    }
}

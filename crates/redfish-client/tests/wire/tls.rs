//! The four TLS policies against certificates of every kind.

use std::sync::Arc;

use hardware_types::BootTarget;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use redfish_client::{CaBundle, Cause, Error, Fingerprint, Override, Reach, Reset, TlsPolicy};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;

use super::server::*;

/// Shows one certificate with one key, whether they belong together or not. Whoever offers HTTP/2, which repeats
/// requests by itself, gets none.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let http2 = hello
            .alpn()
            .is_some_and(|mut protocols| protocols.any(|name| name == b"h2"));
        (!http2).then(|| self.0.clone())
    }
}

fn server_config(certificate: &CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    server_config_of(rustls::ALL_VERSIONS, certificate, key)
}

fn server_config_of(
    versions: &[&'static SupportedProtocolVersion],
    certificate: &CertificateDer<'static>,
    key: &KeyPair,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shown = Shown(Arc::new(CertifiedKey::new(vec![certificate.clone()], key)));
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown))
}

fn self_signed(name: &str, year: i32) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    (params.self_signed(&key).unwrap().der().clone(), key)
}

async fn try_root(bmc: &Server, policy: TlsPolicy) -> Result<(), Error> {
    let client = bmc.client_with(&policy, yes());
    client.service_root().await.map(drop)
}

fn offered(error: &Error) -> Option<Fingerprint> {
    assert!(!error.maybe_sent, "{error}");
    match &*error.cause {
        Cause::Certificate { fingerprint, .. } => *fingerprint,
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_shown_by_its_fingerprint_and_that_pin_works() {
    // expired, self-signed, for another name
    let (certificate, key) = self_signed("elsewhere.example", 2001);
    let bmc = Server::start_tls(server_config(&certificate, &key)).await;
    let wrong = TlsPolicy::Pinned(Fingerprint::of(b"another"));
    for policy in [TlsPolicy::Undecided, wrong] {
        let error = try_root(&bmc, policy).await.unwrap_err();
        let pin = offered(&error).unwrap();
        assert_eq!(pin, Fingerprint::of(&certificate));
        assert!(
            error
                .to_string()
                .contains(&format!("(offered SHA-256 fingerprint {pin})")),
            "{error}"
        );
        assert!(bmc.seen().is_empty());
    }
    try_root(&bmc, TlsPolicy::Pinned(Fingerprint::of(&certificate)))
        .await
        .unwrap();
    try_root(&bmc, TlsPolicy::Insecure).await.unwrap();
    assert_eq!(bmc.routes(), [ROOT, ROOT]);
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let (certificate, _) = self_signed("bmc", 2999);
    let (_, thief) = self_signed("thief", 2999);
    for version in rustls::ALL_VERSIONS {
        let bmc = Server::start_tls(server_config_of(&[version], &certificate, &thief)).await;
        let pin = TlsPolicy::Pinned(Fingerprint::of(&certificate));
        let error = try_root(&bmc, pin).await.unwrap_err();
        assert_eq!(offered(&error), None, "{error}");
        assert!(bmc.seen().is_empty());
        // this policy checks nothing, and says so
        try_root(&bmc, TlsPolicy::Insecure).await.unwrap();
    }
}

#[tokio::test]
async fn a_ca_vouches_for_names_and_dates_and_only_for_its_own() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ca, other_ca) = (authority(), authority());
    let policy = |pem: String| TlsPolicy::Ca(CaBundle::from_pem(pem.as_bytes()).unwrap());
    let issue = |name: &str, year| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &ca).unwrap().der().clone();
        server_config(&certificate, &key)
    };
    let bmc = Server::start_tls(issue("127.0.0.1", 2999)).await;
    try_root(&bmc, policy(ca.pem())).await.unwrap();
    try_root(&bmc, policy(other_ca.pem() + &ca.pem())).await.unwrap();
    assert!(offered(&try_root(&bmc, policy(other_ca.pem())).await.unwrap_err()).is_some());

    for config in [issue("elsewhere.example", 2999), issue("127.0.0.1", 2001)] {
        let bmc = Server::start_tls(config).await;
        assert!(offered(&try_root(&bmc, policy(ca.pem())).await.unwrap_err()).is_some());
        assert!(bmc.seen().is_empty());
    }
}

#[tokio::test]
async fn a_whole_visit_runs_over_tls_in_a_task_of_its_own() {
    let (certificate, key) = self_signed("bmc", 2999);
    let bmc = Server::start_tls(server_config(&certificate, &key)).await;
    let client = bmc.client_with(&TlsPolicy::Pinned(Fingerprint::of(&certificate)), yes());
    let visit = tokio::spawn(async move {
        let system = client.pick_system().await?;
        client
            .set_boot_override(&system, BootTarget::Pxe, Override::Once)
            .await?;
        client.reset(&system, Reset::On).await?;
        client.close().await
    });
    visit.await.unwrap().unwrap();
    let systems = "GET /redfish/v1/Systems";
    let close = "DELETE /redfish/v1/SessionService/Sessions/1";
    assert_eq!(
        bmc.routes(),
        [
            ROOT, ROOT, LOGIN, systems, SYSTEM, SYSTEM, PATCH, SYSTEM, RESET, close
        ]
    );
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("redfish://{}", listener.local_addr().unwrap());
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let error = client_of(&endpoint, &TlsPolicy::Insecure, yes(), PATIENCE)
        .service_root()
        .await
        .unwrap_err();
    assert!(
        matches!(
            *error.cause,
            Cause::Unreachable {
                at: Reach::Connect,
                ..
            }
        ),
        "{error}"
    );
    drop(peer.await.unwrap());
}

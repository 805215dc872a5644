//! Keys and certificates of one cluster: a CA, one serving certificate, one key for service-account tokens.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// The PKI of one cluster, written to a folder.
#[derive(Clone)]
pub struct Pki {
    folder: PathBuf,
    /// The CA's certificate, PEM.
    pub ca: String,
}

impl Pki {
    /// Makes the PKI of cluster `name` in `folder`; the serving certificate names `addresses`, 127.0.0.1 and localhost.
    pub(crate) fn create(folder: &Path, name: &str, addresses: &[Ipv4Addr]) -> anyhow::Result<Self> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{name}-ca"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend(addresses.iter().map(ToString::to_string));
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let serving = params.signed_by(&key, &ca)?;

        let accounts = KeyPair::generate()?;
        let this = Self {
            folder: folder.into(),
            ca: ca.pem(),
        };
        for (file, text) in [
            ("ca.crt", this.ca.clone()),
            ("tls.crt", serving.pem()),
            ("tls.key", key.serialize_pem()),
            ("sa.key", accounts.serialize_pem()),
            ("sa.pub", accounts.public_key_pem()),
        ] {
            this.write(file, &text)?;
        }
        Ok(this)
    }

    /// Where a file of this PKI is: `ca.crt`, `tls.crt`, `tls.key`, `sa.key`, `sa.pub`, `tokens.csv`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The folder, for webhook servers: they look for `tls.crt` and `tls.key` in it.
    pub fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    /// Writes one more secret file.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.folder.join(name), text)
    }
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

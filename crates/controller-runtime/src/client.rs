//! The client of the API server that a manager works on.

use std::path::{Path, PathBuf};

use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file that the flag names.
    #[error("--kubeconfig: cannot use {file}: {source}")]
    File {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: KubeconfigError,
    },
    /// None was named, and none was found.
    #[error("found no API server: give --kubeconfig: {0}")]
    Infer(#[from] InferConfigError),
    /// What was found cannot be used.
    #[error("cannot make a client of the API server: {0}")]
    Client(#[from] kube::Error),
}

/// A client by this kubeconfig file, or by that of the pod, of KUBECONFIG or of the home directory.
pub async fn connect(file: Option<&Path>) -> Result<Client, ConnectError> {
    let config = match file {
        Some(path) => {
            let failed = |source| ConnectError::File {
                file: path.to_owned(),
                source,
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(failed)?
        }
        None => Config::infer().await?,
    };
    Ok(Client::try_from(config)?)
}

//! Serves kernel and initramfs of the lab's node, as a site's mirror would.

use axum::Router;
use axum::routing::get;
use tokio::task::JoinHandle;

use crate::Bed;
use crate::lab::NodeEnvironment;

/// Kernel and initramfs, at the machine's end of the run's network. Dropping it stops that.
#[derive(Debug)]
pub(super) struct Files {
    /// Where: `vmlinuz` and `initramfs.xz` are below it.
    pub(super) url: String,
    task: JoinHandle<()>,
}

impl Files {
    pub(super) async fn serve(bed: &Bed, node: NodeEnvironment) -> anyhow::Result<Self> {
        let (kernel, initramfs) = (node.kernel, node.initramfs);
        let router = Router::new()
            .route("/vmlinuz", get(async move || kernel))
            .route("/initramfs.xz", get(async move || initramfs));
        let listener = tokio::net::TcpListener::bind((bed.run().network().outside(), 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the files' server ended: {error}");
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.task.abort();
    }
}

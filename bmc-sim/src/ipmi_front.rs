//! The IPMI front end of one BMC.
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::bmc::Bmc;
use crate::config::IpmiConfig;

/// The IPMI side of one BMC.
pub struct IpmiFront {
    bmc: Arc<Bmc>,
}

impl IpmiFront {
    /// The front end of `bmc`.
    pub fn new(bmc: Arc<Bmc>, _config: &IpmiConfig, _seed: u64) -> Self {
        Self { bmc }
    }

    /// Answers until `stop`.
    pub async fn serve(self, socket: UdpSocket, stop: CancellationToken) {
        let _ = (socket, self.bmc.name());
        stop.cancelled().await;
    }
}

//! What the agent's loop needs of the machine that it runs on.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use agent_protocol::Registration;
use hardware_types::Mac;
use hardware_types::wipe::{Certificate, WipeOrder};
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::arguments::{ArgumentError, Arguments};
use crate::inventory::InventoryError;
use crate::network::{JoinError, Joined};
use crate::wipe::Progress;

/// The machine under the loop: the real one, or a fake one in tests.
pub trait Host {
    /// Shows a line to whoever looks at the machine's console.
    fn say(&self, text: &str);

    /// What the kernel command line says.
    fn arguments(&self) -> Result<Arguments, ArgumentError>;

    /// Loads the drivers of the devices that are there.
    fn load_drivers(&self) -> impl Future<Output = ()>;

    /// Brings up the interface with this address and gets it an IPv4 address.
    fn join_network(&self, mac: Mac) -> impl Future<Output = Result<Joined, JoinError>>;

    /// What the machine is made of; its hostname and the interface that it booted from are the caller's to fill in.
    fn inventory(&self) -> impl Future<Output = Result<Registration, InventoryError>>;

    /// Global addresses of all interfaces, in a stable order.
    fn addresses(&self) -> impl Future<Output = Vec<IpAddr>>;

    /// Wipes the machine's disks; `progress` hears how far it is.
    fn wipe(
        &self,
        order: &WipeOrder,
        progress: &watch::Sender<Progress>,
    ) -> impl Future<Output = Certificate>;

    /// A connection to the boot services, which is made when it is first used, and again when it is lost.
    fn channel(&self, endpoint: SocketAddr) -> Result<Channel, tonic::transport::Error>;

    /// Restarts the machine. Returns in tests only.
    fn reboot(&self);
}

//! What a BMC can do for us, whatever it speaks.

use std::future::Future;

use hardware_types::PowerState;
use lifecycle::BmcIdentity;
use lifecycle::power::{BootMark, BootOrder, Command, OverrideSeen};

use crate::BmcError;

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Power.
    pub power: PowerState,
    /// The boot mark, where it was asked for and the BMC has one.
    pub mark: Option<BootMark>,
}

/// What a BMC says of itself and its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    /// Manufacturer: a name by Redfish, an IANA enterprise number by IPMI.
    pub vendor: Option<String>,
    /// Model of the machine; by IPMI the product number.
    pub model: Option<String>,
    /// Firmware version of the BMC.
    pub firmware: Option<String>,
    /// How it names its machine.
    pub identity: Option<BmcIdentity>,
}

/// The boot override as a BMC reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootSetting {
    /// There is none.
    None,
    /// For the next boot.
    Once(BootOrder),
    /// Something else: another device, or not only for the next boot.
    Other,
    /// It cannot be read.
    Unreadable,
}

/// One BMC. It opens its session when it needs one, and keeps it.
///
/// Reads and idempotent writes are retransmitted; a power command and the clearing of an override are sent exactly once.
/// [`crate::Gate`] is asked before each datagram and request.
pub trait Bmc: Send + 'static {
    /// Reads the power state, and the boot mark if wanted.
    fn read(&mut self, want_mark: bool) -> impl Future<Output = Result<Status, BmcError>> + Send;

    /// Sends a power command, once. `Ok` means accepted, which is not done; an error may mean that it was carried out all the same.
    fn command(&mut self, command: Command) -> impl Future<Output = Result<(), BmcError>> + Send;

    /// Sets what is booted once, and reads it back.
    fn set_boot(&mut self, order: BootOrder) -> impl Future<Output = Result<OverrideSeen, BmcError>> + Send;

    /// Reads what is booted next.
    fn read_boot(&mut self) -> impl Future<Output = Result<BootSetting, BmcError>> + Send;

    /// Takes the boot override away, once.
    fn clear_boot(&mut self) -> impl Future<Output = Result<(), BmcError>> + Send;

    /// Asks what it is. From then on a BMC that turns out to be another one counts as out of reach, until it is asked again.
    fn describe(&mut self) -> impl Future<Output = Result<Info, BmcError>> + Send;

    /// Closes the session, so that its slot is free.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// What a read-back says of the override that was set. One that fails is no reason to stop.
pub(crate) fn compare_boot(
    set: BootOrder,
    read: Result<BootSetting, BmcError>,
) -> Result<OverrideSeen, BmcError> {
    match read {
        Ok(BootSetting::Once(order)) if order.target == set.target => Ok(OverrideSeen::AsSet),
        Ok(BootSetting::Once(_) | BootSetting::Other | BootSetting::None) => Ok(OverrideSeen::Different),
        Err(withheld @ BmcError::Withheld(_)) => Err(withheld),
        Ok(BootSetting::Unreadable) | Err(_) => Ok(OverrideSeen::Unreadable),
    }
}

//! A BMC that speaks IPMI 2.0.

use std::net::SocketAddr;
use std::sync::Arc;

use hardware_types::{BootMode, BootTarget, PowerState};
use ipmi::client::{Client, Options};
use ipmi::command::{
    BootDevice, BootFlags, BootOption, BootParameter, ChassisControl, Command as IpmiCommand, CompletionCode,
    GetBootOption, GetChassisStatus, GetDeviceId, GetRestartCause, GetSystemGuid, SetBootOption,
};
use ipmi::session::console::{Credentials, Delivery, ErrorKind, OpenError, RequestError, Timing, Withheld};
use ipmi::{CipherSuite, Privilege, Secret, TooLong, UserName};
use lifecycle::power::{BootMark, BootOrder, Command, OverrideSeen};
use lifecycle::{BmcIdentity, Trouble};
use uuid::Uuid;

use crate::bmc::compare_boot;
use crate::{Bmc, BmcError, BootSetting, Gate, Info, Status};

/// Who logs in.
#[derive(Debug, Clone)]
pub struct IpmiCredentials(Credentials);

impl IpmiCredentials {
    /// A user with a password, and with Kg where the BMC has one. Names have up to 16 bytes, keys up to 20.
    pub fn new(
        user: &str,
        password: &[u8],
        kg: Option<&[u8]>,
        privilege: Privilege,
    ) -> Result<Self, TooLong> {
        Ok(Self(Credentials {
            user: UserName::new(user)?,
            password: Secret::new(password)?,
            kg: kg.map(Secret::new).transpose()?,
            privilege,
        }))
    }
}

/// The driver.
pub struct IpmiBmc {
    host: String,
    port: u16,
    credentials: Credentials,
    options: Options,
    gate: Gate,
    client: Option<Client>,
    /// GUID that the BMC gave at the first login since it was last described.
    guid: Option<[u8; 16]>,
    has_restart_cause: bool,
}

impl IpmiBmc {
    /// A driver for the BMC at `host` and `port`; nothing is sent yet. `suites` are tried in order, within one attempt.
    pub fn new(
        host: &str,
        port: u16,
        credentials: IpmiCredentials,
        suites: Vec<CipherSuite>,
        timing: Timing,
        gate: Gate,
    ) -> Self {
        let asked = gate.clone();
        let before_send = Arc::new(move || asked.check().map_err(|fenced| Withheld(fenced.0)));
        Self {
            host: host.into(),
            port,
            credentials: credentials.0,
            options: Options {
                timing,
                suites,
                before_send,
            },
            gate,
            client: None,
            guid: None,
            has_restart_cause: true,
        }
    }

    /// Names are resolved for each session: addresses change.
    async fn address(&self) -> Result<SocketAddr, BmcError> {
        let unreachable = |why: String| BmcError::Failed {
            trouble: Trouble::Unreachable,
            text: format!("cannot resolve the BMC's name {:?}: {why}", self.host),
        };
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        addresses.next().ok_or_else(|| unreachable("no address".into()))
    }

    /// The open session, or a new one. Behind the same address and password may be another BMC by then (I-13).
    async fn session(&mut self) -> Result<&mut Client, BmcError> {
        let client = if let Some(client) = self.client.take() {
            client
        } else {
            let address = self.address().await?;
            Client::open(address, self.credentials.clone(), self.options.clone())
                .await
                .map_err(|error| opening_failed(&error))?
        };
        let found = client.session().guid();
        let client = self.client.insert(client);
        match *self.guid.get_or_insert(found) {
            known if known == found => Ok(client),
            known => Err(BmcError::replaced(format!(
                "another BMC answers at {}:{}: its GUID was {}, and is {}",
                self.host,
                self.port,
                Uuid::from_bytes(known),
                Uuid::from_bytes(found),
            ))),
        }
    }

    /// Sends a read or an idempotent write; once more in a new session when the BMC has forgotten the old one.
    async fn ask<C: IpmiCommand + Sync>(&mut self, command: &C) -> Result<C::Response, RequestFailed> {
        match self.send(command, Delivery::Retry).await {
            Err(RequestFailed::Lost(_)) => self.send(command, Delivery::Retry).await,
            other => other,
        }
    }

    async fn send<C: IpmiCommand + Sync>(
        &mut self,
        command: &C,
        delivery: Delivery,
    ) -> Result<C::Response, RequestFailed> {
        let client = self.session().await.map_err(RequestFailed::Other)?;
        let result = client.send(command, delivery).await;
        result.map_err(|error| {
            let kind = error.kind();
            let failed = request_failed(&error);
            if matches!(kind, ErrorKind::SessionLost | ErrorKind::Unreachable) {
                self.client = None;
            }
            match kind {
                ErrorKind::SessionLost => RequestFailed::Lost(failed),
                ErrorKind::Failed if lacks_parameter(&error) => RequestFailed::Unsupported(failed),
                ErrorKind::Unsupported => RequestFailed::Unsupported(failed),
                ErrorKind::Failed => RequestFailed::Refused(failed),
                _ => RequestFailed::Other(failed),
            }
        })
    }

    /// A digest of the restart cause; `None` from a BMC that does not know it.
    async fn mark(&mut self) -> Result<Option<BootMark>, BmcError> {
        if !self.has_restart_cause {
            return Ok(None);
        }
        match self.ask(&GetRestartCause).await {
            Ok(cause) => Ok(Some(BootMark(u64::from(cause.cause)))),
            Err(RequestFailed::Unsupported(_)) => {
                self.has_restart_cause = false;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn boot_flags(&mut self) -> Result<Option<BootFlags>, BmcError> {
        match self.ask(&GetBootOption::from(BootParameter::FLAGS)).await {
            Ok(response) => Ok(match response.option {
                BootOption::Flags(flags) => Some(flags),
                _ => None,
            }),
            Err(RequestFailed::Unsupported(_) | RequestFailed::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Bmc for IpmiBmc {
    async fn read(&mut self, want_mark: bool) -> Result<Status, BmcError> {
        let chassis = self.ask(&GetChassisStatus).await?;
        let power = if chassis.power_on {
            PowerState::On
        } else {
            PowerState::Off
        };
        let mark = if want_mark { self.mark().await? } else { None };
        Ok(Status { power, mark })
    }

    async fn command(&mut self, command: Command) -> Result<(), BmcError> {
        let control = match command {
            Command::On => ChassisControl::PowerUp,
            Command::Off => ChassisControl::PowerDown,
            Command::SoftOff => ChassisControl::SoftShutdown,
            Command::Reset => ChassisControl::HardReset,
        };
        self.session().await?;
        let _writing = self.gate.writing();
        self.send(&control, Delivery::Once).await.map_err(Into::into)
    }

    async fn set_boot(&mut self, order: BootOrder) -> Result<OverrideSeen, BmcError> {
        let flags = BootFlags::once(device(order.target), order.mode == Some(BootMode::Uefi));
        self.session().await?;
        let set = {
            let _writing = self.gate.writing();
            self.ask(&SetBootOption::from(BootOption::Flags(flags))).await
        };
        match set {
            Ok(()) => compare_boot(order, self.read_boot().await),
            Err(RequestFailed::Unsupported(_)) => Ok(OverrideSeen::Unsupported),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_boot(&mut self) -> Result<BootSetting, BmcError> {
        let Some(flags) = self.boot_flags().await? else {
            return Ok(BootSetting::Unreadable);
        };
        if !flags.valid() || flags.device() == BootDevice::None {
            return Ok(BootSetting::None);
        }
        let target = [BootTarget::Pxe, BootTarget::Disk, BootTarget::Setup]
            .into_iter()
            .find(|target| device(*target) == flags.device());
        let mode = Some(if flags.efi() {
            BootMode::Uefi
        } else {
            BootMode::Bios
        });
        Ok(match target.filter(|_| !flags.persistent()) {
            Some(target) => BootSetting::Once(BootOrder { target, mode }),
            None => BootSetting::Other,
        })
    }

    async fn clear_boot(&mut self) -> Result<(), BmcError> {
        self.session().await?;
        let _writing = self.gate.writing();
        let none = SetBootOption::from(BootOption::Flags(BootFlags::default()));
        self.send(&none, Delivery::Once).await.map_err(Into::into)
    }

    async fn describe(&mut self) -> Result<Info, BmcError> {
        self.guid = None;
        let device = self.ask(&GetDeviceId).await?;
        let identity = match self.ask(&GetSystemGuid).await {
            Ok(guid) => Some(BmcIdentity::IpmiGuid(guid.0)),
            Err(RequestFailed::Unsupported(_) | RequestFailed::Refused(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Info {
            vendor: Some(device.manufacturer.to_string()),
            model: Some(device.product.to_string()),
            firmware: Some(device.firmware()),
            identity,
        })
    }

    async fn close(&mut self) {
        if let Some(client) = self.client.take() {
            // a slot that is not given back lapses by itself
            let _ = client.close().await;
        }
    }
}

fn device(target: BootTarget) -> BootDevice {
    match target {
        BootTarget::None => BootDevice::None,
        BootTarget::Pxe => BootDevice::Pxe,
        BootTarget::Disk => BootDevice::Disk,
        BootTarget::Setup => BootDevice::Setup,
    }
}

/// A request that failed, as far as the driver goes on by it.
enum RequestFailed {
    /// The BMC has forgotten the session.
    Lost(BmcError),
    /// The BMC does not know the command or parameter.
    Unsupported(BmcError),
    /// The BMC refused it for a reason of its own.
    Refused(BmcError),
    /// Anything else.
    Other(BmcError),
}

impl From<RequestFailed> for BmcError {
    fn from(failed: RequestFailed) -> Self {
        match failed {
            RequestFailed::Lost(error)
            | RequestFailed::Unsupported(error)
            | RequestFailed::Refused(error)
            | RequestFailed::Other(error) => error,
        }
    }
}

/// "Parameter not supported" of Set and Get System Boot Options (IPMI 2.0 §28.12), the only commands sent here that have such a code.
fn lacks_parameter(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Completion {
            code: CompletionCode::SPECIFIC_80,
            ..
        }
    )
}

fn opening_failed(error: &OpenError) -> BmcError {
    match error {
        OpenError::Withheld(withheld) => BmcError::Withheld(withheld.0.clone()),
        // The password is right, but only another Secret helps: asking again would fill the BMC's log.
        OpenError::Privilege { .. } => BmcError::new(Trouble::CredentialsRefused, error),
        _ => BmcError::new(trouble(error.kind()), error),
    }
}

fn request_failed(error: &RequestError) -> BmcError {
    match error {
        RequestError::Withheld { source, .. } => BmcError::Withheld(source.0.clone()),
        _ => BmcError::new(trouble(error.kind()), error),
    }
}

fn trouble(kind: ErrorKind) -> Trouble {
    match kind {
        ErrorKind::Unreachable | ErrorKind::NoReply | ErrorKind::Withheld => Trouble::Unreachable,
        ErrorKind::Refused => Trouble::CredentialsRefused,
        ErrorKind::SessionLost | ErrorKind::Busy | ErrorKind::WrongState | ErrorKind::Failed => Trouble::Busy,
        ErrorKind::Unsupported | ErrorKind::Privilege => Trouble::Unsupported,
        ErrorKind::Protocol => Trouble::Protocol,
    }
}

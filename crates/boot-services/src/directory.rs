//! Where the boot services read about machines and report what they saw.

use std::fmt;
use std::net::IpAddr;

use agent_protocol::{Registration, Token};
use boot_protocols::ipxe::DiskMethod;
use hardware_types::wipe::{Certificate, WipeOrder};
use hardware_types::{Mac, ServerId};
use lifecycle::boot::{Answer, NotOrdered, NotTaken, View, Why};
use lifecycle::facts::Window;

/// Nothing can be said of any machine now; the machine is to ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the machines are not known yet: {0}")]
pub struct Unavailable(pub String);

/// Why a report was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It was decided so.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// No wipe of it is under way that this could be about.
    #[error(transparent)]
    NotOrdered(#[from] NotOrdered),
    /// No more machines are taken until some are accepted or deleted.
    #[error("{count} machines are registered and not accepted, {limit} are allowed: accept or delete some")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It changed less than a minute ago.
    #[error("Server {0} was changed by a report less than a minute ago: report again later")]
    TooSoon(ServerId),
    /// There is no such machine.
    #[error("no Server {0}: register again")]
    Unknown(ServerId),
    /// It could not be written; trying again may help.
    #[error("cannot write Server {id}: {reason}")]
    Failed {
        /// Which.
        id: ServerId,
        /// Why.
        reason: String,
    },
}

/// An address of a machine, as its agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Kind of address as Kubernetes has it, such as `InternalIP`.
    pub kind: String,
    /// The address.
    pub address: IpAddr,
}

/// What is recorded of a machine that asked what to boot and was given the agent.
pub const TOLD_AGENT: &str = "told to boot the agent";
/// What is recorded of a machine that asked what to boot and was given the environment of who has it.
pub const TOLD_ENVIRONMENT: &str = "told to boot its environment";
/// How it begins, of one that has to ask again.
pub const TOLD_WAIT: &str = "told to wait";

/// How it begins, of one whose environment cannot be had.
pub const UNSERVED: &str = "asked in vain";

/// What a machine boots that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name: that of its folder under `env/`.
    pub name: String,
    /// Kernel arguments, without those that are added here.
    pub arguments: Vec<String>,
    /// The token of its window; none outside one, where its config is not served.
    pub token: Option<Token>,
}

/// Why a machine does not boot its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoEnvironment {
    /// It is not to boot it: this is what it gets.
    Instead(Answer),
    /// What is named for it does not exist.
    Missing(String),
    /// The files of this one are not all there.
    NotReady(String),
}

/// How far a wipe is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which wipe.
    pub generation: u64,
    /// 0 to 100.
    pub percent: u32,
    /// What is being done, for people.
    pub doing: String,
}

/// What a machine was seen doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Its firmware, or iPXE, asked DHCP for a boot file and was given this one.
    Dhcp {
        /// Name or URL of the boot file.
        file: String,
    },
    /// It asked what to boot and was answered.
    Asked {
        /// The interface it came by.
        mac: Option<Mac>,
        /// What it was told.
        answer: Answer,
    },
    /// It asked what to boot, and what it is to boot cannot be had: why.
    Unserved(String),
    /// Its agent said something.
    Agent,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp { file } => write!(f, "sent to {file}"),
            Self::Asked { answer, .. } => match answer {
                Answer::Agent { .. } => f.write_str(TOLD_AGENT),
                Answer::Environment => f.write_str(TOLD_ENVIRONMENT),
                Answer::Disk(why) => write!(f, "told to boot its disk: {why}"),
                Answer::Wait(why) => write!(f, "{TOLD_WAIT}: {why}"),
            },
            Self::Unserved(why) => write!(f, "{UNSERVED}: {why}"),
            Self::Agent => f.write_str("the agent runs"),
        }
    }
}

/// What the boot services know of machines, and whom they tell.
pub trait Directory: Send + Sync + 'static {
    /// What is known of the machine; `None` if nothing is.
    fn view(&self, id: ServerId) -> impl Future<Output = Result<Option<View>, Unavailable>> + Send;

    /// Whether one more machine may be registered.
    fn has_room(&self) -> bool;

    /// The environment of a machine that somebody has, after a live look at all that says so; otherwise why not.
    fn environment(
        &self,
        id: ServerId,
    ) -> impl Future<Output = Result<Result<Environment, NoEnvironment>, Unavailable>> + Send;

    /// How this machine is sent on to its disk, where its Server says so.
    fn disk_method(&self, id: ServerId) -> Option<DiskMethod>;

    /// Records a machine's report of itself, if it is to be taken: makes a Server, or brings its inventory up to date.
    fn register(&self, report: Registration) -> impl Future<Output = Result<(), RegisterError>> + Send;

    /// Records the addresses that the machine has now, if its agent may say so.
    fn addresses(
        &self,
        id: ServerId,
        token: Option<Token>,
        addresses: Vec<Address>,
    ) -> impl Future<Output = Result<(), RegisterError>> + Send;

    /// The token of a machine's window.
    fn token(&self, id: ServerId, window: &Window) -> Option<Token>;

    /// Whether this is the token of the machine's window.
    fn is_token(&self, id: ServerId, window: &Window, token: &Token) -> bool;

    /// Whether this is the token of the window that is open.
    fn holds(&self, id: ServerId, view: &View, token: Option<&Token>) -> bool {
        let window = view.window.as_ref();
        window
            .zip(token)
            .is_some_and(|(window, token)| self.is_token(id, window, token))
    }

    /// The order to wipe this generation, after a live look that it is due still, and that neither a cluster nor anybody
    /// else has the machine (I-2); otherwise why it waits.
    fn order_wipe(
        &self,
        id: ServerId,
        token: Token,
        generation: u64,
    ) -> impl Future<Output = Result<Result<WipeOrder, Why>, RegisterError>> + Send;

    /// Records how far a wipe is.
    fn wiping(
        &self,
        id: ServerId,
        token: Option<Token>,
        progress: Progress,
    ) -> impl Future<Output = Result<(), RegisterError>> + Send;

    /// Records what became of a wipe. What is missing, where it does not count, comes back as text.
    fn wiped(
        &self,
        id: ServerId,
        token: Option<Token>,
        certificate: Certificate,
    ) -> impl Future<Output = Result<Result<(), String>, RegisterError>> + Send;

    /// Takes note of what a machine was seen doing. Never waits; may forget under load.
    fn seen(&self, id: ServerId, sighting: Sighting);
}

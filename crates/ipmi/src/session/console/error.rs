//! How opening a session and sending a command fail, and what kind of failure each is.

use crate::codec::{DecodeError, StatusCode};
use crate::command::{Completion, CompletionCode, NetFn};
use crate::types::{CipherSuite, Privilege, UserName};

/// Kinds of failure, one per way of going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing answers at this address.
    Unreachable,
    /// A command sent once was not answered: it may have been carried out. Read the state.
    NoReply,
    /// The BMC lives but does not know the session: open another.
    SessionLost,
    /// The credentials are wrong. Do not try again with the same ones.
    Refused,
    /// Not now: busy, initializing, session table full. Try again later.
    Busy,
    /// This BMC does not know it: cipher suite, command or parameter.
    Unsupported,
    /// The user may not have this privilege, or the command needs more.
    Privilege,
    /// Not in the machine's present state.
    WrongState,
    /// The BMC refused the command for another reason.
    Failed,
    /// The BMC breaks the protocol.
    Protocol,
    /// The datagram was not sent because the caller's check forbade it.
    Withheld,
}

/// The caller's own reason not to send: see [`crate::client::BeforeSend`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not sent: {0}")]
pub struct Withheld(pub String);

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer to a message of the login.
    #[error("cannot open an IPMI session: no answer to {message}")]
    Unreachable {
        /// The message.
        message: &'static str,
    },
    /// The BMC does not accept user and password, or proved that its password differs from ours.
    #[error("cannot open an IPMI session: user {user} was refused: {why}")]
    Refused {
        /// Who wanted to log in.
        user: UserName,
        /// What differs.
        why: Refusal,
    },
    /// The BMC's session table is full.
    #[error("cannot open an IPMI session: {0}")]
    Busy(StatusCode),
    /// The BMC speaks none of the cipher suites that were tried.
    #[error("cannot open an IPMI session with {suite}: {status}")]
    Unsupported {
        /// The last suite tried.
        suite: CipherSuite,
        /// What the BMC said to it.
        status: StatusCode,
    },
    /// The user may not have the privilege.
    #[error("cannot open an IPMI session: user {user} may not be {privilege}: {why}")]
    Privilege {
        /// Who wanted to log in.
        user: UserName,
        /// As what.
        privilege: Privilege,
        /// What the BMC said.
        why: PrivilegeRefusal,
    },
    /// The BMC lost track of the login. Worth another try.
    #[error("cannot open an IPMI session: the BMC lost track of the login: {0}")]
    Lost(StatusCode),
    /// The BMC grants other algorithms than were asked for. Never accepted: it could be a downgrade.
    #[error("cannot open an IPMI session: the BMC does not grant the algorithms of {0}")]
    OtherAlgorithms(CipherSuite),
    /// The BMC answers with a status that makes no sense here.
    #[error("cannot open an IPMI session: {message} was answered with: {status}")]
    Status {
        /// The message.
        message: &'static str,
        /// Its answer.
        status: StatusCode,
    },
    /// Setting the privilege level in the new session failed.
    #[error("cannot raise the privilege of the new session")]
    Raise(#[source] RequestError),
    /// The caller's check forbade a datagram.
    #[error("cannot open an IPMI session")]
    Withheld(#[from] Withheld),
    /// The socket cannot be made or used.
    #[error("cannot open an IPMI session")]
    Socket(#[from] std::io::Error),
}

/// What shows that the credentials are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The BMC says so.
    #[error("the BMC says {0}")]
    Status(StatusCode),
    /// The code in RAKP 2 was made with another password.
    #[error("wrong password (the BMC's RAKP 2 was made with another one)")]
    Password,
    /// The check value in RAKP 4 was made with another Kg.
    #[error("wrong Kg (the BMC's RAKP 4 was made with another one)")]
    Kg,
}

/// How a BMC said that a privilege is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivilegeRefusal {
    /// During the login.
    #[error("{0}")]
    Login(StatusCode),
    /// By Set Session Privilege Level.
    #[error("{0}")]
    Raise(CompletionCode),
    /// By granting less.
    #[error("the BMC granted {0}")]
    Granted(Privilege),
}

impl OpenError {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Socket(_) => ErrorKind::Unreachable,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Busy(_) => ErrorKind::Busy,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Privilege { .. } => ErrorKind::Privilege,
            Self::Lost(_) => ErrorKind::SessionLost,
            Self::OtherAlgorithms(_) | Self::Status { .. } => ErrorKind::Protocol,
            Self::Raise(error) => error.kind(),
            Self::Withheld(_) => ErrorKind::Withheld,
        }
    }
}

/// Why a command in a session brought no result.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No answer to any attempt, nor to a question outside the session.
    #[error("no answer to {0}")]
    Unreachable(CommandName),
    /// No answer to the one datagram that was sent: whether the command was carried out is unknown.
    #[error("no answer to {0}, which was sent once: its outcome is unknown")]
    NoReply(CommandName),
    /// No answer in the session, but one outside it; or the session's sequence numbers are used up.
    #[error("the BMC no longer answers in this session (asked: {0})")]
    SessionLost(CommandName),
    /// The BMC did not carry it out.
    #[error("{command} was refused: {code}")]
    Completion {
        /// The command.
        command: CommandName,
        /// Why.
        code: CompletionCode,
    },
    /// The response makes no sense.
    #[error("the answer to {command} is malformed")]
    Malformed {
        /// The command.
        command: CommandName,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The caller's check forbade a datagram.
    #[error("cannot send {command}")]
    Withheld {
        /// The command.
        command: CommandName,
        /// The caller's reason.
        source: Withheld,
    },
    /// The socket cannot be used.
    #[error("cannot send {command}")]
    Socket {
        /// The command.
        command: CommandName,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl RequestError {
    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable(_) | Self::Socket { .. } => ErrorKind::Unreachable,
            Self::NoReply(_) => ErrorKind::NoReply,
            Self::SessionLost(_) => ErrorKind::SessionLost,
            Self::Completion { code, .. } => match code.meaning() {
                Completion::Busy => ErrorKind::Busy,
                Completion::Unsupported => ErrorKind::Unsupported,
                Completion::Privilege => ErrorKind::Privilege,
                Completion::WrongState => ErrorKind::WrongState,
                Completion::Ok | Completion::Failed => ErrorKind::Failed,
            },
            Self::Malformed { .. } => ErrorKind::Protocol,
            Self::Withheld { .. } => ErrorKind::Withheld,
        }
    }
}

/// A command in an error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandName {
    /// Its network function.
    pub net_fn: NetFn,
    /// Its number.
    pub number: u8,
}

impl std::fmt::Display for CommandName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match crate::command::name(self.net_fn, self.number) {
            Some(name) => f.write_str(name),
            None => write!(
                f,
                "IPMI command {:#04x} {:#04x}",
                self.net_fn.number(),
                self.number
            ),
        }
    }
}

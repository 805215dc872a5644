//! The payloads that set up an RMCP+ session (IPMI 2.0 §13.17 to §13.24).

use super::bytes::{DecodeError, Reader, expect_value};
use crate::types::{Privilege, UserName};

/// RMCP+ status code (IPMI 2.0 table 13-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusCode(pub u8);

impl StatusCode {
    /// No error.
    pub const OK: Self = Self(0x00);
    /// Insufficient resources to create a session: the table is full.
    pub const NO_RESOURCES: Self = Self(0x01);
    /// Invalid session id.
    pub const INVALID_SESSION: Self = Self(0x02);
    /// Invalid authentication algorithm.
    pub const INVALID_AUTHENTICATION: Self = Self(0x04);
    /// Invalid integrity algorithm.
    pub const INVALID_INTEGRITY: Self = Self(0x05);
    /// No matching authentication payload.
    pub const NO_AUTHENTICATION: Self = Self(0x06);
    /// No matching integrity payload.
    pub const NO_INTEGRITY: Self = Self(0x07);
    /// Inactive session id.
    pub const INACTIVE_SESSION: Self = Self(0x08);
    /// Invalid role.
    pub const INVALID_ROLE: Self = Self(0x09);
    /// Unauthorized role or privilege level requested.
    pub const UNAUTHORIZED_ROLE: Self = Self(0x0a);
    /// Insufficient resources to create a session at the requested role.
    pub const NO_RESOURCES_FOR_ROLE: Self = Self(0x0b);
    /// Invalid name length.
    pub const INVALID_NAME_LENGTH: Self = Self(0x0c);
    /// Unauthorized name.
    pub const UNAUTHORIZED_NAME: Self = Self(0x0d);
    /// Unauthorized GUID.
    pub const UNAUTHORIZED_GUID: Self = Self(0x0e);
    /// Invalid integrity check value: the keys differ.
    pub const INVALID_CHECK_VALUE: Self = Self(0x0f);
    /// Invalid confidentiality algorithm.
    pub const INVALID_CONFIDENTIALITY: Self = Self(0x10);
    /// No cipher suite match with the proposed algorithms.
    pub const NO_SUITE_MATCH: Self = Self(0x11);
    /// Illegal or unrecognized parameter.
    pub const ILLEGAL_PARAMETER: Self = Self(0x12);

    fn text(self) -> &'static str {
        match self {
            Self::OK => "no error",
            Self::NO_RESOURCES => "insufficient resources for a session",
            Self::INVALID_SESSION => "invalid session id",
            Self::INVALID_AUTHENTICATION => "invalid authentication algorithm",
            Self::INVALID_INTEGRITY => "invalid integrity algorithm",
            Self::NO_AUTHENTICATION => "no matching authentication payload",
            Self::NO_INTEGRITY => "no matching integrity payload",
            Self::INACTIVE_SESSION => "inactive session id",
            Self::INVALID_ROLE => "invalid role",
            Self::UNAUTHORIZED_ROLE => "unauthorized role or privilege level",
            Self::NO_RESOURCES_FOR_ROLE => "insufficient resources for a session at this role",
            Self::INVALID_NAME_LENGTH => "invalid name length",
            Self::UNAUTHORIZED_NAME => "unauthorized name",
            Self::UNAUTHORIZED_GUID => "unauthorized GUID",
            Self::INVALID_CHECK_VALUE => "invalid integrity check value",
            Self::INVALID_CONFIDENTIALITY => "invalid confidentiality algorithm",
            Self::NO_SUITE_MATCH => "no matching cipher suite",
            Self::ILLEGAL_PARAMETER => "illegal parameter",
            _ => "unknown status",
        }
    }
}

impl std::fmt::Display for StatusCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (status {:#04x})", self.text(), self.0)
    }
}

/// The requested role byte of RAKP 1: a privilege level and how the user is looked up (IPMI 2.0 table 13-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role(pub u8);

impl Role {
    /// Look the user up by name alone.
    pub fn name_only(privilege: Privilege) -> Self {
        Self(0x10 | privilege.number())
    }

    /// Look the user up by name and privilege level.
    pub fn name_and_privilege(privilege: Privilege) -> Self {
        Self(privilege.number())
    }

    /// Whether the user is looked up by name alone.
    pub fn is_name_only(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// The requested maximum privilege level, if it is one.
    pub fn privilege(self) -> Option<Privilege> {
        Privilege::from_number(self.0 & 0x0f)
    }
}

/// The three algorithm numbers of an Open Session Request. `None` leaves the choice to the BMC (payload
/// length 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms {
    /// Authentication algorithm (IPMI 2.0 table 13-17).
    pub authentication: Option<u8>,
    /// Integrity algorithm (table 13-18).
    pub integrity: Option<u8>,
    /// Confidentiality algorithm (table 13-19).
    pub confidentiality: Option<u8>,
}

impl Algorithms {
    fn encode(self, out: &mut Vec<u8>) {
        for (kind, number) in (0..).zip([self.authentication, self.integrity, self.confidentiality]) {
            let length = if number.is_some() { 8 } else { 0 };
            out.extend([kind, 0, 0, length, number.unwrap_or(0), 0, 0, 0]);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut payload = |kind| {
            let [got, _, _, length, number, ..]: [u8; 8] = reader.array()?;
            expect_value("algorithm payload type", got, kind)?;
            Ok((length != 0).then_some(number & 0x3f))
        };
        Ok(Self {
            authentication: payload(0)?,
            integrity: payload(1)?,
            confidentiality: payload(2)?,
        })
    }
}

/// RMCP+ Open Session Request (IPMI 2.0 §13.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSessionRequest {
    /// Returned in the response.
    pub tag: u8,
    /// Requested maximum privilege level; 0 asks for the highest that fits the algorithms.
    pub privilege: u8,
    /// Session id that the BMC will write into packets to the console.
    pub console_id: u32,
    /// What the console proposes.
    pub algorithms: Algorithms,
}

impl OpenSessionRequest {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.privilege, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        self.algorithms.encode(&mut out);
        out
    }

    /// Reads the payload.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Open Session Request", data);
        let [tag, privilege, ..]: [u8; 4] = reader.array()?;
        Ok(Self {
            tag,
            privilege: privilege & 0x0f,
            console_id: reader.u32()?,
            algorithms: Algorithms::decode(&mut reader)?,
        })
    }
}

/// What a BMC granted in an Open Session Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionGrant {
    /// Session id that the console writes into packets to the BMC.
    pub bmc_id: u32,
    /// The algorithms chosen.
    pub algorithms: Algorithms,
}

/// RMCP+ Open Session Response (IPMI 2.0 §13.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSessionResponse {
    /// Tag of the request.
    pub tag: u8,
    /// Maximum privilege level that the session can have.
    pub privilege: u8,
    /// The console's session id.
    pub console_id: u32,
    /// What was granted, or why nothing was.
    pub result: Result<SessionGrant, StatusCode>,
}

impl OpenSessionResponse {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let status = self.result.err().unwrap_or(StatusCode::OK);
        let mut out = vec![self.tag, status.0, self.privilege, 0];
        out.extend(self.console_id.to_le_bytes());
        if let Ok(grant) = &self.result {
            out.extend(grant.bmc_id.to_le_bytes());
            grant.algorithms.encode(&mut out);
        }
        out
    }

    /// Reads the payload. Some BMCs end a refusal after the status; the session id is 0 then.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Open Session Response", data);
        let [tag, status] = reader.array()?;
        if status != StatusCode::OK.0 {
            let [privilege, _] = reader.array().unwrap_or_default();
            let console_id = reader.u32().unwrap_or(0);
            let result = Err(StatusCode(status));
            return Ok(Self {
                tag,
                privilege: privilege & 0x0f,
                console_id,
                result,
            });
        }
        let [privilege, _] = reader.array()?;
        let console_id = reader.u32()?;
        let grant = SessionGrant {
            bmc_id: reader.u32()?,
            algorithms: Algorithms::decode(&mut reader)?,
        };
        Ok(Self {
            tag,
            privilege: privilege & 0x0f,
            console_id,
            result: Ok(grant),
        })
    }
}

/// RAKP Message 1 (IPMI 2.0 §13.20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp1 {
    /// Returned in RAKP 2.
    pub tag: u8,
    /// The BMC's session id.
    pub bmc_id: u32,
    /// The console's random number, R_M.
    pub random: [u8; 16],
    /// Requested role.
    pub role: Role,
    /// Who logs in.
    pub user: UserName,
}

impl Rakp1 {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.user.as_bytes();
        let mut out = vec![self.tag, 0, 0, 0];
        out.extend(self.bmc_id.to_le_bytes());
        out.extend(self.random);
        out.extend([self.role.0, 0, 0, name.len() as u8]);
        out.extend(name);
        out
    }

    /// Reads the payload. A name longer than 16 bytes is [`DecodeError::Value`].
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("RAKP 1", data);
        let [tag, ..]: [u8; 4] = reader.array()?;
        let bmc_id = reader.u32()?;
        let random = reader.array()?;
        let [role, _, _, length] = reader.array()?;
        let name = reader.take(length.into())?;
        let user = UserName::new(name).map_err(|_| DecodeError::Value {
            what: "length of the user name",
            value: length.into(),
        })?;
        Ok(Self {
            tag,
            bmc_id,
            random,
            role: Role(role),
            user,
        })
    }
}

/// RAKP Message 2 (IPMI 2.0 §13.21).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp2 {
    /// Tag of RAKP 1.
    pub tag: u8,
    /// The console's session id.
    pub console_id: u32,
    /// The BMC's part, or why the login ends here.
    pub result: Result<Rakp2Body, StatusCode>,
}

/// What RAKP 2 carries when its status is OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp2Body {
    /// The BMC's random number, R_C.
    pub random: [u8; 16],
    /// The BMC's GUID.
    pub guid: [u8; 16],
    /// Key exchange authentication code: proof that the BMC knows the password.
    pub auth_code: Vec<u8>,
}

impl Rakp2 {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let status = self.result.as_ref().err().copied().unwrap_or(StatusCode::OK);
        let mut out = vec![self.tag, status.0, 0, 0];
        out.extend(self.console_id.to_le_bytes());
        if let Ok(body) = &self.result {
            out.extend(body.random);
            out.extend(body.guid);
            out.extend(&body.auth_code);
        }
        out
    }

    /// Reads the payload.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("RAKP 2", data);
        let [tag, status, ..]: [u8; 4] = reader.array()?;
        let console_id = reader.u32()?;
        let result = match StatusCode(status) {
            StatusCode::OK => Ok(Rakp2Body {
                random: reader.array()?,
                guid: reader.array()?,
                auth_code: reader.rest().to_vec(),
            }),
            status => Err(status),
        };
        Ok(Self {
            tag,
            console_id,
            result,
        })
    }
}

/// RAKP Message 3 (IPMI 2.0 §13.22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp3 {
    /// Returned in RAKP 4.
    pub tag: u8,
    /// The BMC's session id.
    pub bmc_id: u32,
    /// Proof that the console knows the password, or why it gives up.
    pub result: Result<Vec<u8>, StatusCode>,
}

/// RAKP Message 4 (IPMI 2.0 §13.23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rakp4 {
    /// Tag of RAKP 3.
    pub tag: u8,
    /// The console's session id.
    pub console_id: u32,
    /// Integrity check value over the session's keys, or why there is no session.
    pub result: Result<Vec<u8>, StatusCode>,
}

impl Rakp3 {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_proof(self.tag, self.bmc_id, &self.result)
    }

    /// Reads the payload.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let (tag, bmc_id, result) = decode_proof("RAKP 3", data)?;
        Ok(Self { tag, bmc_id, result })
    }
}

impl Rakp4 {
    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode_proof(self.tag, self.console_id, &self.result)
    }

    /// Reads the payload.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let (tag, console_id, result) = decode_proof("RAKP 4", data)?;
        Ok(Self {
            tag,
            console_id,
            result,
        })
    }
}

/// RAKP 3 and 4 have one layout: tag, status, receiver's session id, code.
fn encode_proof(tag: u8, receiver: u32, result: &Result<Vec<u8>, StatusCode>) -> Vec<u8> {
    let status = result.as_ref().err().copied().unwrap_or(StatusCode::OK);
    let mut out = vec![tag, status.0, 0, 0];
    out.extend(receiver.to_le_bytes());
    out.extend(result.as_deref().unwrap_or_default());
    out
}

type Proof = (u8, u32, Result<Vec<u8>, StatusCode>);

fn decode_proof(what: &'static str, data: &[u8]) -> Result<Proof, DecodeError> {
    let mut reader = Reader::new(what, data);
    let [tag, status, ..]: [u8; 4] = reader.array()?;
    let receiver = reader.u32()?;
    let result = match StatusCode(status) {
        StatusCode::OK => Ok(reader.rest().to_vec()),
        status => Err(status),
    };
    Ok((tag, receiver, result))
}

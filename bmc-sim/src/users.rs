//! The one user table of a BMC, shared by IPMI and Redfish.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// What a user may do; ordered by power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads (IPMI User, Redfish `ReadOnly`).
    ReadOnly,
    /// Power and boot (IPMI Operator, Redfish `Operator`).
    Operator,
    /// Everything (IPMI Administrator, Redfish `Administrator`).
    Administrator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        })
    }
}

/// One user.
#[derive(Clone)]
pub struct User {
    /// At most [`Users::MAX_NAME`] bytes; never empty.
    pub name: String,
    /// At most [`Users::MAX_PASSWORD`] bytes.
    pub password: String,
    /// See [`Role`].
    pub role: Role,
    /// A disabled user cannot log in.
    pub enabled: bool,
    /// Counts the changes that end this user's sessions.
    pub epoch: u32,
}

// by hand: the password stays out of logs
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "User({:?}, {:?}, enabled: {})",
            self.name, self.role, self.enabled
        )
    }
}

/// A change of a user that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No user there.
    #[error("slot {0} has no user")]
    Empty(u8),
    /// Not a slot for named users.
    #[error("slot {0} is not one of {first} to {last}", first = Users::FIRST, last = Users::LAST)]
    Slot(u8),
    /// Names are 1 to 16 printable ASCII characters.
    #[error("the name {0:?} is not 1 to 16 printable ASCII characters")]
    Name(String),
    /// Another user has the name.
    #[error("the name {0:?} is another user's")]
    Taken(String),
    /// Passwords are 1 to 20 bytes, without NUL.
    #[error("the password has {0} bytes or a NUL in it: want 1 to 20 bytes without one")]
    Password(usize),
}

/// Users by slot (IPMI user id, Redfish account id).
#[derive(Debug, Clone, Default)]
pub struct Users(BTreeMap<u8, User>);

impl Users {
    /// The first slot for named users; slot 1 is IPMI's null user, always disabled here.
    pub const FIRST: u8 = 2;
    /// The last slot.
    pub const LAST: u8 = 15;
    /// Longest name, in bytes (IPMI 2.0 §22.28).
    pub const MAX_NAME: usize = 16;
    /// Longest password, in bytes (IPMI 2.0 §22.30).
    pub const MAX_PASSWORD: usize = 20;

    /// Adds a user to a free slot.
    pub fn insert(&mut self, slot: u8, name: &str, password: &str, role: Role) -> Result<(), UserError> {
        self.rename(slot, name)?;
        self.set_password(slot, password)?;
        self.change(slot, |user| {
            user.role = role;
            user.enabled = true;
        })
    }

    /// Every user with its slot, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &User)> {
        self.0.iter().map(|(slot, user)| (*slot, user))
    }

    /// The user in a slot.
    pub fn get(&self, slot: u8) -> Option<&User> {
        self.0.get(&slot)
    }

    /// The user of this name who may log in: enabled, with a password.
    pub fn by_name(&self, name: &str) -> Option<(u8, &User)> {
        self.iter()
            .find(|(_, user)| user.enabled && !user.password.is_empty() && user.name == name)
    }

    /// The user with this name and password.
    pub fn authenticate(&self, name: &str, password: &str) -> Option<(u8, &User)> {
        self.by_name(name)
            .filter(|(_, user)| bool::from(user.password.as_bytes().ct_eq(password.as_bytes())))
    }

    /// Names the user of a slot; makes one, disabled and without a usable password, in an empty slot.
    pub fn rename(&mut self, slot: u8, name: &str) -> Result<(), UserError> {
        Self::check_slot(slot)?;
        let printable = name.bytes().all(|b| b.is_ascii_graphic());
        if name.is_empty() || name.len() > Self::MAX_NAME || !printable {
            return Err(UserError::Name(name.into()));
        }
        if self
            .iter()
            .any(|(other, user)| other != slot && user.name == name)
        {
            return Err(UserError::Taken(name.into()));
        }
        let user = self.0.entry(slot).or_insert_with(|| User {
            name: String::new(),
            password: String::new(),
            role: Role::ReadOnly,
            enabled: false,
            epoch: 0,
        });
        name.clone_into(&mut user.name);
        user.epoch += 1;
        Ok(())
    }

    /// Empties a slot.
    pub fn remove(&mut self, slot: u8) {
        self.0.remove(&slot);
    }

    /// Sets a password and ends the user's sessions.
    pub fn set_password(&mut self, slot: u8, password: &str) -> Result<(), UserError> {
        Self::check_password(password)?;
        self.change(slot, |user| password.clone_into(&mut user.password))
    }

    /// Sets a role and ends the user's sessions.
    pub fn set_role(&mut self, slot: u8, role: Role) -> Result<(), UserError> {
        self.change(slot, |user| user.role = role)
    }

    /// Enables or disables a user and ends the user's sessions.
    pub fn set_enabled(&mut self, slot: u8, enabled: bool) -> Result<(), UserError> {
        self.change(slot, |user| user.enabled = enabled)
    }

    /// Whether a password could be set.
    pub fn check_password(password: &str) -> Result<(), UserError> {
        if password.is_empty() || password.len() > Self::MAX_PASSWORD || password.contains('\0') {
            return Err(UserError::Password(password.len()));
        }
        Ok(())
    }

    fn check_slot(slot: u8) -> Result<(), UserError> {
        (Self::FIRST..=Self::LAST)
            .contains(&slot)
            .then_some(())
            .ok_or(UserError::Slot(slot))
    }

    fn change(&mut self, slot: u8, change: impl FnOnce(&mut User)) -> Result<(), UserError> {
        Self::check_slot(slot)?;
        let user = self.0.get_mut(&slot).ok_or(UserError::Empty(slot))?;
        change(user);
        user.epoch += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Users {
        let mut users = Users::default();
        users
            .insert(2, "admin", "admin-secret", Role::Administrator)
            .unwrap();
        users
    }

    #[test]
    fn the_right_password_of_an_enabled_user_opens() {
        let mut users = table();
        assert!(users.authenticate("admin", "admin-secret").is_some());
        for (name, password) in [
            ("admin", "wrong"),
            ("admin", ""),
            ("root", "admin-secret"),
            ("", ""),
        ] {
            assert!(users.authenticate(name, password).is_none(), "{name} {password}");
        }
        users.set_enabled(2, false).unwrap();
        assert!(users.authenticate("admin", "admin-secret").is_none());
    }

    #[test]
    fn a_user_made_by_name_alone_cannot_log_in() {
        let mut users = table();
        users.rename(3, "new").unwrap();
        users.set_enabled(3, true).unwrap();
        assert!(users.authenticate("new", "").is_none());
    }

    #[test]
    fn limits_are_those_of_ipmi() {
        let mut users = table();
        users.rename(2, "a234567890123456").unwrap();
        users.set_password(2, "12345678901234567890").unwrap();
        for (result, text) in [
            (users.rename(2, "a2345678901234567"), "1 to 16"),
            (users.rename(2, ""), "1 to 16"),
            (users.rename(2, "new\nline"), "1 to 16"),
            (users.rename(3, "a234567890123456"), "another user's"),
            (users.rename(1, "null"), "slot 1 is not one of 2 to 15"),
            (users.rename(16, "late"), "slot 16"),
            (users.set_password(2, "123456789012345678901"), "has 21 bytes"),
            (users.set_password(2, ""), "has 0 bytes"),
            (users.set_password(4, "x"), "slot 4 has no user"),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn each_change_ends_sessions_and_no_password_is_printed() {
        let mut users = table();
        let before = users.get(2).unwrap().epoch;
        users.set_password(2, "other-secret").unwrap();
        assert_ne!(users.get(2).unwrap().epoch, before);
        assert!(!format!("{users:?}").contains("secret"));
    }
}

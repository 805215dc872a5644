//! User commands: the BMC's one user table in IPMI's terms (IPMI 2.0 §22.26 to §22.30).

use std::collections::BTreeMap;

use ipmi::command::{
    CHANNEL_PRESENT, CompletionCode, GetUserAccess, GetUserName, PasswordOperation, SetUserAccess,
    SetUserName, SetUserPassword, UserAccess, UserState, Wire,
};
use ipmi::session::bmc::{Request, UserAccount};
use ipmi::{Privilege, Secret, UserName};

use super::IpmiFront;
use super::commands::{Answer, CHANNEL, DONE, origin};
use crate::fault::Protocol;
use crate::users::{Role, User, Users};
use crate::verb::Verb;

fn privilege(role: Role) -> Privilege {
    match role {
        Role::ReadOnly => Privilege::User,
        Role::Operator => Privilege::Operator,
        Role::Administrator => Privilege::Administrator,
    }
}

/// The users as the session machine wants them; with `scrambled`, passwords that nobody has.
pub(super) fn accounts(users: &Users, scrambled: bool) -> BTreeMap<u8, UserAccount> {
    let account = |(slot, user): (u8, &User)| {
        let password = if scrambled {
            format!("{:020x}", rand::random::<u64>())
        } else {
            user.password.clone()
        };
        let account = UserAccount {
            name: UserName::new(&user.name).ok()?,
            password: Secret::new(password).ok()?,
            limit: Some(privilege(user.role)),
            enabled: user.enabled && !user.password.is_empty(),
        };
        Some((slot, account))
    };
    users.iter().filter_map(account).collect()
}

fn check_slot(slot: u8) -> Result<(), CompletionCode> {
    if (1..=Users::LAST).contains(&slot) {
        Ok(())
    } else {
        Err(CompletionCode::OUT_OF_RANGE)
    }
}

fn check_channel(channel: u8) -> Result<(), CompletionCode> {
    if matches!(channel, CHANNEL | CHANNEL_PRESENT) {
        Ok(())
    } else {
        Err(CompletionCode::INVALID_FIELD)
    }
}

impl IpmiFront {
    pub(super) fn get_user_access(&self, get: GetUserAccess) -> Answer {
        check_channel(get.channel)?;
        check_slot(get.user)?;
        let users = self.bmc.users();
        let user = users.get(get.user);
        let enabled = users.iter().filter(|(_, user)| user.enabled).count();
        let access = UserAccess {
            max_users: Users::LAST,
            enabled_users: enabled as u8,
            fixed_names: 1,
            state: if user.is_some_and(|user| user.enabled) {
                UserState::Enabled
            } else {
                UserState::Disabled
            },
            callback_only: false,
            link_auth: false,
            messaging: user.is_some(),
            limit: user.map(|user| privilege(user.role)),
        };
        Ok(access.encode())
    }

    pub(super) fn get_user_name(&self, GetUserName(slot): GetUserName) -> Answer {
        check_slot(slot)?;
        let name = self.bmc.user(slot).map(|user| user.name).unwrap_or_default();
        Ok(UserName::new(name).unwrap_or_default().encode())
    }

    pub(super) fn set_user_name(&self, request: &Request, set: SetUserName) -> Answer {
        let name =
            String::from_utf8(set.name.as_bytes().to_vec()).map_err(|_| CompletionCode::INVALID_FIELD)?;
        self.change(request, Verb::SetUser, set.user, |users| {
            if name.is_empty() {
                users.remove(set.user);
                return Ok(());
            }
            users.rename(set.user, &name)
        })
    }

    pub(super) fn set_user_access(&self, request: &Request, set: SetUserAccess) -> Answer {
        check_channel(set.channel)?;
        let role = match set.limit {
            Some(Privilege::Administrator | Privilege::Oem) => Some(Role::Administrator),
            Some(Privilege::Operator) => Some(Role::Operator),
            Some(Privilege::User | Privilege::Callback) => Some(Role::ReadOnly),
            None => None,
        };
        self.change(request, Verb::SetUser, set.user, |users| match role {
            Some(role) => users.set_role(set.user, role),
            // "no access" by the only channel there is
            None => users.set_enabled(set.user, false),
        })
    }

    pub(super) fn set_user_password(&self, request: &Request, set: &SetUserPassword) -> Answer {
        let slot = set.user;
        match &set.operation {
            PasswordOperation::Disable => self.change(request, Verb::SetUser, slot, |users| {
                users.set_enabled(slot, false)
            }),
            PasswordOperation::Enable => self.change(request, Verb::SetUser, slot, |users| {
                users.set_enabled(slot, true)
            }),
            PasswordOperation::Set(secret) => {
                let bytes = secret.expose();
                let length = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                let password =
                    std::str::from_utf8(&bytes[..length]).map_err(|_| CompletionCode::INVALID_FIELD)?;
                self.change(request, Verb::SetPassword, slot, |users| {
                    users.set_password(slot, password)
                })
            }
            PasswordOperation::Test(secret) => {
                let user = self.bmc.user(slot).ok_or(CompletionCode::INVALID_FIELD)?;
                let right = Secret::new(&user.password).is_ok_and(|password| password == *secret);
                if right {
                    DONE
                } else {
                    Err(CompletionCode::SPECIFIC_80)
                }
            }
        }
    }

    fn change(
        &self,
        request: &Request,
        verb: Verb,
        slot: u8,
        change: impl FnOnce(&mut Users) -> Result<(), crate::users::UserError>,
    ) -> Answer {
        check_slot(slot)?;
        let result = self
            .bmc
            .change_user(verb, slot, &origin(request), Protocol::Ipmi, change);
        result.map_err(|_| CompletionCode::INVALID_FIELD)?;
        DONE
    }
}

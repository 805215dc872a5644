//! AccountService: accounts are the BMC's user slots; roles are the three standard ones (DSP0266 §13.4).

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::auth::Caller;
use super::failure::Failure;
use super::{Context, body, representation};
use crate::bmc::CommandError;
use crate::fault::Protocol;
use crate::users::{Role, User, UserError, Users};
use crate::verb::Verb;

const SERVICE: &str = "/redfish/v1/AccountService";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";
const ROLES: &str = "/redfish/v1/AccountService/Roles";
const WRITABLE: [&str; 4] = ["UserName", "Password", "RoleId", "Enabled"];

const fn role_id(role: Role) -> &'static str {
    match role {
        Role::ReadOnly => "ReadOnly",
        Role::Operator => "Operator",
        Role::Administrator => "Administrator",
    }
}

fn role_of(id: &str) -> Option<Role> {
    [Role::ReadOnly, Role::Operator, Role::Administrator]
        .into_iter()
        .find(|role| role_id(*role) == id)
}

pub(super) async fn service(_: Context, headers: HeaderMap) -> Response {
    representation::answer(
        &headers,
        json!({
            "@odata.id": SERVICE,
            "@odata.type": "#AccountService.v1_15_0.AccountService",
            "Id": "AccountService",
            "Name": "Account Service",
            "ServiceEnabled": true,
            "MinPasswordLength": 1,
            "MaxPasswordLength": Users::MAX_PASSWORD,
            "Accounts": {"@odata.id": ACCOUNTS},
            "Roles": {"@odata.id": ROLES},
        }),
    )
}

pub(super) async fn collection(context: Context, headers: HeaderMap) -> Response {
    let slots: Vec<_> = context
        .bmc()
        .users()
        .iter()
        .map(|(slot, _)| slot.to_string())
        .collect();
    representation::answer(
        &headers,
        representation::collection(ACCOUNTS, "ManagerAccount", "Accounts", slots),
    )
}

fn resource(slot: u8, user: &User) -> Value {
    let role = role_id(user.role);
    json!({
        "@odata.id": format!("{ACCOUNTS}/{slot}"),
        "@odata.type": "#ManagerAccount.v1_12_0.ManagerAccount",
        "Id": slot.to_string(),
        "Name": "User Account",
        "UserName": user.name,
        "Password": null,
        "PasswordChangeRequired": false,
        "RoleId": role,
        "Enabled": user.enabled,
        "Locked": false,
        "AccountTypes": ["Redfish", "IPMI"],
        "Links": {"Role": {"@odata.id": format!("{ROLES}/{role}")}},
    })
}

fn find(context: &Context, id: &str) -> Result<(u8, User), Failure> {
    let slot = id.parse().ok().filter(|slot: &u8| slot.to_string() == id);
    slot.and_then(|slot| Some((slot, context.bmc().user(slot)?)))
        .ok_or_else(|| Failure::resource_missing(&format!("{ACCOUNTS}/{id}")))
}

pub(super) async fn read(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (slot, user) = find(&context, &id)?;
    Ok(representation::answer(&headers, resource(slot, &user)))
}

pub(super) async fn update(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let caller = context.caller.clone().ok_or_else(Failure::no_session)?;
    let (slot, user) = find(&context, &id)?;
    let patch = body::object(&headers, &bytes)?;
    may_change(&caller, slot, patch.keys().map(String::as_str))?;
    let current = resource(slot, &user);
    representation::check_if_match(&headers, &current)?;
    body::check_patch(&patch, &WRITABLE, &current)?;
    let password = body::string(&patch, "Password")?;
    let name = body::string(&patch, "UserName")?;
    let enabled = body::boolean(&patch, "Enabled")?;
    let role = match body::string(&patch, "RoleId")? {
        Some(id) => Some(role_of(id).ok_or_else(|| Failure::property_not_in_list(id, "RoleId"))?),
        None => None,
    };
    let verb = if password.is_some() {
        Verb::SetPassword
    } else {
        Verb::SetUser
    };
    let change = |users: &mut Users| {
        name.map_or(Ok(()), |name| users.rename(slot, name))?;
        role.map_or(Ok(()), |role| users.set_role(slot, role))?;
        enabled.map_or(Ok(()), |enabled| users.set_enabled(slot, enabled))?;
        password.map_or(Ok(()), |password| users.set_password(slot, password))
    };
    let result = context
        .bmc()
        .change_user(verb, slot, &context.origin(), Protocol::Redfish, change);
    result.map_err(|error| refused(&error).logged())?;
    let (slot, user) = find(&context, &id)?;
    Ok(representation::answer(&HeaderMap::new(), resource(slot, &user)))
}

/// Administrators change everybody (ConfigureUsers); others their own password only (ConfigureSelf).
fn may_change<'a>(
    caller: &Caller,
    slot: u8,
    mut properties: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    if caller.slot == slot && properties.all(|property| property == "Password") {
        return Ok(());
    }
    caller.may_administer()
}

fn refused(error: &CommandError) -> Failure {
    match error {
        CommandError::User(UserError::Password(_)) => Failure::property_format("******", "Password"),
        CommandError::User(UserError::Name(name) | UserError::Taken(name)) => {
            Failure::property_format(name, "UserName")
        }
        _ => Failure::internal(),
    }
}

pub(super) async fn roles(_: Context, headers: HeaderMap) -> Response {
    let ids = [Role::Administrator, Role::Operator, Role::ReadOnly].map(|role| role_id(role).to_owned());
    representation::answer(&headers, representation::collection(ROLES, "Role", "Roles", ids))
}

pub(super) async fn role(
    _: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let uri = format!("{ROLES}/{id}");
    let role = role_of(&id).ok_or_else(|| Failure::resource_missing(&uri))?;
    let privileges: &[&str] = match role {
        Role::ReadOnly => &["Login", "ConfigureSelf"],
        Role::Operator => &["Login", "ConfigureSelf", "ConfigureComponents"],
        Role::Administrator => &[
            "Login",
            "ConfigureSelf",
            "ConfigureComponents",
            "ConfigureManager",
            "ConfigureUsers",
        ],
    };
    Ok(representation::answer(
        &headers,
        json!({
            "@odata.id": uri,
            "@odata.type": "#Role.v1_3_1.Role",
            "Id": id,
            "RoleId": id,
            "Name": "User Role",
            "IsPredefined": true,
            "AssignedPrivileges": privileges,
        }),
    ))
}

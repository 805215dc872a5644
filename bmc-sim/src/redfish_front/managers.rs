//! The one Manager, the BMC itself, and its reset (DSP0268 §6.76).

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::failure::Failure;
use super::representation::OnlyMember;
use super::{Context, body, no_content, representation, systems};
use crate::fault::Protocol;

pub(super) const ONLY: OnlyMember = OnlyMember {
    collection: "/redfish/v1/Managers",
    id: "bmc0",
};
const RESETS: [&str; 2] = ["GracefulRestart", "ForceRestart"];

pub(super) async fn collection(_: Context, headers: HeaderMap) -> Response {
    ONLY.listed(&headers, "Manager", "Managers")
}

pub(super) async fn read(
    _: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    let uri = ONLY.uri();
    Ok(representation::answer(
        &headers,
        json!({
            "@odata.id": uri,
            "@odata.type": "#Manager.v1_19_0.Manager",
            "Id": ONLY.id,
            "Name": "Manager",
            "ManagerType": "BMC",
            "Model": "bmc-sim",
            "FirmwareVersion": env!("CARGO_PKG_VERSION"),
            "PowerState": "On",
            "Status": {"State": "Enabled", "Health": "OK"},
            "Links": {"ManagerForServers": [{"@odata.id": systems::ONLY.uri()}]},
            "Actions": {
                "#Manager.Reset": {
                    "target": format!("{uri}/Actions/Manager.Reset"),
                    "@Redfish.ActionInfo": format!("{uri}/ResetActionInfo"),
                    "ResetType@Redfish.AllowableValues": RESETS,
                },
            },
        }),
    ))
}

pub(super) async fn reset_action_info(
    _: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    let info = representation::reset_info(&format!("{}/ResetActionInfo", ONLY.uri()), &RESETS);
    Ok(representation::answer(&headers, info))
}

pub(super) async fn reset(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    const ACTION: &str = "Manager.Reset";
    ONLY.check(&id)?;
    context
        .caller
        .as_ref()
        .ok_or_else(Failure::no_session)?
        .may_administer()?;
    body::parameter(&headers, &bytes, ACTION, "ResetType", &RESETS)?
        .ok_or_else(|| Failure::parameter_missing(ACTION, "ResetType"))?;
    context
        .bmc()
        .reset_bmc(&context.origin(), Protocol::Redfish)
        .map_err(|_| Failure::internal())?;
    Ok(no_content())
}

//! The one Manager, the BMC itself, and its reset (DSP0268 §6.76).

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::failure::Failure;
use super::{Context, body, no_content, representation, systems};
use crate::fault::Protocol;

const COLLECTION: &str = "/redfish/v1/Managers";
const ID: &str = "bmc0";
const RESETS: [&str; 2] = ["GracefulRestart", "ForceRestart"];

pub(super) fn uri() -> String {
    format!("{COLLECTION}/{ID}")
}

fn check_id(id: &str) -> Result<(), Failure> {
    if id == ID {
        Ok(())
    } else {
        Err(Failure::resource_missing(&format!("{COLLECTION}/{id}")))
    }
}

pub(super) async fn collection(_: Context, headers: HeaderMap) -> Response {
    let members = [ID.to_owned()];
    representation::answer(
        &headers,
        representation::collection(COLLECTION, "Manager", "Managers", members),
    )
}

pub(super) async fn read(
    _: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    check_id(&id)?;
    let uri = uri();
    Ok(representation::answer(
        &headers,
        json!({
            "@odata.id": uri,
            "@odata.type": "#Manager.v1_19_0.Manager",
            "Id": ID,
            "Name": "Manager",
            "ManagerType": "BMC",
            "Model": "bmc-sim",
            "FirmwareVersion": env!("CARGO_PKG_VERSION"),
            "PowerState": "On",
            "Status": {"State": "Enabled", "Health": "OK"},
            "Links": {"ManagerForServers": [{"@odata.id": format!("{}/{}", systems::COLLECTION, systems::ID)}]},
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
    check_id(&id)?;
    let info = representation::reset_info(&format!("{}/ResetActionInfo", uri()), &RESETS);
    Ok(representation::answer(&headers, info))
}

pub(super) async fn reset(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    const ACTION: &str = "Manager.Reset";
    check_id(&id)?;
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

//! What anybody may read: versions, service root, OData documents (DSP0266 §7.1, §8.4).

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Context, representation};

pub(super) async fn versions(_: Context) -> Response {
    representation::answer(&HeaderMap::new(), json!({"v1": "/redfish/v1/"}))
}

pub(super) async fn service_root(context: Context, headers: HeaderMap) -> Response {
    let machine = &context.bmc().config().machine;
    let link = |path: &str| json!({"@odata.id": format!("/redfish/v1/{path}")});
    representation::answer(
        &headers,
        json!({
            "@odata.id": "/redfish/v1/",
            "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot",
            "Id": "RootService",
            "Name": "Root Service",
            "RedfishVersion": "1.17.0",
            "UUID": machine.uuid,
            "Vendor": machine.manufacturer,
            "Product": "bmc-sim",
            "Systems": link("Systems"),
            "Managers": link("Managers"),
            "SessionService": link("SessionService"),
            "AccountService": link("AccountService"),
            "Links": {"Sessions": link("SessionService/Sessions")},
            "ProtocolFeaturesSupported": {
                "ExpandQuery": {"ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false},
                "FilterQuery": false,
                "OnlyMemberQuery": false,
                "SelectQuery": false,
                "ExcerptQuery": false,
            },
        }),
    )
}

pub(super) async fn odata(_: Context) -> Response {
    let entry = |name: &str, url: &str| json!({"name": name, "kind": "Singleton", "url": url});
    representation::answer(
        &HeaderMap::new(),
        json!({
            "@odata.context": "/redfish/v1/$metadata",
            "value": [
                entry("Service", "/redfish/v1/"),
                entry("Systems", "/redfish/v1/Systems"),
                entry("Managers", "/redfish/v1/Managers"),
                entry("SessionService", "/redfish/v1/SessionService"),
                entry("AccountService", "/redfish/v1/AccountService"),
                entry("Sessions", "/redfish/v1/SessionService/Sessions"),
            ],
        }),
    )
}

pub(super) async fn metadata(_: Context) -> Response {
    (
        [(CONTENT_TYPE, "application/xml;charset=utf-8")],
        include_str!("metadata.xml"),
    )
        .into_response()
}

use axum::body::Body;
use axum::http::Method;
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;
use crate::bmc::tests::bmc;

/// The status of a request by the user of this Basic header.
async fn status(method: Method, path: &str, body: Vec<u8>, basic: &str) -> u16 {
    let config = RedfishConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: false,
        max_sessions: 1,
        session_timeout: std::time::Duration::from_mins(1),
    };
    let front = Arc::new(RedfishFront::new(Arc::new(bmc().0), config));
    let context = Context {
        front,
        caller: None,
        peer: ([127, 0, 0, 1], 1).into(),
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", HeaderValue::from_str(basic).unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    request.extensions_mut().insert(context);
    let Ok(response) = router().oneshot(request).await;
    response.status().as_u16()
}

const ADMIN: &str = "Basic YWRtaW46YWRtaW4tc2VjcmV0";

#[tokio::test(start_paused = true)]
async fn basic_credentials_that_are_none_are_refused() {
    for basic in [
        "",
        "Basic",
        "Basic !",
        "Basic YWRtaW4=",
        "Bearer x",
        "Basic /////w==",
    ] {
        assert_eq!(
            status(Method::GET, "/redfish/v1/Systems", vec![], basic).await,
            401,
            "{basic:?}"
        );
    }
    assert_eq!(
        status(Method::GET, "/redfish/v1/Systems", vec![], ADMIN).await,
        200
    );
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "(Once|Pxe|Disabled|On|ForceOff|Administrator|.{0,24})".prop_map(Into::into),
    ];
    let key = "(Boot|BootSourceOverrideEnabled|BootSourceOverrideTarget|BootSourceOverrideMode|ResetType|Password|UserName|RoleId|Enabled|.{0,8})";
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    /// Whatever is sent, the service answers, and never with an internal error.
    #[test]
    fn any_body_is_taken_or_refused(
        target in prop_oneof![
            Just((Method::PATCH, "/redfish/v1/Systems/system0")),
            Just((Method::POST, "/redfish/v1/Systems/system0/Actions/ComputerSystem.Reset")),
            Just((Method::POST, "/redfish/v1/Managers/bmc0/Actions/Manager.Reset")),
            Just((Method::PATCH, "/redfish/v1/AccountService/Accounts/2")),
            Just((Method::POST, "/redfish/v1/SessionService/Sessions")),
        ],
        body in prop_oneof![
            json().prop_map(|json| json.to_string().into_bytes()),
            any::<Vec<u8>>(),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (method, path) = target;
        connection::verb_of(&method, path, &body.clone().into());
        let status = runtime.block_on(status(method, path, body, ADMIN));
        prop_assert!((200..500).contains(&status), "{status}");
    }
}

//! Error answers (DSP0266 §8.6) with messages of the Base registry (DSP8011, Base 1.13).

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error answer with one message.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    id: &'static str,
    text: String,
    args: Vec<String>,
    resolution: &'static str,
    related: Option<String>,
    logged: bool,
}

/// Marks an answer whose refusal the power log has already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged;

impl Failure {
    /// `template`: the registry's text with `%1`, `%2`… for `args`.
    fn new(
        status: StatusCode,
        id: &'static str,
        template: &str,
        args: &[&str],
        resolution: &'static str,
    ) -> Self {
        let text = args
            .iter()
            .enumerate()
            .fold(template.to_owned(), |text, (i, arg)| {
                text.replace(&format!("%{}", i + 1), arg)
            });
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self {
            status,
            id,
            text,
            args,
            resolution,
            related: None,
            logged: false,
        }
    }

    /// The BMC itself has refused, and logged it.
    pub(super) fn logged(mut self) -> Self {
        self.logged = true;
        self
    }

    fn of_property(mut self, property: &str) -> Self {
        self.related = Some(format!("#/{property}"));
        self
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "The request failed due to an internal service error.  The service is still operational.",
            &[],
            "Resubmit the request.  If the problem persists, consider resetting the service.",
        )
    }

    pub(super) fn resource_missing(uri: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceMissingAtURI",
            "The resource at the URI '%1' was not found.",
            &[uri],
            "Place a valid resource at the URI or correct the URI and resubmit the request.",
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
            "The HTTP method is not allowed on this resource.",
            &[],
            "None.",
        )
    }

    pub(super) fn unauthorized(uri: &str) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
            "While accessing the resource at '%1', the service received an authorization error '%2'.",
            &[uri, "invalid user name or password"],
            "Ensure that the appropriate access is provided for the service in order for it to access the URI.",
        )
    }

    pub(super) fn no_session() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "NoValidSession",
            "There is no valid session established with the implementation.",
            &[],
            "Establish a session before attempting any operations.",
        )
    }

    pub(super) fn insufficient_privilege() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "InsufficientPrivilege",
            "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.",
            &[],
            "Either abandon the operation or change the associated access rights and resubmit the request if the operation failed.",
        )
    }

    pub(super) fn session_limit() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions exceeding the limit of the implementation.",
            &[],
            "Reduce the number of other sessions before trying to establish the session or increase the limit of simultaneous sessions, if supported.",
        )
    }

    pub(super) fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "The ETag supplied did not match the ETag required to change this resource.",
            &[],
            "Try the operation again using the appropriate ETag.",
        )
    }

    pub(super) fn odata_version() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "HeaderInvalid",
            "Header '%1' is invalid.",
            &["OData-Version"],
            "Resubmit the request with a valid request header.",
        )
    }

    pub(super) fn query_not_supported(query: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "QueryNotSupported",
            "Querying is not supported by the implementation.",
            &[],
            "Remove the query parameters and resubmit the request if the operation failed.",
        )
        .of_property(query)
    }

    pub(super) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "HeaderInvalid",
            "Header '%1' is invalid.",
            &["Content-Type"],
            "Resubmit the request with a valid request header.",
        )
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "UnrecognizedRequestBody",
            "The service detected a malformed request body that it was unable to interpret.",
            &[],
            "Correct the request body and resubmit the request if it failed.",
        )
    }

    pub(super) fn malformed_json() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MalformedJSON",
            "The request body submitted was malformed JSON and could not be parsed by the receiving service.",
            &[],
            "Ensure that the request body is valid JSON and resubmit the request.",
        )
    }

    pub(super) fn no_operation() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "NoOperation",
            "The request body submitted contain no data to act upon and no changes to the resource took place.",
            &[],
            "Add properties in the JSON object and resubmit the request.",
        )
    }

    pub(super) fn property_unknown(property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyUnknown",
            "The property '%1' is not in the list of valid properties for the resource.",
            &[property],
            "Remove the unknown property from the request body and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn property_not_writable(property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyNotWritable",
            "The property '%1' is a read only property and cannot be assigned a value.",
            &[property],
            "Remove the property from the request body and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn property_missing(property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyMissing",
            "The property '%1' is a required property and must be included in the request.",
            &[property],
            "Ensure that the property is in the request body and has a valid value and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn property_type(value: &str, property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueTypeError",
            "The value '%1' for the property '%2' is not a type that the property can accept.",
            &[value, property],
            "Correct the value for the property in the request body and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn property_format(value: &str, property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueFormatError",
            "The value '%1' for the property '%2' is not a format that the property can accept.",
            &[value, property],
            "Correct the value for the property in the request body and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn property_not_in_list(value: &str, property: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueNotInList",
            "The value '%1' for the property '%2' is not in the list of acceptable values.",
            &[value, property],
            "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.",
        )
        .of_property(property)
    }

    pub(super) fn parameter_missing(action: &str, parameter: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterMissing",
            "The action '%1' requires the parameter '%2' to be present in the request body.",
            &[action, parameter],
            "Supply the action with the required parameter in the request body when the request is resubmitted.",
        )
    }

    pub(super) fn parameter_unknown(action: &str, parameter: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterUnknown",
            "The action '%1' was submitted with the invalid parameter '%2'.",
            &[action, parameter],
            "Correct the invalid parameter and resubmit the request if the operation failed.",
        )
    }

    pub(super) fn parameter_not_in_list(value: &str, parameter: &str, action: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterValueNotInList",
            "The value '%1' for the parameter '%2' in the action '%3' is not in the list of acceptable values.",
            &[value, parameter, action],
            "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.",
        )
    }

    /// The machine's state does not allow the action now.
    pub(super) fn parameter_conflict(parameter: &str, value: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "ActionParameterValueConflict",
            "The action parameter '%1' with the value '%2' conflicts with the present state of the resource.",
            &[parameter, value],
            "Resubmit the action once the state of the resource allows it.",
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let severity = if self.status.is_server_error() {
            "Critical"
        } else {
            "Warning"
        };
        let id = format!("Base.1.13.{}", self.id);
        let mut info = json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": id,
            "Message": self.text,
            "MessageArgs": self.args,
            "MessageSeverity": severity,
            "Severity": severity,
            "Resolution": self.resolution,
        });
        if let Some(property) = self.related {
            info["RelatedProperties"] = json!([property]);
        }
        let body = json!({"error": {"code": id, "message": self.text, "@Message.ExtendedInfo": [info]}});
        let mut response = (self.status, body.to_string()).into_response();
        if self.logged {
            response.extensions_mut().insert(Logged);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"redfish\""),
                );
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
            }
            _ => {}
        }
        response
    }
}

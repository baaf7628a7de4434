//! Errors as clients see them: `{"success":false,"error":TEXT,"details"?}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::chat3::Chat3Error;

/// A request that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    status: StatusCode,
    error: String,
    details: Option<Value>,
}

impl Failure {
    /// A failure with `status`.
    #[must_use]
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), details: None }
    }
}

impl From<Chat3Error> for Failure {
    fn from(error: Chat3Error) -> Self {
        match error {
            Chat3Error::Refused { status, message, details } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                Self { status, error: message, details }
            }
            Chat3Error::Key(_) | Chat3Error::Failed(_) => Self::new(StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({"success": false, "error": self.error});
        if let Some(details) = self.details {
            body["details"] = details;
        }
        (self.status, Json(body)).into_response()
    }
}

/// 404 for what is nowhere.
pub(super) fn no_route() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "Route not found")
}

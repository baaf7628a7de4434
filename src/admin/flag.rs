//! Calls about the flag.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use bridge_core::Stage;
use serde::Deserialize;
use serde_json::{Value, json};

use super::token::{By, Caller};
use super::{Admin, failure};
use crate::flag::{ChangeRequest, FlagView, Outcome, Refusal};

/// A rollback does not wait longer for its body.
const BODY: Duration = Duration::from_millis(500);

pub(super) async fn get(State(admin): State<Arc<Admin>>) -> Json<FlagView> {
    Json(admin.control.view())
}

pub(super) async fn put(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let changed = match ChangeRequest::read(&body).map(|request| caller.makes(request)) {
        Ok(request) => admin.control.set(request, "admin").await,
        Err(refusal) => Err(refusal),
    };
    match changed {
        // Said only where it is a way back that the disk did not take.
        Ok(Outcome::Done(view)) => {
            Json(FlagView { persisted: view.persisted.filter(|persisted| !persisted), ..*view }).into_response()
        }
        Ok(Outcome::Planned(planned)) => Json(planned).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// A rollback is never refused for its body: what can't be read of it is left out.
pub(super) async fn rollback(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Json<FlagView> {
    let (by, reason) = who(&caller, body).await;
    Json(admin.control.rollback(by.actor(), &reason, "admin", false).await)
}

/// Who rolls back, and why, as far as it can be read.
pub(super) async fn who(caller: &Caller, body: Body) -> (By, String) {
    let read = tokio::time::timeout(BODY, to_bytes(body, 64 * 1024)).await;
    let body = read.ok().and_then(Result::ok).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str, default: &str| {
        let text = body.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        text.unwrap_or(default).chars().take(1_000).collect::<String>()
    };
    (caller.by(text("actor", ""), text("on_behalf_of", "")), text("reason", "rollback"))
}

#[derive(Deserialize)]
pub(super) struct Towards {
    to: Option<String>,
}

pub(super) async fn preflight(State(admin): State<Arc<Admin>>, Query(towards): Query<Towards>) -> Response {
    let to = match towards.to.map(|to| to.parse::<Stage>()).transpose() {
        Ok(to) => to,
        Err(message) => return refused(&Refusal::invalid("to", message)),
    };
    Json(admin.control.preflight(to).await).into_response()
}

pub(super) async fn audit(State(admin): State<Arc<Admin>>) -> Response {
    let Some((entries, verification)) = admin.control.history().await else {
        return failure(
            503,
            json!({"error": "audit_unreadable", "message": "the disk of state_dir does not answer"}),
        );
    };
    Json(json!({"entries": entries, "verification": verification})).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let (status, body) = refusal.answer();
    failure(status, body)
}

//! `GET /admin/flag/concerns`: whom a change would concern, of those who are connected here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bridge_core::{Rollout, Stage};
use serde::Deserialize;
use serde_json::json;

use super::{Admin, failure};

/// Users who are named, at most.
const NAMED: usize = 20;

#[derive(Deserialize)]
pub(super) struct Change {
    /// Stage after it.
    to: Option<String>,
    /// Rollout after it, JSON.
    rollout: Option<String>,
}

/// `{users, sockets, to_rabbitmq, to_legacy, named:[{user, from, to}]}`: users whose copies come by another path, the
/// first of them by name.
pub(super) async fn get(State(admin): State<Arc<Admin>>, Query(change): Query<Change>) -> Response {
    let invalid = |field: &str, message: String| {
        failure(422, json!({"error": "invalid", "message": format!("{field}: {message}"), "field": field}))
    };
    let present = admin.control.view();
    let to = match change.to.map(|to| to.parse::<Stage>()).transpose() {
        Ok(to) => to.unwrap_or(present.stage),
        Err(message) => return invalid("to", message),
    };
    let rollout = match change.rollout.map(|rollout| serde_json::from_str::<Rollout>(&rollout)).transpose() {
        Ok(rollout) => rollout.unwrap_or(present.rollout),
        Err(error) => return invalid("rollout", error.to_string()),
    };
    let (mut users, mut sockets, mut moved) = (0_usize, 0, [0_usize; 2]);
    let mut named = Vec::new();
    for session in admin.hub.sessions() {
        users += 1;
        sockets += session.sockets.len();
        let after = rollout.stage_of(to, &session.tenant, session.user.as_str());
        let forward = after.use_rabbitmq_updates();
        if forward != session.stage.use_rabbitmq_updates() {
            moved[usize::from(forward)] += 1;
            if named.len() < NAMED {
                named.push(json!({"user": session.user, "from": session.stage, "to": after}));
            }
        }
    }
    let [to_legacy, to_rabbitmq] = moved;
    Json(json!({"users": users, "sockets": sockets, "to_rabbitmq": to_rabbitmq, "to_legacy": to_legacy, "named": named}))
        .into_response()
}

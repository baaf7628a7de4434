//! `GET /admin/status`: what a person in an incident looks at first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Admin;
use crate::clock::iso;
use crate::config::Environment;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the instance.
    pub instance: String,
    /// Its environment.
    pub environment: Environment,
    /// When it started, ISO-8601.
    pub started_at: String,
    /// Admin addresses of the fleet's instances; empty: alone.
    pub nodes: Vec<String>,
}

/// What other rooms know and this one shows.
pub trait Sight: Send + Sync + 'static {
    /// Whether Chat3 answered lately.
    fn chat3_up(&self) -> bool;
    /// `{mode, state, why}` of the guard.
    fn guard(&self) -> Value;
}

pub(super) async fn get(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(now(&admin))
}

/// What an operator has to know: updates that are stalled, and what will hurt in the next rollback, though nothing hurts
/// now.
fn warnings(admin: &Admin) -> Vec<String> {
    let load = admin.hub.load();
    let deaf = load.in_no_room > 0 && !admin.hub.members_hear_legacy();
    let text = || {
        format!(
            "{} of {} connected sockets have joined no dialog: in legacy and after a rollback they hear nothing \
             (legacy.audience = \"members\")",
            load.in_no_room, load.connected
        )
    };
    admin.hub.updates_stalled().into_iter().chain(deaf.then(text)).collect()
}

/// The status of this moment.
pub(super) fn now(admin: &Admin) -> Value {
    let flag = admin.control.view();
    let session = admin.broker.as_ref().map(|broker| broker.session().borrow().clone()).unwrap_or_default();
    let About { instance, environment, started_at, nodes } = &admin.about;
    json!({
        "instance": instance,
        "version": crate::VERSION,
        "build": crate::BUILD,
        "environment": environment,
        "stage": flag.stage,
        "rollout": flag.rollout,
        "transition": flag.transition,
        "broker": {"up": session.up, "since": iso(admin.hub.session_since()), "blocked": session.blocked},
        "chat3": {"up": admin.sight.chat3_up()},
        "guard": admin.sight.guard(),
        "verdict": admin.desk.verdict(),
        "started_at": started_at,
        "nodes": nodes,
        "flip_timeout_ms": u64::try_from(admin.control.flip_timeout().as_millis()).unwrap_or(u64::MAX),
        "warnings": warnings(admin),
        "relay": admin.hub.relay().map(|relay| json!({"on": relay.is_on(), "peers": relay.peers()})),
    })
}
